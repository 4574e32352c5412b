"""Does the auxiliary help? Before a k-space network uses it, measured lines that are kept back answer.

An auxiliary of another patient, or one that lies elsewhere, can do harm, and a network does not always see it. So some
slices are reconstructed without a fifth of their outer lines (:mod:`fsmnet.physics.holdout`), once with the auxiliary
and once without. With y the lines kept back and a and b what the two images say of them, the share of its change that
the measurement confirms is

    confirmed = <y - b, a - b> / ||a - b||^2,

the best factor for the change: 1 if all of it is right, 1/2 if it brings the image no nearer, below that if it does
harm. Noise of the lines does not shift it. Where too little is confirmed the whole scan goes without the auxiliary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fsmnet.errors import UserError
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.holdout import Columns, folds, unseen, without

SLICES = 4  # of the scan, evenly spread
LEAST = 0.6  # of the change must be confirmed; chosen on other patients than the test's (benchmarks/unrolled/guard.py)

Reconstruct = Callable[[Acquisition, Tensor | None], Tensor]


@dataclass(frozen=True)
class Trial:
    """Lines kept back, with the auxiliary and without it; energies, summed over slices.

    Attributes:
        error: ``||y - a||^2`` with the auxiliary.
        error_without: ``||y - b||^2`` without it.
        change: ``||a - b||^2``.
        slices: how many slices were tried.
    """

    error: float
    error_without: float
    change: float
    slices: int

    @property
    def confirmed(self) -> float:
        """The share of the auxiliary's change that the lines kept back confirm; 1 if it changes nothing."""
        return (self.error_without - self.error + self.change) / (2 * self.change) if self.change > 0 else 1.0

    @property
    def helps(self) -> bool:
        """Whether the auxiliary is worth using."""
        return self.confirmed >= LEAST

    @property
    def why_not(self) -> str:
        """Why the auxiliary is left out, for a warning."""
        return (
            "the auxiliary is left out, since measured lines that were kept back confirm only "
            f"{100 * max(self.confirmed, 0):.0f}% of what it changes; is it of the same patient and in place? "
            "--keep-auxiliary uses it"
        )


def try_auxiliary(
    reconstruct: Reconstruct,
    measured: Callable[[slice], Acquisition],
    auxiliary: Tensor,
    columns: Columns,
    seed: tuple[int, ...],
) -> Trial | None:
    """Reconstruct up to :data:`SLICES` slices twice from fewer lines: two passes of the network for each.

    Args:
        reconstruct: what was measured of a slice, its auxiliary ``(1, H, W)`` or None -> image ``(1, H, W)`` with its
            phase.
        measured: which slices -> what was measured of them, lines ``(b, C, H, W)``.
        auxiliary: ``(n, H, W)``.
        columns: bool ``(W,)``, the measured lines.
        seed: of the lines that are kept back.

    Returns:
        None where too few lines were measured to keep some back.
    """
    count = len(auxiliary)
    numbers = sorted(set(torch.linspace(0, count - 1, min(SLICES, count) + 2).round().long()[1:-1].tolist()))
    try:
        [kept_back] = folds(columns, 1, seed, measured(slice(numbers[0], numbers[0] + 1)).real)
    except UserError:
        return None
    error = error_without = change = 0.0
    for number in numbers:
        scan = measured(slice(number, number + 1))
        fewer = without(scan, kept_back)
        image, alone = (reconstruct(fewer, other) for other in (auxiliary[number][None], None))
        told = replace(scan, lines=scan.forward(alone))
        error += float(unseen(scan, kept_back, image).error.sum())
        error_without += float(unseen(scan, kept_back, alone).error.sum())
        change += float(unseen(told, kept_back, image).error.sum())
    return Trial(error, error_without, change, len(numbers))
