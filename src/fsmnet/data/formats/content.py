"""What a file holds by its first bytes, whatever its name says."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

NIFTI, NUMPY, HDF5 = "nifti", "numpy", "hdf5"

# First bytes -> what they begin, and what is to be done. What can be read here is in `kind_of`.
_OTHERS = (
    (b"\x89PNG", "a picture (PNG)", "give the scan that it was made of"),
    (b"\xff\xd8\xff", "a picture (JPEG)", "give the scan that it was made of"),
    (b"%PDF", "a PDF document", "give the scan"),
    (b"<", "a web page or XML", "a login page may have been saved in the file's place; fetch it again"),
    (b"NRRD", "an NRRD image", "convert it to .nii.gz"),
    (b"ObjectType", "a MetaImage header", "convert it to .nii.gz"),
    (b"BZh", "bzip2-compressed data", "unpack it"),
    (b"\xfd7zXZ", "xz-compressed data", "unpack it"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data", "unpack it"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (b"\0\5\x16\7", "macOS's notes on a file (AppleDouble)", "give the file of that name without ._"),
)
_DICOM = ("a DICOM file", "give the folder that holds the files of the series")
_HDF5_MARK = b"\x89HDF\r\n\x1a\n"


def is_gzip(path: Path) -> bool:
    """Whether a file is compressed by gzip, as its first two bytes say."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def kind_of(path: Path) -> str:
    """``nifti`` (compressed or not), ``numpy``, ``hdf5``; empty for anything else, or what is too short to tell.

    Raises:
        OSError: the file cannot be read.
    """
    head = _head(path)
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0"):
        return NIFTI
    if head.startswith((b"\x93NUMPY", b"PK\3\4")):
        return NUMPY
    places = (0, 512, 1024, 2048)  # a block of the user's may come first
    return HDF5 if any(head[place : place + 8] == _HDF5_MARK for place in places) else ""


def foreign(path: Path) -> tuple[str, str]:
    """What a file holds that nothing here reads from a file, and the remedy; empty texts if it is not known to."""
    head = _head(path)
    if head[128:132] == b"DICM":
        return _DICOM
    return next(((what, remedy) for mark, what, remedy in _OTHERS if head.startswith(mark)), ("", ""))


def _head(path: Path) -> bytes:
    """The first bytes; of a compressed file, those of its content."""
    with path.open("rb") as file:
        head = file.read(2056)
    if not head.startswith(b"\x1f\x8b"):
        return head
    try:
        with gzip.open(path) as packed:
            return packed.read(352)
    except (OSError, EOFError, zlib.error):
        return b""
