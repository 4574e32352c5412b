"""What a network gets of an accelerated scan, and how its image is drawn back to the measured lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fsmnet.physics.fourier import TINY
from fsmnet.physics.masks import Mask

CHUNK = 4  # slices that stay in the processor's cache

Consistency = Callable[[Tensor, slice], tuple[Tensor, dict[str, list[float]]]]


@dataclass(frozen=True)
class Undersampled:
    """Zero-filled slices, from a simulation or from measured k-space.

    Attributes:
        zero_filled: ``(n, H, W)``; complex from measured k-space, a magnitude otherwise.
        mask: acquired columns; None for a target that was degraded before.
        reference: ``(n, H, W)`` float32, the fully sampled magnitude; None where there is none.
        simulation: how the lines came to be missing, in words.
        consistency: network's image of some slices ``(b, H, W)``, and which -> image that agrees with the measured
            lines, real or complex, and residuals by name, one of each slice; None if no line is known or it is not
            wanted.
        how: what the record says of the consistency besides.
        coils: what the record says of coils and their maps; None for an image.
    """

    zero_filled: Tensor
    mask: Mask | None
    reference: Tensor | None
    simulation: str
    consistency: Consistency | None
    how: dict[str, Any] = field(default_factory=dict)
    coils: dict[str, Any] | None = None


def of_image(target: Tensor, mask: Mask | None, consistency: str, weight: float | None) -> Undersampled:
    """Simulate an accelerated scan from a magnitude image, or take a degraded image as it is.

    Lines are left out along the last axis only, so the transform along the other one and its inverse cancel, and so do
    the shifts of the centre: what :mod:`fsmnet.physics.fourier` does in two dimensions is done in one, equal to
    rounding.

    Args:
        target: ``(n, H, W)`` on [0, 1].
        mask: acquired columns; None for an image that is degraded already.
        consistency: ``auto``, ``hard``, ``soft`` or ``off``.
        weight: of the measurement, for ``soft``.
    """
    if mask is None:
        return Undersampled(target, None, None, "none; the target was degraded before", None)
    known = torch.fft.ifftshift(torch.from_numpy(mask.columns))
    filled, acquired = [], []
    for chunk in target.split(CHUNK):
        whole = transform(chunk)
        filled.append(torch.fft.ifft(whole * known, norm="ortho").abs())
        acquired.append(whole[..., known])
    measured = torch.cat(acquired)

    def put_back(image: Tensor, part: slice) -> tuple[Tensor, dict[str, list[float]]]:
        # The k-space was simulated from a magnitude image, so the phase is known to be zero, and the result is real
        # again but for what the network got wrong in conjugate pairs of lines of which only one was measured; that
        # part is dropped.
        spectrum, lines = transform(image), measured[part]
        before = spectrum[..., known]
        spectrum[..., known] = lines if weight is None else (before + weight * lines) / (1 + weight)
        consistent: Tensor = torch.fft.ifft(spectrum, norm="ortho")
        after, of_real = (transform(x)[..., known] for x in (consistent, consistent.real))
        names = {"ResidualBefore": before, "ResidualAfter": after, "ResidualOfRealPart": of_real}
        energy = norm(lines).clamp_min(TINY)
        return consistent.real, {name: (norm(x - lines) / energy).tolist() for name, x in names.items()}

    return Undersampled(
        torch.cat(filled),
        mask,
        target,
        "retrospective, from a magnitude image",
        None if consistency == "off" else put_back,
        {"Kind": describe_consistency(weight)},
    )


def transform(image: Tensor) -> Tensor:
    """Orthonormal Fourier transform along the phase-encode axis; the zero frequency comes first."""
    spectrum: Tensor = torch.fft.fft(image, norm="ortho")
    return spectrum


def norm(lines: Tensor) -> Tensor:
    """Norm of each slice's lines."""
    size: Tensor = torch.linalg.vector_norm(torch.view_as_real(lines), dim=(-3, -2, -1))
    return size


def describe_consistency(weight: float | None) -> str:
    """The kind of data consistency in words."""
    return "hard: measured k-space lines replaced" if weight is None else f"soft: measured lines with weight {weight:g}"
