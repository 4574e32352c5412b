"""Does the auxiliary help? Before a k-space network uses it, measured lines that are kept back answer.

An auxiliary of another patient, or one that lies elsewhere, can do harm, and a network does not always see it. So some
slices are reconstructed without some of their lines, once with the auxiliary and once without, and the lines kept back
tell how much of its change they confirm (:mod:`fsmnet.inference.kept_back`). Where that is too little the whole scan
goes without the auxiliary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass

from torch import Tensor

from fsmnet.inference.kept_back import Comparison, Lines, compared, kept_back
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.holdout import Columns, without

LEAST = 0.6  # of the change must be confirmed; chosen on other patients than the test's (benchmarks/unrolled/guard.py)

Reconstruct = Callable[[Acquisition, Tensor | None], Tensor]


@dataclass(frozen=True)
class Trial(Comparison):
    """Lines kept back, with the auxiliary and without it."""

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
    measured: Lines,
    auxiliary: Tensor,
    columns: Columns,
    seed: tuple[int, ...],
) -> Trial | None:
    """Reconstruct up to :data:`fsmnet.inference.kept_back.SLICES` slices twice from fewer lines: two passes each.

    Args:
        reconstruct: what was measured of a slice, its auxiliary ``(1, H, W)`` or None -> image ``(1, H, W)`` with its
            phase.
        measured: see :data:`fsmnet.inference.kept_back.Lines`.
        auxiliary: ``(n, H, W)``.
        columns: bool ``(W,)``, the measured lines.
        seed: of the lines that are kept back.

    Returns:
        None where too few lines were measured to keep some back.
    """
    chosen = kept_back(measured, len(auxiliary), columns, seed)
    if chosen is None:
        return None
    numbers, unshown = chosen
    found = Comparison()
    for number in numbers:
        scan = measured(slice(number, number + 1))
        fewer = without(scan, unshown)
        image, alone = (reconstruct(fewer, other) for other in (auxiliary[number][None], None))
        found += compared(scan, unshown, image, alone)
    return Trial(*astuple(found))
