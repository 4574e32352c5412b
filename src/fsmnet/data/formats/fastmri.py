"""Volumes in fastMRI's HDF5 format: what a file holds, its slices one at a time, and submissions.

One file per volume: complex ``kspace``, the scanner's or challenge's ``reconstruction_esc`` (single coil) or
``reconstruction_rss`` (several coils) as reference, an ISMRMRD header in XML, and attributes (Zbontar et al. 2018,
arXiv:1811.08839). Test files hold a ``mask`` and no reference.
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5py
import numpy as np
import numpy.typing as npt

from fsmnet.data.formats.opened import contents, opened, refuse_entities
from fsmnet.data.formats.pseudonym import pseudonym
from fsmnet.data.formats.unlocked import check_dataset, unlocked
from fsmnet.data.volume import Volume
from fsmnet.errors import UserError, first_line
from fsmnet.files import atomic_write

RECONSTRUCTIONS = ("reconstruction_esc", "reconstruction_rss")
_HASH = re.compile(r"[0-9a-f]{32,128}")
OPEN_FILES = 32  # per process; a knee volume's handle takes about 50 kB

Kspace = npt.NDArray[np.complex64]
Image = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FastMRIFile:
    """What the headers of a volume say. The arrays stay in the file until they are asked for.

    Attributes:
        path: the file.
        acquisition: contrast, e.g. ``CORPD_FBK`` or ``CORPDFS_FBK``; ``"unknown"`` where the file does not say.
        patient: attribute ``patient_id`` if it is a hash, else one of it; empty if absent. It does not link the
            contrasts of an exam.
        shape: of the k-space, ``(S, H, W)`` or ``(S, C, H, W)``; rows are the readout, columns the phase encoding.
        encoded: rows and columns of the encoded matrix.
        recon: rows and columns of the reconstructed image.
        voxel: mm along row, column and slice of the reconstructed image; None where the header lacks a field of view.
        lines: first acquired column and one past the last; the scanner left those outside at zero.
        mask: bool ``(W,)`` of a test file; None where the k-space is full.
        maximum: largest value of the reference, attribute ``max``; None if absent.
        norm: its norm, attribute ``norm``; None if absent.
        reconstruction: name of the reference, one of :data:`RECONSTRUCTIONS`; None in test files.
        target_size: rows and columns of the reference; None in test files.
        size: bytes of the file when it was looked at.
        modified: its time of change in ns, likewise.
    """

    path: Path
    acquisition: str
    patient: str
    shape: tuple[int, ...]
    encoded: tuple[int, int]
    recon: tuple[int, int]
    voxel: tuple[float, float, float] | None
    lines: tuple[int, int]
    mask: npt.NDArray[np.bool_] | None = field(repr=False, compare=False)
    maximum: float | None
    norm: float | None
    reconstruction: str | None
    target_size: tuple[int, int] | None
    size: int
    modified: int

    @property
    def name(self) -> str:
        """The file's own name, from which its mask is drawn."""
        return self.path.name

    @property
    def folder(self) -> str:
        """The folder it lies in, such as ``singlecoil_train``: NYU's split."""
        return self.path.parent.name

    @property
    def slices(self) -> int:
        """Number of slices S."""
        return self.shape[0]

    @property
    def multicoil(self) -> bool:
        """Whether the k-space has an axis of coils."""
        return len(self.shape) == 4

    @property
    def columns(self) -> int:
        """Number of phase-encode columns W."""
        return self.shape[-1]

    @property
    def image_size(self) -> tuple[int, int]:
        """Rows and columns to which images are cropped: the reference's, or what there is where that is less."""
        rows, columns = self.target_size or self.recon
        return min(rows, self.shape[-2]), min(columns, self.shape[-1])

    def kspace(self, index: int) -> Kspace:
        """k-space of a slice, complex64 ``(H, W)`` or ``(C, H, W)``; centred, a copy in memory.

        Raises:
            UserError: no such slice, values that are not finite, or a file that has become unreadable.
        """
        return np.asarray(self._read("kspace", index), dtype=np.complex64)

    def target(self, index: int) -> Image:
        """Reference image of a slice, float32 :attr:`target_size`; a copy in memory.

        Raises:
            UserError: no such slice, no reference, values that are not finite, or a file that has become unreadable.
        """
        return np.asarray(self._read(self.check_reference(), index), dtype=np.float32)

    def check_reference(self) -> str:
        """Name of the reference.

        Raises:
            UserError: there is none.
        """
        if self.reconstruction is None:
            raise UserError(
                f"{self.path}: has no {' or '.join(RECONSTRUCTIONS)}, as test files; choose a train or val folder"
            )
        return self.reconstruction

    def _read(self, name: str, index: int) -> npt.NDArray[Any]:
        if not 0 <= index < self.slices:
            raise UserError(f"{self.path}: has no slice {index}; slices are 0 to {self.slices - 1}")
        try:
            file = _opened(self.path, self.size, self.modified, os.getpid())
            values = np.asarray(file[name][index])
        except Exception as error:  # h5py's errors for damaged files are of many kinds
            raise UserError(
                f"{self.path}: {name} of slice {index} cannot be read ({first_line(error)}); copy the file again"
            ) from None
        if not np.isfinite(values).all():
            raise UserError(f"{self.path}: {name} of slice {index} has NaN or infinite values; copy the file again")
        return values


