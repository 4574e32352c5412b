"""Slice pairs for training: prepared once, kept in memory or on disk, addressed by number."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from tqdm import tqdm

from fsmnet._version import __version__
from fsmnet.data.options import ProtocolName
from fsmnet.data.pairing.names import Pair, load_pair
from fsmnet.errors import UserError
from fsmnet.files import atomic_write, make_folder
from fsmnet.physics.masks import Mask, MaskRecipe
from fsmnet.protocols.base import Slices, network_inputs, network_target, prepare, to_unit, zero_fill
from fsmnet.transforms import shift_pair

SHIFT = 16  # the paper's 240 -> 256


def prepared_slices(pair: Pair, protocol: ProtocolName, resample: bool = False, cache: Path | None = None) -> Slices:
    """Slices of a pair in the protocol's form; read from ``cache`` when they were prepared before.

    A cached copy is used only while both files have the size and time they had, and is memory-mapped.
    """
    if cache is None:
        return prepare(*load_pair(pair.target, pair.auxiliary, resample), protocol)
    files = [pair.target, pair.auxiliary]
    state = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.exists()]
    key = hashlib.sha256(json.dumps([__version__, state, protocol, resample]).encode()).hexdigest()[:16]
    paths = [cache / f"{pair.case}-{key}-{what}.npy" for what in ("target", "auxiliary", "numbers")]
    if not all(path.is_file() for path in paths):
        make_folder(cache)
        slices = prepare(*load_pair(pair.target, pair.auxiliary, resample), protocol)
        arrays = (slices.target.numpy(), slices.auxiliary.numpy(), np.array(slices.numbers))
        for path, array in zip(paths, arrays, strict=True):
            with atomic_write(path) as file:
                np.save(file, array)
    # Copy-on-write maps: writable for PyTorch, without touching the file or the memory.
    target, auxiliary = (torch.from_numpy(np.load(path, mmap_mode="c")) for path in paths[:2])
    return Slices(target, auxiliary, np.load(paths[2]).tolist())


@dataclass(frozen=True)
class Accelerated:
    """Slices of one case, and what an accelerated scan would have left of them.

    Attributes:
        slices: fully sampled target and auxiliary.
        zero_filled: ``(n, H, W)``, what is left of the target.
        auxiliary_zero_filled: ``(n, H, W)``, of the auxiliary, where the protocol takes its statistics; else None.
        mask: the target's.
    """

    slices: Slices
    zero_filled: Tensor
    auxiliary_zero_filled: Tensor | None
    mask: Mask


class Sample(NamedTuple):
    """One training slice: normalised zero-filled target, auxiliary and full target, ``(1, H, W)`` each."""

    zero_filled: Tensor
    auxiliary: Tensor
    target: Tensor


class SlicePairs(Dataset[Sample]):
    """Training slices of several pairs.

    An item is asked for by ``(position, index)``: how many samples the run has drawn before, and which slice. All that
    is random about a sample follows from the seed and its position, so a run that is stopped and resumed, or spread
    over workers, sees the same samples.

    Args:
        pairs: the training pairs.
        protocol: how to prepare and under-sample.
        mask: how masks are drawn; with seed ``"name"`` every sample gets a mask of its own.
        seed: of augmentation and masks.
        augment: shift both contrasts before under-sampling.
        resample: bring auxiliaries onto the targets' grids.
        cache: folder for prepared slices; memory if None.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        protocol: ProtocolName,
        mask: MaskRecipe,
        *,
        seed: int = 0,
        augment: bool = True,
        resample: bool = False,
        cache: Path | None = None,
    ) -> None:
        self.protocol = protocol
        self.mask = mask
        self.seed = seed
        self.augment = augment
        bar = tqdm(pairs, desc="reading", unit="case", disable=not sys.stderr.isatty(), leave=False)
        self.cases = [prepared_slices(pair, protocol, resample, cache) for pair in bar]
        self.names = [pair.target.name for pair in pairs]
        self.places = [
            (case, number) for case, slices in enumerate(self.cases) for number in range(len(slices.numbers))
        ]
        self._fixed: dict[int, Tensor] = {}
        smallest = min(min(size) for size in self.sizes)
        if augment and smallest <= SHIFT // 2:
            raise UserError(f"slices of {smallest} pixels are too small to be shifted; pass --no-augment")

    def __len__(self) -> int:
        """Number of slices."""
        return len(self.places)

    @property
    def sizes(self) -> set[tuple[int, int]]:
        """Distinct slice sizes (H, W)."""
        return {(s.target.shape[-2], s.target.shape[-1]) for s in self.cases}

    def example_mask(self) -> Mask:
        """The mask of the first file, or of the largest slices where they differ."""
        return self.mask.draw(max(self.sizes)[1], self.names[0])

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Sample for (position in the run, slice number)."""
        position, index = key
        case, number = self.places[index]
        target, auxiliary = self.cases[case].target[number][None], self.cases[case].auxiliary[number][None]
        if self.augment:
            generator = torch.Generator().manual_seed(
                int(np.random.SeedSequence((self.seed, position)).generate_state(1)[0])
            )
            shifted = shift_pair(to_unit(target), to_unit(auxiliary), SHIFT, generator)
            target, auxiliary = (_like(image, target) for image in shifted)
        zero_filled = zero_fill(target, self._mask(target.shape[-1], case, position), self.protocol)
        inputs = network_inputs(zero_filled, auxiliary)
        return Sample(inputs.target, inputs.auxiliary, network_target(target, inputs.normalisation, self.protocol))

    def _mask(self, columns: int, case: int, position: int) -> Tensor:
        if self.mask.seed == "name":
            return torch.from_numpy(self.mask.draw_sample(columns, (self.seed, position)).columns)
        if columns not in self._fixed:
            self._fixed[columns] = torch.from_numpy(self.mask.draw(columns, self.names[case]).columns)
        return self._fixed[columns]


def _like(image: Tensor, original: Tensor) -> Tensor:
    return (image * 255).round().to(torch.uint8) if original.dtype == torch.uint8 else image


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
