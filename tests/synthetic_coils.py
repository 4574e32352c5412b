"""Random numbers, columns, and a head seen by coils around it, for tests of the physics."""

from __future__ import annotations

import math

import numpy as np
import torch

from fsmnet.physics.coils import root_sum_of_squares
from fsmnet.physics.masks import make_mask


def random_complex(seed: int, *shape: int) -> torch.Tensor:
    """complex128."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))


def some_columns(seed: int, width: int) -> torch.Tensor:
    """Bool ``(W,)``, about half of them; perhaps none."""
    return torch.from_numpy(np.random.default_rng(seed).random(width) < 0.5)


def columns_of(seed: int, width: int) -> torch.Tensor:
    """The mask of all the under-sampling here: random, 4x, centre 0.08."""
    return torch.from_numpy(make_mask("random", width, 4, 0.08, seed).columns)


def inner(a: torch.Tensor, b: torch.Tensor) -> complex:
    """Inner product, for dot tests of adjoints."""
    return complex((a.conj() * b).sum())


def error(image: torch.Tensor, reference: torch.Tensor) -> float:
    """NMSE."""
    return float((image - reference).abs().square().sum() / reference.abs().square().sum())


def synthetic(height: int, width: int, count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """A head of ellipses with a smooth phase, ``(H, W)``, and smooth maps of unit energy, ``(C, H, W)``; complex64."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")

    def ellipse(cy: float, cx: float, ry: float, rx: float) -> torch.Tensor:
        return (((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1).float()

    magnitude = ellipse(0, 0, 0.8, 0.7) - 0.4 * ellipse(0, 0, 0.7, 0.6) + 0.3 * ellipse(0.2, -0.2, 0.2, 0.15)
    magnitude = (
        magnitude - 0.4 * ellipse(-0.2, 0.2, 0.25, 0.1) + 0.1 * magnitude * torch.cos(25 * x) * torch.cos(21 * y)
    )
    maps = []
    for number in range(count):
        angle = 2 * math.pi * number / count
        distance = (y - 1.1 * math.sin(angle)) ** 2 + (x - 1.1 * math.cos(angle)) ** 2
        maps.append(torch.polar(torch.exp(-distance / 1.5), angle + 0.6 * (y * math.cos(angle) - x * math.sin(angle))))
    sensitivities = torch.stack(maps)
    return torch.polar(magnitude, 0.8 * x * y + 0.5 * y), sensitivities / root_sum_of_squares(sensitivities)
