"""Lines kept back: some of the measured ones, drawn by frequency, and what an image says of them that never saw them.

With y the lines kept back and ``y' = A x'`` those of an image x' that was made from the others,

    explained = 1 - ||y' - y||^2 / ||y||^2

is 1 for a method that knows them, 0 for one that says nothing of them, and below 0 for one that is worse than silent.
Lines of low frequency hold most of the energy, so it is told by band too. Only outer lines are kept back: the centre
block gives scale, phase and coil maps. The noise of the lines cannot be known, so even the truth explains less than 1.

Lines k and -k of a real image are conjugates. Where the image is known to be real, both are kept back together;
otherwise the one would give the other away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fsmnet.errors import UserError
from fsmnet.physics.acquisition import Acquisition, over_coils

PARTS = 5  # each fold keeps back one of so many parts of the outer lines
BANDS = 4  # of equal width, from frequency 0 to the highest

Columns = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Unseen:
    """Energy of lines that a method was not shown, by band; sums over slices and folds by ``+``.

    Attributes:
        energy: ``||y||^2``, float64 ``(BANDS,)``.
        error: ``||y' - y||^2``, float64 ``(BANDS,)``.
        lines: how many lines that is, a line of each slice counted, float64 ``(BANDS,)``.
    """

    energy: Tensor
    error: Tensor
    lines: Tensor

    def __add__(self, other: Unseen) -> Unseen:
        return Unseen(self.energy + other.energy, self.error + other.error, self.lines + other.lines)

    @property
    def explained(self) -> float:
        """Share of the energy that is explained; NaN where there is none."""
        return float(1 - self.error.sum() / self.energy.sum())

    @property
    def explained_by_band(self) -> list[float]:
        """The same of each band."""
        return (1 - self.error / self.energy).tolist()

    def missing(self, columns: Columns) -> float:
        """Energy of the error in the lines that were never measured, of a slice: as much in each as in those kept back.

        Of each band it is the mean over its lines kept back; a band without any takes that of its neighbour below, or
        above. NaN where no line was kept back. By Parseval's theorem it is ``||x' - x||^2``.

        Args:
            columns: bool ``(W,)``, the measured lines.
        """
        known = np.flatnonzero(self.lines.numpy() > 0)
        if not known.size:
            return float("nan")
        bands = _bands(columns.size)
        total = 0.0
        for band in range(BANDS):
            nearest = known[np.argmin(2 * np.abs(known - band) + (known > band))]
            count = int((~columns & (bands == band)).sum())
            total += count * float(self.error[nearest] / self.lines[nearest])
        return total


def _bands(width: int) -> npt.NDArray[np.int64]:
    """The band of each of ``width`` lines."""
    place = np.abs(np.arange(width) - width // 2) / (width / 2)
    return np.minimum((place * BANDS).astype(np.int64), BANDS - 1)


def center_block(columns: Columns) -> Columns:
    """The unbroken run of lines about frequency 0, as far as it is symmetric; bool ``(W,)``."""
    distance = np.abs(np.arange(columns.size) - columns.size // 2)
    nearest_gap = distance[~columns].min(initial=columns.size)
    return np.asarray(distance < nearest_gap)


def folds(columns: Columns, count: int = 1, seed: tuple[int, ...] = (), real: bool = False) -> list[Columns]:
    """Lines to keep back: ``count`` sets of outer lines, none twice, each about a fifth and from all frequencies.

    Args:
        columns: bool ``(W,)``, the measured lines.
        count: number of sets, 1 to 5; five take every outer line once.
        seed: of the draw, e.g. :func:`fsmnet.physics.masks.seed_from_name` of the scan.
        real: whether the image is real: a line whose conjugate stays would be no secret, so pairs are kept back whole.

    Returns:
        ``count`` arrays, bool ``(W,)``.

    Raises:
        UserError: fewer than five outer lines (or pairs), another count.
    """
    if not 1 <= count <= PARTS:
        raise UserError(f"folds of the hold-out check are 1 to {PARTS}, not {count}")
    width, outer = columns.size, columns & ~center_block(columns)
    places = np.arange(width)
    mirror = (2 * (width // 2) - places) % width
    if real:
        outer &= outer[mirror] | ~columns[mirror]  # no line whose conjugate lies in the centre block
    groups = [
        sorted({place, int(mirror[place])}) if real and outer[mirror[place]] else [place]
        for place in np.flatnonzero(outer).tolist()
        if not (real and outer[mirror[place]] and mirror[place] < place)  # a pair counts once
    ]
    if len(groups) < PARTS:
        one = len(groups) == 1
        what = f"pair{'s' * (not one)} of lines" if real else f"line{'s' * (not one)}"
        raise UserError(f"{len(groups)} outer {what} {'is' if one else 'are'} too few to keep some back")
    groups.sort(key=lambda group: abs(group[0] - width // 2))
    rng = np.random.default_rng([*seed, PARTS])
    parts = np.zeros((PARTS, width), dtype=bool)
    for start in range(0, len(groups), PARTS):  # neighbours in frequency go to different parts
        for part, group in zip(rng.permutation(PARTS), groups[start : start + PARTS], strict=False):
            parts[part, group] = True
    return list(parts[np.argsort(-parts.sum(1), kind="stable")][:count])


def without(acquisition: Acquisition, columns: Columns) -> Acquisition:
    """The same measurement, some lines not made."""
    rest = acquisition.mask & ~torch.from_numpy(columns).to(acquisition.mask.device)
    return replace(acquisition, lines=acquisition.lines * over_coils(rest), mask=rest)


def unseen(acquisition: Acquisition, columns: Columns, image: Tensor) -> Unseen:
    """What an image says of lines that it was not made from.

    Args:
        acquisition: with these lines; ``(..., C, H, W)``.
        columns: bool ``(W,)``, the lines kept back.
        image: ``(..., H, W)``, real or complex, in the acquisition's units.
    """
    difference = acquisition.forward(image) - acquisition.lines
    band, kept = torch.from_numpy(_bands(columns.size)), torch.from_numpy(columns)

    def by_band(each: Tensor) -> Tensor:
        return torch.zeros(BANDS, dtype=torch.float64).index_add_(0, band, each * kept)

    def energy(lines: Tensor) -> Tensor:
        # Not every GPU has float64.
        return by_band(torch.view_as_real(lines.cpu()).double().square().sum(-1).flatten(0, -2).sum(0))

    slices = acquisition.lines[..., 0, 0, 0].numel()
    count = by_band(torch.full(kept.shape, float(slices), dtype=torch.float64))
    return Unseen(energy(acquisition.lines), energy(difference), count)
