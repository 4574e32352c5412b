"""Several receive coils: their images combined, and the linear equations of SENSE solved.

Coil images are ``(..., C, H, W)``, complex; sensitivities S_c likewise, of unit energy where there is signal.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fsmnet.errors import UserError
from fsmnet.physics.fourier import TINY, at_least_single


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
    check_maps(maps, images.shape)
    return (maps.conj() * images).sum(-3)


def conjugate_gradients(
    normal: Callable[[Tensor], Tensor],
    right: Tensor,
    start: Tensor | None,
    iterations: int,
    regularisation: float = 0.0,
) -> Tensor:
    """Solve ``(A^H A + lambda I) x = A^H y + lambda x0`` (CG-SENSE: Pruessmann et al., Magn Reson Med 46:638, 2001).

    Every image of a batch takes steps of its own. The iteration begins at x0; without lambda it is no more than that.

    Args:
        normal: ``A^H A``.
        right: ``A^H y``, complex ``(..., H, W)``.
        start: x0, of the same shape; zero when None.
        iterations: steps, at least 0.
        regularisation: lambda, at least 0.

    Raises:
        UserError: shapes that differ, a negative number.
    """
    if iterations < 0:
        raise UserError(f"conjugate gradients cannot take {iterations} steps; give 0 or more")
    if not (math.isfinite(regularisation) and regularisation >= 0):
        raise UserError(f"regularisation {regularisation:g} is not a finite number of at least 0")
    if start is not None and start.shape != right.shape:
        raise UserError(f"the start has shape {tuple(start.shape)}, the k-space asks for {tuple(right.shape)}")

    def regularised(x: Tensor) -> Tensor:
        return normal(x) + regularisation * x

    if start is None:
        image, rest = torch.zeros_like(right), right
    else:
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


def _energy(image: Tensor) -> Tensor:
    return image.abs().square().sum((-2, -1), keepdim=True)


def coil_data(data: Tensor, what: str) -> Tensor:
    """Coil data ``(..., C, H, W)`` as complex64 or complex128; refused in words otherwise."""
    if data.dim() < 3:
        raise UserError(f"{what} of several coils has axes (..., coils, H, W), not the shape {tuple(data.shape)}")
    if not data.is_complex():
        raise UserError(f"{what} must be complex, not {data.dtype}; the phase is part of the measurement")
    return at_least_single(data)


def check_maps(maps: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse maps that do not fit coil data of ``shape``: they may lack leading axes, never the last three."""
    if maps.dim() < 3 or maps.dim() > len(shape) or maps.shape[-3:] != torch.Size(shape[-3:]):
        raise UserError(f"maps of shape {tuple(maps.shape)} do not fit data of shape {tuple(shape)} (..., coils, H, W)")
