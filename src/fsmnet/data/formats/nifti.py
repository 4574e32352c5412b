"""NIfTI in and out, slice by slice if wished; slope and intercept are applied on reading.

A file's axes are (i, j, k) = row, column, slice; a :class:`~fsmnet.data.volume.Volume` has the slices first.
"""

from __future__ import annotations

import gzip
import io
import logging
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fsmnet.data.formats.content import NIFTI as NIFTI_KIND
from fsmnet.data.formats.content import is_gzip, kind_of
from fsmnet.data.formats.nifti_header import acquired_lines, check_size, phase_encode, place, require_magnitude
from fsmnet.data.stored import Stored
from fsmnet.data.values import magnitudes
from fsmnet.data.volume import Array, Samples, Volume
from fsmnet.errors import NOT_CLINICAL, UserError, first_line, warn_of_each
from fsmnet.files import atomic_path, reason

logger = logging.getLogger(__name__)

NIFTI = (".nii", ".nii.gz")
WHOLE = 1  # zlib's level for whole numbers
GEOMETRY = (
    *("dim_info", "pixdim", "xyzt_units", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
)


def read_nifti(path: Path) -> Volume:
    """Read a 3-D NIfTI file; NaN, infinite and negative voxels become 0 and are counted.

    Raises:
        UserError: no NIfTI, damaged, not 3-D, not real-valued, an affine that is none, or nothing to reconstruct.
    """
    require_magnitude(path, path)
    image, shape = _opened(path, str(path))
    affine, placed, header = place(image, path)
    try:
        check_size(image, path)
        wide = image.dataobj.dtype.itemsize > 4 or not 1e-20 < abs(image.dataobj.slope) < 1e20
        array = np.asarray(image.dataobj, dtype=np.float64 if wide else np.float32).reshape(shape)
    except (OSError, EOFError, zlib.error, ValueError, OverflowError) as error:
        raise UserError(f"{path}: cut short or damaged ({first_line(error)}); copy it again") from None
    values = magnitudes(np.ascontiguousarray(np.moveaxis(array, 2, 0)), path)
    axis = phase_encode(image, path)
    return Volume(
        values.data,
        affine,
        path,
        values.n_nan,
        values.n_negative,
        header,
        placed,
        doubts=values.doubts,
        phase_encode=axis,
        acquired=acquired_lines(path),
        stored=_stored(image),
    )


def _stored(image: Any) -> Stored:
    """How its voxels stand in the file."""
    kind, slope, intercept = image.get_data_dtype(), float(image.dataobj.slope), float(image.dataobj.inter)
    if kind.kind not in "iu" or not 1e-20 < abs(slope) < 1e20:
        return Stored()
    return Stored(kind.name if kind.itemsize <= 4 else "int32", slope, intercept)


def read_header(path: Path, name: str) -> Volume:
    """A volume without voxels, for its shape and affine.

    Args:
        path: the file.
        name: what messages and the volume's source call it.

    Raises:
        UserError: a file that :func:`read_nifti` would refuse, as far as the header tells.
    """
    require_magnitude(path, name)
    image, (height, width, slices) = _opened(path, name)
    affine, placed, _ = place(image, name)
    check_size(image, name, whole=False)
    empty = np.broadcast_to(np.float32(0), (slices, height, width))  # takes no memory
    return Volume(empty, affine, Path(name), placed=placed)


def _opened(path: Path, name: str) -> tuple[Any, tuple[int, int, int]]:
    """A NIfTI image of nibabel, its voxels unread, and its size.

    Raises:
        UserError: none, damaged, not 3-D, or not real-valued.
    """
    import nibabel as nib

    try:
        image = _loaded(path)
        shape = tuple(map(int, image.shape))
        kind = image.get_data_dtype()
    except nib.filebasedimages.ImageFileError:
        raise UserError(f"{name}: not a NIfTI image; give a .nii or .nii.gz file, or copy it again") from None
    except (OSError, EOFError, zlib.error, ValueError, nib.spatialimages.HeaderDataError) as error:
        words = reason(error) if isinstance(error, OSError) else first_line(error)
        raise UserError(f"{name}: unreadable, damaged or not a NIfTI image ({words}); copy it again") from None
    if not isinstance(image, nib.Nifti1Pair):
        raise UserError(f"{name}: a {type(image).__name__}, not a NIfTI image; convert it to .nii.gz")
    if len(shape) > 3 and all(n == 1 for n in shape[3:]):
        shape = shape[:3]
    if len(shape) != 3 or min(shape) < 1:
        raise UserError(
            f"{name}: has {len(shape)} axes {shape}; give one 3-D volume (a time point or echo saved on its own)"
        )
    if kind.kind not in "iuf":
        raise UserError(f"{name}: holds {kind} values; give a real magnitude image")
    return image, shape


def _loaded(path: Path) -> Any:
    """An image of nibabel, which goes by the name; a file that is gzipped against its name is read all the same."""
    import nibabel as nib

    packed = is_gzip(path)
    if kind_of(path) != NIFTI_KIND or path.name.endswith(".nii.gz" if packed else (".nii", ".hdr", ".img")):
        return nib.load(path)
    warn_of_each(
        logger,
        "%s: is %s, which its name does not say; read by its content",
        path,
        "gzipped" if packed else "not gzipped",
    )
    file: Any = io.BytesIO(path.read_bytes())
    stream = gzip.GzipFile(fileobj=file) if packed else file
    second = stream.read(8)[4:] in (b"n+2\0", b"ni2\0")
    stream.seek(0)
    kind = nib.Nifti2Image if second else nib.Nifti1Image
    return kind.from_file_map({"image": nib.FileHolder(str(path), stream)})


def is_ours(path: Path) -> bool:
    """Whether a file says that this package made it."""
    import nibabel as nib

    try:
        header: Any = nib.load(path).header
        note = header["descrip"].item().decode("ascii", "replace")
    except Exception:  # no file, or any other content
        return False
    return bool(note.endswith(NOT_CLINICAL))


def geometry(header: Any) -> Any:
    """A new header with what another one says of place and size, and nothing else that it or its extensions hold."""
    import nibabel as nib

    new = nib.Nifti1Header(endianness=header.endianness)
    for name in GEOMETRY:
        new[name] = header[name]
    return new


class NiftiWriter:
    """A NIfTI file to which slices are added in their order, compressed as they come; :meth:`save` puts it on disk.

    Attributes:
        stored: how the voxels stand in it.
    """

    def __init__(
        self, like: Volume, path: Path, stored: Stored | None = None, description: str = "", turned: bool = False
    ) -> None:
        """Begin with the header.

        Args:
            like: the volume whose affine, size and header geometry the result takes.
            path: ``.nii`` or ``.nii.gz``.
            stored: how the voxels stand in the file; None for float32.
            description: at most 79 characters, stored in the header's ``descrip``.
            turned: slices come with their in-plane axes swapped against ``like``.
        """
        import nibabel as nib

        check_output_name(path)
        if not like.placed:
            warn_of_each(logger, "%s: has no place in space, nor has what is made of it", like.name)
        header = None if like.header is None else geometry(like.header)
        self.stored = stored or Stored()
        kind = np.dtype(self.stored.type)
        image = nib.Nifti1Image(np.broadcast_to(np.float32(0), like.shape), like.affine, header)
        image.set_data_dtype(kind)
        image.update_header()
        if not like.placed:  # only the size of the voxels is known
            image.header["sform_code"] = image.header["qform_code"] = 0
        image.header.set_slope_inter(self.stored.slope, self.stored.intercept)
        image.header["descrip"] = description.encode("ascii", "replace")[:79]
        self._path, self._turned = path, turned
        self._type = image.header.get_data_dtype()  # in the byte order of the header
        self._beyond = 0
        # Noise in floats has no words that come again, only runs of zeros: half the time, and no larger.
        level, strategy = (WHOLE, zlib.Z_DEFAULT_STRATEGY) if self.stored.is_whole else (1, zlib.Z_RLE)
        self._packer = zlib.compressobj(level, wbits=31, strategy=strategy) if path.suffix == ".gz" else None
        begin = io.BytesIO()
        image.header.write_to(begin)
        self._parts: list[bytes] = []
        self._put(begin.getvalue().ljust(image.header.get_data_offset(), b"\0"))

    def add(self, slices: npt.NDArray[Any]) -> None:
        """The next ``(n, H, W)``."""
        for plane in slices if self._turned else slices.swapaxes(-2, -1):  # the first index runs fastest
            stored, beyond = self.stored.of(plane)
            self._beyond += beyond
            self._put(stored.astype(self._type, copy=False).tobytes())

    def save(self) -> None:
        """Write the file in one step; every slice must have come."""
        if self._beyond:
            logger.warning(
                "%s: %d voxels lie beyond what %s can hold and were cut; --dtype float32 keeps them",
                *(self._path, self._beyond, self.stored.type),
            )
        if self._packer is not None:
            self._parts.append(self._packer.flush())
        with atomic_path(self._path) as temporary, temporary.open("wb") as file:
            file.writelines(self._parts)

    def _put(self, data: bytes) -> None:
        self._parts.append(data if self._packer is None else self._packer.compress(data))


def write_nifti(
    data: Array | Samples, like: Volume, path: Path, description: str = "", stored: Stored | None = None
) -> None:
    """Write ``(S, H, W)`` as NIfTI with the affine and header geometry of ``like``, in one step.

    Args:
        data: the slices, of the size of ``like``; real or complex.
        like: the volume whose place in space the result takes.
        path: ``.nii`` or ``.nii.gz``.
        description: at most 79 characters, stored in the header's ``descrip``.
        stored: how real voxels stand in the file; None for float32.
    """
    writer = NiftiWriter(like, path, Stored("complex64") if np.iscomplexobj(data) else stored, description)
    writer.add(data)
    writer.save()


def check_output_name(path: Path) -> None:
    """Refuse a name that is not NIfTI before any work is done."""
    if not path.name.endswith(NIFTI):
        raise UserError(f"{path}: the result is written as NIfTI; end the name in .nii.gz")
