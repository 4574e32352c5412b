"""What makes a simulated acquisition resemble a scanner's: a smooth phase, and coils that see the image unequally.

A magnitude image alone has Hermitian k-space, so that half of its lines tell the others; a scanner's image has a phase
by field inhomogeneity, timing and the coils ("implicit data crimes", Shimron et al., PNAS 119:e2117203119, 2022).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

WAVES = 2  # periods of the fastest wave of the phase across the field of view


def smooth_phase(height: int, width: int, strength: float, generator: torch.Generator) -> Tensor:
    """A random phase of slow waves, the real part of ``sum_k c_k exp(2 pi i k r)`` over ``|k_x|, |k_y| <= 2``.

    Args:
        height: rows H.
        width: columns W.
        strength: standard deviation over the field of view, in radians; a random constant is added.
        generator: of the coefficients, which fall with ``1 / |k|^2`` as those of field inhomogeneity do.

    Returns:
        float32 ``(H, W)``.
    """
    k = torch.arange(-WAVES, WAVES + 1, dtype=torch.float64)
    squared = k[:, None] ** 2 + k**2
    drawn = torch.randn(2 * WAVES + 1, 2 * WAVES + 1, generator=generator, dtype=torch.complex128)
    coefficients = torch.where(squared > 0, drawn / squared.clamp_min(1), 0)
    down, across = (torch.exp(2j * math.pi * torch.outer(torch.arange(n) / n, k)) for n in (height, width))
    phase: Tensor = (down @ coefficients @ across.mT).real
    constant = math.pi * torch.randn((), generator=generator)
    return (phase * (strength / phase.std(correction=0)) + constant).float()


def coil_profiles(coils: int, height: int, width: int) -> Tensor:
    """Sensitivities of coils in a ring around the field of view, of unit energy: ``sum_c |S_c|^2 = 1``.

    Each is a Gaussian about its place on the ring, half a field of view wide, with a linear phase of its own.

    Args:
        coils: number C.
        height: rows H.
        width: columns W.

    Returns:
        complex64 ``(C, H, W)``.
    """
    y, x = (torch.linspace(-1, 1, n, dtype=torch.float64) for n in (height, width))
    profiles = []
    for angle in 2 * math.pi * torch.arange(coils, dtype=torch.float64) / coils:
        distance = (y[:, None] - 1.2 * angle.sin()) ** 2 + (x - 1.2 * angle.cos()) ** 2
        profiles.append(torch.polar((-distance / 2).exp(), angle + y[:, None] * angle.sin() + x * angle.cos()))
    stacked = torch.stack(profiles)
    maps: Tensor = stacked / stacked.abs().square().sum(0).sqrt()
    return maps.to(torch.complex64)
