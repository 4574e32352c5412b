"""FSMNet as the paper describes it (Chen et al., MICCAI 2024, arXiv 2409.14113, Fig. 1).

Four streams run side by side: target and auxiliary, each in a spatial and a frequency branch. An encoder stage computes

    F~ = FSFE(Down(F))                                            every stream
    S^ = CMS(spatial of auxiliary, spatial of target)             Eq. 3-4
    Q^ = CMS(frequency of auxiliary, frequency of target)
    S- = S^ + Attention(S^, Q^),  Q- = Q^ + Attention(Q^, S^)     Eq. 5, one attention per direction
    spatial of target = select(S-, Q-),  frequency of target = Q-

three times and once more, without Down, in the neck. The decoder goes back up, adds the fused features of the encoder
and fuses the branches again. Where the paper is silent, the released network decides (:mod:`fsmnet.models.released`).
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from fsmnet.models.blocks import (
    ChannelAttention,
    ConvPReLU,
    Down,
    FrequencyBlock,
    ResidualGroup,
    SelectiveFusion,
    Up,
    check_size,
    modality_fusion_block,
)
from fsmnet.models.output import Output
from fsmnet.transforms import pad_to_multiple, unpad


class FSFE(nn.Module):
    """Frequency-spatial feature extraction: a residual group for the spatial stream, a spectral block for the other."""

    def __init__(self, features: int, blocks: int) -> None:
        super().__init__()
        self.spatial = ResidualGroup(features, blocks)
        self.frequency = FrequencyBlock(features)

    def forward(self, spatial: Tensor, frequency: Tensor) -> tuple[Tensor, Tensor]:
        """Two ``(B, C, H, W)`` in, the same two enhanced."""
        return self.spatial(spatial), self.frequency(frequency)


class FSFusion(nn.Module):
    """FS-fusion: the branches attend to each other, then the spatial stream selects from both.

    Args:
        features: width C.
        kind: ``"attention"``, or ``"sum"`` for the ablation (spatial + frequency; the frequency stream is unchanged).
    """

    def __init__(self, features: int, kind: str = "attention") -> None:
        super().__init__()
        self.kind = kind
        if kind == "attention":
            self.to_spatial = ChannelAttention(features)
            self.to_frequency = ChannelAttention(features)
            self.select = SelectiveFusion(features)

    def forward(self, spatial: Tensor, frequency: Tensor) -> tuple[Tensor, Tensor]:
        """Two ``(B, C, H, W)`` in, the next spatial and frequency features out."""
        if self.kind == "sum":
            return spatial + frequency, frequency
        enhanced_spatial = spatial + self.to_spatial(spatial, frequency)
        enhanced_frequency = frequency + self.to_frequency(frequency, spatial)
        return self.select(enhanced_spatial, enhanced_frequency), enhanced_frequency


class EncoderStage(nn.Module):
    """One stage of all four streams; the neck is a stage without Down."""

    def __init__(self, features: int, blocks: int, down: bool, modality_fusion: str, branch_fusion: str) -> None:
        super().__init__()
        self.down = nn.ModuleList(Down(features) if down else nn.Identity() for _ in range(4))
        self.target = FSFE(features, blocks)
        self.auxiliary = FSFE(features, blocks)
        self.fuse_spatial = modality_fusion_block(modality_fusion, features, "incoming")
        self.fuse_frequency = modality_fusion_block(modality_fusion, features, "incoming")
        self.fuse_branches = FSFusion(features, branch_fusion)

    def forward(
        self, target: tuple[Tensor, Tensor], auxiliary: tuple[Tensor, Tensor]
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """(spatial, frequency) of the target and of the auxiliary in and out."""
        down = self.down
        target = self.target(down[0](target[0]), down[1](target[1]))
        auxiliary = self.auxiliary(down[2](auxiliary[0]), down[3](auxiliary[1]))
        spatial = self.fuse_spatial(auxiliary[0], target[0])
        frequency = self.fuse_frequency(auxiliary[1], target[1])
        return self.fuse_branches(spatial, frequency), auxiliary


class DecoderStage(nn.Module):
    """Up, FSFE, skip connection and FS-fusion of the target's two streams."""

    def __init__(self, features: int, blocks: int, branch_fusion: str) -> None:
        super().__init__()
        self.up = nn.ModuleList(Up(features) for _ in range(2))
        self.target = FSFE(features, blocks)
        self.fuse_branches = FSFusion(features, branch_fusion)

    def forward(self, target: tuple[Tensor, Tensor], skip: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """(spatial, frequency) at half size and the encoder's at full size; (spatial, frequency) at full size out."""
        spatial, frequency = self.target(self.up[0](target[0]), self.up[1](target[1]))
        fused = self.fuse_branches(spatial + skip[0], frequency + skip[1])
        return cast("tuple[Tensor, Tensor]", fused)


class FSMNet(nn.Module):
    """The paper's network, and the default.

    Args:
        features: width C of every layer, a multiple of 8; the paper uses 64.
        blocks: residual blocks per spatial group.
        modality_fusion: ``"selective"`` (CMS-fusion) or ``"sum"`` (ablation).
        branch_fusion: ``"attention"`` (FS-fusion) or ``"sum"`` (ablation).

    With the defaults 8,062,418 parameters and 155.0 GFLOP for a 240 x 240 slice.
    """

    def __init__(
        self, features: int = 64, blocks: int = 2, modality_fusion: str = "selective", branch_fusion: str = "attention"
    ) -> None:
        super().__init__()
        check_size(features, blocks, branch_fusion)
        self.heads = nn.ModuleList(ConvPReLU(1, features) for _ in range(4))
        self.encoder = nn.ModuleList(
            EncoderStage(features, blocks, down, modality_fusion, branch_fusion) for down in (True, True, True, False)
        )
        self.decoder = nn.ModuleList(DecoderStage(features, blocks, branch_fusion) for _ in range(3))
        self.tails = nn.ModuleList(ConvPReLU(features, 1) for _ in range(2))

    def forward(self, target: Tensor, auxiliary: Tensor) -> Output:
        """Zero-filled target and fully sampled auxiliary, ``(B, 1, H, W)`` each, any H and W; residuals are learned."""
        height, width = target.shape[-2:]
        x, y = pad_to_multiple(target, 8), pad_to_multiple(auxiliary, 8)
        target_features = self.heads[0](x), self.heads[1](x)
        auxiliary_features = self.heads[2](y), self.heads[3](y)
        skips = [target_features]
        for stage in self.encoder:
            target_features, auxiliary_features = stage(target_features, auxiliary_features)
            skips.append(target_features)
        for stage, skip in zip(self.decoder, (skips[2], skips[1], skips[0]), strict=True):
            target_features = stage(target_features, skip)
        image, frequency_image = (x + tail(f) for tail, f in zip(self.tails, target_features, strict=True))
        return Output(unpad(image, height, width), unpad(frequency_image, height, width))
