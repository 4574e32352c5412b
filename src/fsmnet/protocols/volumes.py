"""Protocols that simulate k-space from volumes: cases of two images, prepared once, under-sampled when asked for.

A volume is scaled to [0, 1] by its maximum, and slices with less than 10% of their pixels above zero are left out.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from fsmnet._version import __version__
from fsmnet.data.appearance import appearance
from fsmnet.data.options import PairOptions
from fsmnet.data.pairing.names import Pair, find_pairs, load_pair
from fsmnet.data.volume import CONTENT, Volume, content_hash, exact_hash, slices_with_content
from fsmnet.errors import UserError
from fsmnet.files import atomic_write, make_folder
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.masks import Mask, MaskRecipe, seed_from_name
from fsmnet.protocols.base import Protocol
from fsmnet.protocols.cases import Accelerated, Slices, thinned
from fsmnet.protocols.slices import MeasuredSample, Sample, TrainingSlices
from fsmnet.transforms import shift_pair, to_unit

LEAK = (
    "k-space of magnitude images is Hermitian: half of its lines tell the others, so that scores are better than on a "
    "scanner's; see pocs, and protocol complex"
)
CHUNK = 4
HEADS = 16  # cases that are looked at for the skull
SHIFT = 16  # the paper's 240 -> 256


Seeds = Sequence[tuple[int, ...]]  # of each slice, for all that is random about it but the mask


class VolumeProtocol(Protocol[Pair]):
    """A protocol whose cases are pairs of volumes; what remains to be said is its name."""

    def find_cases(self, options: PairOptions, out: Path, cases: Sequence[str] | None = None) -> list[Pair]:
        """Pairs by their files' names, see :func:`fsmnet.data.pairing.names.find_pairs`."""
        return find_pairs(options.data, options.target, options.auxiliary, cases)

    def data_range(self, reference: Tensor) -> float:
        """1: the maximum of the whole volume, be it in a slice that counts or in another."""
        return 1.0

    def frame(self, volume: Tensor) -> Tensor:
        """The part of ``(S, H, W)`` that the protocol looks at; here all of it."""
        return volume

    def precision(self, image: Tensor) -> Tensor:
        """A fully sampled image on [0, 1], in double precision, in the protocol's precision; here float32."""
        return image.float()

    def measure(self, target: Tensor, mask: Tensor, seeds: Seeds = ()) -> Acquisition:
        """What an accelerated scan would have measured of slices; here of a real image, without noise.

        Args:
            target: slices on [0, 1], ``(n, H, W)``, float or uint8.
            mask: bool, ``(W,)``.
            seeds: one of each slice, where the protocol draws something.
        """
        return Acquisition.simulate(to_unit(target), mask)

    def truth(self, target: Tensor, seeds: Seeds = ()) -> Tensor:
        """What is measured of slices on [0, 1]: complex ``(n, H, W)``; here without phase."""
        return to_unit(target).to(torch.complex64)

    def zero_fill(self, target: Tensor, mask: Tensor, seeds: Seeds = ()) -> Tensor:
        """The zero-filled magnitude of :meth:`measure` in the protocol's precision, ``(n, H, W)``."""
        # A few slices at a time stay in the processor's cache.
        parts = [slice(first, first + CHUNK) for first in range(0, len(target), CHUNK)]
        return torch.cat([self.measure(target[part], mask, seeds[part]).zero_filled.abs() for part in parts])

    def prepare(self, target: Volume, auxiliary: Volume) -> Slices:
        """Scale both volumes, keep the slices with content, and go to the protocol's frame and precision.

        Raises:
            UserError: no slice has enough content.
        """
        frames = [self.frame(torch.from_numpy(volume.data)) for volume in (target, auxiliary)]
        numbers = np.flatnonzero(slices_with_content(frames[0].numpy(), CONTENT)).tolist()
        if not numbers:
            raise UserError(
                f"{target.source}: no slice has 10% of its pixels above zero; is the third axis the slice axis?"
            )
        scaled = []
        for frame, volume in zip(frames, (target, auxiliary), strict=True):
            maximum = frame.max()
            if maximum <= 0:
                height, width = frame.shape[-2:]
                raise UserError(f"{volume.source}: nothing is left of the image in the {height} x {width} centre")
            # In double precision, so that a value just below a grey level does not round up to it.
            scaled.append(self.precision(frame[numbers].double() / maximum.double()))
        place = target.affine if target.placed else None
        return Slices(scaled[0], scaled[1], numbers, content_hash(target.data), affine=place)

    def accelerate(
        self,
        case: Pair,
        recipe: MaskRecipe,
        *,
        resample: bool = False,
        cache: Path | None = None,
        most: int | None = None,
    ) -> Accelerated:
        """A case under-sampled by the mask that belongs to it."""
        slices = prepared_slices(case, self, resample, cache)
        if most is not None:
            keep = thinned(len(slices.numbers), most)
            numbers = [slices.numbers[i] for i in keep]
            slices = replace(slices, target=slices.target[keep], auxiliary=slices.auxiliary[keep], numbers=numbers)
        mask = recipe.draw(slices.target.shape[-1], case.target.name)
        columns = torch.from_numpy(mask.columns)
        seeds = [(*seed_from_name(case.target.name), number) for number in slices.numbers]
        return Accelerated(
            slices,
            self.zero_fill(slices.target, columns, seeds),
            None,
            mask,
            measured=lambda part: self.measure(slices.target[part], columns, seeds[part]),
        )

    def training_slices(
        self,
        cases: Sequence[Pair],
        recipe: MaskRecipe,
        *,
        seed: int = 0,
        augment: bool = True,
        resample: bool = False,
        cache: Path | None = None,
    ) -> SlicePairs:
        """The slices of several cases to train on."""
        return SlicePairs(cases, self, recipe, seed=seed, augment=augment, resample=resample, cache=cache)


