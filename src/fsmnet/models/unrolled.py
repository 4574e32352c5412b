r"""The project's k-space network: a few learned steps, each followed by a look at the measurement.

An accelerated scan measured :math:`y = A x + n` (:mod:`fsmnet.physics.acquisition`). Beginning with the zero-filled
image :math:`x_0 = A^H y`, no correction :math:`d_0 = 0` and no features :math:`f_0 = 0`, step k of K does

.. math::
    (\Delta_k, f_{k+1}) &= N_k(x_k, d_k, f_k; a, c)     && \text{a small network; } a \text{ is the other contrast} \\
    u_k &= x_k + \Delta_k                               && \text{its guess} \\
    d_{k+1} &= \arg\min_d \|d\|^2 + \|A d - (y - A u_k)\|^2_{w_k}
                                                        && \text{what the measurement says to it, line by line} \\
    x_{k+1} &= u_k + d_{k+1}

The correction :math:`d` of one step is an input of the next: it shows on which lines the guess was wrong, the trace of
structure that was missed, or copied from the other contrast. The network says of every line how far it believes it,
:math:`W_k = w_k / (1 + w_k)`, by its place, by how densely its neighbourhood was sampled and by the noise. In one coil
:math:`d = A^H W (y - A u)`, the weighted consistency of Schlemper et al. (IEEE TMI 37:491, 2018), in which a
:math:`W` of 1 puts the line back; in several coils a few conjugate-gradient steps lead to the minimum (Aggarwal et
al., IEEE TMI 38:394, 2019).

:math:`N_k` works on the complex image rearranged by 2 x 2 pixels, 8 channels at half the resolution: an encoder and a
decoder of three levels with one residual block each. Its features :math:`f` are handed from step to step. The features
of the auxiliary, a real image, are computed once and enter at each level by the selective fusion of Chen et al. (MICCAI
2024, Eq. 3-4), here with 1 x 1 kernels, for which their two convolutions are one:

.. math:: [s_a, s_t] = \sigma(P [a; t]), \qquad t \leftarrow s_a \cdot a + 2 s_t \cdot t .

Every block is modulated channel by channel by what is known of the scan: the share of the lines that was measured, the
noise, and whether there is another contrast.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsmnet.errors import UserError
from fsmnet.models.output import Output
from fsmnet.models.precision import full_precision

if TYPE_CHECKING:
    from fsmnet.physics.acquisition import Acquisition

LEVELS = 3
SENSE_STEPS = 4  # of conjugate gradients in each step of the network, with several coils
KNOWN = 4  # what is told of a scan: share of the lines, noise, whether noise is known, whether there is an auxiliary
SLOPE = 0.1
TINY = torch.finfo(torch.float32).tiny
ALMOST_0 = TINY**0.5  # far below any image, and still a number by which one can divide


class UnrolledFSMNet(nn.Module):
    """Unrolled reconstruction of complex k-space of one or several coils, with or without another contrast.

    Args:
        steps: K, at least 1.
        widths: channels at half, quarter and eighth resolution, multiples of 8.

    With the defaults 1,176,704 parameters and 9.5 GFLOP for one coil of 240 x 240, transforms not counted.
    """

    takes = "acquisition"

    def __init__(self, steps: int = 8, widths: Sequence[int] = (24, 32, 48)) -> None:
        super().__init__()
        if steps < 1:
            raise UserError(f"steps must be at least 1, not {steps}")
        if len(widths) != LEVELS or any(width < 8 or width % 8 for width in widths):
            raise UserError(f"widths must be {LEVELS} positive multiples of 8, from half resolution down, not {widths}")
        self.steps = nn.ModuleList(Step(widths) for _ in range(steps))
        self.auxiliary = AuxiliaryEncoder(widths)
        self.lines = LineWeights(steps)
        self.condition = nn.Sequential(nn.Linear(KNOWN, 32), nn.LeakyReLU(SLOPE), nn.Linear(32, steps * sum(widths)))
        self.widths = tuple(widths)

    def forward(self, acquisition: Acquisition, auxiliary: Tensor | None = None) -> Output:
        """Lines ``(B, C, H, W)`` of any H and W and, if there is one, the auxiliary's magnitude ``(B, 1, H, W)``.

        Neither needs normalising: the result is in the acquisition's units and does not depend on the auxiliary's.

        Returns:
            The image, complex64 ``(B, 1, H, W)``; in training the one after each step too.
        """
        iterates = self.iterates(acquisition, auxiliary)
        return Output(iterates[-1], iterates=tuple(iterates) if self.training else ())

    def iterates(
        self, acquisition: Acquisition, auxiliary: Tensor | None = None, present: Tensor | None = None
    ) -> list[Tensor]:
        """The image after each step, at which training looks; arguments and results as those of :meth:`forward`.

        Args:
            acquisition: what was measured.
            auxiliary: the other contrast.
            present: bool, ``(B,)``: samples of a batch whose auxiliary is to be used; all by default.
        """
        image = acquisition.zero_filled
        scale = contrast_scale(image.abs())
        scan = replace(acquisition, lines=acquisition.lines / scale[:, None])
        image, height, width = image / scale, *image.shape[-2:]
        known = self._known(scan, scale, auxiliary, present)
        weights = self.lines(scan.mask.expand(len(image), 1, width)[:, 0], known)
        scales = self._modulation(known)
        features, others = self._features(image, auxiliary, known[:, -1])
        correction = torch.zeros_like(image)
        results = []
        for number, step in enumerate(self.steps):
            channels = torch.cat([to_channels(image), to_channels(correction)], 1)
            update, features = step(channels, features, others, scales[number])
            guess = image + from_channels(update, height, width)
            correction = scan.correction(guess, weights[:, number, None, None], SENSE_STEPS)
            image = guess + correction
            results.append((image * scale)[:, None])
        return results

    def _known(self, scan: Acquisition, scale: Tensor, auxiliary: Tensor | None, present: Tensor | None) -> Tensor:
        """What is told of each scan, ``(B, KNOWN)``; ``scan`` is divided by ``scale`` but for its noise."""
        batch = len(scale)
        share = scan.mask.to(scale.dtype).mean(-1).expand(batch, 1)
        noise = torch.full_like(share, -1.0)
        if scan.noise is not None:  # a negative one counts as unknown, so that a batch can hold both
            noise = (
                torch.as_tensor(scan.noise, device=share.device).to(scale.dtype).expand(batch)[:, None] / scale[:, 0]
            )
        is_known = (noise >= 0).to(scale.dtype)
        level = is_known * (noise.clamp_min(0) + 1e-3).log10()
        if auxiliary is None:
            there = torch.zeros_like(share)
        else:
            shown = auxiliary.flatten(1).amax(1) > 0  # a blank one tells nothing, and counts as none
            there = (shown if present is None else shown & present).to(scale.dtype)[:, None]
        return torch.cat([-share.clamp_min(1e-3).log2(), level, is_known, there], 1)

    def _modulation(self, known: Tensor) -> list[tuple[Tensor, ...]]:
        """For each step and level the factors of a block's channels, ``(B, C, 1, 1)``."""
        factors = 1 + self.condition(known)[..., None, None]
        return [part.split(self.widths, 1) for part in factors.chunk(len(self.steps), 1)]

    def _features(self, image: Tensor, auxiliary: Tensor | None, present: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features to begin with, zeros, and the auxiliary's at each level, zeros where there is none."""
        batch, device = len(image), image.device.type
        height, width = (-(-side // 8) * 4 for side in image.shape[-2:])
        half = device != "meta" and torch.is_autocast_enabled(device)
        precision = torch.get_autocast_dtype(device) if half else image.real.dtype
        zeros = [
            torch.zeros((batch, channels, height // 2**level, width // 2**level), dtype=precision, device=image.device)
            for level, channels in enumerate(self.widths)
        ]
        if auxiliary is None:
            return zeros[0], zeros
        normalised = full_precision(auxiliary)
        normalised = normalised / contrast_scale(normalised)
        others = self.auxiliary(F.pixel_unshuffle(pad_to_eight(normalised), 2))
        return zeros[0], [features * present[:, None, None, None].to(features.dtype) for features in others]


class Step(nn.Module):
    """N: an encoder-decoder on images and features at half resolution; widths as for :class:`UnrolledFSMNet`."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.enter = nn.Conv2d(16, widths[0], 3, padding=1)
        self.fuse = nn.ModuleList(Fusion(width) for width in widths)
        self.blocks = nn.ModuleList(Block(width) for width in widths)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in pairwise(widths))
        self.decode = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for width in widths[:-1])
        self.leave = nn.Conv2d(widths[0], 8, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(
        self, images: Tensor, features: Tensor, others: Sequence[Tensor], scales: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Images ``(B, 16, h, w)``, features ``(B, C, h, w)``, the auxiliary's and the factors of each level.

        Returns:
            Change of the image ``(B, 8, h, w)``, and features for the next step.
        """
        x = F.leaky_relu(self.enter(images) + features, SLOPE)
        levels = []
        for level in range(LEVELS):
            if level:
                x = F.leaky_relu(self.down[level - 1](x), SLOPE)
            x = self.blocks[level](self.fuse[level](others[level], x), scales[level])
            levels.append(x)
        for level in reversed(range(LEVELS - 1)):
            x = levels[level] + F.pixel_shuffle(self.up[level](x), 2)
            x = x + F.leaky_relu(self.decode[level](x), SLOPE)
        return self.leave(x), x


class Block(nn.Module):
    """``x + conv(act(scale * conv(x)))``, the second convolution small at first so that deep stacks begin tame."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(0.2)

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """``(B, C, h, w)`` in and out; ``scale`` ``(B, C, 1, 1)``."""
        y = self.first(x)
        out: Tensor = x + self.second(F.leaky_relu(y if scale is None else y * scale.to(y.dtype), SLOPE))
        return out


class Fusion(nn.Module):
    """Selective fusion (Eq. 3-4) with 1 x 1 kernels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scores = nn.Conv2d(2 * width, 2 * width, 1)

    def forward(self, auxiliary: Tensor, target: Tensor) -> Tensor:
        """Two ``(B, C, h, w)`` to one."""
        a, t = self.scores(torch.cat([auxiliary, target], 1)).sigmoid().chunk(2, 1)
        fused: Tensor = a * auxiliary + 2 * t * target  # twice: the untrained score of 1/2 hands the target on
        return fused


class AuxiliaryEncoder(nn.Module):
    """Features of the other contrast at every level."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        inputs = [4, *widths[:-1]]
        sizes = [3, 2, 2]
        self.enter = nn.ModuleList(
            nn.Conv2d(a, b, size, stride=1 if size == 3 else 2, padding=size // 3)
            for a, b, size in zip(inputs, widths, sizes, strict=True)
        )
        self.blocks = nn.ModuleList(nn.Sequential(Block(width), Block(width)) for width in widths)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Auxiliary ``(B, 4, h, w)`` to ``(B, C, h, w)`` and the coarser levels."""
        features = []
        for enter, blocks in zip(self.enter, self.blocks, strict=True):
            x = blocks(F.leaky_relu(enter(x), SLOPE))
            features.append(x)
        return features


class LineWeights(nn.Module):
    """W: how far every step believes every line, from 0 to 1.5 (more than 1 goes beyond what was measured)."""

    def __init__(self, steps: int, hidden: int = 16) -> None:
        super().__init__()
        last = nn.Linear(hidden, steps)
        nn.init.constant_(last.bias, 0.55)  # a weight of 0.95
        self.layers = nn.Sequential(nn.Linear(KNOWN + 2, hidden), nn.LeakyReLU(SLOPE), last)

    def forward(self, mask: Tensor, known: Tensor) -> Tensor:
        """Mask ``(B, W)`` and what is known of the scans to weights ``(B, K, W)``, float32 even under autocast."""
        kind = mask.device.type
        with nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False):
            width = mask.shape[-1]
            place = (torch.arange(width, device=mask.device) - width // 2).abs() * (2 / width)
            density = F.avg_pool1d(mask.to(known.dtype)[:, None], 9, 1, 4, count_include_pad=False)[:, 0]
            told = [known[:, None].expand(-1, width, -1), place.expand_as(density)[..., None], density[..., None]]
            weights: Tensor = 1.5 * self.layers(torch.cat(told, -1)).sigmoid()
        return weights.transpose(1, 2)


def contrast_scale(magnitude: Tensor) -> Tensor:
    """Mean of an image weighted by itself, ``(B, ..., 1, 1)``: its brightness, whatever empty space is around it."""
    total = magnitude.sum((-2, -1), keepdim=True)
    brightness: Tensor = magnitude.square().sum((-2, -1), keepdim=True) / total.clamp_min(TINY) + ALMOST_0
    return brightness


def pad_to_eight(image: Tensor) -> Tensor:
    """Zeros below and on the right, up to multiples of 8."""
    rows, columns = -image.shape[-2] % 8, -image.shape[-1] % 8
    return F.pad(image, (0, columns, 0, rows)) if rows or columns else image


def to_channels(image: Tensor) -> Tensor:
    """Complex ``(B, H, W)`` to ``(B, 8, h, w)`` at half resolution: real and imaginary parts of 2 x 2 pixels."""
    return F.pixel_unshuffle(pad_to_eight(torch.view_as_real(image).movedim(-1, 1)), 2)


def from_channels(channels: Tensor, height: int, width: int) -> Tensor:
    """Inverse of :func:`to_channels`; half precision becomes single."""
    parts = F.pixel_shuffle(full_precision(channels), 2)[..., :height, :width]
    return torch.complex(parts[:, 0].contiguous(), parts[:, 1].contiguous())
