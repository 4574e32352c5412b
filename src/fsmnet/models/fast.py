"""A faster FSMNet: the streams and fusions of Chen et al. (MICCAI 2024) at half resolution and below.

In FSMNet, of one width, most of the time goes into full-resolution maps. Here

- the streams start from the 2 x 2 pixels of an image side by side as channels, at half resolution, which loses
  nothing; the frequency image is put together from four channels in the same way;
- at full resolution there is one thin stream, of the target's spatial features and of both images: no transform, no
  attention;
- widths and residual blocks are given level by level;
- the auxiliary has a frequency stream by option only, else its spatial features meet both streams of the target;
- the image is halved by one 4 x 4 convolution of stride 2, which FSMNet's Down is too once its convolutions are
  multiplied;
- the scores of a selection come from one 3 x 3 convolution and a mixture of channels, instead of three 3 x 3
  convolutions in a row with nothing between them.

The rest is FSMNet's (:mod:`fsmnet.models.fsmnet`): FSFE, CMS-fusion and FS-fusion at half, quarter and eighth
resolution and in the neck, FSFE and FS-fusion on the way back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from fsmnet.errors import UserError
from fsmnet.models.blocks import ChannelAttention, ConvPReLU, ResidualGroup, SelectionScores, Up
from fsmnet.models.fsmnet import FSFE
from fsmnet.models.output import Output
from fsmnet.transforms import pad_to_multiple, unpad

LEVELS = 4


class Selection(SelectionScores):
    """Scores of two feature maps, as in Eq. 3 with fewer convolutions."""

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.expand = nn.Conv2d(features, 2 * features, 1)

    def mix(self, a: Tensor, b: Tensor) -> Tensor:
        """Two ``(B, C, H, W)`` weighted by their scores and added: one (Eq. 4)."""
        score_a, score_b = self(a, b)
        mixed: Tensor = score_a * a + score_b * b
        return mixed


class BranchFusion(nn.Module):
    """FS-fusion: the branches attend to each other (Eq. 5), then the spatial stream selects from both."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.to_spatial = ChannelAttention(features)
        self.to_frequency = ChannelAttention(features)
        self.select = Selection(features)

    def forward(self, spatial: Tensor, frequency: Tensor) -> tuple[Tensor, Tensor]:
        """Two ``(B, C, H, W)`` in, the next spatial and frequency features out."""
        enhanced_spatial = spatial + self.to_spatial(spatial, frequency)
        enhanced_frequency = frequency + self.to_frequency(frequency, spatial)
        return self.select.mix(enhanced_spatial, enhanced_frequency), enhanced_frequency


class EncoderStage(nn.Module):
    """One stage of all streams.

    Args:
        resize: what each stream passes first, the target's two before the auxiliary's one or two.
        features: width C.
        blocks: residual blocks of a spatial stream.
    """

    def __init__(self, resize: Sequence[nn.Module], features: int, blocks: int) -> None:
        super().__init__()
        self.resize = nn.ModuleList(resize)
        self.target = FSFE(features, blocks)
        self.auxiliary = FSFE(features, blocks) if len(resize) == 4 else ResidualGroup(features, blocks)
        self.fuse_spatial = Selection(features)
        self.fuse_frequency = Selection(features)
        self.fuse_branches = BranchFusion(features)

    def forward(
        self, target: tuple[Tensor, Tensor], auxiliary: tuple[Tensor, ...]
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, ...]]:
        """(spatial, frequency) of the target, and of the auxiliary (spatial, frequency) or (spatial,), in and out."""
        first, second, *others = (
            resize(stream) for resize, stream in zip(self.resize, (*target, *auxiliary), strict=True)
        )
        spatial, frequency = self.target(first, second)
        auxiliary = self.auxiliary(*others) if len(others) == 2 else (self.auxiliary(*others),)
        spatial = self.fuse_spatial.mix(auxiliary[0], spatial)
        frequency = self.fuse_frequency.mix(auxiliary[-1], frequency)
        return self.fuse_branches(spatial, frequency), auxiliary


