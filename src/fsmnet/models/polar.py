"""Amplitude and phase of an image's Fourier transform, and back (Chen et al. 2024, Eq. 1-2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def amplitude_phase(image: Tensor) -> tuple[Tensor, Tensor]:
    """Amplitude and phase of the real FFT of ``(..., H, W)``, each ``(..., H, W // 2 + 1)``.

    Eq. 1: ``X(u, v) = sum_h sum_w x(h, w) exp(-2 pi i (u h / H + v w / W))``, unnormalised and not shifted. Of a real
    image half of it is the other half's conjugate, so half the columns are enough.

    Eq. 2: ``A = sqrt(Re(X)^2 + Im(X)^2)``, ``P = arctan(Im(X) / Re(X))`` in the right quadrant.

    A real image's self-conjugate coefficients (zero and Nyquist rows crossed with zero and Nyquist columns) are real,
    so their phase is 0 or pi. Computed from the imaginary part, a rounding error decides between +pi and -pi there, and
    the convolutions that follow spread the jump. Here the sign of the real part decides, on every machine.

    The gradient at a zero coefficient is zero.
    """
    spectrum = torch.fft.rfft2(image, norm="backward")
    real_phase = (spectrum.real < 0).to(image.dtype) * math.pi
    own = self_conjugate(spectrum, image.shape[-2], image.shape[-1])
    return spectrum.abs(), torch.where(own, real_phase, spectrum.angle())


def from_amplitude_phase(amplitude: Tensor, phase: Tensor) -> Tensor:
    """The complex spectrum ``amplitude * exp(i phase)``."""
    return torch.complex(amplitude * phase.cos(), amplitude * phase.sin())


def self_conjugate(spectrum: Tensor, height: int, width: int) -> Tensor:
    """Where coefficients of the half spectrum of an image of this size are their own conjugates, bool."""
    numbers = [torch.arange(size, device=spectrum.device) for size in (height, width)]
    rows, columns = ((n == 0) | (n == n.flip(0) + 1) for n in numbers)  # -n is n, for even and odd sizes
    return rows[:, None] & columns[None, : width // 2 + 1]
