"""MTrans: multi-modal transformer for accelerated MR imaging (Feng et al., IEEE TMI 2022, arXiv 2106.14248).

Two heads of three convolutions (with batch norm and ReLU) give ``A = head(auxiliary)`` and ``T = head(target) + A``,
both ``(B, c, H, W)``. Their patches of P1 x P1 and P2 x P2 pixels, flattened without a projection, are the tokens of
two streams of widths ``D1 = c P1^2`` and ``D2 = c P2^2``:

    X = patches(T, P1) + positions of the target          (B, H W / P1^2, D1)
    Y = patches(A, P2) + positions of the auxiliary       (B, H W / P2^2, D2)

Each of ``depth`` layers updates one stream after the other, in the width of the *other* stream:

    X <- X + Out(Enc(In(X), Y)),    then    Y <- Y + Out(Enc(In(Y), X))
    Enc(u, v):  u <- LN(u),  v <- LN(v)                   the residual starts from the normalised tokens
                u <- u + Wp (O + u) + b,  O = softmax(Wq u  (Wk [u; v])^T / sqrt(d)) Wv [u; v]     per head
                u + MLP(LN(u))

Keys and values come from both streams, ``u`` is added before the output projection ``Wp``. Both streams become images
again and end in a 1x1 convolution each: the reconstructed target and, for a second loss term, the auxiliary.

This is the authors' reconstruction network with cross attention: one resolution, one channel in and out, so nothing was
adapted. Added here: rectangular images, and any size at all. The input is padded to whole patches, and at another size
than the one given at construction the position embeddings are interpolated, since the tables fix the number of tokens.
There is no residual from the input image to the output.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsmnet.errors import UserError
from fsmnet.models.output import Output
from fsmnet.models.precision import full_precision
from fsmnet.transforms import pad_to_multiple, unpad


class Head(nn.Module):
    """Three times 3x3 convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(inputs if i == 0 else features, features, 3, padding=1) for i in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(features) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, features, H, W)``."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
        return x


class JointAttention(nn.Module):
    """Tokens of one stream attend to those of both; the asking tokens are added before the output projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.project = nn.Linear(width, width)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """``(B, N, D)`` asks, itself and ``(B, M, D)`` answer: ``(B, N, D)``."""
        query = self._split(self.query(own))
        key, value = (self._split(t) for t in self.key_value(torch.cat([own, other], dim=1)).chunk(2, dim=-1))
        scores = (query @ key.transpose(-2, -1)) / math.sqrt(query.shape[-1])
        weights = full_precision(scores).softmax(dim=-1).to(value.dtype)
        mixed = (weights @ value).transpose(1, 2).reshape(own.shape)
        out: Tensor = self.project(mixed + own)
        return out

    def _split(self, tokens: Tensor) -> Tensor:
        """``(B, N, D)`` to ``(B, heads, N, D / heads)``."""
        batch, count, width = tokens.shape
        return tokens.reshape(batch, count, self.heads, width // self.heads).transpose(1, 2)


class CrossUpdate(nn.Module):
    """Update of one stream, seen from the other one's width: ``x + Out(Enc(In(x), other))``.

    Args:
        width: width of the stream that is updated.
        other_width: width of the other stream, in which attention takes place; In and Out are dropped if it is equal.
        heads: attention heads.
        mlp_ratio: inner width of the MLP over its outer width.
    """

    def __init__(self, width: int, other_width: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        same = width == other_width
        self.project_in = nn.Identity() if same else nn.Linear(width, other_width)
        self.norm_own = nn.LayerNorm(other_width)
        self.norm_other = nn.LayerNorm(other_width)
        self.attention = JointAttention(other_width, heads)
        self.norm_mlp = nn.LayerNorm(other_width)
        self.mlp = nn.Sequential(
            nn.Linear(other_width, mlp_ratio * other_width), nn.GELU(), nn.Linear(mlp_ratio * other_width, other_width)
        )
        self.project_out = nn.Identity() if same else nn.Linear(other_width, width)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """``(B, N, width)`` and ``(B, M, other_width)`` to ``(B, N, width)``."""
        own = self.norm_own(self.project_in(x))
        own = own + self.attention(own, self.norm_other(other))
        own = own + self.mlp(self.norm_mlp(own))
        out: Tensor = x + self.project_out(own)
        return out


class CrossLayer(nn.Module):
    """One layer: the target's tokens are updated from the auxiliary's, then the other way round."""

    def __init__(self, target_width: int, auxiliary_width: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.target = CrossUpdate(target_width, auxiliary_width, heads, mlp_ratio)
        self.auxiliary = CrossUpdate(auxiliary_width, target_width, heads, mlp_ratio)

    def forward(self, target: Tensor, auxiliary: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, N1, D1)`` and ``(B, N2, D2)`` in and out; the second update sees the first."""
        target = self.target(target, auxiliary)
        return target, self.auxiliary(auxiliary, target)


