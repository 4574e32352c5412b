"""Invertible steps between an image and a network: normalisation, padding; and augmentation of a pair."""

from __future__ import annotations

from dataclasses import dataclass

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
