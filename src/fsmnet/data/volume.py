"""One contrast of one exam: a stack of slices with its place in space."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fsmnet.data.stored import Stored
from fsmnet.errors import UserError

Array = npt.NDArray[np.float32]
Samples = npt.NDArray[np.complex64]
CONTENT = 0.1  # least share of pixels above zero that makes a slice worth training on and scoring


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
        doubts: what a user should look at in its values, see :mod:`fsmnet.data.values`.
        phase_encode: the phase-encode axis as the source tells it: ``rows`` (H), ``columns`` (W), or empty.
        acquired: phase-encode lines that were acquired over the field of view, as the source tells; None if not.
        stored: how the voxels stand in a NIfTI file, so that a result can stand in its file likewise.

    Raises:
        UserError: an affine that places nothing, see :func:`affine_fault`.
    """

    data: Array
    affine: npt.NDArray[np.float64]
    source: Path
    n_nan: int = 0
    n_negative: int = 0
    header: Any = field(default=None, repr=False)
    placed: bool = True
    series: str = ""
    doubts: tuple[str, ...] = ()
    phase_encode: str = ""
    acquired: int | None = None
    stored: Stored | None = None

    def __post_init__(self) -> None:
        """Whichever format it came from: no comparison of places may meet a NaN."""
        if fault := affine_fault(self.affine):
            raise UserError(f"{self.name}: its affine {fault}; correct the header, or convert the scan again")

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

    @property
    def pixel(self) -> tuple[float, float, float]:
        """Distance between neighbours along S, H and W in millimetres; zeros where the affine does not tell it."""
        if not self.placed:
            return 0.0, 0.0, 0.0
        height, width, slices = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return slices, height, width

    def repairs(self) -> str:
        """What was set to zero on reading, in words; empty if nothing was."""
        parts = [
            f"{count} {what}"
            for count, what in ((self.n_nan, "NaN or infinite"), (self.n_negative, "negative"))
            if count
        ]
        return f"{self.name}: {' and '.join(parts)} voxels of {self.data.size} set to 0" if parts else ""


def turn(volume: Volume) -> Volume:
    """The same volume in the same place with its in-plane axes H and W swapped."""
    data = np.ascontiguousarray(volume.data.transpose(0, 2, 1))
    other = {"rows": "columns", "columns": "rows"}.get(volume.phase_encode, "")
    return replace(volume, data=data, affine=volume.affine[:, [1, 0, 2, 3]], header=None, phase_encode=other)


def affine_fault(affine: npt.NDArray[Any]) -> str:
    """Why a matrix cannot take indices to millimetres, in words; empty if it can.

    A voxel has no volume where its edges lie in a plane: a determinant below a millionth of their lengths' product.
    """
    if affine.shape != (4, 4) or affine.dtype.kind not in "iuf" or not np.isfinite(affine).all():
        return "is no (4, 4) matrix of finite numbers"
    edges = affine[:3, :3].astype(np.float64)
    if not abs(np.linalg.det(edges)) > 1e-6 * np.prod(np.linalg.norm(edges, axis=0)):
        return "gives a voxel without volume"
    return "" if np.array_equal(affine[3], [0, 0, 0, 1]) else "has a last row that is not 0 0 0 1"


def crop_begin(whole: int, part: int) -> int:
    """First index of the middle ``part`` of ``whole``, as fastMRI crops: half the difference, rounded down."""
    return (whole - part) // 2


def counted_slices(data: Array) -> npt.NDArray[np.bool_]:
    """Which slices of ``(S, H, W)`` a score is of: those with a tenth of their pixels above zero; bool ``(S,)``.

    The one rule of protocols ``float`` and ``complex`` and of ``fsmnet reconstruct``. Where no slice has so much, those
    that show something count.
    """
    counted = slices_with_content(data, CONTENT)
    return counted if counted.any() else slices_with_content(data)


def slices_with_content(data: Array, share: float = 0.0) -> npt.NDArray[np.bool_]:
    """Which slices of ``(S, H, W)`` show something: bool ``(S,)``.

    Args:
        data: magnitudes.
        share: least share of a slice's pixels that are above zero; at 0, one pixel.
    """
    count = np.count_nonzero(data > 0, axis=(1, 2))
    return np.asarray((count > 0) & (count / data[0].size >= share))


def exact_hash(name: str, *arrays: Array) -> str:
    """A number of 128 bits, in hexadecimal, of a name and of arrays as they stand: their shapes, types and bytes."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16)
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def content_hash(data: Array) -> str:
    """A number of 128 bits, in hexadecimal, that tells whether two volumes have the same voxels above zero.

    It does not depend on their order, so that neither the file's name and compression nor the order of its axes nor
    empty margins matter.

    Args:
        data: float32, of any shape.
    """
    bits = data[data > 0].astype(np.float32).view(np.uint32).astype(np.uint64)
    sums = []
    for factor, shift in ((0x9E3779B97F4A7C15, 29), (0xC2B2AE3D27D4EB4F, 32)):
        mixed = (bits + np.uint64(1)) * np.uint64(factor)  # modulo 2^64
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        sums.append(int(mixed.sum(dtype=np.uint64)))
    return f"{sums[0]:016x}{sums[1]:016x}"
