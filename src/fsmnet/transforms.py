"""Invertible steps between an image and a network: normalisation, padding; and augmentation of a pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

CLIP = 6.0


@dataclass(frozen=True)
class Normalisation:
    """Zero mean and unit deviation per image, and the way back.

    Attributes:
        mean: ``(..., 1, 1)``, mean of each image it was fitted on.
        std: ``(..., 1, 1)``, standard deviation plus 1e-11, so that nothing is divided by 0.
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def fit(cls, image: Tensor, sample: bool = False) -> Normalisation:
        """Statistics of ``(..., H, W)`` over the last two axes.

        Args:
            image: the images.
            sample: the sample standard deviation, as fastMRI's, instead of the population's.
        """
        std = image.std((-2, -1), correction=int(sample), keepdim=True)
        return cls(image.mean((-2, -1), keepdim=True), std + 1e-11)

    def apply(self, image: Tensor, clip: float | None = CLIP) -> Tensor:
        """``(image - mean) / std``, limited to ``+-clip`` unless that is None."""
        scaled = (image - self.mean) / self.std
        return scaled if clip is None else scaled.clamp(-clip, clip)

    def undo(self, image: Tensor) -> Tensor:
        """Back to the intensities of the fitted image."""
        return image * self.std + self.mean


@dataclass(frozen=True)
class Inputs:
    """What a network takes, and the way back to intensities.

    Attributes:
        target: normalised zero-filled target ``(..., H, W)``.
        auxiliary: normalised auxiliary ``(..., H, W)``.
        normalisation: fitted on the zero-filled target.
    """

    target: Tensor
    auxiliary: Tensor
    normalisation: Normalisation


@dataclass(frozen=True)
class NormalisationRecipe:
    """How the images of a network are normalised; what a protocol answers and a checkpoint keeps.

    Attributes:
        deviation: ``population`` divides by the population's standard deviation, ``sample`` by the sample's.
        clip: normalised inputs are limited to ``+-clip``; None for no limit.
        clip_target: the same of the fully sampled target.
        auxiliary: statistics that normalise the auxiliary: its ``own``, or those of the ``undersampled`` auxiliary.
    """

    deviation: Literal["population", "sample"] = "population"
    clip: float | None = CLIP
    clip_target: float | None = None
    auxiliary: Literal["own", "undersampled"] = "own"

    def inputs(self, zero_filled: Tensor, auxiliary: Tensor, auxiliary_zero_filled: Tensor | None = None) -> Inputs:
        """Normalise the zero-filled target and the auxiliary, each image by its own statistics.

        Args:
            zero_filled: ``(..., H, W)``, float, or uint8 with 255 for 1.
            auxiliary: ``(..., H, W)``, likewise.
            auxiliary_zero_filled: what is left of the auxiliary, whose statistics are taken if the recipe says so;
                where there is none, the auxiliary's own are.
        """
        target, helper = to_unit(zero_filled), to_unit(auxiliary)
        normalisation = self._fit(target)
        masked = auxiliary_zero_filled if self.auxiliary == "undersampled" else None
        statistics = self._fit(helper if masked is None else to_unit(masked))
        return Inputs(normalisation.apply(target, self.clip), statistics.apply(helper, self.clip), normalisation)

    def target(self, target: Tensor, normalisation: Normalisation) -> Tensor:
        """The fully sampled target ``(..., H, W)`` by the zero-filled image's statistics."""
        return normalisation.apply(to_unit(target), self.clip_target)

    def __str__(self) -> str:
        """In words, for records."""
        clipped = "" if self.clip is None else f", clipped to +-{self.clip:g}"
        return f"per slice, mean and {self.deviation} standard deviation of the zero-filled image{clipped}"

    def _fit(self, image: Tensor) -> Normalisation:
        return Normalisation.fit(image, self.deviation == "sample")


def to_unit(image: Tensor) -> Tensor:
    """8-bit grey levels to [0, 1] in float32; float images as they are."""
    return image.float() / 255 if image.dtype == torch.uint8 else image


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Repeat the border until H and W of ``(..., C, H, W)`` are multiples of ``multiple``; half before, half after."""
    rows, columns = (-image.shape[-2] % multiple, -image.shape[-1] % multiple)
    if rows == columns == 0:
        return image
    return F.pad(image, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2), mode="replicate")


def unpad(image: Tensor, height: int, width: int) -> Tensor:
    """Undo :func:`pad_to_multiple`: the middle ``(..., height, width)``."""
    top, left = (image.shape[-2] - height) // 2, (image.shape[-1] - width) // 2
    return image[..., top : top + height, left : left + width]


def center_fit(image: Tensor, height: int, width: int) -> Tensor:
    """Centre ``(..., H, W)`` in ``(..., height, width)``: zeros around where it is smaller, cropped where larger.

    Half the difference, rounded down, goes before, the rest after, on each axis alone.
    """
    for axis, size in ((-2, height), (-1, width)):
        have = image.shape[axis]
        if have > size:
            image = image.narrow(axis, (have - size) // 2, size)
        elif have < size:
            before = (size - have) // 2
            pad = [before, size - have - before]
            image = F.pad(image, pad if axis == -1 else [0, 0, *pad])
    return image


def shift_pair(target: Tensor, auxiliary: Tensor, margin: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Paper's augmentation: reflect-pad both ``(..., H, W)`` by ``margin`` in all and crop one random H x W window.

    240 -> 256 is a margin of 16. The same window for both, before under-sampling, so that the mask describes the image.
    """
    height, width = target.shape[-2:]
    before = margin // 2
    top, left = (int(torch.randint(0, margin + 1, (), generator=generator)) for _ in range(2))

    def window(image: Tensor) -> Tensor:
        padded = F.pad(image[None], (before, margin - before, before, margin - before), mode="reflect")[0]
        return padded[..., top : top + height, left : left + width]

    return window(target), window(auxiliary)
