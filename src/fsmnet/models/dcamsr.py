"""DCAMSR: dual cross-attention transformer network (Huang et al., MICCAI 2023, pages 313-322).

One encoder of three levels (full, half and quarter size; residual blocks after each convolution) reads the target,
enlarged by ``scale``, into ``t1, t2, t3`` and the auxiliary into ``a1, a2, a3``. At each level a transformer block
fuses them, with pixels as tokens; further blocks of a level attend from the fused map to itself:

    X = t + P,  R = a + P                     P: learned positions, from a level's second block on
    Y = X + DCA(LN(X), LN(R)),   w = Y + conv(ReLU(conv(Y)))

DCA computes queries Q of X, keys K and two sets of values Vc, Vs of R. Per head, with channels as rows and Q, K
normalised along the N pixels,

    channel attention:  softmax(tau_c Q K^T) Vc             (c x c, linear in pixels)
    spatial attention:  softmax(tau_s Q^T E(K)) E(Vs)^T     E: learned map from N pixels to ``proj_size`` tokens

and their projections to half the width, spatial first, are concatenated. The decoder goes down once more and back up:

    d1 = merge[up(bottom(down(t3))), t3]
    g3 = merge[SAM(d1, w3), d1],   g2 = merge[SAM(up(g3), w2), up(g3)],   g1 = merge[SAM(up(g2), w1), up(g2)]
    image = conv(g1) + enlarged target

SAM(l, r) gives the instance-normalised r the statistics of l, corrected by convolutions of both.

Adapted: the original enlarges a low-resolution target; for reconstruction ``scale`` is 1, which makes that step the
identity and changes nothing else. The original also takes a low-resolution auxiliary and computes nothing from it. E
and P fix the number of pixels: they belong to ``image_size`` (a constant of the original). At another size they are
resampled as images, E so that its sums over pixels stay the same. Kept: the spatial attention's output is flattened in
the order channel, head, pixel and read back as if pixels came first, as trained weights expect (``spatial_layout``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsmnet.errors import UserError
from fsmnet.models.output import Output
from fsmnet.models.precision import full_precision, without_autocast
from fsmnet.transforms import pad_to_multiple, unpad

LAYOUTS = ("scrambled", "natural")


class ResidualBlock(nn.Module):
    """``x + conv(relu(conv(x)))`` with 3x3 convolutions."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in and out."""
        out: Tensor = x + self.conv2(F.relu(self.conv1(x)))
        return out


