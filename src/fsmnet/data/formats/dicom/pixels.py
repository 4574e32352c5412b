"""Reading a series: pixels and geometry by SimpleITK, the geometry compared with every header."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fsmnet.data.formats.dicom.checks import checked
from fsmnet.data.formats.dicom.geometry import POSITION_TOLERANCE_MM, known, normal
from fsmnet.data.formats.dicom.headers import Header, Vector
from fsmnet.data.formats.dicom.packages import require
from fsmnet.data.formats.dicom.series import Series, choose_series, list_series
from fsmnet.data.formats.dicom.stored import acquired_lines, clear_padding, shifted, unpacked
from fsmnet.data.values import magnitudes
from fsmnet.data.volume import Array, Volume
from fsmnet.errors import UserError


def read_series(source: Path | Series, which: str | int | None = None) -> Volume:
    """Read one series: pixels and geometry by SimpleITK, checked against the headers of every slice.

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
    array, affine = _read_pixels(series, headers)
    array, padding = clear_padding(unpacked(headers) if shifted(headers) else array, headers, where)
    values = magnitudes(np.ascontiguousarray(array.transpose(0, 2, 1)), where)
    return Volume(
        values.data,
        affine,
        series.folder,
        values.n_nan,
        values.n_negative,
        series=series.label,
        doubts=(*((f"{where}: {padding}",) if padding else ()), *values.doubts),
        acquired=acquired_lines(headers[0]),
    )


def _read_pixels(series: Series, headers: list[Header]) -> tuple[Array, Vector]:
    """Pixels ``(S, Rows, Columns)`` and RAS+ affine in mm by SimpleITK, the affine checked against every header."""
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
    array = sitk.GetArrayFromImage(image)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    if len(headers) == 1:  # one image has no step, and SimpleITK does not look at its thickness
        affine[:3, 2] = normal(headers[0]) * (headers[0].thickness or 1.0)
    corners = np.array([[i, j] for i in (0, series.columns - 1) for j in (0, series.rows - 1)], dtype=np.float64)
    for k, header in enumerate(headers):
        row, column = np.split(known(header.orientation), 2)
        rows_apart, columns_apart = known(header.spacing)
        for i, j in corners:
            by_tags = known(header.position) + row * columns_apart * i + column * rows_apart * j
            apart = float(np.linalg.norm((affine @ [i, j, k, 1])[:3] - by_tags))
            if apart > 2 * POSITION_TOLERANCE_MM:
                raise UserError(
                    f"{series.folder}: {series}: SimpleITK places a corner of {header.path.name} {apart:.3f} mm from "
                    "where its header does; convert the series to NIfTI with another program"
                )
    return array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


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
