"""Slices for training: addressed by number, in an order that can be resumed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from fsmnet.errors import UserError
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.masks import Mask

STREAM = 3  # tells these draws from others of the same seed and position


class Sample(NamedTuple):
    """One training slice: normalised zero-filled target, auxiliary and full target, ``(1, H, W)`` each."""

    zero_filled: Tensor
    auxiliary: Tensor
    target: Tensor


class MeasuredSample(NamedTuple):
    """One training slice as a k-space network takes it, the volume's maximum about 1; tensors alone, to be collated.

    Attributes:
        lines: complex64 ``(C, H, W)``, see :class:`fsmnet.physics.acquisition.Acquisition`.
        mask: bool ``(1, W)``.
        maps: complex64 ``(C, H, W)``; without values, ``(0,)``, for one coil.
        noise: standard deviation of the complex noise; below 0 if it is not told.
        auxiliary: ``(1, H, W)``; zeros stand for none.
        target: ``(1, h, w)``, the middle of the field of view: complex, or a magnitude whose phase nobody knows.
    """

    lines: Tensor
    mask: Tensor
    maps: Tensor
    noise: Tensor
    auxiliary: Tensor
    target: Tensor

    @classmethod
    def of(cls, scan: Acquisition, auxiliary: Tensor, target: Tensor) -> MeasuredSample:
        """Of what was measured of one slice, lines ``(C, H, W)``."""
        maps = torch.empty(0, dtype=torch.complex64) if scan.maps is None else scan.maps
        noise = torch.tensor(-1.0) if scan.noise is None else torch.as_tensor(scan.noise, dtype=torch.float32)
        return cls(scan.lines, scan.mask.view(1, -1), maps, noise, auxiliary, target)

    @property
    def acquisition(self) -> Acquisition:
        """What was measured, of a slice or of a batch."""
        return Acquisition(self.lines, self.mask, self.maps if self.maps.numel() else None, self.noise)


class TrainingSlices(Dataset[Sample]):
    """Training slices of several cases.

    An item is asked for by ``(position, index)``: how many samples the run has drawn before, and which slice. All that
    is random about a sample follows from the seed and its position, so a run that is stopped and resumed, or spread
    over workers, sees the same samples. An item asked for by its index alone, as a plain ``DataLoader`` does, is the
    sample at the position of that number: always the same.

    Attributes:
        places: of each slice the case and its number there.
        contents: of each case what tells its target, see :func:`fsmnet.data.volume.content_hash`.
        fingerprints: of each case, see :class:`fsmnet.protocols.cases.Slices`; a protocol from outside may tell none.
    """

    places: list[tuple[int, int]]
    contents: Sequence[str] = ()
    fingerprints: Sequence[str] = ()

    def __len__(self) -> int:
        """Number of slices."""
        return len(self.places)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        """Sample for a slice's index, or for (position in the run, index)."""
        position, index = key if isinstance(key, tuple) else (key, key)
        if not 0 <= index < len(self.places):
            raise IndexError(f"there is no slice {index}; slices are 0 to {len(self.places) - 1}")
        return self.sample(position, *self.places[index])

    @property
    @abstractmethod
    def sizes(self) -> set[tuple[int, int]]:
        """Distinct slice sizes (H, W)."""

    def shape(self, case: int) -> tuple[int, ...]:
        """What a case's slices must have in common with others to share a batch: (H, W); by default the case."""
        return next(iter(self.sizes)) if len(self.sizes) == 1 else (case,)

    def measured_shape(self, case: int, strip: int | None = None) -> tuple[int, ...]:
        """The same of what :meth:`measured` gives, where ``strip`` rows are taken of it, or all."""
        shape = self.shape(case)
        return shape if strip is None else shape[1:] or shape

    def heads(self) -> str:
        """``stripped`` of the skull, ``whole`` or ``both``, as the images look; empty where that does not show."""
        return ""

    @abstractmethod
    def example_mask(self) -> Mask:
        """The mask of the first file, or of the largest slices where they differ."""

    @abstractmethod
    def sample(self, position: int, case: int, number: int) -> Sample:
        """Slice ``number`` of a case with the mask and the augmentation of a position."""

    def measured(self, position: int, case: int, number: int) -> MeasuredSample:
        """The same as a k-space network takes it.

        Raises:
            UserError: here, where nobody says what was measured.
        """
        raise UserError("this protocol has no k-space to train on; choose a network for images, or protocol complex")


