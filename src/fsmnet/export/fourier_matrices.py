"""Fourier transforms as products of real matrices, for runtimes without complex numbers (ONNX)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fsmnet.models.blocks import FrequencyBlock
from fsmnet.models.polar import self_conjugate


def without_complex_numbers(model: nn.Module) -> nn.Module:
    """Let every frequency block of a model, changed in place, compute its transforms as real products."""
    for module in model.modules():
        if isinstance(module, FrequencyBlock):
            module.__class__ = RealFrequencyBlock
    return model


class RealFrequencyBlock(FrequencyBlock):
    """A frequency block in real arithmetic: ``O(N)`` products per value instead of the FFT's ``O(log N)``."""

    def transform(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Amplitude and phase of an image."""
        real, imaginary = rfft2(image)
        phase = torch.where(
            self_conjugate(real, image.shape[-2], image.shape[-1]),
            (real < 0).to(real.dtype) * math.pi,
            torch.atan2(imaginary, real),
        )
        return (real.square() + imaginary.square()).sqrt(), phase

    def inverse(self, amplitude: Tensor, phase: Tensor, height: int, width: int) -> Tensor:
        """The image of an amplitude and a phase."""
        real, imaginary = amplitude * phase.cos(), amplitude * phase.sin()
        return irfft2(real + self.offset.real, imaginary + self.offset.imag, height, width)


def rfft2(image: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of ``torch.fft.rfft2`` of ``(..., H, W)``, each ``(..., H, W // 2 + 1)``."""
    height, width = image.shape[-2:]
    (row_cosine, row_sine), (cosine, sine) = waves(image, height), waves(image, width)
    half = width // 2 + 1
    real, imaginary = image @ cosine[:, :half], -(image @ sine[:, :half])
    return row_cosine @ real + row_sine @ imaginary, row_cosine @ imaginary - row_sine @ real


def irfft2(real: Tensor, imaginary: Tensor, height: int, width: int) -> Tensor:
    """``torch.fft.irfft2`` of ``(..., H, W // 2 + 1)`` to ``(..., H, W)``."""
    (row_cosine, row_sine), (cosine, sine) = waves(real, height), waves(real, width)
    half = width // 2 + 1
    columns = row_cosine @ real - row_sine @ imaginary, row_cosine @ imaginary + row_sine @ real
    # All columns but those that are their own negatives stand for two.
    numbers = torch.arange(width, device=real.device)
    single = ((numbers == 0) | (numbers == numbers.flip(0) + 1))[:half, None]
    weight = (2.0 - single.to(real.dtype)) / (height * width)
    return columns[0] @ (weight * cosine[:half]) - columns[1] @ (weight * sine[:half])


def waves(like: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of ``2 pi i k / size``, ``(size, size)`` each."""
    numbers = torch.arange(size, device=like.device)
    turns = (numbers[:, None] * numbers) % (numbers[-1:] + 1)  # in whole numbers, so that large products stay exact
    angles = turns.to(like.dtype) * (2 * math.pi / size)
    return angles.cos(), angles.sin()
