"""Fourier transforms between image and k-space.

Everything here works on the last two axes ``(H, W)`` with any number of leading axes. k-space is complex, centred (zero
frequency at index ``N // 2``) and orthonormal; the phase-encode axis is the last one. BraTS's protocol uses another
transform, kept apart under its own name.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fsmnet.errors import UserError

TINY = torch.finfo(torch.float32).tiny  # in place of a denominator of zero: 0 / TINY is 0


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


def fft1c(image: Tensor, dim: int = -1) -> Tensor:
    """Centred orthonormal 1D Fourier transform along one axis, by default the phase-encode axis W; complex."""
    spectrum: Tensor = torch.fft.fftshift(torch.fft.fft(torch.fft.ifftshift(image, dim), dim=dim, norm="ortho"), dim)
    return spectrum


def ifft1c(lines: Tensor, dim: int = -1) -> Tensor:
    """Inverse (and adjoint) of :func:`fft1c`; the result is complex."""
    image: Tensor = torch.fft.fftshift(torch.fft.ifft(torch.fft.ifftshift(lines, dim), dim=dim, norm="ortho"), dim)
    return image


def brats_undersample(image: Tensor, mask: Tensor) -> Tensor:
    """Zero-filled magnitude by the BraTS protocol's own transform.

    The released data set was made with ``fftshift(fft2(image))``: k-space is centred, the image is not. A shift of the
    image is a linear phase in k-space, which a mask of whole lines leaves alone, so for real images the magnitude
    equals that of the centred transform (:func:`fsmnet.physics.acquisition.zero_fill`); the k-space itself does not.

    Args:
        image: real, ``(..., H, W)``.
        mask: bool, ``(..., 1, W)`` or ``(W,)``, lines of centred k-space.
    """
    kspace = torch.fft.fftshift(torch.fft.fft2(image, norm="ortho"), dim=(-2, -1)) * mask
    zero_filled: Tensor = torch.fft.ifft2(torch.fft.ifftshift(kspace, dim=(-2, -1)), norm="ortho").abs()
    return zero_filled


def at_least_single(data: Tensor) -> Tensor:
    """Half precision and whole numbers to single precision, real or complex as before; double stays double."""
    return data.to(torch.promote_types(data.dtype, torch.float32))


def broadcast_mask(mask: Tensor, shape: torch.Size) -> Tensor:
    """A mask as bool, when it fits images of ``shape``.

    Args:
        mask: ``(W,)``, ``(..., 1, W)``, or ``(..., H, W)`` for points instead of lines.
        shape: ``(..., H, W)``.

    Raises:
        UserError: the mask does not fit.
    """
    sides = mask.shape[::-1]
    if not sides or sides[0] != shape[-1] or len(sides) > len(shape) or len(shape) < 2:
        fits = False
    else:
        fits = all(side in (1, length) for side, length in zip(sides, shape[::-1], strict=False))
    if not fits:
        raise UserError(f"a mask of shape {tuple(mask.shape)} does not fit images of shape {tuple(shape)} (..., H, W)")
    return mask.bool()
