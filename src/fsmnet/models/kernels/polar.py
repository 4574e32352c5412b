"""Amplitude and phase with backward passes written out, see :mod:`fsmnet.models.polar`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def amplitude_phase(image: Tensor) -> tuple[Tensor, Tensor]:
    """See :func:`fsmnet.models.polar.amplitude_phase`; in real arithmetic, which is vectorised."""
    if torch.is_grad_enabled() and image.requires_grad:
        amplitude, phase = _ToPolar.apply(image)  # type: ignore[no-untyped-call]
    else:
        spectrum = torch.fft.rfft2(image, norm="backward")
        amplitude, phase = _to_polar(*_parts(spectrum), image.shape[-2], image.shape[-1])
    return amplitude, phase


def from_amplitude_phase(amplitude: Tensor, phase: Tensor, offset: complex = 0.0) -> Tensor:
    """The complex spectrum ``amplitude * exp(i phase) + offset``."""
    if torch.is_grad_enabled() and (amplitude.requires_grad or phase.requires_grad):
        spectrum: Tensor = _FromPolar.apply(amplitude, phase, offset)  # type: ignore[no-untyped-call]
        return spectrum
    return _from_polar(amplitude, phase.cos(), phase.sin(), offset)


def _parts(spectrum: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part, each on its own: functions of two arrays are vectorised, those of pairs are not."""
    return spectrum.real.clone(), spectrum.imag.clone()


def _self_conjugate(height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the half spectrum whose crossings are their own conjugates."""
    rows = slice(None, None, height // 2) if height % 2 == 0 else slice(0, 1)
    columns = slice(None, None, width // 2) if width % 2 == 0 else slice(0, 1)
    return rows, columns


def _to_polar(real: Tensor, imaginary: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Amplitude and phase of the half spectrum of an image of this size, real where it is its own conjugate."""
    phase = torch.atan2(imaginary, real)
    rows, columns = _self_conjugate(height, width)
    phase[..., rows, columns] = (real[..., rows, columns] < 0).to(phase.dtype) * math.pi
    return torch.hypot(real, imaginary), phase


def _from_polar(amplitude: Tensor, cosine: Tensor, sine: Tensor, offset: complex) -> Tensor:
    real, imaginary = amplitude * cosine, amplitude * sine
    if offset:
        real, imaginary = real.add_(offset.real), imaginary.add_(offset.imag)
    return torch.complex(real, imaginary)


class _ToPolar(torch.autograd.Function):
    """Amplitude and phase of an image with a backward pass in real arithmetic and on half spectra.

    Autograd's own passes through complex numbers, and transforms a full spectrum of which half is zeros.
    """

    @staticmethod
    def forward(ctx: Any, image: Tensor) -> tuple[Tensor, Tensor]:
        ctx.size = image.shape[-2:]
        real, imaginary = _parts(torch.fft.rfft2(image, norm="backward"))
        amplitude, phase = _to_polar(real, imaginary, *ctx.size)
        ctx.save_for_backward(real, imaginary, amplitude)
        return amplitude, phase

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, amplitude_gradient: Tensor, phase_gradient: Tensor) -> Tensor:
        real, imaginary, amplitude = ctx.saved_tensors
        # Where the amplitude is zero, so are the real and the imaginary part, and with them the gradient.
        inverse = amplitude.clamp_min(1e-30).reciprocal_()
        cosine, sine = real * inverse, imaginary * inverse
        turning = phase_gradient * inverse
        rows, columns = _self_conjugate(*ctx.size)
        turning[..., rows, columns] = 0.0
        gradient = torch.complex(
            torch.addcmul(amplitude_gradient * cosine, turning, sine, value=-1),
            torch.addcmul(amplitude_gradient * sine, turning, cosine),
        )
        # The inverse transform counts twice what has a conjugate in the other half.
        gradient[..., 1 : (ctx.size[1] + 1) // 2] *= 0.5
        image_gradient: Tensor = torch.fft.irfft2(gradient, s=ctx.size, norm="forward")
        return image_gradient


class _FromPolar(torch.autograd.Function):
    """A complex spectrum from amplitude and phase; keeps three real arrays for the backward pass."""

    @staticmethod
    def forward(ctx: Any, amplitude: Tensor, phase: Tensor, offset: complex) -> Tensor:
        cosine, sine = phase.cos(), phase.sin()
        ctx.save_for_backward(amplitude, cosine, sine)
        return _from_polar(amplitude, cosine, sine, offset)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        amplitude, cosine, sine = ctx.saved_tensors
        real, imaginary = _parts(gradient)
        along = torch.addcmul(real * cosine, imaginary, sine)
        across = torch.addcmul(imaginary * cosine, real, sine, value=-1)
        return along, across.mul_(amplitude), None
