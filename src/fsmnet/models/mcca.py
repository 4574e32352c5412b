"""MCCA: multi-contrast complementary learning (Li et al., IEEE J. Biomed. Health Inform. 28(3), 2024).

Two U-Nets side by side, A for the auxiliary and T for the target, with separate weights. After every encoder module
but the first, and after every module of the middle, the target receives the gated features of the auxiliary:

    t = t + Gate2(Gate1(a)) * t,     Gate(a) = a * sigmoid(conv1x1(relu(conv1x1(mean of a over the pixels))))

The decoders run apart. Encoder: residual blocks, one resolution less per level. Middle: residual block, four
transformer blocks, residual block. Decoder: residual blocks on the features joined with the encoder's, which the target
keeps as they were before the fusion. With LN a layer norm over the channels of each pixel, a transformer block is

    n = LN(x),  y = conv3x3(attention(q, k, v)) + n,     q, k, v = LN(relu(depthwise3x3(conv1x1(n)))) each
    m = gelu(depthwise3x3(LN(y))) + gelu(depthwise3x3 with dilation 3 (LN(y))),  out = y + gelu(conv3x3(m))

with one attention head over all pixels and dropout after each gelu.

The original restores complex images as two channels and then puts the measured k-space back (data consistency). Here
images have one channel and there is no data consistency, as in FSMNet's comparison; both come back by option. Three
more changes: the image need not be square (the original reshapes tokens to a square), any size is padded, and dropout
is off in evaluation, where the original leaves it on and so restores a different image each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsmnet.errors import UserError
from fsmnet.models.output import Output
from fsmnet.models.precision import full_precision, without_autocast
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.fourier import fft1c, ifft1c
from fsmnet.transforms import pad_to_multiple, unpad

GROUPS = 32


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in and out."""
        out: Tensor = super().forward(x.movedim(1, -1)).movedim(-1, 1)
        return out


class ResBlock(nn.Module):
    """``skip(x) + conv(silu(norm(conv(silu(norm(x))))))``; the skip is a 1x1 convolution where the width changes.

    Args:
        inputs: channels in, a multiple of 32.
        outputs: channels out, a multiple of 32.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = nn.GroupNorm(GROUPS, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        zero(self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H, W)``."""
        inner = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        out: Tensor = self.skip(x) + inner
        return out


class Down(nn.Module):
    """Halves the image: 3x3 convolution with stride 2."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(features, features, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C, H/2, W/2)``; H and W even."""
        out: Tensor = self.conv(x)
        return out


class Up(nn.Module):
    """Doubles the image: each pixel four times, then a 3x3 convolution."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C, 2H, 2W)``."""
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
        return out


class Gate(nn.Module):
    """Weighs the channels of a map by numbers in (0, 1) computed from their means."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(features, features // 16, 1)
        self.expand = nn.Conv2d(features // 16, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in and out."""
        means = full_precision(x).mean((-2, -1), keepdim=True)
        out: Tensor = x * self.expand(F.relu(self.squeeze(means))).sigmoid()
        return out


class Fusion(nn.Module):
    """What the target receives from the auxiliary: the auxiliary's features, gated twice, times the target's."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.gates = nn.Sequential(Gate(features), Gate(features))

    def forward(self, auxiliary: Tensor, target: Tensor) -> Tensor:
        """Two ``(B, C, H, W)`` to the target's next features."""
        out: Tensor = target + self.gates(auxiliary) * target
        return out


class Projection(nn.Module):
    """What the attention reads as query, key or value: 1x1 and depthwise convolution, ReLU, layer norm."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.point = nn.Conv2d(features, features, 1, bias=False)
        self.depth = nn.Conv2d(features, features, 3, padding=1, groups=features, bias=False)
        self.norm = ChannelNorm(features)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in and out."""
        out: Tensor = self.norm(F.relu(self.depth(self.point(x))))
        return out


