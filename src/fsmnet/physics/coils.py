"""Several receive coils: sensitivity maps from the centre of k-space, the SENSE operator and its inverse problem.

Coil k-space is ``(..., C, H, W)``, complex64, centred and orthonormal as in :mod:`fsmnet.physics.fourier`. An image is
``(..., H, W)``, a mask ``(W,)`` or ``(..., 1, W)`` with the leading axes of the image (``(..., H, W)`` for points
instead of lines). With the sensitivities S_c, the transform F and the mask M, the measurement of coil c is
``y_c = M F S_c x``, in short ``y = A x`` (SENSE: Pruessmann et al., Magn Reson Med 42:952, 1999).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fsmnet.errors import UserError
from fsmnet.physics.fourier import TINY, broadcast_mask, check_weight, fft2c, full_complex, ifft2c


def root_sum_of_squares(images: Tensor) -> Tensor:
    """``sqrt(sum_c |x_c|^2)`` of coil images ``(..., C, H, W)``; real, ``(..., H, W)``."""
    magnitude: Tensor = torch.linalg.vector_norm(coil_data(images, "coil images"), dim=-3)
    return magnitude


def combine(images: Tensor, maps: Tensor) -> Tensor:
    """``sum_c conj(S_c) x_c``, the least-squares image for maps of unit energy; complex ``(..., H, W)``.

    Args:
        images: coil images, ``(..., C, H, W)``.
        maps: sensitivities S, ``(..., C, H, W)``.
    """
    images = coil_data(images, "coil images")
    _check_maps(images.shape, maps)
    return (maps.conj() * images).sum(-3)


def conjugate_gradients(
    normal: Callable[[Tensor], Tensor], right: Tensor, start: Tensor, iterations: int, regularisation: float = 0.0
) -> Tensor:
    """Solve ``(A^H A + lambda I) x = A^H y + lambda x0`` (CG-SENSE: Pruessmann et al., Magn Reson Med 46:638, 2001).

    Every image of a batch takes steps of its own. The iteration begins at x0; without lambda it is no more than that.

    Args:
        normal: ``A^H A``.
        right: ``A^H y``, complex ``(..., H, W)``.
        start: x0, of the same shape.
        iterations: steps, at least 0.
        regularisation: lambda, at least 0.

    Raises:
        UserError: shapes that differ, a negative number.
    """
    if iterations < 0:
        raise UserError(f"conjugate gradients cannot take {iterations} steps; give 0 or more")
    if not (math.isfinite(regularisation) and regularisation >= 0):
        raise UserError(f"regularisation {regularisation:g} is not a finite number of at least 0")
    if start.shape != right.shape:
        raise UserError(f"the start has shape {tuple(start.shape)}, the k-space asks for {tuple(right.shape)}")

    def regularised(x: Tensor) -> Tensor:
        return normal(x) + regularisation * x

    image, right = start, right + regularisation * start
    rest = right - regularised(image)
    direction, energy = rest, _energy(rest)
    # What is left at rounding level may lie where A is blind; a step along it would be long and lead nowhere.
    rounding = (10 * torch.finfo(right.dtype).eps) ** 2 * _energy(right)
    for _ in range(iterations):
        moved = regularised(direction)
        curvature = (direction.conj() * moved).real.sum((-2, -1), keepdim=True)
        step = (energy > rounding) * energy / curvature.clamp_min(TINY)
        image = image + step * direction
        rest = rest - step * moved
        previous, energy = energy, _energy(rest)
        direction = rest + energy / previous.clamp_min(TINY) * direction
    return image


def forward(image: Tensor, maps: Tensor, mask: Tensor) -> Tensor:
    """The SENSE operator ``A x``: what the coils measure of an image; complex ``(..., C, H, W)``.

    Args:
        image: x, real or complex, ``(..., H, W)``.
        maps: sensitivities S, ``(..., C, H, W)``.
        mask: bool, ``(W,)`` or ``(..., 1, W)``.

    Raises:
        UserError: shapes that do not fit.
    """
    image = full_complex(image)
    _check_maps((*image.shape[:-2], maps.shape[-3] if maps.dim() > 2 else 0, *image.shape[-2:]), maps)
    return fft2c(maps * image[..., None, :, :]) * _coil_mask(mask, image.shape)


def adjoint(kspace: Tensor, maps: Tensor, mask: Tensor) -> Tensor:
    """``A^H y = sum_c conj(S_c) F^-1 M y_c``: the zero-filled, map-combined image; complex ``(..., H, W)``.

    Args:
        kspace: y, ``(..., C, H, W)``; what lies outside the mask is ignored.
        maps: sensitivities S, ``(..., C, H, W)``.
        mask: bool, ``(W,)`` or ``(..., 1, W)``.

    Raises:
        UserError: shapes that do not fit.
    """
    kspace = coil_data(kspace, "k-space")
    return combine(ifft2c(kspace * _coil_mask(mask, _image_shape(kspace))), maps)


def residual(image: Tensor, kspace: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
    """How far an image is from the measurement, ``||A x - M y|| / ||M y||`` over all coils; real, ``(...)``.

    Args:
        image: x, ``(..., H, W)``.
        kspace: y, ``(..., C, H, W)``.
        mask: bool, ``(W,)`` or ``(..., 1, W)``.
        maps: sensitivities S, ``(..., C, H, W)``.

    Raises:
        UserError: shapes that do not fit.
    """
    measured = coil_data(kspace, "k-space") * _coil_mask(mask, _image_shape(kspace))
    difference = torch.linalg.vector_norm(forward(image, maps, mask) - measured, dim=(-3, -2, -1))
    relative: Tensor = difference / torch.linalg.vector_norm(measured, dim=(-3, -2, -1)).clamp_min(TINY)
    return relative


def cg_sense(
    kspace: Tensor,
    mask: Tensor,
    maps: Tensor,
    iterations: int = 20,
    regularisation: float = 0.0,
    start: Tensor | None = None,
) -> Tensor:
    """Image from under-sampled coils by conjugate gradients (Pruessmann et al., Magn Reson Med 46:638, 2001).

    Solves ``(A^H A + lambda I) x = A^H y + lambda x0``, the minimiser of ``||A x - y||^2 + lambda ||x - x0||^2``. The
    iteration begins at x0; without regularisation x0 is no more than that beginning. A pixel where all maps are zero
    keeps its value of x0.

    Args:
        kspace: y, ``(..., C, H, W)``; what lies outside the mask is ignored.
        mask: bool, ``(W,)`` or ``(..., 1, W)``.
        maps: sensitivities S of unit energy, ``(..., C, H, W)``.
        iterations: conjugate-gradient steps, at least 0.
        regularisation: lambda, at least 0.
        start: x0, ``(..., H, W)``; zero when None.

    Returns:
        The image, complex ``(..., H, W)``.

    Raises:
        UserError: shapes that do not fit, a negative number.
    """
    right = adjoint(kspace, maps, mask)
    image = torch.zeros_like(right) if start is None else full_complex(start).to(right.dtype)
    return conjugate_gradients(
        lambda x: adjoint(forward(x, maps, mask), maps, mask), right, image, iterations, regularisation
    )


def multi_coil_data_consistency(
    image: Tensor, kspace: Tensor, mask: Tensor, maps: Tensor, weight: float | None = None, iterations: int = 10
) -> Tensor:
    """Draw an image towards the measurement of all coils.

    A few conjugate-gradient steps from the image x0 towards the minimiser of ``||x - x0||^2 + w ||A x - y||^2``
    (Aggarwal et al., IEEE TMI 38:394, 2019, with ``w = 1/lambda``). With one coil of sensitivity 1 that is
    :func:`fsmnet.physics.fourier.data_consistency`.

    Args:
        image: x0, complex, ``(..., H, W)``; give a magnitude the phase of :func:`adjoint` first.
        kspace: y, ``(..., C, H, W)``.
        mask: bool, ``(W,)`` or ``(..., 1, W)``.
        maps: sensitivities S, ``(..., C, H, W)``.
        weight: w, above 0; None for infinite, the least-squares solution that is nearest to x0.
        iterations: conjugate-gradient steps.

    Returns:
        The image, complex ``(..., H, W)``.

    Raises:
        UserError: shapes that do not fit, a weight below 0.
    """
    check_weight(weight)
    if weight == 0:
        return full_complex(image)
    return cg_sense(kspace, mask, maps, iterations, 0.0 if weight is None else 1 / weight, image)


def replace_measured(image: Tensor, kspace: Tensor, mask: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Hard data consistency in coil space: the measured lines of every coil replace those of ``F S_c x``.

    The coil images then agree with the measurement to rounding. The combined image does so only as far as the maps
    explain the coils: one image cannot hold C k-spaces.

    Args:
        image: x, complex, ``(..., H, W)``.
        kspace: y, ``(..., C, H, W)``.
        mask: bool, ``(W,)`` or ``(..., 1, W)``.
        maps: sensitivities S, ``(..., C, H, W)``.

    Returns:
        The coil images recombined, complex ``(..., H, W)``, and the coil images, complex ``(..., C, H, W)``.

    Raises:
        UserError: shapes that do not fit.
    """
    kspace = coil_data(kspace, "k-space")
    everywhere = torch.ones(image.shape[-1:], dtype=torch.bool, device=image.device)
    predicted = forward(image, maps, everywhere)
    if predicted.shape != kspace.shape:
        raise UserError(f"the image gives k-space {tuple(predicted.shape)}, the measured one is {tuple(kspace.shape)}")
    images = ifft2c(torch.where(_coil_mask(mask, _image_shape(kspace)), kspace.to(predicted.dtype), predicted))
    return combine(images, maps), images


