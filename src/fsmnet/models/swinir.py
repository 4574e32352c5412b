"""SwinIR (Liang et al., ICCV Workshops 2021, arXiv 2108.10257), given both contrasts as two input channels.

With M x M windows (M = 8), tokens = pixels, and every convolution 3x3 with zero padding:

    F0 = conv(x),  t = LayerNorm(F0)
    t  = t + conv(blocks_i(t))                             for each stage i (a residual Swin transformer block)
    F  = conv(LayerNorm(t)) + F0
    y  = conv(F)           head "direct";          y = x + conv(F)           head "residual"

Block j of a stage, whose windows lie M/2 further right and down for odd j:

    z = x + WindowAttention(LayerNorm(x)),  out = z + MLP(LayerNorm(z))
    WindowAttention: softmax(q k^T / sqrt(d) + bias[offset between the pixels] + mask) v per window and head

The original restores one image. Here target and auxiliary are concatenated and the target alone is returned, the
reading of FSMNet's Table 1 row that agrees with its level and with the authors' profiling script; ``in_channels=1``
gives the single-contrast one. The published settings of the row (3 input channels, 32 features in 6 heads) cannot run;
4 heads are the smallest repair. Up-sampling is left out, since images keep their size. The masks of the shifted windows
follow from the image, so any size works without stored ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsmnet.errors import UserError
from fsmnet.models.output import Output
from fsmnet.models.precision import full_precision


@dataclass(frozen=True)
class Preset:
    """Sizes of one published network, or of another one."""

    embed_dim: int
    depths: Sequence[int]
    num_heads: Sequence[int]
    mlp_ratio: float
    head: str

    @property
    def hidden(self) -> int:
        """Neurons between the two layers of a block."""
        return int(self.embed_dim * self.mlp_ratio + 1e-6)  # a ratio from a checkpoint may be a rounding too small

    def check(self) -> None:
        """Refuse impossible sizes in one sentence."""
        width, depths, heads = self.embed_dim, self.depths, self.num_heads
        if not depths or min(depths) < 1:
            raise UserError(f"depths must be positive numbers of blocks, one for each stage, not {depths}")
        if len(depths) != len(heads):
            raise UserError(f"depths and num_heads must have one entry per stage each, not {depths} and {heads}")
        if min(heads) < 1 or width < 1 or any(width % h for h in heads):
            raise UserError(f"embed_dim must be a positive multiple of each of num_heads {heads}, not {width}")
        if self.head not in ("direct", "residual"):
            raise UserError(f"head is 'direct' or 'residual', not {self.head!r}")
        if self.hidden < 1:
            raise UserError(f"mlp_ratio {self.mlp_ratio} leaves no neurons at embed_dim {width}; take a larger one")


PRESETS = {
    "fsmnet": Preset(32, (2, 4, 4, 6), (4, 4, 4, 4), 4, "direct"),
    "light": Preset(60, (6,) * 4, (6,) * 4, 2, "direct"),
    "denoise": Preset(180, (6,) * 6, (6,) * 6, 2, "residual"),
}


def to_windows(x: Tensor, window: int) -> Tensor:
    """``(B, H, W, C)`` to ``(B, windows, M * M, C)``, windows and the pixels inside them in row-major order."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // window, window, width // window, window, channels)
    return x.transpose(2, 3).reshape(batch, -1, window * window, channels)


