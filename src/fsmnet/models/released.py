"""FSMNet as the authors' code computes it (qic999/FSMNet), so that its checkpoints load and its results carry over.

It differs from the paper (:mod:`fsmnet.models.fsmnet`) in two FSFE per stage, FS-fusion before CMS-fusion, a frequency
branch that never sees the spatial one, one attention used in both directions, and an absolute value after each inverse
FFT. The irregular wiring of the fusion inputs and skips is part of it. One deviation: the phase at self-conjugate bins
follows :func:`fsmnet.models.polar.amplitude_phase`, without which the result depends on rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor, nn

from fsmnet.models.blocks import (
    ChannelAttention,
    ConvPReLU,
    Down,
    FrequencyBlock,
    ResidualGroup,
    SelectionScores,
    Up,
    check_size,
    modality_fusion_block,
)
from fsmnet.models.output import Output
from fsmnet.transforms import pad_to_multiple, unpad


class ReleasedFSFusion(nn.Module):
    """FS-fusion of the released code: 3x3 convolutions, one attention used twice in turn, then selection."""

    def __init__(self, features: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        if kind == "attention":
            self.conv_spatial = nn.Conv2d(features, features, 3, padding=1)
            self.conv_frequency = nn.Conv2d(features, features, 3, padding=1)
            self.attention = ChannelAttention(features)
            self.scores = SelectionScores(features)

    def forward(self, frequency: Tensor, spatial: Tensor) -> Tensor:
        """Two ``(B, C, H, W)`` to the next spatial feature."""
        if self.kind == "sum":
            return spatial + frequency
        f, t = self.conv_frequency(frequency), self.conv_spatial(spatial)
        t = t + self.attention(t, f)
        f = f + self.attention(f, t)
        score_t, score_f = self.scores(t, f)
        selected: Tensor = score_t * t + score_f * f
        return selected


class Stage(nn.Module):
    """A change of resolution (Down, Up or none) and two extraction blocks, whose outputs are both needed."""

    def __init__(self, resize: nn.Module, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.resize = resize
        self.first = first
        self.second = second

    def forward(self, x: Tensor, between: Callable[[Tensor], Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Features before and after the second block; ``between`` changes what it receives."""
        first: Tensor = self.first(self.resize(x))
        if between:
            first = between(first)
        return first, self.second(first)


class Encoder(nn.Module):
    """Head, three stages with Down and the neck of one stream; the stages' blocks are frequency or residual ones."""

    def __init__(self, features: int, block: type[nn.Module], *args: int | bool | float) -> None:
        super().__init__()
        self.head = ConvPReLU(1, features)
        self.stages = nn.ModuleList(
            Stage(Down(features) if level < 3 else nn.Identity(), block(features, *args), block(features, *args))
            for level in range(4)
        )

    def forward(self, x: Tensor) -> Iterator[Tensor]:
        """Features after the head and after each stage's second block (the auxiliary's way through), when needed."""
        feature: Tensor = self.head(x)
        yield feature
        for stage in self.stages:
            feature = stage(feature)[1]
            yield feature


class Branch(Encoder):
    """A target stream: the encoder, three stages with Up, and the tail."""

    def __init__(self, features: int, block: type[nn.Module], *args: int | bool | float) -> None:
        super().__init__(features, block, *args)
        self.decoder = nn.ModuleList(
            Stage(Up(features), block(features, *args), block(features, *args)) for _ in range(3)
        )
        self.tail = ConvPReLU(features, 1)


class ReleasedFSMNet(nn.Module):
    """The released network, number for number.

    Args:
        features: width C of every layer, a multiple of 8; released with 64.
        blocks: residual blocks per spatial group.
        modality_fusion: ``"selective"`` (CMS-fusion) or ``"sum"`` (ablation).
        branch_fusion: ``"attention"`` (FS-fusion) or ``"sum"`` (ablation).

    With the defaults 13,799,848 parameters (14,053,528 in the authors' file, which keeps 253,680 that nothing uses)
    and 317 GFLOP for a 240 x 240 slice.
    """

    def __init__(
        self, features: int = 64, blocks: int = 2, modality_fusion: str = "selective", branch_fusion: str = "attention"
    ) -> None:
        super().__init__()
        check_size(features, blocks, branch_fusion)
        frequency_options = (True, 1e-8)  # magnitude, epsilon
        self.frequency = Branch(features, FrequencyBlock, *frequency_options)
        self.spatial = Branch(features, ResidualGroup, blocks)
        self.fuse_branches = nn.ModuleList(ReleasedFSFusion(features, branch_fusion) for _ in range(14))
        self.auxiliary_frequency = Encoder(features, FrequencyBlock, *frequency_options)
        self.auxiliary_spatial = Encoder(features, ResidualGroup, blocks)
        self.fuse_frequency = nn.ModuleList(
            modality_fusion_block(modality_fusion, features, "convolved") for _ in range(5)
        )
        self.fuse_spatial = nn.ModuleList(
            modality_fusion_block(modality_fusion, features, "convolved") for _ in range(5)
        )

    def forward(self, target: Tensor, auxiliary: Tensor) -> Output:
        """Zero-filled target and fully sampled auxiliary, ``(B, 1, H, W)`` each, any H and W."""
        height, width = target.shape[-2:]
        x, y = pad_to_multiple(target, 8), pad_to_multiple(auxiliary, 8)
        for_spatial, frequency_residual = self._frequency(x, y)
        image = x + self._spatial(x, y, for_spatial)
        return Output(unpad(image, height, width), unpad(x + frequency_residual, height, width))

    def _frequency(self, x: Tensor, y: Tensor) -> tuple[list[Tensor], Tensor]:
        """Frequency branch: what each of the 14 FS-fusions receives from it, in order, and its residual."""
        branch, fuse = self.frequency, self.fuse_frequency
        auxiliary = self.auxiliary_frequency(y)
        fused = [fuse[0](next(auxiliary), branch.head(x))]
        for_spatial: list[Tensor] = []
        for level, stage in enumerate(branch.stages):
            first, second = stage(fused[level])
            fused.append(fuse[level + 1](next(auxiliary), second))
            # The released wiring: stage 1 hands over the fused feature, stages 2 and 3 the unfused one.
            for_spatial += [first, fused[1] if level == 0 else second]
        up = fused.pop() + fused.pop()
        for_spatial[-1] = up  # and the neck its sum with the stage above
        for stage in branch.decoder:
            first, second = stage(up)
            up = second + fused.pop()
            for_spatial += [first, up]
        return for_spatial, branch.tail(up)

    def _spatial(self, x: Tensor, y: Tensor, frequency: list[Tensor]) -> Tensor:
        """Spatial branch, given what the FS-fusions receive from the frequency branch, which it takes; its residual."""
        branch = self.spatial
        auxiliary = self.auxiliary_spatial(y)
        blocks = iter(self.fuse_branches)

        def fuse(spatial: Tensor) -> Tensor:
            fused: Tensor = next(blocks)(frequency.pop(0), spatial)
            return fused

        head = branch.head(x)
        feature = self.fuse_spatial[0](next(auxiliary), head)
        skips = [head]  # the decoder's skips are taken before CMS-fusion
        del head
        for level, stage in enumerate(branch.stages):
            _, enhanced = stage(feature, fuse)
            if level == 3:
                enhanced = enhanced + skips.pop()
            else:
                skips.append(enhanced)
            feature = self.fuse_spatial[level + 1](next(auxiliary), fuse(enhanced))
        for stage in branch.decoder:
            feature = fuse(stage(feature, fuse)[1] + skips.pop())
        residual: Tensor = branch.tail(feature)
        return residual
