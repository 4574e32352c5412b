"""How a feature map lies in memory: the channels of a pixel side by side (channels-last), or the pixels of a channel.

Convolutions are fastest on the former, Fourier transforms on the latter.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fsmnet.models.precision import without_autocast

Rearrangement = Callable[[Tensor], Tensor]
WORTH_A_PRODUCT = 2**15  # values; below, a product takes longer to begin with than it saves
# Channels in float32; above, the multiplications take longer than the rearrangement.
WIDEST_TO_PLANES = 64
WIDEST_TO_PIXELS = 32


def planes(x: Tensor) -> Tensor:
    """``(B, C, H, W)`` with the pixels of each channel side by side, as an FFT wants them."""
    if x.is_contiguous():
        return x
    if not (is_channels_last(x) and _worth_a_product(x, WIDEST_TO_PLANES)):
        return x.contiguous()
    if torch.is_grad_enabled() and x.requires_grad:
        out: Tensor = _Rearranged.apply(x, planes, channels_last)  # type: ignore[no-untyped-call]
        return out
    # PyTorch rearranges value by value. The product with a unit matrix is the same, several times as fast.
    with without_autocast(x):
        return torch.bmm(_unit(x), by_pixel(x).mT).view(x.shape)


def channels_last(x: Tensor) -> Tensor:
    """``(B, C, H, W)`` with the channels of each pixel side by side, as convolutions want them."""
    if not (x.is_contiguous() and _worth_a_product(x, WIDEST_TO_PIXELS)):
        return x.contiguous(memory_format=torch.channels_last)
    if torch.is_grad_enabled() and x.requires_grad:
        out: Tensor = _Rearranged.apply(x, channels_last, planes)  # type: ignore[no-untyped-call]
        return out
    with without_autocast(x):
        rows: Tensor = torch.bmm(x.flatten(2).mT, _unit(x)).unflatten(1, x.shape[2:])
    return rows.permute(0, 3, 1, 2)


def by_pixel(x: Tensor) -> Tensor:
    """``(B, C, H, W)`` as ``(B, H * W, C)``; a view, if ``x`` is channels-last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _unit(x: Tensor) -> Tensor:
    return unit_matrix(x.shape[1], x.dtype).expand(len(x), -1, -1)


@functools.cache
def unit_matrix(size: int, dtype: torch.dtype) -> Tensor:
    """``(size, size)`` on the processor, always the same one."""
    with torch.inference_mode(False):  # whose tensors training could not use
        return torch.eye(size, dtype=dtype)


def _worth_a_product(x: Tensor, widest: int) -> bool:
    if torch.compiler.is_compiling() or x.device.type != "cpu" or x.numel() < WORTH_A_PRODUCT:
        return False
    if x.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return x.dtype == torch.float32 and x.shape[1] <= widest


class _Rearranged(torch.autograd.Function):
    """Autograd would leave the gradient as it lies, for every operation to come to rearrange."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Rearrangement, back: Rearrangement) -> Tensor:
        ctx.back = back
        return there(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.back(gradient), None, None


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of a pixel lie side by side."""
    return x.stride(1) == 1 and x.shape[1] > 1 and x.is_contiguous(memory_format=torch.channels_last)


def follow_weights(image: Tensor, weight: Tensor) -> Tensor:
    """An image ``(B, 1, H, W)`` that says of its memory what the weights say of theirs.

    One channel is channels-last and channels-first at once, and PyTorch takes the latter unless the strides deny it:
    feature maps would then change their layout at every convolution.
    """
    if not is_channels_last(weight):
        return image
    height, width = image.shape[-2:]
    return image.contiguous().as_strided(image.shape, (height * width, 1, width, 1))


def worked_in_parts(x: Tensor) -> bool:
    """Whether temporary maps are to be made part by part, so that they are small and stay in the processor's cache.

    Not where the backward pass keeps them anyway, on a GPU, and in a graph.
    """
    kept = torch.is_grad_enabled() and x.requires_grad
    return not (kept or x.device.type != "cpu" or torch.compiler.is_compiling())


class Layout(NamedTuple):
    """Precision and memory layout of a feature map."""

    dtype: torch.dtype
    memory_format: torch.memory_format

    @classmethod
    def like(cls, x: Tensor) -> Layout:
        """Those of ``x``."""
        return cls(x.dtype, torch.channels_last if is_channels_last(x) else torch.contiguous_format)

    def of(self, x: Tensor) -> Tensor:
        """``x`` in this precision and layout."""
        x = x.to(self.dtype)
        return channels_last(x) if self.memory_format == torch.channels_last else planes(x)
