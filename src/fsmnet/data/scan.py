"""Any scan a user has: a NIfTI file or a DICOM folder in, a result back in the same form and place."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fsmnet.data.volume import Array, Volume, check_output_name, read_volume, write_volume
from fsmnet.errors import UserError
from fsmnet.files import sha256

if TYPE_CHECKING:
    from fsmnet.data.dicom import Series


@dataclass(frozen=True)
class Scan:
    """A volume and where it came from.

    Attributes:
        volume: its last axis W is the phase-encode direction.
        series: the DICOM series; None for NIfTI.
        turned: whether the in-plane axes were swapped to bring the phase-encode direction last.
    """

    volume: Volume
    series: Series | None = None
    turned: bool = False

    def sha256(self) -> str:
        """Hash of the file; for a series, of its files in order."""
        if self.series is None:
            return sha256(self.volume.source)
        return hashlib.sha256("".join(map(sha256, self.series.files)).encode()).hexdigest()


def read_scan(path: Path, which: str | None = None) -> Scan:
    """Read a NIfTI file, or a series of a DICOM folder.

    A NIfTI file does not say reliably which axis was phase-encoded; its second one is taken. A DICOM series says it,
    and is turned where it was the other.

    Args:
        path: ``.nii``, ``.nii.gz``, or a folder.
        which: for a folder: number, UID or a part of the description of the series.

    Raises:
        UserError: what cannot be read, in words.
    """
    if not path.is_dir():
        if which is not None:
            raise UserError(f"{path}: only a DICOM folder has series to choose from; leave {which!r} out")
        return Scan(read_volume(path))
    from fsmnet.data.dicom import choose_series, list_series, read_series

    series = choose_series(list_series(path), which)
    volume, turned = read_series(series), series.phase_encoding == "ROW"
    return Scan(turn(volume) if turned else volume, series, turned)


def turn(volume: Volume) -> Volume:
    """The same volume in the same place with its in-plane axes H and W swapped."""
    data = np.ascontiguousarray(volume.data.transpose(0, 2, 1))
    return replace(volume, data=data, affine=volume.affine[:, [1, 0, 2, 3]], header=None)


def check_output(out: Path, like: Path) -> None:
    """Refuse a name that does not fit the form of the result, before any work is done."""
    if not like.is_dir() or out.name.endswith((".nii", ".nii.gz")):
        check_output_name(out)
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is there already and not an empty folder; choose another --out")


def write_scan(data: Array, like: Scan, out: Path, description: str, checkpoint: str = "") -> None:
    """Write ``(S, H, W)`` as NIfTI, or, for a scan from DICOM and a name without ``.nii``, as a DICOM series.

    Args:
        data: the slices, of the size of ``like``.
        like: the scan whose place in space the result takes.
        out: ``.nii``, ``.nii.gz`` or a new folder.
        description: how it was made.
        checkpoint: name of the weights, for DICOM's description of the derivation.
    """
    if like.series is None or out.name.endswith((".nii", ".nii.gz")):
        write_volume(data, like.volume, out, description)
        return
    from fsmnet.data.dicom import write_series

    as_stored = data.transpose(0, 2, 1) if like.turned else data
    write_series(np.ascontiguousarray(as_stored), like.series, out, description=description, checkpoint=checkpoint)
