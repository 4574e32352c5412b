"""What did the auxiliary do? The change of the image when the auxiliary is blank, and when it is moved a little.

Where a blank auxiliary changes the image, the image rests on the auxiliary. Where one that is moved by two pixels
changes it, structure follows the auxiliary and not the measurement: there, what only the auxiliary shows may have been
copied. Neither says by itself that the image is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fsmnet.inference.slices import progress_bar
from fsmnet.reconstruction.again import Again, Map
from fsmnet.trust.between import between, said

SHIFT = 2  # pixels along the phase-encode axis, whose lines are missing


@dataclass(frozen=True)
class Influence:
    """Changes of magnitudes, in their unit.

    Attributes:
        blank: ``||x| - |x'||`` with a blank auxiliary, real ``(n, H, W)``.
        share_blank: ``||x - x'|| / ||x||`` of the magnitudes with a blank auxiliary.
        share_moved: the same with one that is moved by :data:`SHIFT` pixels along W.
    """

    blank: Tensor
    share_blank: float
    share_moved: float

    def map(self, slices: Sequence[int], count: int) -> Map:
        """The change with a blank auxiliary as an image of all ``count`` slices, of which it knows some."""
        says = f"what a blank auxiliary would change{said(slices, count)}"
        return Map(between(self.blank, slices, count), says, "influence of the auxiliary")

    def record(self) -> dict[str, Any]:
        """The shares as JSON values."""
        shares = {"ChangeWithBlank": self.share_blank, "ChangeWithMoved": self.share_moved}
        found: dict[str, Any] = {n: round(one, 4) if math.isfinite(one) else None for n, one in shares.items()}
        return found | {"MovedByPixels": SHIFT}


def moved(auxiliary: Tensor, pixels: int = SHIFT) -> Tensor:
    """``(..., H, W)`` shifted along W; zeros come in."""
    shifted = torch.zeros_like(auxiliary)
    shifted[..., pixels:] = auxiliary[..., : auxiliary.shape[-1] - pixels]
    return shifted


def influence(again: Again, numbers: list[int], moving: list[int]) -> Influence:
    """The auxiliary's influence on slices of a reconstruction; one more pass over both lists.

    Args:
        again: with an auxiliary and its result.
        numbers: slices that a blank auxiliary is tried on.
        moving: slices that a moved one is tried on.
    """
    auxiliary, result = again.auxiliary, again.result
    assert auxiliary is not None
    assert result is not None
    blank = torch.zeros_like(auxiliary[0])
    bar = progress_bar(range(len(numbers)), "without the auxiliary", "slice")
    changes = torch.stack([(again.magnitude(numbers[i], blank) - result[numbers[i]]).abs() for i in bar])
    bar = progress_bar(range(len(moving)), "with the auxiliary moved", "slice")
    shifted = torch.stack([again.magnitude(n, moved(auxiliary[n])) - result[n] for n in (moving[i] for i in bar)])
    return Influence(changes, _share(changes, result[numbers]), _share(shifted, result[moving]))


def _share(change: Tensor, images: Tensor) -> float:
    norm = torch.linalg.vector_norm(images).clamp_min(torch.finfo(torch.float32).tiny)
    return float(torch.linalg.vector_norm(change) / norm)
