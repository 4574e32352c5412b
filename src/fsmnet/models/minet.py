"""MINet: two residual channel-attention branches, the target's receiving both after every stage.

C.-M. Feng, H. Fu, S. Yuan and Y. Xu, "Multi-contrast MRI super-resolution via a multi-stage integration network",
MICCAI 2021. ``a`` is the auxiliary and ``t`` the target; stages 0 .. G-1 of a branch are residual groups, stage G is a
convolution. Every convolution has a bias; ``[., .]`` concatenates channels:

    h_a = conv3x3(auxiliary),  h_t = conv3x3(conv3x3(target))
    u_i = stage_a,i(u_{i-1}),  v_i = stage_t,i(r_{i-1})               u_{-1} = h_a, r_{-1} = h_t
    r_i = v_i + conv1x1([u_i, v_i])                                   integration, also after the last stage
    s   = conv3x3(LayerAttention(u_0 .. u_G, v_0 .. v_G))
    auxiliary image = conv3x3(conv3x3(VolumeAttention(u_G)) + h_a)
    image           = conv3x3(conv3x3([VolumeAttention(r_G), s]) + h_t)

Adapted: the authors' network doubles the resolution and does not run as published; this is the same-resolution version
of the FSMNet authors, who keep the second convolution of ``h_t`` in place of the up-sampler. Their version ends with a
Tanh, which images normalised to zero mean and unit deviation exceed; the authors' does not, nor does the default here.
Their checkpoints also hold a third branch and other layers that nothing reads; these are not built.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsmnet.errors import UserError
from fsmnet.models.output import Output
from fsmnet.models.precision import full_precision, without_autocast


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """3x3 convolution with bias that keeps the size."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class ChannelGate(nn.Module):
    """Scales each channel by a sigmoid computed from the means of all channels."""

    def __init__(self, features: int, reduction: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(features, features // reduction, 1)
        self.expand = nn.Conv2d(features // reduction, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in and out."""
        means = x.mean((-2, -1), keepdim=True)
        out: Tensor = x * self.expand(F.relu(self.squeeze(means))).sigmoid()
        return out


class GatedBlock(nn.Module):
    """``x + gate(conv(relu(conv(x))))``."""

    def __init__(self, features: int, reduction: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(features, features)
        self.conv2 = conv3x3(features, features)
        self.gate = ChannelGate(features, reduction)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in and out."""
        out: Tensor = x + self.gate(self.conv2(F.relu(self.conv1(x))))
        return out


class Group(nn.Module):
    """``x + conv(blocks(x))``."""

    def __init__(self, features: int, blocks: int, reduction: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(GatedBlock(features, reduction) for _ in range(blocks)))
        self.close = conv3x3(features, features)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in and out."""
        out: Tensor = x + self.close(self.blocks(x))
        return out


class VolumeAttention(nn.Module):
    """Channel-spatial attention: a 3x3x3 convolution over channels, rows and columns gates every value.

    ``x + gamma * x * sigmoid(conv(x))``; gamma starts at zero.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 1, 3, padding=1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in and out."""
        gate = self.conv(x[:, None]).sigmoid()[:, 0]
        out: Tensor = x + x * (self.gamma * gate)
        return out


class LayerAttention(nn.Module):
    """Attention between whole feature maps ``X``, without projections: ``X + gamma * softmax(-X X^T) X``.

    The least similar map gets the most weight. The products are sums over all channels and pixels, not normalised, so
    that the softmax mostly picks one map; they stay in float32 under autocast. gamma starts at zero.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, maps: Tensor) -> Tensor:
        """``M`` maps ``(B, M, C, H, W)`` to ``(B, M * C, H, W)``, map after map."""
        with without_autocast(maps):
            x = full_precision(maps).flatten(2)
            weights = (-(x @ x.transpose(1, 2))).softmax(dim=-1)
            x = x + self.gamma * (weights @ x)
        return x.to(maps.dtype).reshape(maps.shape).flatten(1, 2)


class Branch(nn.Module):
    """One contrast's layers; the stages are called one by one since the branches meet in between.

    Args:
        features: width C.
        groups: residual groups; one more convolution makes ``groups + 1`` stages.
        blocks: residual blocks per group.
        reduction: see :class:`MINet`.
        merged: channels that the last but one convolution receives.
    """

    def __init__(self, features: int, groups: int, blocks: int, reduction: int, merged: int) -> None:
        super().__init__()
        self.head = conv3x3(1, features)
        self.stages = nn.ModuleList(Group(features, blocks, reduction) for _ in range(groups))
        self.stages.append(conv3x3(features, features))
        self.attention = VolumeAttention()
        self.merge = conv3x3(merged, features)
        self.out = conv3x3(features, 1)


class MINet(nn.Module):
    """Multi-stage integration network at the resolution of its inputs.

    Args:
        features: width C of every layer, at least ``reduction``.
        groups: residual groups per branch; the authors trained their super-resolution network with 6.
        blocks: residual blocks per group; likewise 6.
        reduction: channels per channel of the gates' inner layer.
        output_activation: ``"none"`` or ``"tanh"``. It has no weights and no checkpoint tells which was trained.

    With the defaults 2,113,413 parameters (3,929,708 in the FSMNet authors' file, the rest unread) and 243 GFLOP for a
    240 x 240 slice; with 6 groups of 6 blocks 6,600,477 parameters and 758 GFLOP.
    """

    def __init__(
        self,
        features: int = 64,
        groups: int = 3,
        blocks: int = 3,
        reduction: int = 16,
        output_activation: str = "none",
    ) -> None:
        super().__init__()
        if groups < 1 or blocks < 1 or reduction < 1:
            raise UserError(f"groups, blocks and reduction must be at least 1, not {groups}, {blocks} and {reduction}")
        if features < reduction:
            raise UserError(f"features must be at least the reduction, {reduction}, not {features}")
        if output_activation not in ("none", "tanh"):
            raise UserError(f"output_activation is 'none' or 'tanh', not {output_activation!r}")
        self.groups = groups
        self.blocks = blocks
        self.output_activation = output_activation
        self.auxiliary = Branch(features, groups, blocks, reduction, merged=features)
        self.target = Branch(features, groups, blocks, reduction, merged=2 * features)
        self.target_head = conv3x3(features, features)
        self.integrate = nn.ModuleList(nn.Conv2d(2 * features, features, 1) for _ in range(groups + 1))
        self.layer_attention = LayerAttention()
        self.summarise = conv3x3(2 * (groups + 1) * features, features)

    def forward(self, target: Tensor, auxiliary: Tensor) -> Output:
        """Under-sampled target and fully sampled auxiliary, ``(B, 1, H, W)`` each, any H and W.

        Both are reconstructed: the authors train with 0.7 L1 of the auxiliary plus 0.3 L1 of the target. The
        auxiliary's ``attention``, ``merge`` and ``out`` serve its own image alone.
        """
        head_a: Tensor = self.auxiliary.head(auxiliary)
        head_t: Tensor = self.target_head(self.target.head(target))
        a, t = head_a, head_t
        maps_a: list[Tensor] = []
        maps_t: list[Tensor] = []
        for stage_a, stage_t, integrate in zip(self.auxiliary.stages, self.target.stages, self.integrate, strict=True):
            a, t = stage_a(a), stage_t(t)
            maps_a.append(a)
            maps_t.append(t)  # before integration
            t = t + integrate(torch.cat([a, t], dim=1))
        summary = self.summarise(self.layer_attention(torch.stack(maps_a + maps_t, dim=1)))
        merged_a = self.auxiliary.merge(self.auxiliary.attention(a))
        merged_t = self.target.merge(torch.cat([self.target.attention(t), summary], dim=1))
        image: Tensor = self.target.out(merged_t + head_t)
        auxiliary_image: Tensor = self.auxiliary.out(merged_a + head_a)
        if self.output_activation == "tanh":
            image, auxiliary_image = image.tanh(), auxiliary_image.tanh()
        return Output(image, auxiliary_image=auxiliary_image)