def read_fastmri(path: Path) -> FastMRIFile:
    """Read the headers of a volume; no k-space is loaded.

    Raises:
        UserError: missing, not HDF5, cut short, or not of fastMRI's form.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with opened(path) as file:
        return _described(path, file, path.stat())


def write_submission(images: npt.ArrayLike, path: Path, description: str = "") -> None:
    """Write reconstructed slices as fastMRI's submissions and tools expect them, in one step.

    Args:
        images: ``(S, H, W)``, in the intensities of the reference; stored as float32.
        path: ``.h5``; the submission of a volume has the volume's own file name.
        description: attribute of the file, which nobody else's tools read.

    Raises:
        UserError: not a stack of finite slices, or a name of another format.
    """
    array = np.asarray(images, dtype=np.float32)
    if path.suffix not in (".h5", ".hdf5"):
        raise UserError(f"{path}: a submission is an HDF5 file; end the name in .h5")
    if array.ndim != 3 or not array.size:
        raise UserError(f"{path}: a submission is a stack of slices (S, H, W), not {array.shape}")
    if not np.isfinite(array).all():
        raise UserError(f"{path}: the images to be written have NaN or infinite values")
    made = io.BytesIO()  # what HDF5 says of a full disk is no OSError
    with h5py.File(made, "w") as file:
        file.create_dataset("reconstruction", data=array)
        if description:
            file.attrs["description"] = description
    with atomic_write(path) as stream:
        stream.write(made.getbuffer())


def write_result(images: npt.ArrayLike, like: Volume, path: Path, description: str = "") -> None:
    """:func:`write_submission` as the table of formats calls it: the form has no room for a place in space."""
    write_submission(images, path, description)


@lru_cache(maxsize=OPEN_FILES)
def _opened(path: Path, size: int, modified: int, process: int) -> h5py.File:
    """Handle of this process: one inherited by a forked worker would share its parent's state.

    A handle that falls out of the cache closes when the last reader lets go of it. Size and time are part of the key so
    that a file that was replaced is opened again.
    """
    return unlocked(path)


def _described(path: Path, file: h5py.File, state: os.stat_result) -> FastMRIFile:
    kspace = file.get("kspace")
    if not isinstance(kspace, h5py.Dataset):
        raise UserError(f"{path}: has no dataset 'kspace'; give a file in fastMRI's format")
    shape = tuple(map(int, kspace.shape))
    if len(shape) not in (3, 4) or min(shape) < 1 or kspace.dtype.kind != "c":
        raise UserError(
            f"{path}: kspace is {kspace.dtype} of shape {shape}; fastMRI's is complex, (slices, [coils,] rows, columns)"
        )
    check_dataset(kspace, path)
    reconstruction, target_size = None, None
    for name in RECONSTRUCTIONS[::-1] if len(shape) == 4 else RECONSTRUCTIONS:
        if isinstance(file.get(name), h5py.Dataset):
            reconstruction, size = name, tuple(map(int, file[name].shape))
            if len(size) != 3 or size[0] != shape[0] or min(size) < 1:
                raise UserError(
                    f"{path}: {name} has shape {size}, kspace {shape}; they must have the same slices; copy it again"
                )
            target_size = (size[1], size[2])
            check_dataset(file[name], path)
            break
    if "ismrmrd_header" not in file:
        raise UserError(f"{path}: has no dataset 'ismrmrd_header'; give a file in fastMRI's format")
    header = _Header(path, contents(file["ismrmrd_header"], path).item())
    return FastMRIFile(
        path=path,
        acquisition=_text(file.attrs.get("acquisition", "unknown")),
        patient=_patient(_text(file.attrs.get("patient_id", ""))),
        shape=shape,
        encoded=header.size("encodedSpace"),
        recon=header.size("reconSpace"),
        voxel=header.voxel(),
        lines=header.lines(shape[-1]),
        mask=_mask(path, file, shape[-1]),
        maximum=_number(file.attrs.get("max")),
        norm=_number(file.attrs.get("norm")),
        reconstruction=reconstruction,
        target_size=target_size,
        size=state.st_size,
        modified=state.st_mtime_ns,
    )


def _patient(identity: str) -> str:
    """NYU's patients are hashes already; names and numbers, which other files may have, become one."""
    return identity if _HASH.fullmatch(identity) else pseudonym(identity)