class Attention(nn.Module):
    """Attention of one head between all pixels; logits, softmax and weighted sum stay in float32 under autocast."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.query = Projection(features)
        self.key = Projection(features)
        self.value = Projection(features)
        self.stacked = nn.Parameter(torch.empty(3 * features, features))  # query, key, value
        self.project = nn.Linear(features, features, bias=False)
        nn.init.xavier_uniform_(self.stacked)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in and out, any H and W."""
        maps = (self.query(x), self.key(x), self.value(x))
        query, key, value = (
            F.linear(m.flatten(2).transpose(1, 2), matrix)
            for m, matrix in zip(maps, self.stacked.chunk(3), strict=True)
        )
        with without_autocast(x):
            query, key = full_precision(query), full_precision(key)
            weights = ((query * query.shape[-1] ** -0.5) @ key.transpose(1, 2)).softmax(dim=-1)
            mixed = weights @ full_precision(value)
        out: Tensor = self.project(mixed.to(value.dtype)).transpose(1, 2).reshape(x.shape)
        return out


class MultiScale(nn.Module):
    """Depthwise 3x3 convolutions with dilation 1 and 3, added, then a full one; GELU and dropout after each.

    Args:
        features: width C.
        dropout: rate.
        always: drop in evaluation too, as the original does.
    """

    def __init__(self, features: int, dropout: float, always: bool) -> None:
        super().__init__()
        self.near = nn.Conv2d(features, features, 3, padding=1, groups=features)
        self.far = nn.Conv2d(features, features, 3, padding=3, dilation=3, groups=features)
        self.mix = nn.Conv2d(features, features, 3, padding=1)
        self.dropout = dropout
        self.always = always

    def _activate(self, x: Tensor) -> Tensor:
        return F.dropout(F.gelu(x), self.dropout, training=self.training or self.always)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in and out."""
        mixed = self._activate(self.near(x)) + self._activate(self.far(x))
        return self._activate(self.mix(mixed))


class TransformerBlock(nn.Module):
    """Attention and multi-scale convolutions; the first is added to the normalised input, not to the input itself."""

    def __init__(self, features: int, dropout: float, always: bool) -> None:
        super().__init__()
        self.attention = Attention(features)
        self.norm1 = ChannelNorm(features)
        self.conv = nn.Conv2d(features, features, 3, padding=1)
        self.norm2 = ChannelNorm(features)
        self.multi_scale = MultiScale(features, dropout, always)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in and out."""
        normed = self.norm1(x)
        y = self.conv(self.attention(normed)) + normed
        out: Tensor = y + self.multi_scale(self.norm2(y))
        return out