class Stage(nn.Module):
    """A 3x3 convolution with ReLU, of stride 2 where the stage halves the image, and residual blocks."""

    def __init__(self, inputs: int, features: int, blocks: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, features, 3, stride, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(features) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, C, H / stride, W / stride)``."""
        out: Tensor = self.blocks(F.relu(self.conv(x)))
        return out


class DualCrossAttention(nn.Module):
    """Channel and spatial attention from one map's pixels to another's.

    Args:
        features: width C.
        grid: height and width of the maps that the token projection is made for.
        heads: attention heads.
        projected: keys and values of the spatial attention.
        dropout: of both attention matrices, in training.
        layout: how the spatial attention's output is read, see :class:`DCAMSR`.
    """

    def __init__(
        self, features: int, grid: tuple[int, int], heads: int, projected: int, dropout: float, layout: str
    ) -> None:
        super().__init__()
        self.heads, self.grid, self.layout = heads, grid, layout
        self.temperature_channel = nn.Parameter(torch.ones(heads, 1, 1))
        self.temperature_spatial = nn.Parameter(torch.ones(heads, 1, 1))
        self.query = nn.Linear(features, features)
        self.key_values = nn.Linear(features, 3 * features)
        self.project_tokens = nn.Linear(grid[0] * grid[1], projected)
        self.out_channel = nn.Linear(features, features // 2)
        self.out_spatial = nn.Linear(features, features // 2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, own: Tensor, other: Tensor, grid: tuple[int, int]) -> Tensor:
        """``own`` asks, ``other`` answers: two ``(B, N, C)`` of ``grid`` height times width = N pixels, to one."""
        batch, count, width = own.shape
        query, key, value_channel, value_spatial = (
            t.transpose(1, 2).reshape(batch, self.heads, width // self.heads, count)
            for t in (self.query(own), *self.key_values(other).chunk(3, dim=-1))
        )
        with without_autocast(own):
            query, key = full_precision(query), full_precision(key)
            value_channel, value_spatial = full_precision(value_channel), full_precision(value_spatial)
            # Rows of queries and keys have length 1 along the pixels.
            query_norm = query.norm(dim=-1, keepdim=True).clamp_min(1e-12)
            key_norm = key.norm(dim=-1, keepdim=True).clamp_min(1e-12)
            cosines = query @ key.transpose(-2, -1) / query_norm / key_norm.transpose(-2, -1)
            weights = self.dropout((self.temperature_channel * cosines).softmax(dim=-1))
            by_channel = weights @ value_channel

            projection, bias = self._projection(grid), self.project_tokens.bias
            # A norm over pixels grows with their number; the learned numbers know it at the construction size only.
            to_grid = math.sqrt(self.grid[0] * self.grid[1] / count)
            few_keys = key @ projection / (key_norm * to_grid) + bias
            few_values = value_spatial @ projection + bias
            scores = query.transpose(-2, -1) @ (self.temperature_spatial * few_keys / (query_norm * to_grid))
            weights = self.dropout(scores.softmax(dim=-1))
            by_pixel = weights @ few_values.transpose(-2, -1)
        channel = by_channel.flatten(1, 2).transpose(1, 2)
        # (B, heads, N, c): the authors flatten it as (c, heads, N) and cut that into N rows of C.
        order = (0, 3, 1, 2) if self.layout == "scrambled" else (0, 2, 1, 3)
        spatial = by_pixel.permute(order).reshape(own.shape)
        return torch.cat([self.out_spatial(spatial.to(own.dtype)), self.out_channel(channel.to(own.dtype))], dim=-1)

    def _projection(self, grid: tuple[int, int]) -> Tensor:
        """Weights from pixels to few tokens ``(N, projected)``, resampled if the map has another size."""
        weight = full_precision(self.project_tokens.weight)
        if grid != self.grid:
            images = resample(weight.reshape(1, -1, *self.grid), grid)
            weight = images.flatten(2)[0] * (self.grid[0] * self.grid[1] / (grid[0] * grid[1]))
        return weight.t()


class FusionBlock(nn.Module):
    """Transformer block: dual cross-attention and two 1x1 convolutions, with residuals.

    Args:
        first: whether it is a level's first block, which has no learned positions.
        features: width C.
        grid: height and width of the maps it is made for.
        attention: further arguments of :class:`DualCrossAttention`.
    """

    def __init__(self, first: bool, features: int, grid: tuple[int, int], *attention: Any) -> None:
        super().__init__()
        self.grid = grid
        self.positions = None if first else nn.Parameter(torch.zeros(1, grid[0] * grid[1], features))
        self.norm = nn.LayerNorm(features)
        self.attention = DualCrossAttention(features, grid, *attention)
        self.feed_forward = nn.Sequential(nn.Conv2d(features, features, 1), nn.ReLU(), nn.Conv2d(features, features, 1))

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Two ``(B, C, H, W)`` to one: ``own`` attends to ``other``."""
        grid = (own.shape[-2], own.shape[-1])
        x, reference = own.flatten(2).transpose(1, 2), other.flatten(2).transpose(1, 2)
        if self.positions is not None:
            positions = self._resampled_positions(self.positions, grid)
            x, reference = x + positions, reference + positions
        x = x + self.attention(self.norm(x), self.norm(reference), grid)
        fused = x.transpose(1, 2).reshape(own.shape)
        out: Tensor = fused + self.feed_forward(fused)
        return out

    def _resampled_positions(self, table: Tensor, grid: tuple[int, int]) -> Tensor:
        """Positions ``(1, N, C)`` for a map of this size."""
        if grid == self.grid:
            return table
        image = table.transpose(1, 2).reshape(1, -1, *self.grid)
        return resample(image, grid).flatten(2).transpose(1, 2)


