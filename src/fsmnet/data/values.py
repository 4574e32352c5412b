"""What the values of a volume are: magnitudes of tissue, or something that would make a wrong picture of them.

The bounds were set on training patients only, whose volumes keep far away from them: of their sum at most 0.03% is
negative, their maximum is at most 4 times the 99.9th percentile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fsmnet.errors import UserError

RANGE = (1e-18, 1e18)  # of the largest value: single precision holds squares between these
NEGATIVE = 0.03  # share of the sum of all magnitudes from which negative values are no interpolation's
SPIKE = 10.0  # times the 99.9th percentile of what is above zero: one voxel sets the scale
PADDED = 1e-3  # share of the voxels from which one extreme value that many have is padding
GAP = 0.8  # of such a value: how near the next one comes to it where it is saturation
AIR = (0.05, 1.0, 0.25)  # of the maximum, from where to where flat air lies below 0, and its share of the voxels
SIDE = 32  # pixels, below which an image says nothing of regions and air
LEVELS = 8  # different values, whole numbers, up to which an image is a drawing of regions
INVERTED = 0.9  # of the maximum: where the median of the corners lies above, the air is the brightest
UNIFORM = (
    0.4,
    0.6,
    0.25,
    0.32,
)  # least and most mean and deviation of the air, of the maximum: 0.5 and 0.289 of phases
CORNERS = 0.25  # share of the slices' corners that padding covers at least


@dataclass(frozen=True)
class Values:
    """Magnitudes as they are reconstructed, and what was done to them.

    Attributes:
        data: float32, finite, at least 0, not all the same.
        n_nan: voxels that were NaN or infinite and became 0.
        n_negative: voxels that were negative and became 0.
        doubts: what a user should look at, a sentence each.
    """

    data: npt.NDArray[np.float32]
    n_nan: int
    n_negative: int
    doubts: tuple[str, ...] = ()


def magnitudes(array: npt.NDArray[Any], where: object) -> Values:
    """Voxels made fit to be reconstructed: NaN, infinite and negative ones become 0.

    Args:
        array: ``(S, H, W)``, real values of any type.
        where: the source, for messages.

    Raises:
        UserError: values that are no magnitudes, out of the range of float32, or all the same.
    """
    _check_range(array, where)
    data = np.asarray(array, dtype=np.float32)
    finite = np.isfinite(data)
    n_nan = int(data.size - np.count_nonzero(finite))
    if n_nan == data.size:
        raise UserError(f"{where}: every voxel is NaN or infinite; there is nothing to reconstruct")
    if n_nan:
        data = np.where(finite, data, np.float32(0))
    padding = ""
    n_negative = int(np.count_nonzero(data < 0))
    if n_negative:
        padding = _check_negative(data, n_negative, where)
        data = np.maximum(data, 0)
    if data.min() == data.max():
        raise UserError(f"{where}: every voxel is {data.max():g}; a constant volume cannot be reconstructed")
    doubts = tuple(f"{where}: {doubt}" for doubt in (padding, _extremes(data)) if doubt)
    return Values(data, n_nan, n_negative, doubts)


def _check_range(array: npt.NDArray[Any], where: object) -> None:
    """Values and their squares must keep their meaning in single precision."""
    if array.dtype.kind == "f":
        require_range(float(np.abs(array[np.isfinite(array)]).max(initial=0.0)), where)


def require_range(largest: float, where: object) -> None:
    """Refuse values whose squares single precision does not hold; ``largest`` is the largest magnitude of them.

    Raises:
        UserError: too large, or too small.
    """
    if largest > RANGE[1] or 0 < largest < RANGE[0]:
        what, remedy = ("large", "divide") if largest > 1 else ("small", "multiply")
        raise UserError(
            f"{where}: its largest value is {largest:.3g}, too {what} for single precision; "
            f"{remedy} all by one number, so that the image is of ordinary size"
        )


def _check_negative(data: npt.NDArray[np.float32], count: int, where: object) -> str:
    """Refuse negative values that are no rounding; words on padding, empty if there is none.

    Raises:
        UserError: all are negative, or too many for a magnitude.
    """
    lowest, highest = float(data.min()), float(data.max())
    if highest <= 0:
        raise UserError(
            f"{where}: no voxel is above 0 (they reach from {lowest:g} to {highest:g}); give the magnitude image, "
            "or add a constant where it was subtracted"
        )
    padding = data == lowest
    n_padding = int(np.count_nonzero(padding))
    rest = data[(data < 0) & ~padding]
    constant = n_padding >= max(2, PADDED * data.size) and (not rest.size or lowest < rest.min() / GAP)
    # Air that a mean was taken off is flat as well; padding is small, or beyond the image, or covers little.
    constant &= not AIR[0] * highest < -lowest <= AIR[1] * highest or n_padding < AIR[2] * data.size
    negative = np.abs(rest if constant else data[data < 0]).sum(dtype=np.float64)
    positive = data[data > 0].sum(dtype=np.float64)
    if negative > NEGATIVE * (negative + positive):
        what = "normalised to zero mean, a phase or real part, or CT"
        if negative > (1 - NEGATIVE) * (negative + positive):
            what = "negated, or a constant was subtracted"
        elif n_padding >= PADDED * data.size:
            what = f"{what}, or {n_padding} voxels of padding, which must be 0"
        raise UserError(
            f"{where}: {count} of {data.size} voxels are negative, down to {lowest:g} (the largest is {highest:g}): "
            f"{what}; give the magnitudes as the scanner made them"
        )
    return f"{n_padding} voxels are {lowest:g}, which is padding: set to 0" if constant else ""


def _extremes(data: npt.NDArray[np.float32]) -> str:
    """Words on padding above the image, or on a few voxels so bright that they set the scale of all others."""
    highest = float(data.max())
    n_highest = int(np.count_nonzero(data == highest))
    corner = data[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    corners = float((corner == highest).mean())
    if corners >= CORNERS and float(data[data < highest].max()) < GAP * highest:
        return (
            f"{n_highest} voxels, at the corners too, are {highest:g} and no other comes near: padding, which sets the "
            "scale of the image; set them to 0"
        )
    if float(np.median(corner)) > INVERTED * highest:
        return "the corners of its slices are the brightest: padding, or inverted grey values; the air must be dark"
    if told := _no_scan(data, highest):
        return told
    sample = np.ravel(data)[:: max(1, data.size // 500_000) | 1]
    above = sample[sample > 0]
    usual = float(np.percentile(above, 99.9 if above.size >= 1000 else 95)) if above.size else highest
    if highest > SPIKE * usual:
        slice_, row, column = np.unravel_index(int(data.argmax()), data.shape)
        bright = int(np.count_nonzero(data > SPIKE * usual))
        return (
            f"{bright} of its voxels, the brightest at ({row}, {column}, {slice_}), are up to {highest / usual:.0f} "
            "times as bright as tissue and set the scale of the image; set such spikes to 0"
        )
    return ""


def _no_scan(data: npt.NDArray[np.float32], highest: float) -> str:
    """Words on whole numbers that are regions of a drawing, or phases of 0 to 2 pi; empty if they are neither."""
    sample = np.ravel(data)[:: max(1, data.size // 100_000) | 1]
    if min(data.shape[1:]) < SIDE or (sample != np.round(sample)).any():
        return ""
    if (levels := np.unique(sample).size) <= LEVELS:
        return f"holds {levels} different values only: a mask or segmentation, no scan"
    height, width = (max(1, side // 8) for side in data.shape[1:])
    air = np.concatenate([data[:, :height, :width].ravel(), data[:, -height:, -width:].ravel()]) / highest
    mean, deviation = float(air.mean(dtype=np.float64)), float(air.std(dtype=np.float64))
    if UNIFORM[0] < mean < UNIFORM[1] and UNIFORM[2] < deviation < UNIFORM[3]:
        return "its air has all values alike, as a phase image has; give the magnitude image"
    return ""
