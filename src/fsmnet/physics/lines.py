"""Which lines of a k-space were measured: inferred from empty ones, checked against a mask, refused where not by lines.

A partial-Fourier scan leaves out lines on one side only. A random mask can leave a side empty by chance, so it is told
by a test: were the outer lines drawn at random, how likely is a gap as wide as this? With few lines it finds nothing;
where a file has a header, that says it for certain. Along the phase-encode axis such lines are missing like others;
along the readout (an asymmetric echo) the scan is refused.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fsmnet.errors import UserError, listed
from fsmnet.physics.masks import Mask

logger = logging.getLogger(__name__)

Columns = npt.NDArray[np.bool_]

FULL_LINE = 0.9  # least share of a line's points that are not zero; scanners' zeros by chance are far rarer
ASYMMETRY = 0.05  # share of the extent that the two sides may differ by: rounding, and the last step of an even spacing
CHANCE = 1e-6  # a gap less likely than this was planned


def acquired_columns(kspace: npt.NDArray[np.complex64], source: Path) -> Columns:
    """Columns with anything in them, bool ``(W,)``; the same in every slice that is not empty.

    Args:
        kspace: ``(S, C, H, W)``.
        source: the file, for the message.

    Raises:
        UserError: points or rows instead of columns, slices that differ, or an asymmetric echo.
    """
    points = [one for one in (np.asarray(coils.any(axis=0)) for coils in kspace) if one.any()]  # (H, W) each
    everywhere = np.logical_or.reduce(points)
    columns, rows = np.asarray(everywhere.any(axis=0)), np.asarray(everywhere.any(axis=1))
    share = everywhere[rows].mean(axis=0)
    if contiguous(columns) and not contiguous(rows):
        raise UserError(
            f"{source}: {np.count_nonzero(~rows)} of {rows.size} rows are empty and no column is; pass "
            "--phase-encode rows if the rows are phase-encoded"
        )
    if share[columns].min() < FULL_LINE:
        raise UserError(
            f"{source}: {everywhere.mean():.1%} of the points are measured, and not in whole lines (as in "
            "Poisson-disc, radial or spiral sampling); only Cartesian k-space with whole columns is reconstructed"
        )
    for number, one in enumerate(np.asarray(slice_points.any(axis=0)) for slice_points in points):
        if not np.array_equal(one, columns):
            raise UserError(
                f"{source}: {one.sum()} columns are measured in slice {number} (from 0, empty ones not "
                f"counted), {columns.sum()} in all together; every slice must have the same lines, so leave it out"
            )
    if reach := partial_fourier(rows):
        raise UserError(
            f"{source}: the readout is asymmetric: its samples reach from {reach.before} before the centre of k-space "
            f"to {reach.after} behind it; only lines may be left out, so complete it first (homodyne, POCS)"
        )
    return columns


class Reach(NamedTuple):
    """How far the lines of a partial-Fourier scan reach on either side of the centre."""

    before: int
    after: int

    def __str__(self) -> str:
        return f"partial Fourier, lines from {self.before} before the centre to {self.after} behind it"


def partial_fourier(acquired: Columns, told: tuple[int, int] | None = None) -> Reach | None:
    """The reach of lines of which one side was left out; None where both sides are covered.

    Args:
        acquired: bool ``(N,)``, centred: zero frequency at ``N // 2``.
        told: lines before the centre and behind it by the file's header, whichever of them were acquired.
    """
    before, after, chance = one_sided(acquired)
    planned = contiguous(acquired) or chance < CHANCE
    if told is not None and not contiguous(acquired):
        before, after, planned = max(before, told[0]), max(after, told[1]), True
    uneven = abs(before - after) > max(2, ASYMMETRY * (2 * max(before, after) + 1))
    return Reach(before, after) if uneven and planned else None


def one_sided(acquired: Columns) -> tuple[int, int, float]:
    """How far a mask reaches to both sides of the centre, and how likely its asymmetry is by chance.

    Of N outer columns (within the larger reach, without the unbroken run in the centre) n are acquired, and g at the
    end of one side are not. If the n had been drawn at random, those g would be empty with probability
    ``C(N - g, n) / C(N, n)``.

    Returns:
        Columns before the centre, columns behind it, probability.
    """
    centre, places = acquired.size // 2, np.flatnonzero(acquired)
    before, after = max(0, centre - int(places[0])), max(0, int(places[-1]) - centre)
    run = 0
    if acquired[centre]:
        first = last = centre
        while first > 0 and acquired[first - 1]:
            first -= 1
        while last < acquired.size - 1 and acquired[last + 1]:
            last += 1
        # The unbroken run counts as the centre only as far as it is symmetric: the rest of it is outer lines.
        run = 2 * min(centre - first, last - centre) + 1
    gap, outer = abs(before - after), 2 * max(before, after) + 1 - run
    drawn = int(places.size) - run
    if gap == 0 or drawn < 1:
        return before, after, 1.0
    return before, after, math.exp(_log_choose(outer - gap, drawn) - _log_choose(outer, drawn))


def contiguous(lines: Columns) -> bool:
    """Whether there is no gap between the first and the last line."""
    places = np.flatnonzero(lines)
    return bool(places[-1] - places[0] + 1 == places.size)


def check_mask(mask: Mask, acquired: Columns, source: Path) -> Mask:
    """A mask that was given, made to fit what was measured.

    Lines outside the mask stay unused. Where the k-space is full but for empty columns at its sides (as scanners pad
    it), the mask is cut to those inside; elsewhere a line of the mask that is empty contradicts the data.

    Raises:
        UserError: the mask counts empty columns as acquired, or keeps none.
    """
    columns = mask.columns & acquired
    empty = np.flatnonzero(mask.columns & ~acquired)
    if empty.size and not contiguous(acquired):
        shown = listed([str(place) for place in empty])
        raise UserError(
            f"{source}: the mask counts {empty.size} columns as acquired that are empty in the k-space ({shown}); "
            "give the mask of this scan, or --mask auto"
        )
    if not columns.any():
        raise UserError(f"{source}: none of the {mask.columns.sum()} columns of the mask was measured; give another")
    if empty.size:
        logger.info("%s: %d columns of the mask lie in the empty border and count as missing", source, empty.size)
    if unused := int(np.count_nonzero(acquired & ~columns)):
        logger.info("%s: %d of %d measured columns lie outside the mask: not used", source, unused, acquired.sum())
    return Mask(columns, mask.kind, mask.acceleration, mask.center_fraction)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