class DecoderStep(nn.Module):
    """A residual block and, at the end of a level, the way up."""

    def __init__(self, inputs: int, outputs: int, up: bool) -> None:
        super().__init__()
        self.block = ResBlock(inputs, outputs)
        self.up = Up(outputs) if up else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H, W)`` or ``(B, outputs, 2H, 2W)``."""
        out: Tensor = self.up(self.block(x))
        return out


class Branch(nn.Module):
    """The U-Net of one contrast.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the reconstruction.
        widths: channels at each resolution.
        blocks: residual blocks per level of the encoder; the decoder has one more.
        dropout: rate in the transformer blocks.
        always_dropout: drop in evaluation too.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        widths: Sequence[int],
        blocks: int,
        dropout: float,
        always_dropout: bool,
    ) -> None:
        super().__init__()
        last = len(widths) - 1
        self.stem = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList()
        self.encoder_widths: list[int] = []  # channels after each module
        current = widths[0]
        for level, width in enumerate(widths):
            for _ in range(blocks):
                self.encoder.append(ResBlock(current, width))
                self.encoder_widths.append(width)
                current = width
            if level < last:
                self.encoder.append(Down(width))
                self.encoder_widths.append(width)
        self.middle = nn.ModuleList(
            ResBlock(current, current) if i in (0, 5) else TransformerBlock(current, dropout, always_dropout)
            for i in range(6)
        )
        self.decoder = nn.ModuleList()
        skips = list(self.encoder_widths)
        for level in reversed(range(len(widths))):
            for i in range(blocks + 1):
                skip = skips.pop() if skips else 0  # the very last block receives none
                self.decoder.append(DecoderStep(current + skip, widths[level], up=i == blocks and level > 0))
                current = widths[level]
        self.norm = nn.GroupNorm(GROUPS, current)
        self.head = nn.Conv2d(current, out_channels, 3, padding=1)
        zero(self.head)

    def decode(self, x: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Features after the middle and after each encoder module, to the reconstruction ``(B, out, H, W)``."""
        remaining = list(skips)
        for step in self.decoder:
            x = step(torch.cat([x, remaining.pop()], dim=1) if remaining else x)
        out: Tensor = self.head(F.silu(self.norm(x)))
        return out


class MCCAOutput(NamedTuple):
    """Everything :meth:`MCCA.forward_all` computes.

    Attributes:
        image: the target, ``(B, out_channels, H, W)``, after data consistency if that is on.
        auxiliary_image: the auxiliary, same shape; None if it was not asked for.
        kspace: the target's k-space after data consistency, ``(B, H, W, 2)``; None if that is off.
    """

    image: Tensor
    auxiliary_image: Tensor | None
    kspace: Tensor | None


def data_consistency(image: Tensor, kspace: Tensor, mask: Tensor, noise_level: float = 0.0) -> tuple[Tensor, Tensor]:
    """Puts measured k-space back into an image.

    With K the centred orthonormal transform of the image, K0 the measured k-space and v the noise level, the sampled
    positions become ``(K + v K0) / (1 + v)``, or K0 where v is 0; the others stay. Computed in float32 under autocast.

    Args:
        image: real and imaginary part, ``(B, 2, H, W)``.
        kspace: K0, ``(B, H, W, 2)``, last axis real and imaginary part.
        mask: 1 where a line is measured, else 0, ``(B, H, W, 1)``; every row is the same.
        noise_level: v.

    Returns:
        The image, ``(B, 2, H, W)``, and its k-space, ``(B, H, W, 2)``.
    """
    measured = torch.view_as_complex(full_precision(kspace).contiguous())
    acquisition = Acquisition.from_kspace(measured[:, None], mask[:, :1, :, 0])
    spatial = torch.view_as_complex(full_precision(image).movedim(1, -1).contiguous())
    lines = acquisition.drawn_lines(spatial, noise_level or None)[:, 0]
    return torch.view_as_real(ifft1c(lines)).movedim(-1, 1), torch.view_as_real(fft1c(lines, -2))


class MCCA(nn.Module):
    """Two U-Nets with fusion from the auxiliary to the target.

    Args:
        channels: width C at full resolution, a multiple of 32.
        res_blocks: residual blocks per level of the encoder; the decoder has one more.
        channel_mult: width at each level over C; their number is the number of levels.
        in_channels: channels of each image: 1 for magnitudes, 2 for real and imaginary part.
        out_channels: channels of each reconstruction.
        data_consistency: put measured k-space back into the target; needs ``out_channels=2``, and :meth:`forward` then
            needs k-space and mask.
        noise_level: how little the measured k-space is trusted; 0 replaces by it what the network found.
        dropout: rate in the transformer blocks.
        always_dropout: drop in evaluation too, as the original does.
        decode_auxiliary: False leaves out the auxiliary's decoder in evaluation, on which the target does not depend.

    With the defaults 128,218,290 parameters and 530 GFLOP for a 240 x 240 slice, auxiliary's decoder included. Sizes
    that are no multiple of ``2 ** (levels - 1)`` are padded by repeating the border, and cropped after.
    """

    def __init__(
        self,
        channels: int = 64,
        res_blocks: int = 1,
        channel_mult: Sequence[int] = (1, 2, 4, 8),
        in_channels: int = 1,
        out_channels: int = 1,
        data_consistency: bool = False,
        noise_level: float = 0.0,
        dropout: float = 0.1,
        always_dropout: bool = False,
        decode_auxiliary: bool = True,
    ) -> None:
        super().__init__()
        if channels < GROUPS or channels % GROUPS:
            raise UserError(f"channels must be a positive multiple of {GROUPS}, not {channels}")
        if res_blocks < 1:
            raise UserError(f"res_blocks must be at least 1, not {res_blocks}")
        if not channel_mult or any(m < 1 or m != int(m) for m in channel_mult):
            raise UserError(f"channel_mult must be positive whole numbers, one for each level, not {channel_mult}")
        if in_channels < 1 or out_channels < 1:
            raise UserError(f"in_channels and out_channels must be at least 1, not {in_channels} and {out_channels}")
        if data_consistency and out_channels != 2:
            raise UserError(f"data_consistency needs out_channels=2, real and imaginary part, not {out_channels}")
        if noise_level < 0:
            raise UserError(f"noise_level must not be negative, not {noise_level}")
        if not 0 <= dropout < 1:
            raise UserError(f"dropout must be at least 0 and below 1, not {dropout}")
        widths = [channels * int(m) for m in channel_mult]
        self.multiple = 2 ** (len(widths) - 1)
        self.data_consistency = data_consistency
        self.noise_level = noise_level
        self.decode_auxiliary = decode_auxiliary
        self.auxiliary = Branch(in_channels, out_channels, widths, res_blocks, dropout, always_dropout)
        self.target = Branch(in_channels, out_channels, widths, res_blocks, dropout, always_dropout)
        self.fuse_encoder = nn.ModuleList(Fusion(width) for width in self.target.encoder_widths)
        self.fuse_middle = nn.ModuleList(Fusion(widths[-1]) for _ in self.target.middle)

    def forward(
        self, target: Tensor, auxiliary: Tensor, kspace: Tensor | None = None, mask: Tensor | None = None
    ) -> Output:
        """Zero-filled target and fully sampled auxiliary, ``(B, in_channels, H, W)`` each, any H and W.

        Args:
            target: zero-filled image.
            auxiliary: fully sampled image of the other contrast.
            kspace: measured k-space, ``(B, H, W, 2)``, in the units of ``target``; only for data consistency.
            mask: 1 where measured, else 0, ``(B, H, W, 1)``; only for data consistency.

        Raises:
            UserError: data consistency without k-space or mask.
        """
        result = self._run(target, auxiliary, kspace, mask, self.training or self.decode_auxiliary)
        return Output(result.image, auxiliary_image=result.auxiliary_image)

    def forward_all(
        self, target: Tensor, auxiliary: Tensor, kspace: Tensor | None = None, mask: Tensor | None = None
    ) -> MCCAOutput:
        """As :meth:`forward`, with the auxiliary's reconstruction and the k-space, which the original's loss needs."""
        return self._run(target, auxiliary, kspace, mask, True)

    def _run(
        self, target: Tensor, auxiliary: Tensor, kspace: Tensor | None, mask: Tensor | None, decode_auxiliary: bool
    ) -> MCCAOutput:
        if self.data_consistency and (kspace is None or mask is None):
            raise UserError("MCCA with data_consistency needs kspace and mask; pass them or build it without")
        height, width = target.shape[-2:]
        branch_t, branch_a = self.target, self.auxiliary
        t = branch_t.stem(pad_to_multiple(target, self.multiple))
        a = branch_a.stem(pad_to_multiple(auxiliary, self.multiple))
        skips_t: list[Tensor] = []
        skips_a: list[Tensor] = []
        for in_t, in_a, fuse in zip(branch_t.encoder, branch_a.encoder, self.fuse_encoder, strict=True):
            t, a = in_t(t), in_a(a)
            skips_t.append(t)  # before the fusion
            skips_a.append(a)
            t = fuse(a, t)
        for in_t, in_a, fuse in zip(branch_t.middle, branch_a.middle, self.fuse_middle, strict=True):
            t, a = in_t(t), in_a(a)
            t = fuse(a, t)
        image = unpad(branch_t.decode(t, skips_t), height, width)
        auxiliary_image = unpad(branch_a.decode(a, skips_a), height, width) if decode_auxiliary else None
        if not self.data_consistency or kspace is None or mask is None:
            return MCCAOutput(image, auxiliary_image, None)
        image, consistent = data_consistency(image, kspace, mask, self.noise_level)
        return MCCAOutput(image, auxiliary_image, consistent)


def zero(conv: nn.Conv2d) -> None:
    """Start a convolution at zero, so that its branch adds nothing at first."""
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(cast("Tensor", conv.bias))
