"""MDUNet: a U-Net that receives target and auxiliary as the two channels of one image.

L. Xiang, Y. Chen, W. Chang, Y. Zhan, W. Lin, Q. Wang and D. Shen, "Deep-learning-based multi-modal fusion for fast MR
reconstruction", IEEE Transactions on Biomedical Engineering 66(7), 2019. With ``c_l = c 2^l`` channels at level ``l``
and ``N(x) = LeakyReLU(InstanceNorm(x))`` (slope 0.2, no learned scale or shift):

    Block(x) = N(conv3x3(N(conv3x3(x))))                              convolutions without bias
    Up(x)    = N(transposed conv2x2, stride 2 (x))                    without bias
    x_0 = [target, auxiliary]
    d_l = Block(x_l),  x_{l+1} = average2x2(d_l)                      l = 0 .. L-1, to c_l channels
    u_L = Block(x_L)                                                  c_L channels
    u_l = Block([Up(u_{l+1}), d_l])                                   l = L-1 .. 0, to c_l channels
    image = conv1x1(u_0)                                              with bias; no residual, no output activation

Pooling rounds odd sizes down; on the way up the last row or column is then mirrored.

Adapted: Xiang et al. use densely connected blocks. The FSMNet authors publish no such network; their multi-modal U-Nets
are plain, and their tables give the same numbers for "MDUNet" and for a "multi-modal UNet with concat fusion". This is
that U-Net, without the Tanh that some of their variants end with: normalised images exceed [-1, 1]. ``fusion="levels"``
is the other network that "concat fusion" may mean: two such U-Nets, joined by ``Block([., .])`` after every pooling.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsmnet.errors import UserError
from fsmnet.models.output import Output
from fsmnet.transforms import pad_to_multiple, unpad

SLOPE = 0.2


def norm_act(x: Tensor) -> Tensor:
    """Instance norm without parameters, then LeakyReLU; ``(B, C, H, W)`` in and out."""
    return F.leaky_relu(F.instance_norm(x), SLOPE)


class ConvBlock(nn.Module):
    """Twice: 3x3 convolution without bias, instance norm, LeakyReLU, channel dropout."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H, W)``."""
        x = self.dropout(norm_act(self.conv1(x)))
        out: Tensor = self.dropout(norm_act(self.conv2(x)))
        return out


class UpBlock(nn.Module):
    """Doubles the size: 2x2 transposed convolution of stride 2 without bias, instance norm, LeakyReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, 2, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, 2H, 2W)``."""
        return norm_act(self.conv(x))


