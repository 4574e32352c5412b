"""One contrast of one exam: a stack of slices with its place in space."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fsmnet.errors import UserError

Array = npt.NDArray[np.float32]
Samples = npt.NDArray[np.complex64]


@dataclass
class Volume:
    """Slices and geometry of a scan.

    Attributes:
        data: float32, ``(S, H, W)``: slice, row (the file's first index), column (its second, the phase-encode axis).
        affine: ``(4, 4)``, file indices (i, j, k) to millimetres; ``data[k, i, j]`` is the voxel (i, j, k).
        source: file it came from.
        n_nan: voxels that were NaN or infinite and became 0.
        n_negative: voxels that were negative and became 0; magnitude images have none, interpolation makes some.
        header: NIfTI header of the source, kept for its geometry.
        placed: whether the affine places the volume in the patient; NumPy and HDF5 files tell the voxel size at most.
        series: the series of a DICOM folder, in words; messages name it.
    """

    data: Array
    affine: npt.NDArray[np.float64]
    source: Path
    n_nan: int = 0
    n_negative: int = 0
    header: Any = field(default=None, repr=False)
    placed: bool = True
    series: str = ""

    @property
    def name(self) -> str:
        """What messages call it: its file, or its folder and series."""
        return f"{self.source}, {self.series}" if self.series else str(self.source)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Size in the file's order (i, j, k), as viewers show it."""
        n_slices, height, width = self.data.shape
        return height, width, n_slices

    @property
    def maximum(self) -> float:
        """Largest value of the volume."""
        return float(self.data.max())

    def repairs(self) -> str:
        """What was set to zero on reading, in words; empty if nothing was."""
        parts = [
            f"{count} {what}"
            for count, what in ((self.n_nan, "NaN or infinite"), (self.n_negative, "negative"))
            if count
        ]
        return f"{self.name}: {' and '.join(parts)} voxels of {self.data.size} set to 0" if parts else ""


def slices_with_content(data: Array, share: float = 0.0) -> npt.NDArray[np.bool_]:
    """Which slices of ``(S, H, W)`` show something: bool ``(S,)``.

    Args:
        data: magnitudes.
        share: least share of a slice's pixels that are above zero; at 0, one pixel.
    """
    count = np.count_nonzero(data > 0, axis=(1, 2))
    return np.asarray((count > 0) & (count / data[0].size >= share))


def repaired(array: Array, where: object) -> tuple[Array, int, int]:
    """NaN, infinite and negative voxels set to 0, and how many there were of the first two and of the third.

    Raises:
        UserError: nothing is left to reconstruct; ``where`` names the source.
    """
    finite = np.isfinite(array)
    n_nan = int(array.size - np.count_nonzero(finite))
    if n_nan == array.size:
        raise UserError(f"{where}: every voxel is NaN or infinite; there is nothing to reconstruct")
    if n_nan:
        array = np.where(finite, array, np.float32(0))
    n_negative = int(np.count_nonzero(array < 0))
    array = np.maximum(array, 0)
    if array.min() == array.max():
        raise UserError(f"{where}: every voxel is {array.max():g}; a constant volume cannot be reconstructed")
    return array, n_nan, n_negative
