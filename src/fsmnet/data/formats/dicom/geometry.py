"""Where an image lies, by its header: normal, depth, angle between two, affine of a stack; and tolerances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fsmnet.data.formats.dicom.headers import Header, Vector

POSITION_TOLERANCE_MM = 0.05  # scanners round positions; beyond this a slice is out of place
ORIENTATION_TOLERANCE = 1e-3  # radians: 0.1 mm at the edge of the head


def known(vector: Vector | None) -> Vector:
    """A vector that earlier checks found to be there."""
    assert vector is not None
    return vector


def normal(header: Header) -> Vector:
    """Unit cross product of the first and last three numbers of ImageOrientationPatient."""
    orientation = known(header.orientation)
    across = np.cross(orientation[:3], orientation[3:])
    return np.asarray(across / np.linalg.norm(across), dtype=np.float64)


def depth(header: Header, origin: Header) -> float:
    """Distance in mm along the normal of ``origin``."""
    return float(np.dot(normal(origin), known(header.position) - known(origin.position)))


def angle(a: Header, b: Header) -> float:
    """Largest angle in radians between the rows or the columns of two images."""
    u, v = known(a.orientation).reshape(2, 3), known(b.orientation).reshape(2, 3)
    chord = np.linalg.norm(u - v, axis=1).max()
    return float(2 * np.arcsin(min(1.0, chord / 2)))


def affine(headers: Sequence[Header]) -> Vector:
    """Indices (column, row, slice) of a checked stack to millimetres, RAS+, ``(4, 4)``; no pixel is read.

    The step between slices is the mean one, as :func:`fsmnet.data.formats.dicom.checks.checked` found all to be equal.
    """
    first, last = headers[0], headers[-1]
    row, column = np.split(known(first.orientation), 2)
    rows_apart, columns_apart = known(first.spacing)
    if len(headers) > 1:
        step = (known(last.position) - known(first.position)) / (len(headers) - 1)
    else:
        step = normal(first) * (first.thickness or 1.0)
    matrix = np.eye(4)
    matrix[:3] = np.column_stack([row * columns_apart, column * rows_apart, step, known(first.position)])
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix
