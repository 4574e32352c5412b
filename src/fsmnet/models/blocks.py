"""Blocks shared by the two FSMNet variants, and what all models return.

Section, equation and figure numbers refer to Chen et al., MICCAI 2024 (arXiv 2409.14113). ``C`` is the feature width;
every block keeps ``(B, C, H, W)`` unless it says otherwise.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsmnet.errors import UserError


class Output(NamedTuple):
    """What a model returns.

    Attributes:
        image: reconstruction ``(B, 1, H, W)``, normalised like the target that went in.
        frequency_image: a second estimate from a frequency branch, supervised in training only; None without one.
        auxiliary_image: the auxiliary as the model reconstructs it, which some originals supervise too; None without.
    """

    image: Tensor
    frequency_image: Tensor | None = None
    auxiliary_image: Tensor | None = None


def full_precision(tensor: Tensor) -> Tensor:
    """The tensor in float32 or float64: FFTs, angles and sums over pixels in half precision lose the image."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """Region in which operations keep their inputs' precision, for sums that half precision would lose."""
    device = tensor.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def amplitude_phase(image: Tensor) -> tuple[Tensor, Tensor]:
    """Amplitude and phase of the real FFT of ``(..., H, W)``, each ``(..., H, W // 2 + 1)`` (Eq. 1-2).

    A real image's self-conjugate coefficients (zero and Nyquist rows crossed with zero and Nyquist columns) are real,
    so their phase is 0 or pi. Computed from the imaginary part, a rounding error decides between +pi and -pi there, and
    the convolutions that follow spread the jump. Here the sign of the real part decides, on every machine.

    Unnormalised forward transform, no shift; the gradient at a zero coefficient is zero.
    """
    height, width = image.shape[-2:]
    spectrum = torch.fft.rfft2(image, norm="backward")
    phase = spectrum.angle()
    rows = slice(None, None, height // 2) if height % 2 == 0 else slice(0, 1)
    columns = slice(None, None, width // 2) if width % 2 == 0 else slice(0, 1)
    with torch.no_grad():
        negative = spectrum.real[..., rows, columns] < 0
        real_phase = negative.to(phase.dtype) * math.pi
    phase[..., rows, columns] = real_phase
    return spectrum.abs(), phase


class ConvPReLU(nn.Module):
    """3x3 convolution without bias, then PReLU with one slope: the head (1 -> C), the tail (C -> 1), a group's end."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H, W)``."""
        out: Tensor = self.act(self.conv(x))
        return out


class Down(nn.Module):
    """Halves the image: 3x3 convolution, space to depth, 1x1 convolution; linear, without bias."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.smooth = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.mix = nn.Conv2d(4 * features, features, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C, H/2, W/2)``; H and W even."""
        out: Tensor = self.mix(F.pixel_unshuffle(self.smooth(x), 2))
        return out


class Up(nn.Module):
    """Doubles the image: 1x1 convolution to 4C, depth to space, PReLU."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(features, 4 * features, 1)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C, 2H, 2W)``."""
        # PReLU's single slope acts on each value alone, so it may as well come before the rearrangement.
        out: Tensor = self.act(F.pixel_shuffle(self.expand(x), 2))
        return out


class ResBlock(nn.Module):
    """``relu(x + conv(relu(conv(x))))`` with 3x3 convolutions without bias."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in and out."""
        return F.relu(x + self.conv2(F.relu(self.conv1(x))))


class ResidualGroup(nn.Module):
    """Spatial branch of FSFE: residual blocks and a closing convolution, added to a scaled input."""

    def __init__(self, features: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(ResBlock(features) for _ in range(blocks)))
        self.close = ConvPReLU(features, features)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in and out."""
        out: Tensor = self.close(self.blocks(x)) + self.scale * x
        return out


class FrequencyBlock(nn.Module):
    """Frequency branch of FSFE: residual convolutions on the amplitude and the phase of a real FFT.

    Every output pixel sees the whole image. Transform, angle and polar form stay in float32 under autocast.

    Args:
        features: width C.
        magnitude: take the absolute value after the inverse transform, as the released code does; the paper does not.
        epsilon: constant that the released code adds to its image, real and imaginary parts.
    """

    def __init__(self, features: int, magnitude: bool = False, epsilon: float = 0.0) -> None:
        super().__init__()
        self.magnitude = magnitude
        self.epsilon = epsilon
        self.pre = nn.Conv2d(features, features, 1)
        self.amplitude = self._spectral_convolutions(features)
        self.phase = self._spectral_convolutions(features)
        self.post = nn.Conv2d(features, features, 1)

    @staticmethod
    def _spectral_convolutions(features: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(features, features, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in and out."""
        image = full_precision(self.pre(x))
        amplitude, phase = amplitude_phase(image + self.epsilon if self.epsilon else image)
        amplitude = amplitude + full_precision(self.amplitude(amplitude))
        phase = phase + full_precision(self.phase(phase))
        spectrum = torch.complex(amplitude * torch.cos(phase), amplitude * torch.sin(phase))
        if self.epsilon:
            spectrum = spectrum + complex(2 * self.epsilon, self.epsilon)  # once per part, once for the complex number
        image = torch.fft.irfft2(spectrum, s=(x.shape[-2], x.shape[-1]), norm="backward")
        out: Tensor = self.post(image.abs() if self.magnitude else image) + x
        return out


class ChannelAttention(nn.Module):
    """Attention between the channels of two feature maps, 8 heads (Eq. 5 as it can be computed: linear in pixels).

    Queries come from one map, keys and values from the other. Queries and keys are normalised along the pixels, so each
    head's ``(C/8, C/8)`` matrix holds cosines, scaled by a learned temperature before the softmax.
    """

    heads = 8

    def __init__(self, features: int) -> None:
        super().__init__()
        if features % self.heads:
            raise UserError(f"features must be a multiple of {self.heads} for the attention's heads, not {features}")
        self.query = nn.Conv2d(features, features, 1, bias=False)
        self.query_depthwise = nn.Conv2d(features, features, 3, padding=1, groups=features, bias=False)
        self.key_value = nn.Conv2d(features, 2 * features, 1, bias=False)
        self.key_value_depthwise = nn.Conv2d(2 * features, 2 * features, 3, padding=1, groups=2 * features, bias=False)
        self.temperature = nn.Parameter(torch.ones(self.heads, 1, 1))
        self.project = nn.Conv2d(features, features, 1, bias=False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """``a`` asks, ``b`` answers: two ``(B, C, H, W)`` to one."""
        batch, channels, height, width = a.shape
        query = self.query_depthwise(self.query(a))
        key, value = self.key_value_depthwise(self.key_value(b)).chunk(2, dim=1)
        query, key = (t.reshape(batch, self.heads, channels // self.heads, height * width) for t in (query, key))
        with without_autocast(a):
            query, key = full_precision(query), full_precision(key)
            # Dividing the small matrix by the norms costs less than normalising two full-size maps.
            norms = query.norm(dim=-1).clamp_min(1e-12)[..., :, None] * key.norm(dim=-1).clamp_min(1e-12)[..., None, :]
            weights = (query @ key.transpose(-2, -1) / norms * self.temperature).softmax(dim=-1)
            mixed = weights @ full_precision(value).reshape(key.shape)
        out: Tensor = self.project(mixed.reshape(a.shape).to(value.dtype))
        return out


class SelectionScores(nn.Module):
    """Sigmoid scores for two feature maps from their concatenation (Eq. 3): two 3x3 convolutions, nothing between."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(2 * features, features, 3, padding=1)
        self.expand = nn.Conv2d(features, 2 * features, 3, padding=1)

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Two ``(B, C, H, W)`` to their scores in (0, 1), same shapes."""
        scores: Tensor = self.expand(self.squeeze(torch.cat([a, b], dim=1))).sigmoid()
        score_a, score_b = scores.chunk(2, dim=1)
        return score_a, score_b


class SelectiveFusion(nn.Module):
    """CMS-fusion (Eq. 3-4): two feature maps weighted by learned scores and added. FS-fusion ends with it too.

    Args:
        features: width C.
        weigh: what the scores multiply: the ``"incoming"`` features (the paper) or their 3x3 ``"convolved"`` ones (the
            released code).
    """

    def __init__(self, features: int, weigh: str = "incoming") -> None:
        super().__init__()
        self.weigh = weigh
        self.conv_a = nn.Conv2d(features, features, 3, padding=1)
        self.conv_b = nn.Conv2d(features, features, 3, padding=1)
        self.scores = SelectionScores(features)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Two ``(B, C, H, W)`` to one: ``a`` auxiliary (or spatial), ``b`` target (or frequency) features."""
        u, v = self.conv_a(a), self.conv_b(b)
        score_a, score_b = self.scores(u, v)
        if self.weigh == "convolved":
            a, b = u, v
        mixed: Tensor = score_a * a + score_b * b
        return mixed


class SumFusion(nn.Module):
    """Ablation: plain addition in place of CMS-fusion."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Two ``(B, C, H, W)`` to one."""
        return a + b


def modality_fusion_block(kind: str, features: int, weigh: str) -> nn.Module:
    """CMS-fusion or its ablation, by option."""
    if kind not in ("selective", "sum"):
        raise UserError(f"modality_fusion is 'selective' or 'sum', not {kind!r}")
    return SelectiveFusion(features, weigh) if kind == "selective" else SumFusion()


def check_size(features: int, blocks: int, branch_fusion: str) -> None:
    """Refuse impossible sizes of either variant in one sentence."""
    if features < 8 or features % 8:
        raise UserError(f"features must be a positive multiple of 8, not {features}")
    if blocks < 1:
        raise UserError(f"blocks must be at least 1, not {blocks}")
    if branch_fusion not in ("attention", "sum"):
        raise UserError(f"branch_fusion is 'attention' or 'sum', not {branch_fusion!r}")
