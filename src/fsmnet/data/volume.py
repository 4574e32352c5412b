"""One contrast of one exam: a stack of slices with its place in space."""

from __future__ import annotations

import gzip
import io
import logging
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fsmnet.errors import UserError
from fsmnet.files import atomic_path

logger = logging.getLogger(__name__)

Array = npt.NDArray[np.float32]
Samples = npt.NDArray[np.complex64]

NIFTI = (".nii", ".nii.gz")
ARRAYS = (".npy", ".npz")
HDF5 = (".h5", ".hdf5", ".mrd")
SUBMISSION = (".h5", ".hdf5")  # of fastMRI's form


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


def read_volume(path: Path) -> Volume:
    """Read a 3-D file; NaN, infinite and negative voxels become 0 and are counted.

    NIfTI (``.nii``, ``.nii.gz``; slope and intercept are applied), NumPy (``.npy``, ``.npz``, see
    :mod:`fsmnet.data.formats.arrays`) or fastMRI's HDF5 (``.h5``, see :mod:`fsmnet.data.formats.hdf5`), by the name.

    Raises:
        UserError: missing, of another kind, damaged, not 3-D, not real-valued, or without any contrast to reconstruct.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give one .nii or .nii.gz file")
    if path.name.endswith(ARRAYS):
        from fsmnet.data.formats.arrays import read_array

        return read_array(path)
    if path.name.endswith(HDF5):
        from fsmnet.data.formats.hdf5 import read_hdf5

        return read_hdf5(path)
    return _read_nifti(path)


def _read_nifti(path: Path) -> Volume:
    import nibabel as nib

    try:
        image: Any = nib.load(path)  # its declared type lacks what every image has
    except nib.filebasedimages.ImageFileError:
        raise UserError(f"{path}: not a NIfTI image; give a .nii or .nii.gz file") from None
    except (OSError, EOFError, zlib.error, ValueError, nib.spatialimages.HeaderDataError) as error:
        raise UserError(f"{path}: damaged or not a NIfTI image ({first_line(error)}); copy it again") from None
    if not isinstance(image, nib.Nifti1Pair):
        raise UserError(f"{path}: a {type(image).__name__}, not a NIfTI image; convert it to .nii.gz")
    shape = tuple(image.shape)
    if len(shape) > 3 and all(n == 1 for n in shape[3:]):
        shape = shape[:3]
    if len(shape) != 3 or min(shape) < 1:
        raise UserError(
            f"{path}: has {len(shape)} axes {shape}; give one 3-D volume (a time point or echo saved on its own)"
        )
    if image.get_data_dtype().kind not in "iuf":
        raise UserError(f"{path}: holds {image.get_data_dtype()} values; give a real magnitude image")
    try:
        array = np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
        if path.suffix == ".gz":
            _check_gzip(path)
    except (OSError, EOFError, zlib.error, ValueError, OverflowError) as error:
        raise UserError(f"{path}: cut short or damaged ({first_line(error)}); copy it again") from None
    array, n_nan, n_negative = repaired(array, path)
    data = np.ascontiguousarray(np.moveaxis(array, 2, 0))
    return Volume(data, np.asarray(image.affine, dtype=np.float64), path, n_nan, n_negative, image.header)


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


class NiftiWriter:
    """A NIfTI file to which slices are added in their order, compressed as they come; :meth:`save` puts it on disk."""

    def __init__(
        self, like: Volume, path: Path, kind: type[np.generic] = np.float32, description: str = "", turned: bool = False
    ) -> None:
        """Begin with the header.

        Args:
            like: the volume whose affine, size and header geometry the result takes.
            path: ``.nii`` or ``.nii.gz``.
            kind: float32 or complex64.
            description: at most 79 characters, stored in the header's ``descrip``.
            turned: slices come with their in-plane axes swapped against ``like``.
        """
        import nibabel as nib

        check_output_name(path)
        if not like.placed:
            logger.warning("%s: has no place in space, so %s lies at the origin", like.name, path)
        header = None if like.header is None else like.header.copy()
        image = nib.Nifti1Image(np.broadcast_to(kind(0), like.shape), like.affine, header)
        image.set_data_dtype(kind)
        image.update_header()
        image.header.set_slope_inter(1, 0)
        image.header["cal_min"] = image.header["cal_max"] = 0  # window of the source, wrong for another range
        image.header["descrip"] = description.encode("ascii", "replace")[:79]
        self._path, self._turned = path, turned
        self._type = image.header.get_data_dtype()  # in the byte order of the header
        # Noise has no words that come again, only runs of zeros: half the time, and no larger.
        self._packer = zlib.compressobj(1, wbits=31, strategy=zlib.Z_RLE) if path.suffix == ".gz" else None
        begin = io.BytesIO()
        image.header.write_to(begin)
        self._parts: list[bytes] = []
        self._put(begin.getvalue().ljust(image.header.get_data_offset(), b"\0"))

    def add(self, slices: npt.NDArray[Any]) -> None:
        """The next ``(n, H, W)``."""
        for plane in slices if self._turned else slices.swapaxes(-2, -1):  # the first index runs fastest
            self._put(plane.astype(self._type).tobytes())

    def save(self) -> None:
        """Write the file in one step; every slice must have come."""
        if self._packer is not None:
            self._parts.append(self._packer.flush())
        with atomic_path(self._path) as temporary, temporary.open("wb") as file:
            file.writelines(self._parts)

    def _put(self, data: bytes) -> None:
        self._parts.append(data if self._packer is None else self._packer.compress(data))


def write_volume(data: Array | Samples, like: Volume, path: Path, description: str = "") -> None:
    """Write ``(S, H, W)`` as float32 or complex64 NIfTI with the affine and header geometry of ``like``, in one step.

    Args:
        data: the slices, of the size of ``like``; real or complex.
        like: the volume whose place in space the result takes.
        path: ``.nii`` or ``.nii.gz``.
        description: at most 79 characters, stored in the header's ``descrip``.
    """
    writer = NiftiWriter(like, path, np.complex64 if np.iscomplexobj(data) else np.float32, description)
    writer.add(data)
    writer.save()


def check_output_name(path: Path) -> None:
    """Refuse a name that is not NIfTI before any work is done."""
    if not path.name.endswith(NIFTI):
        raise UserError(f"{path}: the result is written as NIfTI; end the name in .nii.gz")


def volume_stem(path: Path) -> str:
    """File name without ``.nii``, ``.nii.gz``, ``.npy``, ``.npz`` or ``.h5``."""
    ending = next((ending for ending in (*NIFTI[::-1], *ARRAYS, *HDF5) if path.name.endswith(ending)), "")
    return path.name.removesuffix(ending)


def _check_gzip(path: Path) -> None:
    """Read to the end, where the check sum is: nibabel stops before it and would hand back damaged voxels."""
    with gzip.open(path) as file:
        while file.read(1 << 20):
            pass


def first_line(error: BaseException) -> str:
    """First line of an error's text, or its kind if it has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
