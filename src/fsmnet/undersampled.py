"""What a network gets of an accelerated scan, and how its image is drawn back to the measured lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fsmnet.kspace import data_consistency, residual, undersample
from fsmnet.masks import Mask
from fsmnet.protocols import zero_fill

Consistency = Callable[[Tensor], tuple[Tensor, dict[str, Any]]]


@dataclass(frozen=True)
class Undersampled:
    """Zero-filled slices, from a simulation or from measured k-space.

    Attributes:
        zero_filled: ``(n, H, W)``; complex from measured k-space, a magnitude otherwise.
        mask: acquired columns; None for a target that was degraded before.
        reference: ``(n, H, W)`` float32, the fully sampled magnitude; None where there is none.
        simulation: how the lines came to be missing, in words.
        consistency: network's image ``(n, H, W)`` -> image that agrees with the measured lines, real or complex, and
            what the record says of it; None if no line is known or it is not wanted.
        coils: what the record says of coils and their maps; None for an image.
    """

    zero_filled: Tensor
    mask: Mask | None
    reference: Tensor | None
    simulation: str
    consistency: Consistency | None
    coils: dict[str, Any] | None = None


def of_image(target: Tensor, mask: Mask | None, consistency: str, weight: float | None) -> Undersampled:
    """Simulate an accelerated scan from a magnitude image, or take a degraded image as it is.

    Args:
        target: ``(n, H, W)`` on [0, 1].
        mask: acquired columns; None for an image that is degraded already.
        consistency: ``auto``, ``hard``, ``soft`` or ``off``.
        weight: of the measurement, for ``soft``.
    """
    if mask is None:
        return Undersampled(target, None, None, "none; the target was degraded before", None)
    columns = torch.from_numpy(mask.columns)

    def put_back(image: Tensor) -> tuple[Tensor, dict[str, Any]]:
        # The k-space was simulated from a magnitude image, so the phase is known to be zero, and the result is real
        # again but for what the network got wrong in conjugate pairs of lines of which only one was measured; that
        # part is dropped.
        measured = undersample(target, columns)
        consistent = data_consistency(image + 0j, measured, columns, weight)
        names = {"ResidualBefore": image, "ResidualAfter": consistent, "ResidualOfRealPart": consistent.real}
        residuals = {name: float(residual(x, measured, columns).mean()) for name, x in names.items()}
        return consistent.real, {"Kind": describe_consistency(weight), **residuals}

    return Undersampled(
        zero_fill(target, columns, "float"),
        mask,
        target,
        "retrospective, from a magnitude image",
        None if consistency == "off" else put_back,
    )


def describe_consistency(weight: float | None) -> str:
    """The kind of data consistency in words."""
    return "hard: measured k-space lines replaced" if weight is None else f"soft: measured lines with weight {weight:g}"
