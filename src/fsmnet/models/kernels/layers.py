"""Fast twins of the layers between resolutions and of the spatial branch, see :mod:`fsmnet.models.blocks`."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsmnet.models.blocks import ConvPReLU, Down, ResBlock, ResidualGroup, Up
from fsmnet.models.kernels.backward import prelu, written_out
from fsmnet.models.kernels.layout import Layout, is_channels_last
from fsmnet.models.kernels.onednn import add, convolve
from fsmnet.models.precision import without_autocast


class PointwiseKernel(nn.Conv2d):
    """A 1x1 convolution that keeps channels-last memory, as a product with the pixels of all images.

    PyTorch computes some 1x1 convolutions on the CPU channels-first, and the next layer would rearrange the result.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H, W)``."""
        return pointwise(x, self.weight, self.bias)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What :class:`PointwiseKernel` computes; ``weight`` is ``(outputs, inputs, 1, 1)``."""
    half = x.dtype == torch.bfloat16 and written_out(x, weight)  # then oneDNN's convolutions are faster
    if half or not is_channels_last(x):
        return F.conv2d(x, weight, bias)
    return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)


class PReLUKernel(nn.PReLU):
    """PReLU with one slope, whose gradient on a processor does not take longer than a convolution's."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape in and out."""
        return prelu(x, self.weight) if x.device.type == "cpu" and written_out(x) else super().forward(x)


class ConvPReLUKernel(ConvPReLU):
    """Convolution and activation in one pass, once the slope is fixed."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H, W)``."""
        if isinstance(self.act, nn.LeakyReLU):  # see fsmnet.inference.simplify
            return convolve(self.conv, x, "leaky_relu", self.act.negative_slope)
        return super().forward(x)


class DownKernel(Down):
    """In training one convolution of stride 2 in place of two, see :func:`down_in_one`."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C, H/2, W/2)``; H and W even."""
        if not written_out(x):
            return super().forward(x)
        with without_autocast(x):
            kernel = down_in_one(self).contiguous(memory_format=Layout.like(x).memory_format)
        return F.conv2d(x, kernel, stride=2, padding=1)


def down_in_one(down: Down) -> Tensor:
    """Kernel ``(C, C, 4, 4)`` of the convolution of stride 2, padding 1, that does the same, with 40% of the work.

    The 3x3 convolution at row ``2i + r`` (r = 0, 1) reads rows ``2i + r + k - 1`` (k = 0, 1, 2), that is
    ``2i - 1 + t`` with ``t = r + k`` from 0 to 3: four rows. Outside the image both read zeros. The 1x1 convolution
    sums over channels and r, so the kernels sum where ``r + k`` is the same.
    """
    smooth = down.smooth.weight
    mix = down.mix.weight.view(smooth.shape[0], smooth.shape[0], 2, 2)
    parts = torch.einsum("omrs,mikl->rsoikl", mix, smooth)
    # Two rows of parts that overlap in all but one row of the kernel, and columns likewise.
    rows = F.pad(parts[0], (0, 0, 0, 1)) + F.pad(parts[1], (0, 0, 1, 0))
    return F.pad(rows[0], (0, 1)) + F.pad(rows[1], (1, 0))


class UpKernel(Up):
    """The convolution's outputs in another order, so that whole runs of memory are copied."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, outputs, 2H, 2W)``."""
        if not is_channels_last(x) or torch.compiler.is_compiling():
            return super().forward(x)
        weight, bias = (
            t.unflatten(0, (-1, 2, 2)).permute(1, 2, 0, *range(3, t.dim() + 2)).flatten(0, 2)
            for t in (self.expand.weight, cast("Tensor", self.expand.bias))
        )
        batch, _, height, width = x.shape
        expanded = pointwise(x, weight, bias).permute(0, 2, 3, 1).unflatten(3, (2, 2, -1))
        image: Tensor = expanded.transpose(2, 3).reshape(batch, 2 * height, 2 * width, -1)
        out: Tensor = self.act(image.permute(0, 3, 1, 2))
        return out


class ResBlockKernel(ResBlock):
    """Each convolution in one pass with the sum and the activation after it."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in and out."""
        return convolve(self.conv2, convolve(self.conv1, x, "relu"), "relu", plus=x)


class ResidualGroupKernel(ResidualGroup):
    """The scaled input added in place."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in and out."""
        closed: Tensor = self.close(self.blocks(x))
        if isinstance(self.scale, float):  # see fsmnet.inference.simplify
            return closed.add_(x, alpha=self.scale)
        return add(closed, x * self.scale.view(()))  # without dimensions it keeps the precision of x
