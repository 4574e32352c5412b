"""Exact simplifications of the FSMNet variants for inference: the same function of the same weights, with less work.

Every function changes a model in place and says why the result is equal; in float64 it is equal to rounding. Two were
left out since they would cost more: a 1x1 convolution followed by a depthwise 3x3 (the attention's query, key, value)
is one dense 3x3 convolution of nine times the multiplications, and the two 3x3 convolutions of the scores are one of
5x5 with four times the multiplications.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from fsmnet.models.blocks import ConvPReLU, Down, FrequencyBlock, ResidualGroup, Up
from fsmnet.models.kernels.attention import ChannelAttentionKernel
from fsmnet.models.kernels.layers import down_in_one


def simplify(model: nn.Module) -> nn.Module:
    """All of this module's steps, in place; the model is for inference only afterwards."""
    for step in STEPS:
        step(model)
    return model


def collapse_down(model: nn.Module) -> None:
    """Each Down becomes one 4x4 convolution of stride 2, with 40% of the multiplications (:func:`down_in_one`)."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Down):
                with torch.no_grad():
                    kernel = down_in_one(child)
                setattr(parent, name, _convolution(kernel, stride=2, padding=1))


def _convolution(kernel: Tensor, stride: int, padding: int) -> nn.Conv2d:
    outputs, inputs, *size = kernel.shape
    with torch.device("meta"):  # no initial weights, which would take from the random numbers
        convolution = nn.Conv2d(inputs, outputs, (size[0], size[1]), stride, padding, bias=False)
    convolution.weight = nn.Parameter(kernel)
    return convolution


def merge_attention(model: nn.Module) -> None:
    """Attention and the projection after it both mix the channels of a pixel: one matrix does it, where kernels are."""
    for module in model.modules():
        if isinstance(module, ChannelAttentionKernel):
            module.merged = True


def fix_slopes(model: nn.Module) -> None:
    """A PReLU with a single slope that is learned no more is a leaky ReLU, which can work in place."""
    for module in model.modules():
        if isinstance(module, ConvPReLU | Up):
            slope = cast("nn.PReLU", module.act).weight.item()
            module.act = nn.LeakyReLU(slope, inplace=True)


def fix_scales(model: nn.Module) -> None:
    """A residual group's scale becomes a number, with which the scaled input is added in one pass."""
    for module in model.modules():
        if isinstance(module, ResidualGroup):
            scale = module.scale.item() if isinstance(module.scale, Tensor) else module.scale
            del module.scale
            module.scale = scale


def fold_epsilon(model: nn.Module) -> None:
    """The constant that the released frequency block adds to its image moves into the bias before it."""
    for module in model.modules():
        if isinstance(module, FrequencyBlock) and module.epsilon:
            with torch.no_grad():
                module.pre.bias.add_(module.epsilon)  # type: ignore[union-attr]
            module.epsilon = 0.0


STEPS: tuple[Callable[[nn.Module], None], ...] = (
    collapse_down,
    merge_attention,
    fix_slopes,
    fix_scales,
    fold_epsilon,
)
