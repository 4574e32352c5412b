"""3x3 convolutions in float32 with less than half of the multiplications: Winograd's way, down the rows of an image.

Winograd 1980, "Arithmetic complexity of computations"; Lavin and Gray 2016, arXiv 1509.09308. Six rows of the result
need three times eight products of rows in place of three times eighteen. Across, the convolution stays as it is: 1x3,
by oneDNN, as near to the processor's peak as 3x3. In both directions there would be fewer products yet, but of small
matrices, at two thirds of the peak, and with larger rounding errors.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Finish = Callable[[Tensor, Tensor | None], object]
TAPS = 3
ROWS = 6  # of the result, made together
POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)  # and infinity; powers of two near one, which round least
FEWEST_CHANNELS = 48  # with 32, transforming the rows costs what it saves
FEWEST_PIXELS = 3600  # likewise transforming the kernels, and the number of calls
STRIP = 2**21  # values transformed at a time, 8 MiB, for the processor's last cache; fewer are slower to multiply
TOLERANCE = 1e-5  # of values about 1


def pays(x: Tensor, weight: Tensor) -> bool:
    """Whether a convolution of ``x`` with ``weight``, of stride 1 and padded by 1, is computed faster so.

    Not by several threads: they would meet after each of some hundred small steps in place of once, and where other
    programs want the processor too, waiting for each other takes several times as long as it saves.
    """
    alone = torch.get_num_threads() == 1
    wide = min(weight.shape[:2]) >= FEWEST_CHANNELS and weight.shape[2:] == (TAPS, TAPS)
    large = x.shape[-2] * x.shape[-1] >= FEWEST_PIXELS
    return alone and wide and large and weight.dtype == torch.float32 and available()


@torch.no_grad()
def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, finish: Finish, plus: Tensor | None = None) -> Tensor:
    """A 3x3 convolution of stride 1, padded by 1 with zeros, and what follows it.

    Args:
        x: ``(B, C, H, W)``, float32, channels-last.
        weight: ``(outputs, C, 3, 3)``.
        bias: ``(outputs,)``.
        finish: ``finish(part, part_of_plus)`` does what follows to a part of the result, in place.
        plus: ``(B, outputs, H, W)`` for ``finish``.

    Returns:
        ``(B, outputs, H, W)``, channels-last.
    """
    kernels = _kernels(weight)
    height, width = x.shape[2:]
    out = x.new_empty(len(x), height, width, len(weight))
    # As many rows at a time as fit, in whole tiles.
    step = ROWS * max(1, STRIP // (len(kernels) * width * max(weight.shape[:2])))
    for index, image in enumerate(x.permute(0, 2, 3, 1)):
        for top in range(0, height, step):
            rows = slice(top, min(top + step, height))
            part = out[index, rows]
            _combine(_products(_transformed(image.flatten(1), rows), kernels, bias, width), part.flatten(1))
            finish(part, None if plus is None else plus[index, :, rows].permute(1, 2, 0))
    return out.permute(0, 3, 1, 2)


def _kernels(weight: Tensor) -> tuple[Tensor, ...]:
    """Combinations of a kernel's rows, ``(outputs, C, 1, 3)`` each, channels-last."""
    _, expand, _ = transforms()
    outputs, inputs = weight.shape[:2]
    rows = weight.permute(2, 0, 3, 1).reshape(TAPS, -1)
    return (expand @ rows).view(-1, outputs, 1, TAPS, inputs).permute(0, 1, 4, 2, 3).unbind()


def _transformed(image: Tensor, rows: slice) -> Tensor:
    """Combinations of the rows of ``(H, P)`` that these rows of the result need: ``(8, tiles, P)``."""
    _, _, mix = transforms()
    starts = range(rows.start - 1, rows.stop - 1, ROWS)
    out = image.new_empty(len(mix), len(starts), image.shape[1])
    for tile, start in enumerate(starts):
        first, last = max(start, 0), min(start + len(mix), len(image))  # outside there are zeros
        torch.mm(mix[:, first - start : last - start], image[first:last], out=out[:, tile])
    return out


def _products(transformed: Tensor, kernels: tuple[Tensor, ...], bias: Tensor | None, width: int) -> Tensor:
    """1x3 convolutions, each combination of rows with its own: ``(8, tiles, P)`` to ``(8, tiles, W, outputs)``."""
    count, tiles, _ = transformed.shape
    out = transformed.new_zeros(count, tiles, width, len(kernels[0]))
    if bias is not None:
        out[POINTS.index(1.0)] = bias  # which is added to every row of the result as it is
    shape = (0, 1), (1, 1), (1, 1), 1
    for total, part, kernel in zip(out, transformed, kernels, strict=True):
        maps = (t.view(1, tiles, width, -1).permute(0, 3, 1, 2) for t in (total, part))
        torch.ops.mkldnn._convolution_pointwise_.binary(*maps, kernel, None, *shape, "add", 1.0, None, [], "")
    return out


def _combine(products: Tensor, out: Tensor) -> None:
    """Rows of the result, ``(rows, W * outputs)``, out of the products ``(8, tiles, W, outputs)``."""
    combine, _, _ = transforms()
    for tile, rows in zip(products.flatten(2).unbind(1), out.split(ROWS), strict=True):
        torch.mm(combine[: len(rows)], tile, out=rows)


@functools.cache
def transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Matrices ``A (6, 8)``, ``G (8, 3)`` and ``B (8, 8)``: 8 values ``d`` correlated with 3 ``g`` are ``A(Gg * Bd)``.

    Toom and Cook multiply polynomials by evaluating both at points (``A`` and ``G``; at infinity the last coefficient),
    multiplying the values, and interpolating. The correlation is the transposed multiplication, so ``B`` is the inverse
    of the evaluation of as many coefficients as there are points.
    """

    def evaluation(coefficients: int) -> Tensor:
        powers = points ** torch.arange(coefficients)[:, None]
        infinity = torch.eye(coefficients, dtype=points.dtype)[:, -1:]
        return torch.cat([powers, infinity], dim=1)

    with torch.inference_mode(False), torch.no_grad():
        points = torch.tensor(POINTS, dtype=torch.float64)
        mix = torch.linalg.inv(evaluation(ROWS + TAPS - 1))
        combine, expand, mix = (t.float().contiguous() for t in (evaluation(ROWS), evaluation(TAPS).T, mix))
    return combine, expand, mix


@functools.cache
def available() -> bool:
    """Whether this is a processor as it was measured on, and PyTorch has what is needed and gives what it should."""
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        return False
    x = torch.linspace(-1, 1, 16 * 13 * 10).view(1, 13, 10, 16).permute(0, 3, 1, 2)  # channels-last
    weight = torch.linspace(-0.1, 0.1, 16 * 9 * 16).view(16, 3, 3, 16).permute(0, 3, 1, 2)
    bias = torch.linspace(-1, 1, 16)
    try:
        got = convolution(x, weight, bias, lambda part, plus: None)
    except (AttributeError, RuntimeError, TypeError):  # by what is missing; the operation is no public interface
        return False
    return torch.allclose(got, F.conv2d(x, weight, bias, padding=1), rtol=TOLERANCE, atol=TOLERANCE)
