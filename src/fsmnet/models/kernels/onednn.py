"""Convolutions together with what follows them, by oneDNN: one pass over the memory instead of three."""

from __future__ import annotations

import copy
import functools
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsmnet.models.kernels import winograd

Activation = Literal["none", "relu", "leaky_relu", "sigmoid"]
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2}  # of values about 1, by the precisions that oneDNN may have


def convolve(
    convolution: nn.Module, x: Tensor, activation: Activation = "none", slope: float = 0.0, plus: Tensor | None = None
) -> Tensor:
    """``activation(convolution(x) + plus)``.

    Args:
        convolution: in one pass if it is a :class:`FusedConv2d`.
        x: ``(B, C, H, W)``.
        activation: applied to the sum.
        slope: of ``leaky_relu`` below zero.
        plus: of the result's shape; nothing is added without it.
    """
    finish = functools.partial(_followed_by, activation=activation, slope=slope)
    if not isinstance(convolution, FusedConv2d):
        return finish(convolution(x), plus)
    if convolution.takes(x, plus):
        if convolution.by_rows and winograd.pays(x, convolution.weight):
            kernels, plus = (convolution.weight, convolution.bias), None if plus is None else plus.to(x.dtype)
            return winograd.convolution(x.to(convolution.weight.dtype), *kernels, finish, plus)
        if plus is None or activation in ("none", "relu"):  # of oneDNN's activations after a sum
            return convolution.at_once(x, activation, slope, plus)
    return finish(nn.Conv2d.forward(convolution, x), plus)


def _followed_by(fresh: Tensor, plus: Tensor | None, activation: Activation, slope: float) -> Tensor:
    """``activation(fresh + plus)``, in the memory of ``fresh`` where :func:`add` can."""
    out = fresh if plus is None else add(fresh, plus)
    if activation == "relu":
        return out.relu_()
    if activation == "leaky_relu":
        return F.leaky_relu_(out, slope)
    return out.sigmoid_() if activation == "sigmoid" else out


def add(fresh: Tensor, x: Tensor) -> Tensor:
    """``fresh + x``, in the memory of ``fresh``, which nobody else may need: the result of a convolution."""
    # Autograd takes a change of a view for one of a part of its base, and rearranges whole gradients.
    costly = torch.is_grad_enabled() and fresh._is_view()
    return fresh + x if costly or torch.result_type(fresh, x) != fresh.dtype else fresh.add_(x)


class FusedConv2d(nn.Conv2d):
    """A convolution for inference that :func:`convolve` computes together with what follows, by oneDNN."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, ...)``."""
        return convolve(self, x)

    @property
    def by_rows(self) -> bool:
        """Whether it has the shape that :mod:`fsmnet.models.kernels.winograd` is for."""
        shape = self.kernel_size, self.stride, self.padding, self.dilation, self.groups
        return shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1)

    def takes(self, *inputs: Tensor | None) -> bool:
        """Whether these inputs can be computed so: channels-last, else oneDNN refuses some."""
        here = self.weight.device.type == "cpu" and self.weight.dtype in TOLERANCES
        laid_out = all(x is None or x.is_contiguous(memory_format=torch.channels_last) for x in inputs)
        kept_for_later = torch.is_grad_enabled() or torch.compiler.is_compiling()
        return here and laid_out and not kept_for_later

    def at_once(self, x: Tensor, activation: Activation, slope: float, plus: Tensor | None) -> Tensor:
        """See :func:`convolve`; in the precision of the weights."""
        shape = self.padding, self.stride, self.dilation, self.groups
        slopes = [slope] if activation == "leaky_relu" else []
        x, kernels = x.to(self.weight.dtype), (self.weight, self.bias)
        if plus is None:
            out: Tensor = torch.ops.mkldnn._convolution_pointwise(x, *kernels, *shape, activation, slopes, "")
            return out
        then = None if activation == "none" else activation
        total: Tensor = torch.ops.mkldnn._convolution_pointwise.binary(
            x, plus.to(x.dtype), *kernels, *shape, "add", 1.0, then, slopes, ""
        )
        return total


def fuse(model: nn.Module) -> None:
    """Let :func:`convolve` compute each 2D convolution of a model in one pass, in place, where that is possible."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv2d) and child.groups == 1 and _in_one_pass(child.weight):
                setattr(parent, name, _fused(child))


@functools.cache
def available(dtype: torch.dtype) -> bool:
    """Whether this PyTorch has oneDNN's convolutions in a precision here, and they give what its own give.

    Asked for each precision apart: processors without AVX-512 or AVX-NE-CONVERT have float32's alone.
    """
    if dtype not in TOLERANCES:
        return False
    # Weights of no random numbers: who asks must not change what is drawn afterwards.
    convolution = nn.utils.skip_init(nn.Conv2d, 16, 16, 3, padding=1).requires_grad_(False)
    for parameter in convolution.parameters():
        parameter.copy_(torch.linspace(-0.1, 0.1, parameter.numel()).view(parameter.shape))
    x = torch.linspace(-1, 1, 16 * 64).view(1, 8, 8, 16).permute(0, 3, 1, 2)  # channels-last
    try:
        expected = F.relu(convolution(x) + x)
        with torch.inference_mode():
            got = convolve(_fused(copy.deepcopy(convolution).to(dtype)), x, "relu", plus=x)
    except (AttributeError, RuntimeError, TypeError):  # by what is missing; these operations are no public interface
        return False
    return torch.allclose(got.float(), expected, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype])


def _in_one_pass(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and available(weight.dtype)


def _fused(convolution: nn.Conv2d) -> FusedConv2d:
    """The same weights."""
    shape = {name: getattr(convolution, name) for name in ("kernel_size", "stride", "padding", "dilation", "groups")}
    with torch.device("meta"):  # no initial weights, which would take from the random numbers
        fused = FusedConv2d(convolution.in_channels, convolution.out_channels, **shape)
    fused.weight, fused.bias = convolution.weight, convolution.bias
    return fused