def _energy(image: Tensor) -> Tensor:
    return image.abs().square().sum((-2, -1), keepdim=True)


def coil_data(data: Tensor, what: str) -> Tensor:
    """Coil data ``(..., C, H, W)`` as complex64 or complex128; refused in words otherwise."""
    if data.dim() < 3:
        raise UserError(f"{what} of several coils has axes (..., coils, H, W), not the shape {tuple(data.shape)}")
    if not data.is_complex():
        raise UserError(f"{what} must be complex, not {data.dtype}; the phase is part of the measurement")
    return full_complex(data)


def _image_shape(kspace: Tensor) -> torch.Size:
    return torch.Size((*kspace.shape[:-3], *kspace.shape[-2:]))


def _check_maps(shape: tuple[int, ...], maps: Tensor) -> None:
    """Maps for data of ``shape`` may lack leading axes, never the last three."""
    if maps.dim() < 3 or maps.dim() > len(shape) or maps.shape[-3:] != torch.Size(shape[-3:]):
        raise UserError(f"maps of shape {tuple(maps.shape)} do not fit data of shape {tuple(shape)} (..., coils, H, W)")


def _coil_mask(mask: Tensor, image_shape: torch.Size) -> Tensor:
    """The mask as bool with an axis for the coils where it has leading axes."""
    mask = broadcast_mask(mask, image_shape)
    return mask if mask.dim() < 3 else mask.unsqueeze(-3)
