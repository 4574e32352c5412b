"""What did the auxiliary do? The change of the image when the auxiliary is blank, and when it is moved a little.

Where a blank auxiliary changes the image, the image rests on the auxiliary. Where one that is moved by two pixels
changes it, structure follows the auxiliary and not the measurement: there, what only the auxiliary shows may have been
copied. Neither says by itself that the image is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SHIFT = 2  # pixels along the phase-encode axis, whose lines are missing


@dataclass(frozen=True)
class Influence:
    """Changes of an image, in its units.

    Attributes:
        blank: ``|x - x'|`` with a blank auxiliary, real ``(..., H, W)``.
        moved: the same with an auxiliary that is moved by :data:`SHIFT` pixels along W.
        share_blank: ``||x - x'|| / ||x||`` with a blank auxiliary.
        share_moved: the same with a moved one.
    """

    blank: Tensor
    moved: Tensor
    share_blank: float
    share_moved: float


def moved(auxiliary: Tensor, pixels: int = SHIFT) -> Tensor:
    """``(..., H, W)`` shifted along W; zeros come in."""
    shifted = torch.zeros_like(auxiliary)
    shifted[..., pixels:] = auxiliary[..., : auxiliary.shape[-1] - pixels]
    return shifted


def influence(image: Tensor, auxiliary: Tensor, reconstruct: Callable[[Tensor], Tensor]) -> Influence:
    """The auxiliary's influence on an image; two reconstructions.

    Args:
        image: x, ``(..., H, W)``, real or complex, as reconstructed with the auxiliary.
        auxiliary: ``(..., H, W)``.
        reconstruct: the same reconstruction with another auxiliary.
    """
    blank = (reconstruct(torch.zeros_like(auxiliary)) - image).abs()
    shifted = (reconstruct(moved(auxiliary)) - image).abs()
    norm = torch.linalg.vector_norm(image).clamp_min(torch.finfo(torch.float32).tiny)
    shares = [float(torch.linalg.vector_norm(change) / norm) for change in (blank, shifted)]
    return Influence(blank, shifted, *shares)