def from_windows(x: Tensor, height: int, width: int) -> Tensor:
    """Undo :func:`to_windows`: ``(B, windows, M * M, C)`` to ``(B, H, W, C)``."""
    batch, _, pixels, channels = x.shape
    window = math.isqrt(pixels)
    x = x.reshape(batch, height // window, width // window, window, window, channels)
    return x.transpose(2, 3).reshape(batch, height, width, channels)


def offset_index(window: int, device: torch.device | None = None) -> Tensor:
    """Which row of the bias table a pair of pixels reads, from their offset: ``(M * M, M * M)`` int64."""
    axis = torch.arange(window, device=device)
    rows, columns = (c.flatten() for c in torch.meshgrid(axis, axis, indexing="ij"))
    row_offset, column_offset = (c[:, None] - c[None, :] + window - 1 for c in (rows, columns))
    return row_offset * (2 * window - 1) + column_offset


def shift_mask(height: int, width: int, window: int, shift: int, device: torch.device | None = None) -> Tensor:
    """What keeps apart pixels that are neighbours only since the image was rolled: ``(windows, M * M, M * M)``.

    -100 between pixels from different sides of the seam, else 0; added before the softmax.
    """

    def bands(size: int) -> Tensor:
        position = torch.arange(size, device=device)
        return (position >= size - window).long() + (position >= size - shift).long()

    labels = 3 * bands(height)[:, None] + bands(width)[None, :]
    windows = to_windows(labels[None, :, :, None], window)[0, :, :, 0]
    return (windows[:, :, None] != windows[:, None, :]) * -100.0


class WindowAttention(nn.Module):
    """Multi-head attention inside each window, with a learned bias per head and offset.

    Args:
        features: width C, a multiple of ``heads``.
        window: side M of a window.
        heads: attention heads.
    """

    offsets: Tensor

    def __init__(self, features: int, window: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        self.register_buffer("offsets", offset_index(window), persistent=False)
        self.qkv = nn.Linear(features, 3 * features)
        self.project = nn.Linear(features, features)
        nn.init.trunc_normal_(self.bias_table, std=0.02)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Pixels of windows ``(B, windows, M * M, C)`` and :func:`shift_mask` or None to the same shape as the pixels.

        The softmax is computed in float32 under autocast.
        """
        batch, windows, pixels, features = x.shape
        qkv = self.qkv(x).reshape(batch, windows, pixels, 3, self.heads, features // self.heads)
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)
        logits = full_precision((query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1))
        logits = logits + self.bias_table[self.offsets.flatten()].reshape(pixels, pixels, -1).permute(2, 0, 1)
        if mask is not None:
            logits = logits + mask[:, None].to(logits.dtype)
        mixed = logits.softmax(dim=-1).to(value.dtype) @ value
        out: Tensor = self.project(mixed.transpose(2, 3).reshape(x.shape))
        return out


class StochasticDepth(nn.Module):
    """Leaves a residual branch out for random samples of a batch; training only.

    Args:
        rate: probability of leaving a sample's branch out; the others are divided by ``1 - rate``.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Any shape ``(B, ...)``, kept."""
        if not self.training or self.rate == 0:
            return x
        keep = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - self.rate)
        return x * keep / (1 - self.rate)


class SwinBlock(nn.Module):
    """Window attention and a two-layer perceptron, each normalised before and added to its input.

    Args:
        features: width C.
        window: side M of a window.
        heads: attention heads.
        hidden: width of the perceptron.
        shifted: whether windows are shifted by M/2.
        drop_path: rate of :class:`StochasticDepth`.
    """

    def __init__(
        self, features: int, window: int, heads: int, hidden: int, shifted: bool = False, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.window = window
        self.shift = window // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(features)
        self.attention = WindowAttention(features, window, heads)
        self.norm2 = nn.LayerNorm(features)
        self.mlp = nn.Sequential(nn.Linear(features, hidden), nn.GELU(), nn.Linear(hidden, features))
        self.drop_path = StochasticDepth(drop_path)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``(B, H, W, C)`` in and out, H and W multiples of M; ``mask`` from :func:`shift_mask`."""
        x = x + self.drop_path(self._attend(self.norm1(x), mask))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out

    def _attend(self, x: Tensor, mask: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        if not self.shift:
            return from_windows(self.attention(to_windows(x, self.window), None), height, width)
        rolled = x.roll((-self.shift, -self.shift), (1, 2))
        rolled = from_windows(self.attention(to_windows(rolled, self.window), mask), height, width)
        return rolled.roll((self.shift, self.shift), (1, 2))


class Stage(nn.Module):
    """Residual Swin transformer block: Swin blocks and a convolution, added to the input.

    Args:
        features: width C.
        window: side M of a window.
        heads: attention heads.
        hidden: width of the perceptrons.
        drop_paths: rate of each block; their number is the stage's depth.
        convolutions: 1, or 3 with a quarter of the width in the middle.
    """

    def __init__(
        self, features: int, window: int, heads: int, hidden: int, drop_paths: Sequence[float], convolutions: int
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(features, window, heads, hidden, j % 2 == 1, rate) for j, rate in enumerate(drop_paths)
        )
        self.close = closing_convolution(features, convolutions)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``(B, H, W, C)`` in and out; ``mask`` from :func:`shift_mask`."""
        y = x
        for block in self.blocks:
            y = block(y, mask)
        out: Tensor = x + self.close(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return out


def closing_convolution(features: int, convolutions: int) -> nn.Module:
    """Convolution at the end of a stage and of the body: one 3x3, or 3x3, 1x1, 3x3 with a quarter of the width."""
    if convolutions == 1:
        return nn.Conv2d(features, features, 3, padding=1)
    quarter = features // 4
    return nn.Sequential(
        nn.Conv2d(features, quarter, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(quarter, quarter, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(quarter, features, 3, padding=1),
    )


class SwinIR(nn.Module):
    """SwinIR on the channels (target, auxiliary).

    Args:
        preset: sizes for all options left at None. ``"fsmnet"``: the sizes of FSMNet's comparison; ``"light"``: the
            SwinIR paper's light network; ``"denoise"``: its grey-denoising network, whose task keeps the size as ours
            does.
        embed_dim: width C, a multiple of each entry of ``num_heads``.
        depths: Swin blocks of each stage.
        num_heads: attention heads of each stage.
        mlp_ratio: width of the perceptrons over C.
        head: ``"direct"``, or ``"residual"``, which adds the input.
        in_channels: 2, or 1 for the target alone; the auxiliary is then not read.
        out_channels: 1, the target; 2 restores the auxiliary too, as the original does (:meth:`forward_all`).
        window_size: side M of a window.
        convolutions: 1, or 3 for thinner convolutions at the end of stages and body.
        image_range: the images are multiplied by it before and divided by it after.
        drop_path: rate of stochastic depth of the last block; it rises linearly from 0 at the first.

    With the defaults 264,929 parameters and 35.6 GFLOP for a 240 x 240 slice. The image is continued by reflection to
    the right and below up to a multiple of M, and may not be smaller than M.
    """

    def __init__(
        self,
        preset: str = "fsmnet",
        embed_dim: int | None = None,
        depths: Sequence[int] | None = None,
        num_heads: Sequence[int] | None = None,
        mlp_ratio: float | None = None,
        head: str | None = None,
        in_channels: int = 2,
        out_channels: int = 1,
        window_size: int = 8,
        convolutions: int = 1,
        image_range: float = 1.0,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        if preset not in PRESETS:
            raise UserError(f"preset is one of {', '.join(PRESETS)}, not {preset!r}")
        given: dict[str, Any] = {
            "embed_dim": embed_dim, "depths": depths, "num_heads": num_heads, "mlp_ratio": mlp_ratio, "head": head,
        }  # fmt: skip
        sizes = replace(PRESETS[preset], **{name: value for name, value in given.items() if value is not None})
        sizes.check()
        if in_channels not in (1, 2):
            raise UserError(f"in_channels is 2 (target and auxiliary) or 1 (target), not {in_channels}")
        if not 1 <= out_channels <= in_channels:
            raise UserError(f"out_channels must be between 1 and in_channels, {in_channels}, not {out_channels}")
        if window_size < 2:
            raise UserError(f"window_size must be at least 2, not {window_size}")
        if convolutions not in (1, 3):
            raise UserError(f"convolutions is 1 or 3, not {convolutions}")
        if convolutions == 3 and sizes.embed_dim < 4:
            raise UserError(f"three convolutions need an embed_dim of at least 4, not {sizes.embed_dim}")
        if image_range <= 0:
            raise UserError(f"image_range must be positive, not {image_range}")
        if not 0 <= drop_path < 1:
            raise UserError(f"drop_path must be at least 0 and below 1, not {drop_path}")

        width, depths = sizes.embed_dim, sizes.depths
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.window = window_size
        self.image_range = image_range
        self.residual = sizes.head == "residual"
        self.shallow = nn.Conv2d(in_channels, width, 3, padding=1)
        self.embed_norm = nn.LayerNorm(width)
        total = sum(depths)
        rates = iter([drop_path * block / max(total - 1, 1) for block in range(total)])
        self.stages = nn.ModuleList(
            Stage(width, window_size, heads, sizes.hidden, [next(rates) for _ in range(depth)], convolutions)
            for depth, heads in zip(depths, sizes.num_heads, strict=True)
        )
        self.norm = nn.LayerNorm(width)
        self.close = closing_convolution(width, convolutions)
        self.head = nn.Conv2d(width, out_channels, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, target: Tensor, auxiliary: Tensor) -> Output:
        """Zero-filled target and fully sampled auxiliary, ``(B, 1, H, W)`` each, H and W at least the window."""
        channels = self.forward_all(target, auxiliary)
        return Output(channels[:, :1], auxiliary_image=channels[:, 1:] if channels.shape[1] > 1 else None)

    def forward_all(self, target: Tensor, auxiliary: Tensor) -> Tensor:
        """All output channels, ``(B, out_channels, H, W)``: the target's image and, with two, the auxiliary's."""
        height, width = target.shape[-2:]
        if min(height, width) < self.window:
            raise UserError(f"SwinIR needs images of at least {self.window} x {self.window}, not {height} x {width}")
        x = torch.cat([target, auxiliary], dim=1) if self.in_channels == 2 else target
        x = F.pad(x, (0, -width % self.window, 0, -height % self.window), mode="reflect") * self.image_range
        mask = shift_mask(x.shape[-2], x.shape[-1], self.window, self.window // 2, x.device)
        shallow = self.shallow(x)
        tokens = self.embed_norm(shallow.permute(0, 2, 3, 1))
        for stage in self.stages:
            tokens = stage(tokens, mask)
        deep = self.close(self.norm(tokens).permute(0, 3, 1, 2)) + shallow
        out: Tensor = self.head(deep)
        if self.residual:
            out = out + x[:, : self.out_channels]
        return out[..., :height, :width] / self.image_range