def prepared_slices(pair: Pair, protocol: VolumeProtocol, resample: bool = False, cache: Path | None = None) -> Slices:
    """Slices of a pair in the protocol's form; read from ``cache`` when they were prepared before.

    A cached copy is used only while both files have the size and time they had, and is memory-mapped.
    """
    if cache is None:
        return _prepared(pair, protocol, resample)
    files = [pair.target, pair.auxiliary]
    state = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.exists()]
    key = hashlib.sha256(json.dumps([__version__, state, protocol.name, resample]).encode()).hexdigest()[:16]
    names = ("target", "auxiliary", "numbers", "content", "fingerprint")
    paths = [cache / f"{pair.case}-{key}-{what}.npy" for what in names]
    try:
        return _kept(paths)
    except (OSError, ValueError, EOFError, SyntaxError):  # not there yet, or damaged
        make_folder(cache)
    slices = _prepared(pair, protocol, resample)
    texts = np.array(slices.content), np.array(slices.fingerprint)
    arrays = (slices.target.numpy(), slices.auxiliary.numpy(), np.array(slices.numbers), *texts)
    for path, array in zip(paths, arrays, strict=True):
        with atomic_write(path) as file:
            np.save(file, array)
    return _kept(paths)


def _kept(paths: Sequence[Path]) -> Slices:
    """Slices from the cache: copy-on-write maps, writable for PyTorch, without touching the file or the memory."""
    target, auxiliary = (torch.from_numpy(np.load(path, mmap_mode="c")) for path in paths[:2])
    return Slices(target, auxiliary, np.load(paths[2]).tolist(), str(np.load(paths[3])), str(np.load(paths[4])))


def _prepared(pair: Pair, protocol: VolumeProtocol, resample: bool) -> Slices:
    """Slices of a pair from its files."""
    slices = protocol.prepare(*load_pair(pair.target, pair.auxiliary, resample))
    return replace(slices, fingerprint=exact_hash(pair.target.name, slices.target.numpy(), slices.auxiliary.numpy()))


class SlicePairs(TrainingSlices):
    """Training slices of several pairs of volumes.

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
        protocol: VolumeProtocol,
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
        self.contents = [slices.content for slices in self.cases]
        self.fingerprints = [slices.fingerprint for slices in self.cases]
        self.places = [
            (case, number) for case, slices in enumerate(self.cases) for number in range(len(slices.numbers))
        ]
        self._fixed: dict[int, Tensor] = {}
        smallest = min(min(size) for size in self.sizes)
        if augment and smallest <= SHIFT // 2:
            raise UserError(f"slices of {smallest} pixels are too small to be shifted; pass --no-augment")

    @property
    def sizes(self) -> set[tuple[int, int]]:
        """Distinct slice sizes (H, W)."""
        return {(s.target.shape[-2], s.target.shape[-1]) for s in self.cases}

    def shape(self, case: int) -> tuple[int, ...]:
        """(H, W)."""
        return tuple(self.cases[case].target.shape[-2:])

    def heads(self) -> str:
        """As some cases look, evenly spread."""
        shown = [self.cases[number].target.numpy() for number in thinned(len(self.cases), HEADS)]
        kinds = {appearance(image).head for image in shown} - {"unknown"}
        return "both" if len(kinds) > 1 else next(iter(kinds), "")

    def example_mask(self) -> Mask:
        """The mask of the first file, or of the largest slices where they differ."""
        return self.mask.draw(max(self.sizes)[1], self.names[0])

    def _images(self, position: int, case: int, number: int) -> tuple[Tensor, Tensor]:
        """Target and auxiliary of a position, ``(1, H, W)`` each."""
        target, auxiliary = self.cases[case].target[number][None], self.cases[case].auxiliary[number][None]
        if self.augment:
            generator = torch.Generator().manual_seed(
                int(np.random.SeedSequence((self.seed, position)).generate_state(1)[0])
            )
            shifted = shift_pair(to_unit(target), to_unit(auxiliary), SHIFT, generator)
            target, auxiliary = (_like(image, target) for image in shifted)
        return target, auxiliary

    def measured(self, position: int, case: int, number: int) -> MeasuredSample:
        """What was measured of it, the auxiliary as it is, and the complex image."""
        target, auxiliary = self._images(position, case, number)
        seeds = [(self.seed, position)]
        scan = self.protocol.measure(target, self._mask(target.shape[-1], case, position), seeds)[0]
        return MeasuredSample.of(scan, to_unit(auxiliary), self.protocol.truth(target, seeds))

    def sample(self, position: int, case: int, number: int) -> Sample:
        """Slice ``number`` of a case with the mask and the augmentation of a position."""
        target, auxiliary = self._images(position, case, number)
        zero_filled = self.protocol.zero_fill(
            target, self._mask(target.shape[-1], case, position), [(self.seed, position)]
        )
        recipe = self.protocol.normalisation
        inputs = recipe.inputs(zero_filled, auxiliary)
        return Sample(inputs.target, inputs.auxiliary, recipe.target(target, inputs.normalisation))

    def _mask(self, columns: int, case: int, position: int) -> Tensor:
        if self.mask.seed == "name":
            return torch.from_numpy(self.mask.draw_sample(columns, (self.seed, position)).columns)
        if columns not in self._fixed:
            self._fixed[columns] = torch.from_numpy(self.mask.draw(columns, self.names[case]).columns)
        return self._fixed[columns]


def _like(image: Tensor, original: Tensor) -> Tensor:
    return (image * 255).round().to(torch.uint8) if original.dtype == torch.uint8 else image