class UNet(nn.Module):
    """The layers of one U-Net from two channels to one; what happens between its levels is the caller's."""

    def __init__(self, features: int, levels: int, dropout: float) -> None:
        super().__init__()
        widths = [features * 2**level for level in range(levels + 1)]
        upwards = range(levels - 1, -1, -1)
        self.encoder = nn.ModuleList(
            ConvBlock(inputs, outputs, dropout) for inputs, outputs in zip([2, *widths], widths[:-1], strict=False)
        )
        self.bottleneck = ConvBlock(widths[-2], widths[-1], dropout)
        self.up = nn.ModuleList(UpBlock(widths[level + 1], widths[level]) for level in upwards)
        self.decoder = nn.ModuleList(ConvBlock(2 * widths[level], widths[level], dropout) for level in upwards)
        self.out = nn.Conv2d(features, 1, 1)

    def decode(self, x: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """From the last pooled map and the levels' maps before pooling, finest first, to ``(B, 1, H, W)``."""
        x = self.bottleneck(x)
        for up, block, skip in zip(self.up, self.decoder, reversed(skips), strict=True):
            x = up(x)
            rows, columns = skip.shape[-2] - x.shape[-2], skip.shape[-1] - x.shape[-1]
            if rows or columns:
                x = F.pad(x, (0, columns, 0, rows), mode="reflect")
            x = block(torch.cat([x, skip], dim=1))
        out: Tensor = self.out(x)
        return out


class MDUNet(nn.Module):
    """Multi-modal U-Net with concatenation.

    Args:
        features: channels ``c`` of the first level, doubled at each of the following.
        levels: number of poolings ``L``.
        dropout: probability of dropping a whole channel after each activation of a block, in training.
        fusion: ``"input"`` (one U-Net on both images) or ``"levels"`` (one U-Net per contrast, joined at every level).

    With the defaults 7,756,385 parameters and 21.2 GFLOP for a 240 x 240 slice; 20,212,930 and 48.7 with
    ``fusion="levels"``.
    """

    def __init__(self, features: int = 32, levels: int = 4, dropout: float = 0.0, fusion: str = "input") -> None:
        super().__init__()
        if features < 1 or levels < 1:
            raise UserError(f"features and levels must be at least 1, not {features} and {levels}")
        if not 0 <= dropout < 1:
            raise UserError(f"dropout must be at least 0 and below 1, not {dropout}")
        if fusion not in ("input", "levels"):
            raise UserError(f"fusion is 'input' or 'levels', not {fusion!r}")
        self.levels = levels
        self.fusion = fusion
        self.target = UNet(features, levels, dropout)
        if fusion == "levels":
            self.auxiliary = UNet(features, levels, dropout)
            widths = [features * 2**level for level in range(levels)]
            self.fuse_auxiliary = nn.ModuleList(ConvBlock(2 * width, width, dropout) for width in widths)
            self.fuse_target = nn.ModuleList(ConvBlock(2 * width, width, dropout) for width in widths)

    def forward(
        self,
        target: Tensor,
        auxiliary: Tensor,
        target_refined: Tensor | None = None,
        auxiliary_refined: Tensor | None = None,
    ) -> Output:
        """Under-sampled target and fully sampled auxiliary to the target's reconstruction.

        Args:
            target: ``(B, 1, H, W)``, any H and W.
            auxiliary: ``(B, 1, H, W)``.
            target_refined: second channel of the target's U-Net with ``fusion="levels"``; the auxiliary by default.
            auxiliary_refined: second channel of the auxiliary's U-Net, likewise.
        """
        if self.fusion == "input" and not (target_refined is None and auxiliary_refined is None):
            raise UserError("only MDUNet with fusion='levels' takes refined images; leave them out")
        height, width = target.shape[-2:]
        x = torch.cat([target, auxiliary if target_refined is None else target_refined], dim=1)
        y = torch.cat([auxiliary, auxiliary if auxiliary_refined is None else auxiliary_refined], dim=1)
        if (height >> self.levels) * (width >> self.levels) < 2:
            # Instance norm needs two pixels at the bottom; the reference refuses images this small.
            x, y = (pad_to_multiple(image, 2 ** (self.levels + 1)) for image in (x, y))
        if self.fusion == "input":
            return Output(unpad(self._joined(x), height, width))
        image, auxiliary_image = self._two_streams(x, y)
        return Output(unpad(image, height, width), auxiliary_image=unpad(auxiliary_image, height, width))

    def _joined(self, x: Tensor) -> Tensor:
        """``fusion="input"``: ``(B, 2, H, W)`` to ``(B, 1, H, W)``."""
        skips = []
        for block in self.target.encoder:
            skips.append(block(x))
            x = F.avg_pool2d(skips[-1], 2)
        return self.target.decode(x, skips)

    def _two_streams(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """``fusion="levels"``: the target's and the auxiliary's ``(B, 2, H, W)`` to their ``(B, 1, H, W)``."""
        skips: list[Tensor] = []
        auxiliary_skips: list[Tensor] = []
        for block, auxiliary_block, fuse, auxiliary_fuse in zip(
            self.target.encoder, self.auxiliary.encoder, self.fuse_target, self.fuse_auxiliary, strict=True
        ):
            skips.append(block(x))
            auxiliary_skips.append(auxiliary_block(y))
            x, y = F.avg_pool2d(skips[-1], 2), F.avg_pool2d(auxiliary_skips[-1], 2)
            y = auxiliary_fuse(torch.cat([y, x], dim=1))
            x = fuse(torch.cat([y, x], dim=1))  # with the auxiliary as fused the line before, like the reference
        return self.target.decode(x, skips), self.auxiliary.decode(y, auxiliary_skips)
