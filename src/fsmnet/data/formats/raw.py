"""k-space as a scanner or a simulation left it: the one form of all readers, and NumPy files.

Every reader of k-space gives complex64 ``(S, C, H, W)``, centred, the phase-encode axis last; one coil is C = 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fsmnet.data.values import require_range
from fsmnet.data.volume import Samples
from fsmnet.errors import UserError
from fsmnet.files import open_numpy

AXES = "(H, W), (S, H, W) or, with coils, (S, C, H, W)"


@dataclass(frozen=True)
class KSpace:
    """Measured k-space of a stack of slices.

    Attributes:
        data: complex64 ``(S, C, H, W)``, centred (zero frequency at index ``N // 2``), zero where nothing was measured.
        source: file it came from.
        size: rows and columns of the reconstructed image, at most H and W: less where the readout is oversampled.
        columns: acquired columns, bool ``(W,)``, where the file states them.
        maps: coil sensitivities of the file, complex64 ``(1 or S, C, H, W)``, where it has some.
        affine: ``(4, 4)``, indices (row, column, slice) of the reconstructed image to millimetres (RAS+), where known.
        knows_axis: whether the format says which axis is phase-encoded.
        calibration: k-space of a separate scan for coil maps, as ``data``, zero where it has no lines; None without.
        reach: lines before the centre and behind it by the file's header, whichever were acquired; None: not told.
    """

    data: Samples
    source: Path
    size: tuple[int, int]
    columns: npt.NDArray[np.bool_] | None = None
    maps: Samples | None = None
    affine: npt.NDArray[np.float64] | None = None
    knows_axis: bool = False
    calibration: Samples | None = None
    reach: tuple[int, int] | None = None

    @property
    def coils(self) -> int:
        """Number of receive coils C."""
        return int(self.data.shape[1])


def turned(kspace: KSpace) -> KSpace:
    """The same k-space with rows and columns changed over."""
    return replace(
        kspace,
        data=np.ascontiguousarray(kspace.data.swapaxes(-2, -1)),
        size=kspace.size[::-1],
        maps=None if kspace.maps is None else np.ascontiguousarray(kspace.maps.swapaxes(-2, -1)),
        calibration=None if kspace.calibration is None else np.ascontiguousarray(kspace.calibration.swapaxes(-2, -1)),
        affine=None if kspace.affine is None else kspace.affine[:, [1, 0, 2, 3]],
        reach=None,
    )


def read_maps(path: Path) -> Samples:
    """Coil sensitivities from ``.npy``, or ``.npz`` (entry ``maps`` or the only one).

    Returns:
        complex64 ``(1 or S, C, H, W)``; a file without the axis of slices serves all of them.

    Raises:
        UserError: no such file, or other values or axes.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; give coil sensitivities as .npy or .npz with --maps")
    file = open_numpy(path)
    return _maps(file.read(file.named("maps")), path)


def read_arrays(path: Path) -> KSpace:
    """k-space of a NumPy file, with the mask and the coil sensitivities that stand beside it.

    Raises:
        UserError: damaged, or other values or axes.
    """
    file = open_numpy(path)
    array = file.read(file.named("kspace"))
    if array.dtype.kind != "c":
        raise UserError(f"{path}: holds {array.dtype} values; k-space is complex, and an image goes with --target")
    if array.ndim not in (2, 3, 4) or not array.size:
        raise UserError(f"{path}: has the shape {array.shape}; k-space has axes {AXES}")
    height, width = array.shape[-2:]
    slices = array.shape[0] if array.ndim > 2 else 1
    data = np.ascontiguousarray(array.reshape(slices, -1, height, width), dtype=np.complex64)
    columns = None
    if "mask" in file.names:
        stored = file.read("mask")
        mask = stored.squeeze()
        if mask.dtype.kind not in "biuf" or mask.ndim != 1 or not np.isin(mask, (0, 1)).all() or not mask.any():
            raise UserError(f"{path}: its mask of shape {stored.shape} is no row of 0 and 1; save one row")
        columns = mask.astype(bool)
    maps = _maps(file.read("maps"), path) if "maps" in file.names else None
    return KSpace(data, path, (height, width), columns, maps)


def _maps(array: Any, path: Path) -> Samples:
    if array.dtype.kind != "c" or array.ndim not in (3, 4) or not array.size:
        raise UserError(
            f"{path}: holds {array.dtype} of shape {array.shape} as maps; coil sensitivities are complex, with axes "
            "(C, H, W) or (S, C, H, W)"
        )
    if not np.isfinite(array).all():
        raise UserError(f"{path}: its maps hold NaN or infinite values; set them to 0 where there is no signal")
    return np.ascontiguousarray(array if array.ndim == 4 else array[None], dtype=np.complex64)


def check_values(data: Samples, path: Path) -> None:
    """Refuse values that are not finite, all zero, beyond single precision, or not centred.

    Raises:
        UserError: ``path`` names the file.
    """
    n_broken = int(data.size - np.count_nonzero(np.isfinite(data)))
    if n_broken:
        raise UserError(f"{path}: {n_broken} of {data.size} k-space values are NaN or infinite; export it again")
    energy, largest = np.zeros(data.shape[-2:]), 0.0
    for one in data:  # a whole volume's would take as much memory again
        magnitude = np.abs(one).astype(np.float64)
        energy += np.square(magnitude).sum(0)
        largest = max(largest, float(magnitude.max()))
    if not largest:
        raise UserError(f"{path}: every value of the k-space is 0; there is nothing to reconstruct")
    require_range(largest, path)
    height, width = map(int, energy.shape)
    row, column = divmod(int(energy.argmax()), width)
    off = [axis for axis, place, side in ((-2, row, height), (-1, column, width)) if _far(place, side)]
    if off:
        axes = "the last two axes" if len(off) == 2 else f"axis {off[0]}"
        raise UserError(
            f"{path}: the k-space is strongest at row {row} and column {column} of {height} x {width}, not in the "
            f"middle; apply numpy.fft.fftshift to {axes} before saving it"
        )


def _far(place: int, side: int) -> bool:
    """Whether an index lies in the outer half of an axis."""
    return abs(place - side // 2) > max(2, side // 4)
