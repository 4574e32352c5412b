"""Fourier physics: image to k-space and back, under-sampling, zero-filling.

Everything here works on the last two axes ``(H, W)`` with any number of leading axes. k-space is complex, centred (zero
frequency at index ``N // 2``) and orthonormal; the phase-encode axis is the last one. BraTS's protocol uses another
transform, kept apart under its own name.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fft2c(image: Tensor) -> Tensor:
    """Centred orthonormal 2D Fourier transform, ``(..., H, W)`` to complex ``(..., H, W)``."""
    shifted = torch.fft.ifftshift(image, dim=(-2, -1))
    spectrum: Tensor = torch.fft.fftshift(torch.fft.fft2(shifted, norm="ortho"), dim=(-2, -1))
    return spectrum


def ifft2c(kspace: Tensor) -> Tensor:
    """Inverse (and adjoint) of :func:`fft2c`; the result is complex."""
    shifted = torch.fft.ifftshift(kspace, dim=(-2, -1))
    image: Tensor = torch.fft.fftshift(torch.fft.ifft2(shifted, norm="ortho"), dim=(-2, -1))
    return image


def undersample(image: Tensor, mask: Tensor) -> Tensor:
    """Measured k-space ``M F x`` of an image: what an accelerated scan would have acquired.

    Args:
        image: real or complex, ``(..., H, W)``.
        mask: bool, ``(..., 1, W)`` or ``(W,)``; True where a phase-encode line is acquired.
    """
    return fft2c(image) * mask


def zero_fill(kspace: Tensor) -> Tensor:
    """Magnitude image ``|F^-1 k|`` of k-space whose missing lines are zero; real, ``(..., H, W)``."""
    return ifft2c(kspace).abs()


def brats_undersample(image: Tensor, mask: Tensor) -> Tensor:
    """Zero-filled magnitude by the BraTS protocol's own transform.

    The released data set was made with ``fftshift(fft2(image))``: k-space is centred, the image is not. A shift of the
    image is a linear phase in k-space, which a mask of whole lines leaves alone, so for real images the magnitude
    equals that of :func:`undersample` and :func:`zero_fill`; the k-space itself does not.

    Args:
        image: real, ``(..., H, W)``.
        mask: bool, ``(..., 1, W)`` or ``(W,)``, lines of centred k-space.
    """
    kspace = torch.fft.fftshift(torch.fft.fft2(image, norm="ortho"), dim=(-2, -1)) * mask
    zero_filled: Tensor = torch.fft.ifft2(torch.fft.ifftshift(kspace, dim=(-2, -1)), norm="ortho").abs()
    return zero_filled