class MTrans(nn.Module):
    """Feng et al.'s cross-attention reconstruction network.

    Args:
        image_size: side, or (height, width), of the images the position embeddings are made for, rounded up to whole
            patches; Table 1 uses 240 (BraTS) and 320 (fastMRI). Other sizes go through with interpolated embeddings.
        in_chans: channels of the target and of the auxiliary.
        out_chans: channels of each output.
        hidden: channels c of the heads; token widths are c times the patch area.
        patch_target: side of the target's patches.
        patch_aux: side of the auxiliary's patches.
        depth: cross-attention layers.
        num_heads: attention heads, of both streams.
        mlp_ratio: inner width of the MLPs over their outer width.

    With the defaults 782,259,810 parameters (3.1 GB; 12.5 GB with gradients and Adam) and 1449 GFLOP for a 240 x 240
    slice. Parameters grow with the square of ``hidden``: ``hidden=4`` has 49.3 million and 104 GFLOP, ``hidden=2``
    12.5 million and 30 GFLOP.
    """

    def __init__(
        self,
        image_size: int | Sequence[int] = 240,
        in_chans: int = 1,
        out_chans: int = 1,
        hidden: int = 16,
        patch_target: int = 8,
        patch_aux: int = 16,
        depth: int = 4,
        num_heads: int = 4,
        mlp_ratio: int = 3,
    ) -> None:
        super().__init__()
        size = [image_size, image_size] if isinstance(image_size, int) else list(image_size)
        if len(size) != 2 or any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in size):
            raise UserError(f"image_size is one positive whole number or (height, width), not {image_size!r}")
        for name, value in (
            ("in_chans", in_chans),
            ("out_chans", out_chans),
            ("hidden", hidden),
            ("patch_target", patch_target),
            ("patch_aux", patch_aux),
            ("depth", depth),
            ("num_heads", num_heads),
            ("mlp_ratio", mlp_ratio),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(f"{name} must be a positive whole number, not {value!r}")
        target_width, auxiliary_width = hidden * patch_target**2, hidden * patch_aux**2
        if target_width % num_heads or auxiliary_width % num_heads:
            raise UserError(
                f"num_heads must divide the token widths {target_width} and {auxiliary_width} (hidden times the patch "
                f"area), which {num_heads} does not"
            )
        self.patch_target, self.patch_aux = patch_target, patch_aux
        self.multiple = math.lcm(patch_target, patch_aux)
        height, width = (math.ceil(side / self.multiple) * self.multiple for side in size)
        self.padded_size = (height, width)
        area = height * width
        self.positions_target = nn.Parameter(torch.randn(1, area // patch_target**2, target_width))
        self.positions_auxiliary = nn.Parameter(torch.randn(1, area // patch_aux**2, auxiliary_width))
        self.head_target = Head(in_chans, hidden)
        self.head_auxiliary = Head(in_chans, hidden)
        self.layers = nn.ModuleList(
            CrossLayer(target_width, auxiliary_width, num_heads, mlp_ratio) for _ in range(depth)
        )
        self.tail_target = nn.Conv2d(hidden, out_chans, 1)
        self.tail_auxiliary = nn.Conv2d(hidden, out_chans, 1)

    def forward(self, target: Tensor, auxiliary: Tensor) -> Output:
        """Zero-filled target and fully sampled auxiliary, ``(B, in_chans, H, W)`` each, any H and W.

        Both are reconstructed, since the authors' loss is the sum of both L1 distances; without the second, the last
        update of the auxiliary learns nothing.
        """
        height, width = target.shape[-2:]
        y = self.head_auxiliary(pad_to_multiple(auxiliary, self.multiple))
        x = self.head_target(pad_to_multiple(target, self.multiple)) + y
        size = (x.shape[-2], x.shape[-1])
        x = patches(x, self.patch_target) + self._positions(self.positions_target, self.patch_target, size)
        y = patches(y, self.patch_aux) + self._positions(self.positions_auxiliary, self.patch_aux, size)
        for layer in self.layers:
            x, y = layer(x, y)
        x = self.tail_target(image_of_patches(x, self.patch_target, size))
        y = self.tail_auxiliary(image_of_patches(y, self.patch_aux, size))
        return Output(unpad(x, height, width), auxiliary_image=unpad(y, height, width))

    def _positions(self, table: Tensor, patch: int, size: tuple[int, int]) -> Tensor:
        """Position embeddings ``(1, N, D)`` for an image of this size."""
        if size == self.padded_size:
            return table
        rows, columns = (side // patch for side in self.padded_size)
        grid = table.reshape(1, rows, columns, -1).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, (size[0] // patch, size[1] // patch), mode="bicubic", align_corners=False)
        return grid.flatten(2).transpose(1, 2)


def patches(features: Tensor, patch: int) -> Tensor:
    """Tokens ``(B, N, patch * patch * c)`` of ``(B, c, H, W)``: row by row; inside one, the channel runs fastest."""
    batch, channels, height, width = features.shape
    grid = features.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return grid.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def image_of_patches(tokens: Tensor, patch: int, size: tuple[int, int]) -> Tensor:
    """Undo :func:`patches` for an image of ``size`` (H, W)."""
    batch, _, width = tokens.shape
    grid = tokens.reshape(batch, size[0] // patch, size[1] // patch, patch, patch, width // patch**2)
    return grid.permute(0, 5, 1, 3, 2, 4).reshape(batch, -1, *size)
