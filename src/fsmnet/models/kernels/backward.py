"""Operations whose backward pass is written out, where autograd's takes several times as long on a processor.

Each computes what plain PyTorch would, forwards and backwards; tests compare the two. ``P`` is a number of pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from fsmnet.models.kernels.layout import by_pixel, unit_matrix
from fsmnet.models.precision import full_precision, without_autocast

Mixing = Callable[..., Tensor]
VECTOR = 64  # bytes that a processor works on at once


def written_out(*inputs: Tensor) -> bool:
    """Whether a backward pass will come, and none that a compiler makes."""
    wanted = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    return wanted and not torch.compiler.is_compiling()


def products(a: Tensor, b: Tensor) -> Tensor:
    """Sums over pixels of the products of channels: ``(B, P, C)`` and ``(B, P, D)`` to ``(B, C, D)``.

    Half precision is added up in eight parts, which all cores share, and these in float32.
    """
    if a.dtype.itemsize > 2:
        return a.mT @ b
    parts = math.gcd(8, a.shape[1])
    a, b = (t.unflatten(1, (parts, -1)).flatten(0, 1) for t in (a, b))
    partial: Tensor = torch.bmm(a.mT, b).unflatten(0, (-1, parts))
    return partial.sum(1, dtype=torch.float32)


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Sum of the products of two maps ``(B, C, H, W)``, in float32 at least."""
    if a.dtype.itemsize > 2 or a.stride(1) != 1 or b.stride(1) != 1:
        return (a * b).sum(dtype=torch.float32 if a.dtype.itemsize < 4 else None)
    return products(by_pixel(a), by_pixel(b)).diagonal(dim1=1, dim2=2).sum()


def product(a: Tensor, b: Tensor, plus: Tensor | None) -> Tensor:
    """``a @ b + plus`` of batches of matrices, in the precision of ``a`` and ``b``."""
    return torch.bmm(a, b) if plus is None else torch.baddbmm(plus.to(a.dtype), a, b)


def attend(mixing: Mixing, query: Tensor, key_value: Tensor, plus: Tensor | None, *parameters: Tensor) -> Tensor:
    """A value's channels mixed by a matrix that is made from sums over the pixels of a query and a key.

    Autograd would keep a second copy of query and key, and make and add up a full-size gradient for every sum. Here the
    gradient of each map is a sum of products with small matrices.

    Args:
        mixing: ``mixing(products, query_squares, key_squares, *parameters)`` makes the matrices ``(B, C, C)`` from the
            products ``(B, C, C)`` of query with key channels and the squares ``(B, C)``, all in float32 at least.
        query: ``(B, P, C)``.
        key_value: ``(B, P, 2C)``, keys first.
        plus: ``(B, P, C)`` to be added.
        parameters: what else the matrices depend on.

    Returns:
        ``(B, P, C)``.
    """
    out: Tensor = _Attend.apply(mixing, query, key_value, plus, *parameters)  # type: ignore[no-untyped-call]
    return out


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, mixing: Mixing, query: Tensor, key_value: Tensor, plus: Tensor | None, *parameters: Tensor
    ) -> Tensor:
        key, value = key_value.chunk(2, dim=2)
        wide_query, wide_key = full_precision(query), full_precision(key)
        sums = wide_query.mT @ wide_key, wide_query.square().sum(1), wide_key.square().sum(1)
        matrix = mixing(*sums, *parameters)
        ctx.mixing, ctx.plus = mixing, None if plus is None else plus.dtype
        ctx.save_for_backward(query, key_value, *sums, *parameters)
        return product(value, matrix.mT.to(value.dtype), plus)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key_value, *small = ctx.saved_tensors
        key, value = key_value.chunk(2, dim=2)
        leaves = [t.detach().requires_grad_() for t in small]
        with torch.enable_grad():
            matrix = ctx.mixing(*leaves)
        with without_autocast(gradient):
            of_matrix = products(gradient, value).to(matrix.dtype)
            of_products, of_query_squares, of_key_squares, *parameters = torch.autograd.grad(matrix, leaves, of_matrix)
            of_query, of_key = _of_sums(query, key, of_products, 2 * of_query_squares, 2 * of_key_squares)
            of_key_value = torch.cat([of_key, gradient @ matrix.detach().to(gradient.dtype)], dim=2)
        of_plus = None if ctx.plus is None else gradient.to(ctx.plus)
        return None, of_query.contiguous(), of_key_value, of_plus, *parameters


def _of_sums(query: Tensor, key: Tensor, mixing: Tensor, of_query: Tensor, of_key: Tensor) -> tuple[Tensor, Tensor]:
    """``query * of_query + key @ mixing.mT`` and ``key * of_key + query @ mixing``, ``(B, P, C)`` each.

    The terms cancel along the map itself, since cosines do not depend on its length. So in half precision the matrix
    is split into what that can hold and the rest, and all terms of a value are added up before it is rounded.
    """
    if query.dtype.itemsize > 2:
        return (
            (key @ mixing.mT).addcmul_(query, of_query[:, None]),
            (query @ mixing).addcmul_(key, of_key[:, None]),
        )
    rows = [torch.diag_embed(of_query), mixing], [mixing.mT, torch.diag_embed(of_key)]
    matrix = torch.cat([torch.cat(row, dim=2) for row in rows], dim=1)
    coarse = matrix.to(query.dtype)
    fine = (matrix - coarse).to(query.dtype)
    both = torch.cat([query, key], dim=2)
    first, second = torch.baddbmm(both @ fine, both, coarse).chunk(2, dim=2)
    return first, second


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
        return _sum_of_halves(scores * both)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        both, scores = ctx.saved_tensors
        twice = torch.cat([gradient, gradient], dim=1)
        return twice * scores, torch.ops.aten.sigmoid_backward(both * twice, scores)


def _sum_of_halves(both: Tensor) -> Tensor:
    """``(B, 2C, H, W)`` to ``(B, C, H, W)``."""
    a, b = both.chunk(2, dim=1)
    narrow = a.shape[1] * both.dtype.itemsize < VECTOR and both.stride(1) == 1
    if not (narrow and both.dtype == torch.bfloat16 and both.device.type == "cpu"):
        return a + b
    # PyTorch adds runs of memory that fill no vector one number at a time; a product does not mind.
    unit = unit_matrix(a.shape[1], both.dtype)
    with without_autocast(both):
        return (both.permute(0, 2, 3, 1) @ torch.cat([unit, unit])).permute(0, 3, 1, 2)


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
        with without_autocast(x):
            of_slope = inner(x.clamp_max(0), gradient).view(1)
        return torch.ops.aten.leaky_relu_backward(gradient, x, ctx.slope, False), of_slope
