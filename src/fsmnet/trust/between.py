"""Maps of whole volumes from fewer slices: where slices lie close, every second one is computed.

What a map takes beside the image, a pass of the network for each slice, is most of what the checks cost.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

CLOSE = 2.0  # millimetres that slices for maps may lie apart; 0 where a distance is not known


def slices_for_maps(count: int, distance: float) -> list[int]:
    """Which of ``count`` slices are computed; the first and the last among them.

    Args:
        count: of all slices.
        distance: between neighbours in millimetres; 0 where it is not known, and none is left out.
    """
    step = max(1, int(CLOSE / distance + 1e-6)) if distance > 0 else 1
    return sorted({*range(0, count, step), count - 1})


def between(values: Tensor, slices: Sequence[int], count: int) -> Tensor:
    """All slices ``(count, H, W)`` from some of them ``(m, H, W)``; those between two are means by distance."""
    if len(slices) == count:
        return values
    known, every = torch.tensor(slices), torch.arange(count)
    after = torch.searchsorted(known, every).clamp_max(len(slices) - 1)
    before = (after - (known[after] > every).long()).clamp_min(0)
    weight = ((every - known[before]) / (known[after] - known[before]).clamp_min(1)).to(values.dtype)[:, None, None]
    return torch.lerp(values[before], values[after], weight)


def said(slices: Sequence[int], count: int) -> str:
    """What a map must say of itself."""
    return "" if len(slices) == count else f"; {len(slices)} of {count} slices were computed, the others lie between"
