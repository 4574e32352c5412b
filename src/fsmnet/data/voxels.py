"""How a result is stored: in the source's whole numbers, as long as rounding stays below a quarter of the noise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np

from fsmnet.data.stored import Stored
from fsmnet.data.volume import Array, Volume, slices_with_content

DataType = Literal["source", "float32"]
SHARE = 0.25  # largest rounding error, in deviations of the noise
HEADROOM = 2.0  # largest intensity that a result may have, over the source's
LOOKED_AT = 8  # slices that the noise is measured in


def chosen(volume: Volume, asked: DataType = "source") -> Stored:
    """How a result in the place of a volume is stored.

    The source's type and slope, or as much of the slope (halved, doubled) as keeps the rounding below a quarter of the
    noise and the range wide enough; 16 bits where the source's type is too narrow for both; else float32.

    Args:
        volume: the source, as read.
        asked: ``float32`` regardless, or what suits the source.
    """
    source = volume.stored
    if asked == "float32" or source is None or not source.is_whole:
        return Stored()
    noise, most = noise_of(volume.data, abs(source.slope) / math.sqrt(12)), HEADROOM * volume.maximum
    for one in _candidates(source, noise):
        if one.rounding <= SHARE * noise and one.fits(most):
            return one
    return Stored()


def for_map(stored: Stored, values: Array) -> Stored:
    """How a map in the intensities of a result, of either sign, is stored beside it: its steps, in 16 bits."""
    if not stored.is_whole:
        return stored
    most = float(np.abs(values).max(initial=0.0))
    doubled = max(0, math.ceil(math.log2(max(1.0, most / stored.slope / np.iinfo("int16").max))))
    return Stored("int16", _single(stored.slope * 2.0**doubled), noise=stored.noise)


def _candidates(source: Stored, noise: float) -> Iterator[Stored]:
    """The source's own way, then its slope in powers of two, coarse ones first; then the same in 16 bits."""
    slope = abs(source.slope)
    zero = -source.intercept / source.slope  # must stay exactly what it is: the background
    intercept = source.intercept if source.slope > 0 and abs(zero - round(zero)) < 1e-3 else 0.0
    for kind in dict.fromkeys((source.type, "int16")):
        yield Stored(kind, slope, intercept, noise)
        for power in range(8, -17, -1):
            yield Stored(kind, _single(slope * 2.0**power), intercept, noise)


def _single(value: float) -> float:
    """As the header holds it."""
    return float(np.float32(value))


def noise_of(data: Array, rounding: float = 0.0) -> float:
    """Standard deviation of the noise of ``(S, H, W)``, from differences that smooth anatomy leaves out.

    x(i, j) - x(i, j+1) - x(i+1, j) + x(i+1, j+1) has twice the deviation of white noise. Its median over the voxels
    above zero is little moved by edges (J. Immerkaer, Fast noise variance estimation, 1996, with a median), their mean
    by coarse steps of the data; the lower of both counts.

    Args:
        data: magnitudes.
        rounding: deviation of the error that their own steps have brought, which is no noise of the scan.
    """
    numbers = np.flatnonzero(slices_with_content(data))
    planes = data[numbers[:: max(1, len(numbers) // LOOKED_AT)]].astype(np.float64)
    corners = planes[:, :-1, :-1], planes[:, :-1, 1:], planes[:, 1:, :-1], planes[:, 1:, 1:]
    inside = np.logical_and.reduce([corner > 0 for corner in corners])
    if not inside.any():
        return 0.0
    second = np.abs(corners[0] - corners[1] - corners[2] + corners[3])[inside]
    deviation = min(1.4826 * float(np.median(second)), math.sqrt(math.pi / 2) * float(second.mean())) / 2
    return math.sqrt(max(0.0, deviation**2 - rounding**2))