class _Header:
    """The first encoding of an ISMRMRD header; its namespace may be any version's."""

    def __init__(self, path: Path, xml: bytes | str) -> None:
        self.path = path
        refuse_entities(xml, path)
        try:
            self.root = ElementTree.fromstring(xml)
        except (ElementTree.ParseError, TypeError, ValueError, LookupError) as error:
            raise UserError(f"{path}: its ismrmrd_header is no XML ({first_line(error)}); copy it again") from None

    def number(self, place: str) -> float | None:
        """Value of an element below ``encoding``, e.g. ``reconSpace/matrixSize/x``; None if it is not there."""
        text = self.root.findtext("/".join(f"{{*}}{part}" for part in ("encoding", *place.split("/"))))
        try:
            return None if text is None else float(text)
        except ValueError:
            raise UserError(f"{self.path}: its ismrmrd_header says {text!r} for encoding/{place}") from None

    def size(self, space: str) -> tuple[int, int]:
        """Rows (x, readout) and columns (y, phase encoding) of a matrix."""
        rows, columns = (self.number(f"{space}/matrixSize/{axis}") for axis in "xy")
        if rows is None or columns is None or not min(rows, columns) >= 1:
            raise UserError(f"{self.path}: its ismrmrd_header has no encoding/{space}/matrixSize; copy it again")
        return int(rows), int(columns)

    def voxel(self) -> tuple[float, float, float] | None:
        """Size of a pixel of the reconstructed image, and distance of the slices, in mm."""
        sides = [
            (self.number(f"reconSpace/fieldOfView_mm/{axis}"), self.number(f"reconSpace/matrixSize/{axis}"))
            for axis in "xyz"
        ]
        row, column, depth = (fov / n if fov and n else None for fov, n in sides)
        return None if row is None or column is None or depth is None else (row, column, depth)

    def lines(self, columns: int) -> tuple[int, int]:
        """First acquired column and one past the last, as fastMRI counts them; all where the header has no limits."""
        centre, last = (self.number(f"encodingLimits/kspace_encoding_step_1/{name}") for name in ("center", "maximum"))
        if centre is None or last is None:
            return 0, columns
        first = self.size("encodedSpace")[1] // 2 - int(centre)
        return max(0, first), min(columns, first + int(last) + 1)


def _mask(path: Path, file: h5py.File, columns: int) -> npt.NDArray[np.bool_] | None:
    if not isinstance(file.get("mask"), h5py.Dataset):
        return None
    mask = contents(file["mask"], path).squeeze()
    if mask.shape != (columns,) or not mask.any():
        raise UserError(f"{path}: its mask has shape {mask.shape}, its kspace {columns} columns; copy it again")
    return mask.astype(bool)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
