r"""What a scanner adds to an image: smooth phase, several coils, sampling masks of a whole batch at once.

Parameters are drawn by one function (random, with a generator) and used by another (pure). Everything is computed on
the device of the generator's tensors and without waiting for it, so that training can simulate on a GPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

WAVES = 6


def _uniform(shape: tuple[int, ...], low: float, high: float, like: Random) -> Tensor:
    return torch.rand(shape, device=like.device, generator=like.generator) * (high - low) + low


@dataclass(frozen=True)
class Random:
    """Where random numbers come from: a device, and a generator of it or the device's own."""

    device: torch.device
    generator: torch.Generator | None = None

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Evenly distributed in [low, high)."""
        return _uniform(shape, low, high, self)

    def log_uniform(self, *shape: int, low: float, high: float) -> Tensor:
        """Evenly distributed logarithms."""
        return _uniform(shape, math.log(low), math.log(high), self).exp()

    def normal(self, *shape: int) -> Tensor:
        """Standard normal."""
        return torch.randn(shape, device=self.device, generator=self.generator)

    def chance(self, *shape: int, of: float) -> Tensor:
        """True with a probability."""
        return self.uniform(*shape) < of


def draw_waves(batch: int, random: Random, cycles: float = 0.7, amplitude: float = 0.7) -> Tensor:
    """Parameters of :func:`smooth`, ``(batch, WAVES, 4)``: two wave numbers, offset, amplitude.

    Args:
        batch: number of fields.
        random: source of the parameters.
        cycles: standard deviation of the wave numbers, in cycles over the extent.
        amplitude: standard deviation of a wave's amplitude.
    """
    numbers = random.normal(batch, WAVES, 2) * cycles
    offset = random.uniform(batch, WAVES, 1, high=2 * math.pi)
    return torch.cat([numbers, offset, random.normal(batch, WAVES, 1) * amplitude], -1)


def smooth(waves: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """A smooth field: a few plane waves of long wavelength, ``sum_j a_j cos(2 pi (p_j r + q_j c) + o_j)``.

    Args:
        waves: ``(B, WAVES, 4)`` from :func:`draw_waves`.
        rows: places r in units of the extent, 0 in its middle, broadcastable to ``(B, H, 1)``.
        columns: places c, ``(B, 1, W)`` likewise.

    Returns:
        ``(B, H, W)``.
    """
    p, q, offset, amplitude = (waves[:, :, i, None, None] for i in range(4))
    # A wave of r + c is a product of waves of r and of c, so only two small tables of cosines are needed.
    along_rows = 2 * math.pi * p * rows[:, None] + offset
    along_columns = 2 * math.pi * q * columns[:, None]
    left = torch.cat([along_rows.cos(), -along_rows.sin()], 1)[..., 0] * torch.cat([amplitude[..., 0]] * 2, 1)
    right = torch.cat([along_columns.cos(), along_columns.sin()], 1)[:, :, 0]
    return left.mT @ right


def draw_coils(batch: int, coils: int, random: Random, fewest: int = 2) -> Tensor:
    """Parameters of :func:`coil_maps`, ``(batch, coils, 6)``: place (row, column), width, phase (three numbers)."""
    turn = (torch.arange(coils, device=random.device) / coils)[None, :, None]
    angle = 2 * math.pi * (turn + random.uniform(batch, 1, 1) + 0.3 / coils * random.normal(batch, coils, 1))
    radius = random.uniform(batch, coils, 1, low=0.5, high=0.8)
    width = random.uniform(batch, 1, 1, low=0.35, high=0.7).expand(-1, coils, -1)
    count = fewest + (random.uniform(batch, 1, 1) * (coils - fewest + 1)).floor()
    there = torch.arange(coils, device=random.device)[None, :, None] < count
    place = torch.cat([radius * angle.cos(), radius * angle.sin()], -1)
    return torch.cat([place, torch.where(there, width, 0.0), random.normal(batch, coils, 3)], -1)


def coil_maps(parameters: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Sensitivities of unit energy, complex64 ``(B, C, H, W)``: Gaussians around the head with a phase of their own.

    Args:
        parameters: from :func:`draw_coils`; a width of 0 is a coil that is not there.
        rows: as for :func:`smooth`.
        columns: as for :func:`smooth`.
    """
    row, column, width, constant, along_rows, along_columns = (parameters[..., i, None, None] for i in range(6))
    distance = (rows[:, None] - row) ** 2 + (columns[:, None] - column) ** 2
    strength = torch.where(width > 0, (-distance / (2 * width.clamp_min(1e-3) ** 2)).exp(), 0.0)
    phase = 3 * constant + along_rows * rows[:, None] + along_columns * columns[:, None]
    maps = torch.polar(strength, phase)
    return maps / strength.square().sum(1, keepdim=True).sqrt().clamp_min(1e-12)


def draw_masks(
    batch: int, columns: int, random: Random, least: float = 2.0, most: float = 12.0, partial: float = 0.12
) -> Tensor:
    """Masks of a batch, each of its own kind and acceleration; bool ``(batch, 1, columns)``.

    Of six in ten the lines outside the centre are drawn one by one, as fastMRI's ``random`` does; of the others they
    are evenly spaced. The centre is fastMRI's 0.32 / acceleration, give or take a quarter.

    Args:
        batch: number of masks.
        columns: W.
        random: source of the parameters.
        least: smallest acceleration; they are drawn evenly in the logarithm.
        most: largest acceleration.
        partial: share of the masks that leave out one end of k-space (partial Fourier, 60 to 85% kept).
    """
    line = torch.arange(columns, device=random.device)[None]
    acceleration = random.log_uniform(batch, 1, low=least, high=most)
    low = (0.32 / acceleration * random.uniform(batch, 1, low=0.75, high=1.25) * columns).round()
    first = ((columns - low + 1) / 2).floor()
    centre = (line >= first) & (line < first + low)
    share = ((columns / acceleration - low) / (columns - low)).clamp(0.01, 1)
    scattered = random.uniform(batch, columns) < share
    spaced = ((line + random.uniform(batch, 1) / share) * share) % 1 < share
    outer = torch.where(random.chance(batch, 1, of=0.6), scattered, spaced)
    end = columns * random.uniform(batch, 1, low=0.6, high=0.85)
    kept = (line < end) | ~random.chance(batch, 1, of=partial)
    kept = torch.where(random.chance(batch, 1, of=0.5), kept, kept.flip(-1))
    return (centre | (outer & kept))[:, None]