class MeasuredSlices(Dataset[MeasuredSample]):
    """Training slices as a k-space network takes them, asked for as :class:`TrainingSlices` are.

    Half of the samples tell the noise, so that the network can do with and without.

    Args:
        slices: of a protocol.
        seed: of what is random here.
        strip: rows of each sample, from a random place; all if None. Lines are left out along the other axis only, so
            a strip is a problem of its own with exactly the same physics.
        blank: share of the samples without auxiliary.
    """

    def __init__(self, slices: TrainingSlices, *, seed: int = 0, strip: int | None = None, blank: float = 0.0) -> None:
        self.slices, self.seed, self.strip, self.blank = slices, seed, strip, blank
        lowest = min(height for height, _ in slices.sizes)
        if strip is not None and strip > lowest:
            raise UserError(f"a strip of {strip} rows does not fit into slices of {lowest}; lower strip")

    def __len__(self) -> int:
        """Number of slices."""
        return len(self.slices)

    def __getitem__(self, key: tuple[int, int]) -> MeasuredSample:
        """Sample for (position in the run, index of the slice)."""
        position, index = key
        sample = self.slices.measured(position, *self.slices.places[index])
        random = np.random.default_rng((self.seed, position, STREAM))
        told, there, place = random.random(3)
        if told < 0.5:
            sample = sample._replace(noise=torch.tensor(-1.0))
        if there < self.blank:
            sample = sample._replace(auxiliary=torch.zeros_like(sample.auxiliary))
        return sample if self.strip is None else self._strip(sample, float(place))

    def _strip(self, sample: MeasuredSample, place: float) -> MeasuredSample:
        whole, shown = sample.lines.shape[-2], sample.target.shape[-2]
        first = int(place * (shown - (self.strip or 0) + 1))
        of_target = slice(first, first + (self.strip or 0))
        before = (whole - shown) // 2
        rows = slice(before + of_target.start, before + of_target.stop)
        lines, maps = (t[..., rows, :] if t.numel() else t for t in (sample.lines, sample.maps))
        auxiliary, target = sample.auxiliary[..., rows, :], sample.target[..., of_target, :]
        return sample._replace(lines=lines, maps=maps, auxiliary=auxiliary, target=target)


class RunSampler(Sampler[list[tuple[int, int]]]):
    """Endless batches in an order that follows from the seed and the position alone.

    Every epoch is a new permutation of the slices; batches run across epochs, so that each has full size. Slices of
    several sizes cannot share a batch: each waits until as many of its size were drawn as fill one.

    Args:
        n_slices: slices in the data set.
        batch: slices per step, on all processes together.
        seed: of the order.
        start: step to begin with; resuming needs nothing else.
        rank: of this process.
        world: number of processes; each takes its share of every batch.
        sizes: what tells the size of each slice; all have one size if there is none.
    """

    def __init__(
        self,
        n_slices: int,
        batch: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
        sizes: Sequence[tuple[int, ...]] = (),
    ) -> None:
        if n_slices < 1:
            raise UserError("there is no slice to train on")
        if batch % world:
            raise UserError(f"a batch of {batch} cannot be shared by {world} processes; make it a multiple of {world}")
        self.n_slices, self.batch, self.seed, self.start = n_slices, batch, seed, start
        self.rank, self.world, self.sizes = rank, world, sizes

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Lists of (position, slice number)."""
        share = self.batch // self.world
        mine = slice(self.rank * share, (self.rank + 1) * share)
        if len({*self.sizes}) > 1:
            return (keys[mine] for keys in islice(self._of_one_size(), self.start, None))
        draws = self._draws(self.start * self.batch)
        return (list(islice(draws, self.batch))[mine] for _ in count())

    def _draws(self, position: int) -> Iterator[tuple[int, int]]:
        """What is drawn from a position on."""
        begin, first = divmod(position, self.n_slices)
        for epoch in count(begin):
            order = np.random.default_rng((self.seed, epoch)).permutation(self.n_slices).tolist()
            yield from enumerate(order[first:], epoch * self.n_slices + first)
            first = 0

    def _of_one_size(self) -> Iterator[list[tuple[int, int]]]:
        """Batches from the first on, of one size each."""
        waiting: dict[tuple[int, ...], list[tuple[int, int]]] = {size: [] for size in self.sizes}
        for position, index in self._draws(0):
            keys = waiting[self.sizes[index]]
            keys.append((position, index))
            if len(keys) == self.batch:
                yield [*keys]
                keys.clear()
