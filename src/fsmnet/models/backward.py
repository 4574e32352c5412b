"""Operations whose backward pass is written out, where autograd's takes several times as long on a processor.

Each computes what plain PyTorch would, forwards and backwards; tests compare the two. ``P`` is a number of pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from fsmnet.models.precision import full_precision, without_autocast

Mixing = Callable[..., Tensor]


def written_out(*inputs: Tensor) -> bool:
    """Whether a backward pass will come, and none that a compiler makes."""
    wanted = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    return wanted and not torch.compiler.is_compiling()


def attend(mixing: Mixing, query: Tensor, key_value: Tensor, *parameters: Tensor) -> Tensor:
    """A value's channels mixed by a matrix that is made from sums over the pixels of a query and a key.

    Autograd would keep a second copy of query and key, and make and add up a full-size gradient for every sum. Here the
    gradient of each map is a sum of products with small matrices.

    Args:
        mixing: ``mixing(products, query_squares, key_squares, *parameters)`` makes the matrices ``(B, C, C)`` from the
            products ``(B, C, C)`` of query with key channels and the squares ``(B, C)``, all in float32 at least.
        query: ``(B, P, C)``.
        key_value: ``(B, P, 2C)``, keys first.
        parameters: what else the matrices depend on.

    Returns:
        ``(B, P, C)``.
    """
    out: Tensor = _Attend.apply(mixing, query, key_value, *parameters)  # type: ignore[no-untyped-call]
    return out


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mixing: Mixing, query: Tensor, key_value: Tensor, *parameters: Tensor) -> Tensor:
        key, value = key_value.chunk(2, dim=2)
        wide_query, wide_key = full_precision(query), full_precision(key)
        sums = wide_query.mT @ wide_key, wide_query.square().sum(1), wide_key.square().sum(1)
        matrix = mixing(*sums, *parameters)
        ctx.mixing = mixing
        ctx.save_for_backward(query, key_value, *sums, *parameters)
        return value @ matrix.mT.to(value.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key_value, *small = ctx.saved_tensors
        key, value = key_value.chunk(2, dim=2)
        leaves = [t.detach().requires_grad_() for t in small]
        with torch.enable_grad():
            matrix = ctx.mixing(*leaves)
        with without_autocast(gradient):
            of_matrix = (gradient.mT @ value).to(matrix.dtype)
            products, query_squares, key_squares, *parameters = torch.autograd.grad(matrix, leaves, of_matrix)
            # The terms cancel along the map itself, since cosines do not depend on its length: not in half precision.
            wide_query, wide_key = full_precision(query), full_precision(key)
            query_gradient = torch.baddbmm(wide_query @ _twice(query_squares), wide_key, products.mT)
            key_gradient = torch.baddbmm(wide_key @ _twice(key_squares), wide_query, products)
            value_gradient = gradient @ matrix.detach().to(gradient.dtype)
        of_key_value = torch.cat([key_gradient.to(gradient.dtype), value_gradient], dim=2)
        return None, query_gradient.to(query.dtype), of_key_value, *parameters


def _twice(diagonal: Tensor) -> Tensor:
    return torch.diag_embed(2 * diagonal)


def join(a: Tensor, b: Tensor) -> Tensor:
    """Channels of two ``(B, C, H, W)`` one after the other, with gradients that lie as ``a`` and ``b`` do.

    Autograd's are windows of the joint gradient, and adding to them is several times slower.
    """
    if not written_out(a, b):
        return torch.cat([a, b], dim=1)
    out: Tensor = _Join.apply(a, b)  # type: ignore[no-untyped-call]
    return out


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a, b], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        of_a, of_b = (half.clone() for half in gradient.chunk(2, dim=1))
        return of_a, of_b


def select(both: Tensor, logits: Tensor) -> Tensor:
    """Two joint feature maps weighted by ``sigmoid(logits)`` and added (Eq. 4).

    Args:
        both: ``(B, 2C, H, W)``.
        logits: likewise.

    Returns:
        ``(B, C, H, W)``.
    """
    out: Tensor = _Select.apply(both, logits)  # type: ignore[no-untyped-call]
    return out


class _Select(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor, logits: Tensor) -> Tensor:
        scores = logits.sigmoid()
        ctx.save_for_backward(both, scores)
        of_a, of_b = (scores * both).chunk(2, dim=1)
        return of_a + of_b

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        both, scores = ctx.saved_tensors
        twice = torch.cat([gradient, gradient], dim=1)
        return twice * scores, torch.ops.aten.sigmoid_backward(both * twice, scores)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """PReLU with one slope ``(1,)`` for all channels."""
    out: Tensor = _PReLU.apply(x, slope)  # type: ignore[no-untyped-call]
    return out


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope.item()
        return F.leaky_relu(x, ctx.slope)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        (x,) = ctx.saved_tensors
        of_slope = x.clamp_max(0).mul_(gradient).sum(dtype=torch.float32 if x.dtype.itemsize < 4 else None).view(1)
        return torch.ops.aten.leaky_relu_backward(gradient, x, ctx.slope, False), of_slope
