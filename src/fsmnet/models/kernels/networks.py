"""Fast twins of whole networks: feature maps in the memory layout of the weights from the first convolution on."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from torch import Tensor

from fsmnet.models.blocks import ConvPReLU
from fsmnet.models.fsmnet import FSMNet
from fsmnet.models.kernels.layout import follow_weights
from fsmnet.models.output import Output
from fsmnet.models.released import ReleasedFSMNet
from fsmnet.transforms import pad_to_multiple, unpad


class FSMNetKernel(FSMNet):
    """See :mod:`fsmnet.models.fsmnet`."""

    def forward(self, target: Tensor, auxiliary: Tensor) -> Output:
        """``(B, 1, H, W)`` each."""
        weight = cast("ConvPReLU", self.tails[0]).conv.weight
        return _following(weight, super().forward, target, auxiliary)


class ReleasedFSMNetKernel(ReleasedFSMNet):
    """See :mod:`fsmnet.models.released`."""

    def forward(self, target: Tensor, auxiliary: Tensor) -> Output:
        """``(B, 1, H, W)`` each."""
        return _following(self.spatial.tail.conv.weight, super().forward, target, auxiliary)


def _following(
    weight: Tensor, network: Callable[[Tensor, Tensor], Output], target: Tensor, auxiliary: Tensor
) -> Output:
    """The network's output of padded images that lie as the weights do: padding them once more changes nothing."""
    height, width = target.shape[-2:]
    x, y = (follow_weights(pad_to_multiple(image, 8), weight) for image in (target, auxiliary))
    output = network(x, y)
    frequency_image = cast("Tensor", output.frequency_image)
    return Output(unpad(output.image, height, width), unpad(frequency_image, height, width))