class LevelFusion(nn.Module):
    """Fusion of one level: target with auxiliary, then the fused map with itself in each further block."""

    def __init__(self, depth: int, features: int, grid: tuple[int, int], *attention: Any) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(FusionBlock(i == 0, features, grid, *attention) for i in range(depth))

    def forward(self, target: Tensor, auxiliary: Tensor) -> Tensor:
        """Two ``(B, C, H, W)`` to one."""
        fused = target
        for block in self.blocks:
            fused = auxiliary = block(fused, auxiliary)
        return fused


def resample(image: Tensor, size: tuple[int, int]) -> Tensor:
    """``(B, C, H, W)`` at another size: interpolated where it grows, averaged where it shrinks."""
    return F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)


def double(image: Tensor) -> Tensor:
    """``(B, C, H, W)`` to ``(B, C, 2H, 2W)``, bilinear."""
    return F.interpolate(image, scale_factor=2.0, mode="bilinear", align_corners=False)


class SpatialAdaptation(nn.Module):
    """SAM: one map, normalised per channel, takes on the mean and deviation of another, with learned corrections."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.shared = nn.Conv2d(2 * features, features, 3, padding=1)
        self.gamma = nn.Conv2d(features, features, 3, padding=1)
        self.beta = nn.Conv2d(features, features, 3, padding=1)
        for conv in (self.gamma, self.beta):
            nn.init.zeros_(conv.weight)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)

    def forward(self, like: Tensor, adapted: Tensor) -> Tensor:
        """Statistics of ``like`` for ``adapted``: two ``(B, C, H, W)`` to one."""
        shared = F.relu(self.shared(torch.cat([like, adapted], dim=1)))
        gamma, beta = self.gamma(shared), self.beta(shared)
        with without_autocast(like):
            std, mean = torch.std_mean(full_precision(like), dim=(-2, -1), keepdim=True)
            normalised = F.instance_norm(full_precision(adapted), eps=1e-5)
            out: Tensor = (normalised * (gamma + std) + beta + mean).to(like.dtype)
        return out


class Decoder(nn.Module):
    """From the target's deepest features and the three fused maps to the image.

    Args:
        outputs: channels of the image.
        features: width C.
        blocks: residual blocks of the six stages, in the order they run.
    """

    def __init__(self, outputs: int, features: int, blocks: Sequence[int]) -> None:
        super().__init__()
        self.down = Stage(features, features, blocks[0], stride=2)
        self.bottom = Stage(features, features, blocks[1])
        self.up = Stage(2 * features, features, blocks[2])
        self.merge = nn.ModuleList(Stage(2 * features, features, n) for n in blocks[3:])
        self.adapt = SpatialAdaptation(features)
        self.out = nn.Conv2d(features, outputs, 3, padding=1)

    def forward(self, deepest: Tensor, fused: Sequence[Tensor]) -> Tensor:
        """Quarter-size features and the fused maps of full, half and quarter size; ``(B, outputs, H, W)``."""
        x = self.up(torch.cat([double(self.bottom(self.down(deepest))), deepest], dim=1))
        for level, (merge, reference) in enumerate(zip(self.merge, reversed(fused), strict=True)):
            if level:
                x = double(x)
            x = merge(torch.cat([self.adapt(x, reference), x], dim=1))
        image: Tensor = self.out(x)
        return image


class DCAMSR(nn.Module):
    """Huang et al.'s network, with ``scale=1`` for reconstruction.

    Args:
        image_size: side, or (height, width), of the full-resolution images that the token projections are made for,
            rounded up to multiples of 8; Table 1 uses 240 (BraTS) and 320 (fastMRI). Other sizes go through with
            resampled projections.
        in_chans: channels of target, auxiliary and output.
        nf: width of every layer.
        n_blks: residual blocks of the encoder's three levels.
        n_blks_dec: residual blocks of the decoder's six stages.
        depths: transformer blocks at the three levels.
        num_heads: attention heads.
        proj_size: tokens that the spatial attention's keys and values are projected to.
        attn_drop: dropout of the attention matrices, in training.
        scale: how much smaller than the auxiliary the target comes in: 1 for reconstruction; the original's 2 or 4 for
            super-resolution.
        spatial_layout: ``"scrambled"`` (the authors' code; their weights need it) or ``"natural"``, where each pixel
            keeps what it attended to.

    With the defaults 8,620,081 parameters and 192 GFLOP for a 240 x 240 slice. The convolution ahead of SAM's gamma
    and beta learns nothing in the very first step, as those start at zero.
    """

    def __init__(
        self,
        image_size: int | Sequence[int] = 240,
        in_chans: int = 1,
        nf: int = 64,
        n_blks: Sequence[int] = (4, 4, 4),
        n_blks_dec: Sequence[int] = (2, 2, 2, 12, 8, 4),
        depths: Sequence[int] = (1, 1, 1),
        num_heads: int = 8,
        proj_size: int = 64,
        attn_drop: float = 0.1,
        scale: int = 1,
        spatial_layout: str = "scrambled",
    ) -> None:
        super().__init__()
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        _check_counts("image_size", size, 2)
        _check_counts("n_blks", n_blks, 3)
        _check_counts("n_blks_dec", n_blks_dec, 6)
        _check_counts("depths", depths, 3)
        for name, value in (
            ("in_chans", in_chans),
            ("nf", nf),
            ("num_heads", num_heads),
            ("proj_size", proj_size),
            ("scale", scale),
        ):
            _check_counts(name, (value,), 1)
        if nf % 2 or nf % num_heads:
            raise UserError(f"nf must be even and a multiple of num_heads {num_heads}, not {nf}")
        if not 0 <= attn_drop < 1:
            raise UserError(f"attn_drop must be at least 0 and less than 1, not {attn_drop}")
        if spatial_layout not in LAYOUTS:
            raise UserError(f"spatial_layout is {' or '.join(map(repr, LAYOUTS))}, not {spatial_layout!r}")
        self.scale = scale
        height, width = (math.ceil(side / 8) * 8 for side in size)
        self.encoder = nn.ModuleList(
            Stage(nf if level else in_chans, nf, n, stride=2 if level else 1) for level, n in enumerate(n_blks)
        )
        self.decoder = Decoder(in_chans, nf, n_blks_dec)
        attention = (num_heads, proj_size, attn_drop, spatial_layout)
        self.fusion = nn.ModuleList(
            LevelFusion(depth, nf, (height >> level, width >> level), *attention) for level, depth in enumerate(depths)
        )

    def forward(self, target: Tensor, auxiliary: Tensor, degraded_auxiliary: Tensor | None = None) -> Output:
        """Zero-filled target and fully sampled auxiliary to the reconstruction.

        Args:
            target: ``(B, in_chans, H / scale, W / scale)``, any H and W.
            auxiliary: ``(B, in_chans, H, W)``.
            degraded_auxiliary: the auxiliary, degraded like the target. The original takes it and computes nothing from
                it; so it is here, and may be left out.

        Returns:
            The image, ``(B, in_chans, H, W)``.
        """
        height, width = auxiliary.shape[-2:]
        if (target.shape[-2] * self.scale, target.shape[-1] * self.scale) != (height, width):
            raise UserError(
                f"a target of {target.shape[-2]} x {target.shape[-1]} and an auxiliary of {height} x {width} pixels do "
                f"not fit scale {self.scale}; the auxiliary must be {self.scale} times as large"
            )
        if self.scale > 1:
            target = F.interpolate(target, scale_factor=float(self.scale), mode="bilinear", align_corners=False)
        x = pad_to_multiple(target, 8)
        target_features = self._encode(x)
        auxiliary_features = self._encode(pad_to_multiple(auxiliary, 8))
        fused = [
            level(own, other)
            for level, own, other in zip(self.fusion, target_features, auxiliary_features, strict=True)
        ]
        image = x + self.decoder(target_features[-1], fused)
        return Output(unpad(image, height, width))

    def _encode(self, image: Tensor) -> list[Tensor]:
        """Features of full, half and quarter size."""
        features = [image]
        for stage in self.encoder:
            features.append(stage(features[-1]))
        return features[1:]


def _check_counts(name: str, values: Sequence[int], count: int) -> None:
    """Refuse anything but ``count`` positive whole numbers."""
    if len(values) != count or any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in values):
        asked = "a positive whole number" if count == 1 else f"{count} positive whole numbers"
        raise UserError(f"{name} must be {asked}, not {values[0] if count == 1 else values!r}")
