"""Fourier physics: image to k-space and back, under-sampling, zero-filling.

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


def with_phase(magnitude: Tensor, kspace: Tensor) -> Tensor:
    """A magnitude with the phase of the zero-filled image, ``m exp(i arg(F^-1 k))``; complex, ``(..., H, W)``.

    A network that knows magnitudes only gives no phase; the zero-filled image's is the best guess without a model,
    since the phase of most scans is smooth and so lies in the centre lines. Where that image is zero the phase is 0;
    a negative value keeps its sign.

    Args:
        magnitude: real, ``(..., H, W)``.
        kspace: measured k-space with zeros elsewhere, ``(..., H, W)``.

    Raises:
        UserError: a complex image, or shapes that differ.
    """
    if magnitude.is_complex():
        raise UserError("the image has a phase already; give its magnitude")
    _check_same_shape(magnitude, kspace)
    zero_filled = ifft2c(full_complex(kspace))
    return torch.polar(magnitude.to(zero_filled.real.dtype), zero_filled.angle())


def data_consistency(image: Tensor, measured: Tensor, mask: Tensor, weight: float | None = None) -> Tensor:
    """Put measured lines back into an image of a single coil; complex ``(..., H, W)``.

    On the measured lines the k-space ``F x`` of the image becomes the measured y (hard), or
    ``(F x + w y) / (1 + w)`` (soft), the minimiser of ``||x - x0||^2 + w ||M F x - y||^2``; elsewhere it stays
    (Schlemper et al., IEEE TMI 37:491, 2018, with ``w = lambda``). w is the variance of the error of ``F x`` divided by
    that of the noise of y: 0 ignores the measurement, infinity is the hard form.

    Args:
        image: x, complex; or a magnitude, which gets the phase of the zero-filled image (:func:`with_phase`). A real
            image whose phase is known to be zero must come as complex. ``(..., H, W)``.
        measured: y, complex, ``(..., H, W)``; what lies outside the mask is ignored.
        mask: bool, ``(W,)`` or ``(..., 1, W)``; True where a line is measured.
        weight: w, at least 0; None for hard.

    Returns:
        The image, complex even for a magnitude: only the complex image agrees with the measurement. Its magnitude is
        ``.abs()``.

    Raises:
        UserError: shapes that do not fit, a weight below 0, k-space that is not complex.
    """
    check_weight(weight)
    known = _known(image, measured, mask)
    if not image.is_complex():
        image = with_phase(image, measured * known)
    spectrum = fft2c(full_complex(image))
    if weight is not None and weight != float("inf"):
        measured = (spectrum + weight * measured) / (1 + weight)
    return ifft2c(torch.where(known, measured.to(spectrum.dtype), spectrum))


def residual(image: Tensor, measured: Tensor, mask: Tensor) -> Tensor:
    """How far an image is from its measurement, ``||M F x - M y|| / ||M y||``; real, ``(...)``.

    Args:
        image: x, ``(..., H, W)``; a real one counts as having phase 0.
        measured: y, complex, ``(..., H, W)``.
        mask: bool, ``(W,)`` or ``(..., 1, W)``.

    Returns:
        One number for each image, 0 where both image and measurement are zero.

    Raises:
        UserError: shapes that do not fit, k-space that is not complex.
    """
    known = _known(image, measured, mask)
    difference = _norm((fft2c(full_complex(image)) - measured) * known)
    return difference / _norm(measured * known).clamp_min(TINY)


def _norm(spectrum: Tensor) -> Tensor:
    """Norm over the last two axes; of pairs of real numbers, for which the sum is vectorised."""
    norm: Tensor = torch.linalg.vector_norm(torch.view_as_real(spectrum), dim=(-3, -2, -1))
    return norm


def full_complex(data: Tensor) -> Tensor:
    """Real or complex to complex64, half precision included; double precision stays double."""
    return data.to(torch.complex128 if data.dtype in (torch.float64, torch.complex128) else torch.complex64)


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


def check_weight(weight: float | None) -> None:
    """Refuse a weight of the measurement that is negative or not a number."""
    if weight is not None and not weight >= 0:
        raise UserError(
            f"the weight of the measurement must be 0 or more, not {weight:g}; leave it out to replace lines"
        )


def _known(image: Tensor, measured: Tensor, mask: Tensor) -> Tensor:
    _check_same_shape(image, measured)
    if not measured.is_complex():
        raise UserError(f"measured k-space must be complex, not {measured.dtype}; the phase is part of the measurement")
    return broadcast_mask(mask, image.shape)


def _check_same_shape(image: Tensor, kspace: Tensor) -> None:
    if image.shape != kspace.shape:
        raise UserError(f"the image has shape {tuple(image.shape)}, the k-space {tuple(kspace.shape)}; they must agree")
