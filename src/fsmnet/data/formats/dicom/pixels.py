"""Reading a series: pixels by SimpleITK, the place in space by the headers.

SimpleITK 2.5.0 and older point the third axis of slices that are numbered against their normal the wrong way,
so its geometry is not asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fsmnet.data.formats.dicom.checks import checked
from fsmnet.data.formats.dicom.geometry import affine
from fsmnet.data.formats.dicom.headers import Header
from fsmnet.data.formats.dicom.packages import require
from fsmnet.data.formats.dicom.series import Series, choose_series, list_series
from fsmnet.data.formats.dicom.stored import acquired_lines, clear_padding, shifted, unpacked, voxels_of
from fsmnet.data.values import magnitudes
from fsmnet.data.volume import Array, Volume
from fsmnet.errors import UserError


def read_series(source: Path | Series, which: str | int | None = None) -> Volume:
    """Read one series: pixels by SimpleITK, the place in space by the headers of all slices.

    RescaleSlope and RescaleIntercept are applied, padding becomes 0. NaN, infinite and negative values become 0 and are
    counted.

    Args:
        source: a folder, or a series of :func:`list_series`.
        which: for a folder: the series, see :func:`choose_series`.

    Returns:
        float32 ``(S, H, W)`` = (slices, Columns, Rows) with RAS+ affine in mm; axes as
        :mod:`fsmnet.data.formats.dicom` says.

    Raises:
        UserError: not one regular stack of grey slices (missing slices, mixed sizes or orientations, several echoes or
            time points, multi-frame files), pixels that cannot be decoded, or nothing to reconstruct.
    """
    series = source if isinstance(source, Series) else choose_series(list_series(source), which)
    headers = checked(series)
    where = f"{series.folder}: {series}"
    array = _read_pixels(series, headers)
    array, padding = clear_padding(unpacked(headers) if shifted(headers) else array, headers, where)
    values = magnitudes(np.ascontiguousarray(array.transpose(0, 2, 1)), where)
    return Volume(
        values.data,
        affine(headers),
        series.folder,
        values.n_nan,
        values.n_negative,
        series=series.label,
        doubts=(*((f"{where}: {padding}",) if padding else ()), *values.doubts),
        acquired=acquired_lines(headers[0]),
        stored=voxels_of(headers),
    )


def _read_pixels(series: Series, headers: list[Header]) -> Array:
    """Pixels ``(S, Rows, Columns)`` by SimpleITK."""
    sitk = require("SimpleITK")
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames([str(header.path) for header in headers])
    reader.SetOutputPixelType(sitk.sitkFloat32)  # slices may have slopes of their own
    with _quiet_simpleitk(sitk):
        try:
            image = reader.Execute()
        except RuntimeError:
            raise UserError(_undecodable(series, headers, sitk)) from None
    return np.asarray(sitk.GetArrayFromImage(image))


def _undecodable(series: Series, headers: list[Header], sitk: Any) -> str:
    """Why the pixels cannot be read, naming the first file."""
    from pydicom.uid import UID

    culprit = headers[0]
    for header in headers:
        try:
            sitk.ReadImage(str(header.path), imageIO="GDCMImageIO")
        except RuntimeError:
            culprit = header
            break
    syntax = UID(culprit.syntax)
    if culprit.syntax and not syntax.is_private and syntax.is_transfer_syntax and not syntax.is_compressed:
        return f"{culprit.path}: its pixels are cut short or damaged; copy the file again"
    return (
        f"{culprit.path}: its pixels are damaged, or compressed in a way that SimpleITK cannot decode "
        f"({syntax.name or 'no transfer syntax'}); copy it again, or decompress {series.folder} with gdcmconv --raw "
        "or dcmdjpeg"
    )


@contextmanager
def _quiet_simpleitk(sitk: Any) -> Iterator[None]:
    """Without the library's own messages on stderr; what is wrong is said by this module."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)
