"""Shall a k-space network's image be weighed against its lines (:mod:`fsmnet.physics.weighed`), and how?

Such a network fits the lines that it gets, so its error there says nothing. Lines that are kept back tell it: with y
these, y' those of the image x' that was made without them and s^2 the variance of the noise, in C coils,

    share = (mean |y' - y|^2 - C s^2) / mean |x'|^2

is the energy of the error in a line that was not measured, as a share of what the image would have there if all lines
were alike. The same lines say whether weighing with this share is for the better (:mod:`fsmnet.inference.kept_back`);
with much noise it is not, since the network has taken it out of the lines already. Then the image stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from fsmnet.inference.kept_back import Comparison, Lines, compared, kept_back
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.holdout import Columns, unseen, without
from fsmnet.physics.weighed import noise_of, weighed

LEAST = 0.6  # of the change must be confirmed, as of the auxiliary's (benchmarks/weighed_inside.py)


@dataclass(frozen=True)
class Weighing:
    """What lines kept back say of weighing.

    Attributes:
        share: of the image's energy that is wrong in a line that was not measured, at least 0; see the module.
        comparison: of the lines kept back, weighed and not; without any slice where nothing could be tried.
    """

    share: float
    comparison: Comparison

    @property
    def helps(self) -> bool:
        """Whether the image is better weighed."""
        return self.comparison.slices > 0 and self.comparison.confirmed >= LEAST

    def record(self) -> dict[str, float]:
        """What the record says of it."""
        return {
            "ErrorByLinesKeptBack": round(self.share, 6),
            "ConfirmedByLinesKeptBack": round(self.comparison.confirmed, 3),
        }

    @property
    def why_not(self) -> str:
        """Why the image is not weighed, for a warning."""
        if self.comparison.slices == 0:
            return (
                "not weighed: there are fewer than five lines beside the centre block, or no rows with nothing but air "
                "to tell the noise, so that nothing tells how wrong the network is"
            )
        confirmed = 100 * max(self.comparison.confirmed, 0)
        return f"not weighed: measured lines that were kept back confirm only {confirmed:.0f}% of what it changes"


def try_weighing(
    reconstruct: Callable[[Acquisition, int], Tensor],
    measured: Lines,
    count: int,
    columns: Columns,
    seed: tuple[int, ...],
) -> Weighing:
    """Reconstruct up to :data:`fsmnet.inference.kept_back.SLICES` slices from fewer lines: a pass of the network each.

    Args:
        reconstruct: what was measured of a slice, and which slice it is -> complex image ``(1, H, W)``.
        measured: see :data:`fsmnet.inference.kept_back.Lines`.
        count: of slices.
        columns: bool ``(W,)``, the measured lines.
        seed: of the lines that are kept back.
    """
    chosen = kept_back(measured, count, columns, seed)
    wrong = energy = 0.0
    tried: list[tuple[Acquisition, Acquisition, Tensor]] = []
    numbers, unshown = chosen or ([], columns)
    for number in numbers:
        scan = measured(slice(number, number + 1))
        noise = float(noise_of(scan))
        if noise < 0:  # unknown
            continue
        fewer = without(scan, unshown)
        image = reconstruct(fewer, number)
        coils, height = scan.lines.shape[-3:-1]
        points = height * int(unshown.sum())
        wrong += float(unseen(scan, unshown, image).error.sum()) / points - coils * noise**2
        energy += float(image.abs().square().mean())
        tried.append((scan, fewer, image))
    share = max(wrong, 0.0) / energy if energy > 0 else 0.0
    every = (compared(scan, unshown, weighed(fewer, image, share=share), image) for scan, fewer, image in tried)
    return Weighing(share, sum(every, Comparison()))
