"""A network and a kind of mask from outside, for fsmnet; see docs/extending.md."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class OwnNetwork(nn.Module):
    """Convolutions over both contrasts as channels, which give what the zero-filled image lacks."""

    def __init__(self, features: int = 16, blocks: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(2, features, 3, padding=1), nn.ReLU()]
        for _ in range(blocks):
            layers += [nn.Conv2d(features, features, 3, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(features, 1, 3, padding=1))

    def forward(self, target: Tensor, auxiliary: Tensor) -> Tensor:
        """Normalised zero-filled target and auxiliary to the image, ``(B, 1, H, W)`` each."""
        return target + self.layers(torch.cat([target, auxiliary], dim=1))


def gaussian(
    columns: int, acceleration: float, center_fraction: float, random_state: np.random.RandomState
) -> np.ndarray:
    """Columns that lie the denser the nearer they are to the centre, bool ``(columns,)``."""
    place = (np.arange(columns) - columns // 2) / columns
    kept = np.abs(place) <= center_fraction / 2
    density = np.where(kept, 0, np.exp(-((place / 0.2) ** 2) / 2))
    outer = max(0, round(columns / acceleration) - int(kept.sum()))
    kept[random_state.choice(columns, outer, replace=False, p=density / density.sum())] = True
    return kept
