"""The k-space network in real numbers, for files of torch.export and for runtimes without complex numbers (ONNX).

A complex image or line is a pair of real ones, and the centred transform along W is a product with a real and an
imaginary matrix. One coil; everything else is :class:`fsmnet.models.unrolled.UnrolledFSMNet`, whose parts it uses.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsmnet.models.unrolled import UnrolledFSMNet, contrast_scale


class RealUnrolled(nn.Module):
    """An unrolled network that takes and gives pairs of real numbers."""

    def __init__(self, model: UnrolledFSMNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, lines: Tensor, mask: Tensor, auxiliary: Tensor, noise: Tensor) -> Tensor:
        """Lines to the image.

        Args:
            lines: real and imaginary part of the measured lines, ``(1, 2, H, W)``: k-space along W, image along H, as
                :attr:`fsmnet.Acquisition.lines`; zero where not measured. H and W are multiples of 8.
            mask: 1 where a line was measured, else 0, ``(1, W)``.
            auxiliary: magnitude of the other contrast, ``(1, 1, H, W)``; zeros where there is none.
            noise: standard deviation of the noise in the lines, ``(1,)``; negative if unknown.

        Returns:
            Real and imaginary part of the image, ``(1, 2, H, W)``.
        """
        model = self.model
        cosine, sine = centred_waves(lines)
        image = to_image(lines, cosine, sine)
        scale = contrast_scale(_magnitude(image))  # (1, 1, 1)
        image, measured = image / scale[:, None], lines / scale[:, None]
        scan = SimpleNamespace(mask=mask[:, None], noise=noise)
        known = model._known(scan, scale, auxiliary, None)  # type: ignore[arg-type]
        weights = self._weights(mask, known)
        scales = model._modulation(known)
        features, others = model._features(_magnitude(image), auxiliary, known[:, -1])
        correction = torch.zeros_like(image)
        for number, step in enumerate(model.steps):
            channels = torch.cat([F.pixel_unshuffle(part, 2) for part in (image, correction)], 1)
            update, features = step(channels, features, others, scales[number])
            guess = image + F.pixel_shuffle(update.float(), 2)
            gap = (measured - to_lines(guess, cosine, sine) * mask[:, None, None]) * weights[:, None, number, None]
            correction = to_image(gap * mask[:, None, None], cosine, sine)
            image = guess + correction
        return image * scale[:, None]

    def _weights(self, mask: Tensor, known: Tensor) -> Tensor:
        """:class:`fsmnet.models.unrolled.LineWeights` without arithmetic of sizes, ``(1, K, W)``."""
        numbers = torch.arange(mask.shape[-1], device=mask.device)
        half = (numbers[-1:] + 1) // 2
        place = ((numbers - half).abs().to(mask.dtype) / half.to(mask.dtype))[None, :, None]
        density = F.avg_pool1d(mask[:, None], 9, 1, 4, count_include_pad=False)[:, 0, :, None]
        ones = torch.ones_like(density)
        told = torch.cat([known[:, None] * ones, place * ones, density], -1)
        weights: Tensor = 1.5 * self.model.lines.layers(told).sigmoid()
        return weights.transpose(1, 2)


def _magnitude(pair: Tensor) -> Tensor:
    """``(1, 2, H, W)`` to ``(1, H, W)``."""
    return pair.square().sum(1).sqrt()


def centred_waves(like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of ``2 pi (i - W/2) (k - W/2) / W`` over the root of W, each ``(W, W)``; W is even."""
    numbers = torch.arange(like.shape[-1], device=like.device)
    width = numbers[-1:] + 1  # as a tensor: ONNX knows no arithmetic of sizes
    places = numbers - width // 2
    turns = (places[:, None] * places) % width  # in whole numbers, so that large products stay exact
    angles = turns.to(like.dtype) * (2 * math.pi) / width.to(like.dtype)
    root = width.to(like.dtype).sqrt()
    return angles.cos() / root, angles.sin() / root


def to_lines(image: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Centred orthonormal transform along W of pairs ``(1, 2, H, W)``."""
    real, imaginary = image[:, :1], image[:, 1:]
    return torch.cat([real @ cosine + imaginary @ sine, imaginary @ cosine - real @ sine], 1)


def to_image(lines: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Inverse of :func:`to_lines`."""
    real, imaginary = lines[:, :1], lines[:, 1:]
    return torch.cat([real @ cosine - imaginary @ sine, imaginary @ cosine + real @ sine], 1)
