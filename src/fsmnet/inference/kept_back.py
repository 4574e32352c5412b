"""Is a change of the image for the better? Measured lines that are kept back answer, before the scan is reconstructed.

Some slices are reconstructed without a fifth of their outer lines (:mod:`fsmnet.physics.holdout`), with the change and
without it. With y the lines kept back and a and b what the two images say of them, the share of the change that the
measurement confirms is

    confirmed = <y - b, a - b> / ||a - b||^2,

the best factor for the change: 1 if all of it is right, 1/2 if it brings the image no nearer, below that if it does
harm. Noise of the lines does not shift it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fsmnet.errors import UserError
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.holdout import Columns, folds, unseen

SLICES = 4  # of the scan, evenly spread

Lines = Callable[[slice], Acquisition]  # which slices -> what was measured of them, lines (b, C, H, W)


@dataclass(frozen=True)
class Comparison:
    """Lines kept back, with a change and without it; energies, summed over slices by ``+``.

    Attributes:
        error: ``||y - a||^2`` with the change.
        error_without: ``||y - b||^2`` without it.
        change: ``||a - b||^2``.
        slices: how many slices were tried.
    """

    error: float = 0.0
    error_without: float = 0.0
    change: float = 0.0
    slices: int = 0

    def __add__(self, other: Comparison) -> Comparison:
        without, change = self.error_without + other.error_without, self.change + other.change
        return Comparison(self.error + other.error, without, change, self.slices + other.slices)

    @property
    def confirmed(self) -> float:
        """The share of the change that the lines kept back confirm; 1 if it changes nothing."""
        return (self.error_without - self.error + self.change) / (2 * self.change) if self.change > 0 else 1.0


def compared(scan: Acquisition, unshown: Columns, changed: Tensor, image: Tensor) -> Comparison:
    """One slice.

    Args:
        scan: what was measured of it.
        unshown: bool ``(W,)``, the lines that neither image was made from.
        changed: ``(1, H, W)`` with the change.
        image: likewise without.
    """
    told = replace(scan, lines=scan.forward(image))
    pairs = ((scan, changed), (scan, image), (told, changed))
    error, without, change = (float(unseen(one, unshown, other).error.sum()) for one, other in pairs)
    return Comparison(error, without, change, 1)


def kept_back(measured: Lines, count: int, columns: Columns, seed: tuple[int, ...]) -> tuple[list[int], Columns] | None:
    """Slices to try, of ``count``, and lines to keep back in them, bool ``(W,)``; None where too few were measured.

    Args:
        measured: see :data:`Lines`.
        count: of slices.
        columns: bool ``(W,)``, the measured lines.
        seed: of the lines that are kept back.
    """
    numbers = sorted(set(torch.linspace(0, count - 1, min(SLICES, count) + 2).round().long()[1:-1].tolist()))
    try:
        [unshown] = folds(columns, 1, seed, measured(slice(numbers[0], numbers[0] + 1)).real)
    except UserError:
        return None
    return numbers, unshown
