"""Slices for training: addressed by number, in an order that can be resumed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from fsmnet.errors import UserError
from fsmnet.physics.masks import Mask


class Sample(NamedTuple):
    """One training slice: normalised zero-filled target, auxiliary and full target, ``(1, H, W)`` each."""

    zero_filled: Tensor
    auxiliary: Tensor
    target: Tensor


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

    def heads(self) -> str:
        """``stripped`` of the skull, ``whole`` or ``both``, as the images look; empty where that does not show."""
        return ""

    @abstractmethod
    def example_mask(self) -> Mask:
        """The mask of the first file, or of the largest slices where they differ."""

    @abstractmethod
    def sample(self, position: int, case: int, number: int) -> Sample:
        """Slice ``number`` of a case with the mask and the augmentation of a position."""


class RunSampler(Sampler[list[tuple[int, int]]]):
    """Endless batches in an order that follows from the seed and the position alone.

    Every epoch is a new permutation of the slices; batches run across epochs, so that each has full size.

    Args:
        n_slices: slices in the data set.
        batch: slices per step, on all processes together.
        seed: of the order.
        start: step to begin with; resuming needs nothing else.
        rank: of this process.
        world: number of processes; each takes its share of every batch.
    """

    def __init__(self, n_slices: int, batch: int, seed: int, start: int = 0, rank: int = 0, world: int = 1) -> None:
        if n_slices < 1:
            raise UserError("there is no slice to train on")
        if batch % world:
            raise UserError(f"a batch of {batch} cannot be shared by {world} processes; make it a multiple of {world}")
        self.n_slices, self.batch, self.seed, self.start = n_slices, batch, seed, start
        self.rank, self.world = rank, world

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Lists of (position, slice number)."""
        step, epoch, order = self.start, -1, np.empty(0, dtype=np.int64)
        share = self.batch // self.world
        while True:
            first = step * self.batch + self.rank * share
            keys = []
            for position in range(first, first + share):
                if position // self.n_slices != epoch:
                    epoch = position // self.n_slices
                    order = np.random.default_rng((self.seed, epoch)).permutation(self.n_slices)
                keys.append((position, int(order[position % self.n_slices])))
            yield keys
            step += 1
