"""How much of an image's k-space was ever measured: scanners fill it up with zeros to make the image larger.

Lines beyond that hold nothing. A mask drawn over all of them leaves out fewer real lines than it says, which is the
textbook case of an implicit data crime (Shimron et al., PNAS 119:e2117203119, 2022).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

STEP = (
    0.5  # decades of power; 34 volumes of training patients fall by 0.16 at most along their columns (0.27 along rows)
)
NARROW = 200  # columns; in narrower images, whose few frequencies make any fall steeper, it has to be more
HINTED = 0.25  # the same where a header tells of as many lines
SLICES = 16  # looked at, at most
LEAST = 48  # columns; below, a fall means little

Columns = npt.NDArray[np.bool_]


def filled_columns(images: npt.NDArray[Any], told: int | None = None) -> int:
    """Columns in the middle of k-space that hold anything; all of them unless the power falls off as by a step.

    Along the columns' frequency, images lose power gradually. At the edge of what was measured it falls, and stays
    down; a magnitude of complex values blurs that edge. So the fall across a thirtieth of the band is compared with
    the fall just before it.

    Args:
        images: magnitudes ``(S, H, W)``.
        told: number of lines acquired by the header, where it knows.

    Returns:
        An even number below W, or W.
    """
    width = int(images.shape[-1])
    shown = [image for image in images if image.any()]
    if width < LEAST or not shown:
        return width
    spread = [shown[(2 * n + 1) * len(shown) // (2 * SLICES)] for n in range(SLICES)] if len(shown) > SLICES else shown
    power = np.zeros(width // 2 + 1)
    for image in spread:  # real images: both sides of the centre are alike
        power += (np.abs(np.fft.rfft(np.asarray(image, dtype=np.float64), axis=-1)) ** 2).mean(0)
    level = np.log10(power[1:] + 1e-14 * power.max())
    span, best, edge = max(3, len(level) // 30), 0.0, 0
    for place in range(max(2 * span, len(level) // 8), len(level) - span - 1):
        inside, beyond = level[place - span : place].min(), level[place + span :].max()
        trend = max(0.0, level[place - 2 * span : place - span].max() - inside)
        if inside - beyond - trend > best:
            best = float(inside - beyond - trend)
            edge = place + int(np.argmax(level[place : place + span + 1] < (inside + beyond) / 2))
    if told is not None and told < width and abs(2 * edge - told) <= max(2, width // 20) and best >= HINTED:
        return told
    return 2 * edge if best >= STEP * max(1.0, NARROW / width) else width


def true_acceleration(columns: Columns, filled: int) -> tuple[int, float]:
    """Columns of a mask that were measured, and the acceleration over these.

    Args:
        columns: bool ``(W,)``, zero frequency at ``W // 2``.
        filled: number of them in the middle that were measured.
    """
    begin = columns.size // 2 - filled // 2
    kept = int(np.count_nonzero(columns[begin : begin + filled]))
    return kept, filled / kept if kept else math.inf


def interpolated(name: str, images: npt.NDArray[Any], columns: Columns, told: int | None = None) -> str:
    """Words on an image that was enlarged, with the acceleration over the lines that were acquired; else empty.

    Args:
        name: of the image.
        images: magnitudes ``(S, H, W)``.
        columns: the mask, bool ``(W,)``.
        told: number of lines acquired by the header, where it knows.
    """
    width, filled = columns.size, filled_columns(images, told)
    if filled < width:
        what = f"k-space is empty beyond its middle {filled} of {width} columns"
    elif told is not None and told < 0.95 * width:
        filled, what = told, f"the header tells of {told} phase-encode lines acquired, for {width} columns"
    else:
        return ""
    kept, acceleration = true_acceleration(columns, filled)
    return (
        f"{name}: {what}: the image was interpolated. Of the lines acquired the mask keeps {kept} of {filled}: it is "
        f"{acceleration:.2f}x and not {width / np.count_nonzero(columns):.2f}x, and the scores count empty lines; "
        "give the image in the matrix that was acquired"
    )
