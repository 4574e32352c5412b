"""Any scan a user has: a NIfTI, NumPy or HDF5 file or a DICOM folder in, a result back in the same place.

A reconstruction is stored as :mod:`fsmnet.data.voxels` chooses in NIfTI, as float32 in NumPy files, and in DICOM as
``uint16`` with a slope. Nothing is reoriented: axes, affine and header geometry are the source's.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fsmnet.data.formats import check_result_name, format_of, read_volume, write_volume
from fsmnet.data.formats.nifti import NIFTI, NiftiWriter, write_nifti
from fsmnet.data.stored import Stored
from fsmnet.data.volume import Array, Samples, Volume, turn
from fsmnet.errors import UserError, warn_of_each
from fsmnet.files import sha256

if TYPE_CHECKING:
    from fsmnet.data.formats.dicom import Series


logger = logging.getLogger(__name__)

PhaseEncode = Literal["rows", "columns"]
_DICOM_PHASE = {"ROW": "rows", "COL": "columns"}


@dataclass(frozen=True)
class Scan:
    """A volume and where it came from.

    Attributes:
        volume: its last axis W is the phase-encode direction.
        series: the DICOM series; None for a file.
        turned: whether the in-plane axes were swapped to bring the phase-encode direction last.
        header: NIfTI header of a file that was turned.
    """

    volume: Volume
    series: Series | None = None
    turned: bool = False
    header: Any = None

    def sha256(self) -> str:
        """See :func:`source_sha256`."""
        return source_sha256(self.volume.source, self.series)


def source_sha256(path: Path, series: Series | None) -> str:
    """Hash of the file; for a series, of its files in order."""
    if series is None:
        return sha256(path)
    return hashlib.sha256("".join(map(sha256, series.files)).encode()).hexdigest()


def read_scan(
    path: Path, which: str | None = None, phase_encode: PhaseEncode | None = None, *, follow: bool = False
) -> Scan:
    """Read a file, or a series of a DICOM folder.

    Where the header says which axis was phase-encoded (DICOM, NIfTI's ``dim_info``, a BIDS sidecar, fastMRI), that is
    taken, and the scan turned where it was the first in-plane one. Where it does not, the user's word holds, and
    without one the second (``columns``).

    Args:
        path: ``.nii``, ``.nii.gz``, ``.npy``, ``.npz``, fastMRI's ``.h5``, or a folder.
        which: for a folder: number, UID or a part of the description of the series.
        phase_encode: the phase-encode axis: ``rows``, the first in-plane axis of the file, or ``columns``, the second.
            Of a file this wins over the header, with a warning.
        follow: the axes are to be another scan's: a file's header is not asked. A DICOM series is turned all the same,
            since its place in space tells how to turn it back.

    Raises:
        UserError: what cannot be read, or a phase-encode axis that contradicts the DICOM tags, in words.
    """
    if not path.is_dir():
        if which is not None:
            raise UserError(f"{path}: only a DICOM folder has series to choose from; leave {which!r} out")
        volume = read_volume(path)
        turned = (phase_encode if follow else _axis(volume, phase_encode)) == "rows"
        return Scan(turn(volume) if turned else volume, None, turned, volume.header if turned else None)
    from fsmnet.data.formats.dicom import choose_series, list_series, read_series

    series = choose_series(list_series(path), which)
    tag = _DICOM_PHASE.get(series.phase_encoding)
    if tag and phase_encode and tag != phase_encode:
        raise UserError(
            f"{path}: {series} was phase-encoded along {tag} (InPlanePhaseEncodingDirection is "
            f"{series.phase_encoding}), not {phase_encode}; leave --phase-encode out"
        )
    volume, turned = read_series(series), (tag or phase_encode) == "rows"
    return Scan(turn(volume) if turned else volume, series, turned)


def _axis(volume: Volume, phase_encode: PhaseEncode | None) -> str:
    """The phase-encode axis of a file: what the user says, else its header; the log tells where they matter."""
    told = volume.phase_encode
    if phase_encode and told and phase_encode != told:
        warn_of_each(
            logger,
            "%s: its header says that %s were phase-encoded; %s are taken, as --phase-encode says",
            volume.name,
            told,
            phase_encode,
        )
    elif told == "rows" and not phase_encode:
        logger.info("%s: rows are phase-encoded, as its header says", volume.name)
    return phase_encode or told


def warn_if_strange(target: Scan, auxiliary: Scan, registered: bool) -> None:
    """Warn of two DICOM series whose headers say that they do not belong together.

    Args:
        target: one of them, or a file, of which nothing is known.
        auxiliary: likewise.
        registered: whether the auxiliary will be moved by its content, not by its header.
    """
    if target.series is None or auxiliary.series is None:
        return
    names = f"{target.volume.name} and {auxiliary.volume.name}"
    patients = {target.series.patient, auxiliary.series.patient} - {""}
    if len(patients) > 1:
        logger.warning("%s: have different PatientIDs; are they of one patient?", names)
    if target.series.frame_uid != auxiliary.series.frame_uid and not registered:
        logger.warning(
            "%s: have different frames of reference, so their positions cannot be compared; pass --register rigid",
            names,
        )


def check_output(out: Path, like: Path) -> None:
    """Refuse a name that does not fit the form of the result, before any work is done."""
    if not like.is_dir():
        check_result_name(out, like)
    elif not out.name.endswith(NIFTI):
        if out.name.endswith(".dcm") or format_of(out) is not None:
            raise UserError(f"{out}: a DICOM series is written as a folder, or as NIfTI; give its name, or a .nii.gz")
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"{out}: is there already and not an empty folder; choose another --out")


def begin_nifti(like: Scan, out: Path, description: str, stored: Stored) -> NiftiWriter | None:
    """What :func:`write_scan` writes of magnitudes as NIfTI, for slices that come one after the other.

    Args:
        like: the scan whose place in space the result takes.
        out: file to write.
        description: how it was made.
        stored: how the voxels stand in the file, see :func:`fsmnet.data.voxels.chosen`.

    Returns:
        The writer; None for a name of another form, which is written as a whole.
    """
    if not out.name.endswith(NIFTI):
        return None
    volume = replace(turn(like.volume), header=like.header) if like.turned else like.volume
    return NiftiWriter(volume, out, stored, description, turned=like.turned)


def write_scan(
    data: Array | Samples,
    like: Scan,
    out: Path,
    description: str,
    checkpoint: str = "",
    anonymise: bool = False,
    *,
    what: str = "",
    place: int = 1,
    stored: Stored | None = None,
) -> None:
    """Write ``(S, H, W)`` in the axes and place that the source had, in the form that the name of the result tells.

    Args:
        data: the slices, of the size of ``like``; complex ones are written as complex64, but not to DICOM.
        like: the scan whose place in space the result takes.
        out: ``.nii``, ``.nii.gz``; ``.npy`` or ``.npz``; ``.h5`` for fastMRI's form of a submission; or, for a scan
            from DICOM, a new folder.
        description: how it was made; ``.npy`` cannot hold it.
        checkpoint: name of the weights, for DICOM's description of the derivation.
        anonymise: leave the patient's and the study's identity out of DICOM.
        what: what the values are if they are no image of the patient, for DICOM's description of the series.
        place: of a DICOM series among those derived from one source, from 1.
        stored: how the voxels of a NIfTI file stand in it; None for float32.
    """
    volume = like.volume
    if like.turned:
        data, volume = data.swapaxes(-2, -1), replace(turn(volume), header=like.header)
    if out.name.endswith(NIFTI):
        write_nifti(data, volume, out, description, stored)
    elif like.series is None:
        write_volume(data, volume, out, description)
    else:
        from fsmnet.data.formats.dicom import write_series

        image = np.asarray(data, dtype=np.float32)
        told = {"description": description, "checkpoint": checkpoint, "what": what}
        write_series(image, like.series, out, anonymise=anonymise, place=place, **told)
