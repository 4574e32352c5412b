"""The blocks of FSMNet (Chen et al., MICCAI 2024, arXiv 2409.14113): Eq. 1-5 in order.

``C`` is the feature width; every block keeps ``(B, C, H, W)`` unless it says otherwise. Where the paper is silent, the
released code decides; the options of a block are what the two differ in.

1. Between resolutions: :class:`ConvPReLU`, :class:`Down`, :class:`Up`.
2. Features of either branch: :class:`ResidualGroup` (spatial), :class:`FrequencyBlock` (Eq. 1-2).
3. CMS-fusion, between contrasts: :class:`SelectionScores` (Eq. 3), :class:`SelectiveFusion` (Eq. 4).
4. FS-fusion, between branches: :class:`ChannelAttention` (Eq. 5).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsmnet.errors import UserError
from fsmnet.models.polar import amplitude_phase, from_amplitude_phase
from fsmnet.models.precision import full_precision, without_autocast


class ConvPReLU(nn.Module):
    """3x3 convolution without bias, then PReLU with one slope: the head (1 -> C), the tail (C -> 1), a group's end."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.act: nn.Module = nn.PReLU()

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
    """Doubles the image: 1x1 convolution to 4C, depth to space, PReLU.

    Args:
        features: width C.
        outputs: width of what comes out, if it is another one.
    """

    def __init__(self, features: int, outputs: int | None = None) -> None:
        super().__init__()
        self.expand = nn.Conv2d(features, 4 * (outputs or features), 1)
        self.act: nn.Module = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, outputs, 2H, 2W)``."""
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
        self.scale: nn.Parameter | float = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in and out."""
        out: Tensor = self.close(self.blocks(x)) + self.scale * x
        return out


class FrequencyBlock(nn.Module):
    """Frequency branch of FSFE (Eq. 1-2): residual convolutions on the amplitude and the phase of a real FFT.

    With ``A, P`` amplitude and phase of ``pre(x)``::

        A' = A + conv(lrelu(conv(A)))
        P' = P + conv(lrelu(conv(P)))
        out = x + post(irfft2(A' exp(i P')))

    Every output pixel sees the whole image.

    Args:
        features: width C.
        magnitude: take the absolute value after the inverse transform, as the released code does; the paper does not.
        epsilon: constant that the released code adds to its image, real and imaginary parts.
    """

    def __init__(self, features: int, magnitude: bool = False, epsilon: float = 0.0) -> None:
        super().__init__()
        self.magnitude = magnitude
        self.epsilon = epsilon
        # The released code adds its constant once per part, and once to the complex number.
        self.offset = complex(2 * epsilon, epsilon)
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
        # In float32 even under autocast: a value's rounding would spread over the whole spectrum and drown its small
        # coefficients, and training would learn more slowly.
        with without_autocast(x):
            image = self.pre(full_precision(x)) + self.epsilon
        amplitude, phase = self.transform(image)
        amplitude = amplitude + full_precision(self.amplitude(amplitude))
        phase = phase + full_precision(self.phase(phase))
        image = self.inverse(amplitude, phase, x.shape[-2], x.shape[-1])
        out: Tensor = x + self.post(image.abs() if self.magnitude else image)
        return out

    def transform(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Amplitude and phase, ``(B, C, H, W // 2 + 1)`` each, of ``(B, C, H, W)`` (Eq. 1-2)."""
        return amplitude_phase(image)

    def inverse(self, amplitude: Tensor, phase: Tensor, height: int, width: int) -> Tensor:
        """The image ``(B, C, height, width)`` of an amplitude and a phase."""
        spectrum = from_amplitude_phase(amplitude, phase) + self.offset
        image: Tensor = torch.fft.irfft2(spectrum, s=(height, width), norm="backward")
        return image


class SelectionScores(nn.Module):
    """How much of each of two feature maps is taken, from their concatenation (Eq. 3).

    Eq. 3: ``[score_a, score_b] = sigmoid(conv(conv([a, b])))`` with 3x3 convolutions 2C -> C -> 2C, nothing between.
    """

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
    """CMS-fusion: two feature maps weighted by learned scores and added (Eq. 4). FS-fusion ends with it too.

    Eq. 4: ``out = score_a * a + score_b * b``, pixel by pixel and channel by channel.

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


class ChannelAttention(nn.Module):
    """What FS-fusion adds to one branch from the other (Eq. 5): attention between channels, 8 heads.

    Eq. 5: ``out = softmax(Q K^T / sqrt(d)) V``. With pixels as its tokens the matrix would have 57,600^2 values. Here
    the tokens of a head are its C/8 channels, the matrix is ``(C/8, C/8)``, and the cost is linear in the pixels.
    Queries come from one map, keys and values from the other, as the paper's text has it (its formula multiplies by the
    asking map). Queries and keys are normalised along the pixels, and a temperature learned for each head stands in
    place of ``1 / sqrt(d)``, as in the released code: ``softmax(temperature * Q K^T / (|Q| |K|)) V``, then 1x1.
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
        query = self.query_depthwise(self.query(a))
        key, value = self.key_value_depthwise(self.key_value(b)).chunk(2, dim=1)
        with without_autocast(a):  # sums over pixels
            # Each (B, heads, C / heads, pixels), normalised along the pixels.
            q, k, v = (full_precision(t).flatten(2).unflatten(1, (self.heads, -1)) for t in (query, key, value))
            cosines = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT
            weights = (self.temperature * cosines).softmax(dim=-1)
            mixed = weights @ v
        out: Tensor = self.project(mixed.reshape(a.shape).to(value.dtype))
        return out


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