class DecoderStage(nn.Module):
    """Up, FSFE, skip connection and FS-fusion of the target's two streams."""

    def __init__(self, inputs: int, features: int, blocks: int) -> None:
        super().__init__()
        self.up = nn.ModuleList(Up(inputs, features) for _ in range(2))
        self.target = FSFE(features, blocks)
        self.fuse_branches = BranchFusion(features)

    def forward(self, target: tuple[Tensor, Tensor], skip: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """(spatial, frequency) at half size and the encoder's at full size; (spatial, frequency) at full size out."""
        spatial, frequency = self.target(self.up[0](target[0]), self.up[1](target[1]))
        fused = self.fuse_branches(spatial + skip[0], frequency + skip[1])
        return cast("tuple[Tensor, Tensor]", fused)


class FullResolution(nn.Module):
    """The one stream at full resolution: Up, both images as features, residual blocks, and the residual image."""

    def __init__(self, inputs: int, features: int, blocks: int) -> None:
        super().__init__()
        self.head = ConvPReLU(2, features)
        self.up = Up(inputs, features)
        self.group = ResidualGroup(features, blocks)
        self.tail = ConvPReLU(features, 1)

    def forward(self, spatial: Tensor, images: Tensor) -> Tensor:
        """Features ``(B, inputs, H/2, W/2)`` and the two images ``(B, 2, H, W)`` to ``(B, 1, H, W)``."""
        residual: Tensor = self.tail(self.group(self.head(images) + self.up(spatial)))
        return residual


class FastFSMNet(nn.Module):
    """This project's faster network after FSMNet.

    Args:
        widths: feature width at full, half, quarter and eighth resolution, multiples of 8. With 8 each of the
            attention's heads has one channel, of which it has nothing to choose.
        blocks: residual blocks per spatial group at the same levels; 0 leaves the group's closing convolution.
        auxiliary_frequency: give the auxiliary a frequency stream of its own, as FSMNet does. Without one its spatial
            features are fused into the target's frequency stream too.

    With the defaults 1,204,625 parameters and 6.4 GFLOP for a 240 x 240 slice.
    """

    def __init__(
        self,
        widths: Sequence[int] = (16, 16, 32, 48),
        blocks: Sequence[int] = (2, 1, 1, 1),
        auxiliary_frequency: bool = False,
    ) -> None:
        super().__init__()
        if not _whole_numbers(widths) or any(width < 8 or width % 8 for width in widths):
            raise UserError(f"widths must be {LEVELS} positive multiples of 8, from full resolution down, not {widths}")
        if not _whole_numbers(blocks) or any(count < 0 for count in blocks):
            raise UserError(f"blocks must be {LEVELS} whole numbers, from full resolution down, not {blocks}")
        if not isinstance(auxiliary_frequency, bool):
            raise UserError(f"auxiliary_frequency is true or false, not {auxiliary_frequency!r}")
        full, half, quarter, eighth = widths
        self.auxiliary_streams = 2 if auxiliary_frequency else 1
        streams = range(2 + self.auxiliary_streams)
        self.encoder = nn.ModuleList(
            [
                EncoderStage(
                    [nn.Sequential(nn.PixelUnshuffle(2), ConvPReLU(4, half)) for _ in streams], half, blocks[1]
                ),
                EncoderStage([_halving(half, quarter) for _ in streams], quarter, blocks[2]),
                EncoderStage([_halving(quarter, eighth) for _ in streams], eighth, blocks[3]),
                EncoderStage([nn.Identity() for _ in streams], eighth, blocks[3]),
            ]
        )
        self.decoder = nn.ModuleList([DecoderStage(eighth, quarter, blocks[2]), DecoderStage(quarter, half, blocks[1])])
        self.full_resolution = FullResolution(half, full, blocks[0])
        self.frequency_tail = nn.Sequential(ConvPReLU(half, 4), nn.PixelShuffle(2))

    def forward(self, target: Tensor, auxiliary: Tensor) -> Output:
        """Zero-filled target and fully sampled auxiliary, ``(B, 1, H, W)`` each, any H and W; residuals are learned."""
        height, width = target.shape[-2:]
        x, y = (pad_to_multiple(image, 8) for image in (target, auxiliary))
        target_features = x, x
        auxiliary_features = (y,) * self.auxiliary_streams
        skips = []
        for stage in self.encoder:
            target_features, auxiliary_features = stage(target_features, auxiliary_features)
            skips.append(target_features)
        for stage, skip in zip(self.decoder, (skips[1], skips[0]), strict=True):
            target_features = stage(target_features, skip)
        spatial, frequency = target_features
        image = x + self.full_resolution(spatial, torch.cat([x, y], dim=1))
        frequency_image = x + self.frequency_tail(frequency)
        return Output(unpad(image, height, width), unpad(frequency_image, height, width))


def _halving(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False)


def _whole_numbers(values: object) -> bool:
    return isinstance(values, list | tuple) and len(values) == LEVELS and all(type(value) is int for value in values)
