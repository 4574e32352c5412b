"""Whether target and auxiliary are one scan: the network would then be shown what it is to reconstruct."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fsmnet.data.formats.nifti import NIFTI, read_nifti
from fsmnet.data.volume import Volume
from fsmnet.errors import UserError
from fsmnet.files import sha256

TOLERANCE = 5e-3  # of the maximum: a copy in 8 bits, or with another slope, is the same scan
SAME_MEAN = 1e-4  # relative difference of the means, where the order is not the same
LEAST = 100  # voxels; fewer values may be equal by chance
CHUNK = 1 << 18  # bytes compared at a time
ALIKE, PROPORTIONAL = 0.95, 0.9999  # correlation of what may be a scaled copy, and of what is one

_UNREADABLE = (OSError, EOFError, ValueError, zlib.error)


def require_two(target: Volume, auxiliary: Volume) -> None:
    """Refuse one scan in both places, however it is stored.

    One series of DICOM alone does not tell: the two contrasts of a double echo share its UID.

    Raises:
        UserError: both show the same voxels, but for a factor and rounding.
    """
    if same_voxels(target.data, auxiliary.data) or rearranged(target.data, auxiliary.data):
        raise UserError(
            f"{target.name} and {auxiliary.name} show the same voxels; give two contrasts of one exam, or the network "
            "is shown what it is to reconstruct"
        )


def same_voxels(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    """Whether two arrays of one shape are equal but for a factor and rounding; those at least partly above zero."""
    if one.shape != other.shape:
        return False
    scales = float(one.max(initial=0)), float(other.max(initial=0))
    if min(scales) <= 0:
        return False
    step = max(1, len(one) // 8)
    for part in (slice(step // 2, None, step), slice(None)):  # two contrasts differ at once
        if np.abs(one[part] / scales[0] - other[part] / scales[1]).max() > TOLERANCE:
            return False
    return True


def rearranged(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    """Whether two arrays hold the same values above zero, but for a factor, in whatever order of axes and margins."""
    values = [array[array > 0] for array in (one, other)]
    if values[0].size != values[1].size or values[0].size < LEAST:
        return False
    means = [float(part.mean(dtype=np.float64)) / float(part.max()) for part in values]
    if abs(means[0] - means[1]) > SAME_MEAN * means[0]:  # two contrasts in one brain mask
        return False
    low, high = (np.sort(part) / part.max() for part in values)
    return bool(np.abs(low - high).max() <= TOLERANCE)


def same_files(one: Path, other: Path) -> bool:
    """Whether two files hold one scan, by their bytes: all of them, or of two NIfTI files those of the voxels.

    Nothing is decoded, and two contrasts differ in the first slice that shows anything. Of a file that cannot be read
    it is not said; who reads it will say why.
    """
    if one.samefile(other):
        return True
    if one.stat().st_size == other.stat().st_size and sha256(one) == sha256(other):
        return True
    if not (one.name.endswith(NIFTI) and other.name.endswith(NIFTI)):
        return False
    import nibabel as nib

    try:
        proxies: list[Any] = [nib.load(path).dataobj for path in (one, other)]  # type: ignore[attr-defined]
        if len({(proxy.dtype, tuple(proxy.shape)) for proxy in proxies}) > 1:
            return False
        rest = math.prod(proxies[0].shape) * proxies[0].dtype.itemsize
        with _opened(one) as first, _opened(other) as second:
            first.seek(proxies[0].offset)
            second.seek(proxies[1].offset)
            while rest > 0:
                if first.read(min(CHUNK, rest)) != second.read(min(CHUNK, rest)):
                    return False
                rest -= CHUNK
        return True
    except (nib.filebasedimages.ImageFileError, *_UNREADABLE):
        return False


def same_scans(one: Path, other: Path) -> bool:
    """:func:`same_files`, or two NIfTI files whose voxels are equal but for a factor and rounding.

    The first voxels that show anything tell two contrasts apart; only where they run alike both files are read whole.
    """
    import nibabel as nib

    if same_files(one, other):
        return True
    try:
        if not (one.name.endswith(NIFTI) and other.name.endswith(NIFTI) and _run_alike(one, other)):
            return False
        return same_voxels(read_nifti(one).data, read_nifti(other).data)
    except (UserError, nib.filebasedimages.ImageFileError, *_UNREADABLE):
        return False


def _run_alike(one: Path, other: Path) -> bool:
    """Whether the first voxels that differ from the background, in the order of the files, are nearly proportional."""
    import nibabel as nib

    proxies: list[Any] = [nib.load(path).dataobj for path in (one, other)]  # type: ignore[attr-defined]
    rest = math.prod(proxies[0].shape)
    if rest != math.prod(proxies[1].shape):
        return False
    with _opened(one) as first, _opened(other) as second:
        first.seek(proxies[0].offset)
        second.seek(proxies[1].offset)
        while rest > 0:
            count = min(CHUNK, rest)
            rest -= count
            parts = [
                np.frombuffer(file.read(count * proxy.dtype.itemsize), proxy.dtype).astype(np.float64)
                for file, proxy in zip((first, second), proxies, strict=True)
            ]
            shown = np.logical_or(*(part != part[0] for part in parts))
            if np.count_nonzero(shown) >= 10 * LEAST:
                return _correlation(parts[0][shown], parts[1][shown]) > ALIKE
    return False


def _correlation(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    one, other = one - one.mean(), other - other.mean()
    norm = math.sqrt(float((one * one).sum()) * float((other * other).sum()))
    return float((one * other).sum()) / norm if norm > 0 and math.isfinite(norm) else 0.0


def same_images(one: Path, other: Path) -> bool:
    """Whether two DICOM files hold one image, by the bytes of their pixels, which are not decoded, or but for a factor.

    One of zeros alone does not tell.
    """
    from fsmnet.data.formats.dicom.headers import pixel_bytes

    pixels = [pixel_bytes(path) for path in (one, other)]
    if pixels[0] == pixels[1]:
        return any(pixels[0])
    if len(pixels[0]) != len(pixels[1]) or len(pixels[0]) % 2 or len(pixels[0]) < 2 * LEAST:
        return False
    # As 16 bits each, which nearly all are: of two contrasts, or of compressed bytes, nothing comes near 1.
    words = [np.frombuffer(part, "<u2").astype(np.float64) for part in pixels]
    return _correlation(*words) > PROPORTIONAL


def _opened(path: Path) -> Any:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")
