"""A trained model made fast for inference, step by step (:func:`steps`)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fsmnet.inference.simplify import STEPS
from fsmnet.models.blocks import Down
from fsmnet.models.fast import FastFSMNet
from fsmnet.models.fsmnet import FSMNet
from fsmnet.models.kernels.install import install_kernels
from fsmnet.models.kernels.onednn import fuse
from fsmnet.models.output import Output, as_output
from fsmnet.models.released import ReleasedFSMNet
from fsmnet.physics.acquisition import Acquisition

Variant = FSMNet | ReleasedFSMNet | FastFSMNet
Precision = Literal["float32", "bfloat16"]
Step = Callable[[nn.Module], object]


class Optimised(nn.Module):
    """A model for inference only, with the calling convention of the one it was made from.

    Attributes:
        model: the simplified copy.
        precision: of convolutions and of the feature maps between them.
    """

    def __init__(self, model: nn.Module, precision: Precision) -> None:
        super().__init__()
        self.model = model
        self.precision = precision

    def forward(self, target: Tensor | Acquisition, auxiliary: Tensor | None) -> Output:
        """Zero-filled target (or what was measured) and auxiliary, ``(B, 1, H, W)``, to an output in float32."""
        half = self.precision == "bfloat16"
        with torch.autocast(target.device.type, dtype=torch.bfloat16, enabled=half):
            return as_output(self.model(target, auxiliary))

    def train(self, mode: bool = True) -> Optimised:
        """Refused: slopes and scales are numbers here, and kernels are sums of the trained ones."""
        if mode:
            raise RuntimeError("an optimised model cannot be trained; train the one it was made from")
        super().train(False)
        return self


def optimise(model: nn.Module, precision: Precision = "float32") -> nn.Module:
    """A copy of a model that computes the same image faster: the model after all of its :func:`steps`.

    With ``float32`` the image is equal to rounding.

    Args:
        model: any of :func:`fsmnet.list_models`; it is left as it was.
        precision: ``float32`` or ``bfloat16``.
    """
    return after(model, steps(model, precision))


def steps(model: nn.Module, precision: Precision = "float32") -> tuple[Step, ...]:
    """What :func:`optimise` does to a copy of a model, in order.

    1. Fast twins of the blocks (:mod:`fsmnet.models.kernels.install`) and exact algebra
       (:mod:`fsmnet.inference.simplify`), for the FSMNet variants.
    2. Weights in channels-last memory.
    3. With ``bfloat16``: convolutions and feature maps in bfloat16; transforms, angles and sums over pixels in float32.
    4. Convolution, sum and activation in one pass (:mod:`fsmnet.models.kernels.onednn`), wide ones of 3x3 in float32 by
       fewer multiplications (:mod:`fsmnet.models.kernels.winograd`), for the FSMNet variants on a processor.
    """
    ours = isinstance(model, Variant)
    half: tuple[Step, ...] = (bfloat16,) if precision == "bfloat16" else ()
    return (*((install_kernels, *STEPS) if ours else ()), channels_last, *half, *((fuse,) if ours else ()))


def after(model: nn.Module, done: Sequence[Step]) -> nn.Module:
    """A copy of a model after the first of its :func:`steps`, in evaluation mode without gradients.

    Args:
        model: it is left as it was.
        done: the steps to take.
    """
    half = bfloat16 in done
    fast = copy.deepcopy(model, _half_weights(model) if half else None)
    for step in done:
        step(fast)
    optimised = Optimised(fast, "bfloat16" if half else "float32").eval().requires_grad_(False)
    for name in ("recipe", "header", "takes"):
        if hasattr(model, name):
            setattr(optimised, name, getattr(model, name))
    return optimised


def _half_weights(model: nn.Module) -> dict[int, Any] | None:
    """What a deep copy is to put in place of the widest kernels: never is there a second set of them in float32."""
    if not isinstance(model, Variant):
        return None
    # Those of Down are summed first, in float32.
    summed = {
        id(parameter) for module in model.modules() if isinstance(module, Down) for parameter in module.parameters()
    }
    return {
        id(weight): nn.Parameter(weight.detach().to(torch.bfloat16), requires_grad=False)
        for module in model.modules()
        if isinstance(module, nn.Conv2d) and id(weight := module.weight) not in summed
    }


def bfloat16(model: nn.Module) -> None:
    """Convert weights and biases of 2D convolutions once, which autocast would do in every call.

    Other networks than the FSMNet variants leave it to autocast: some use such weights outside a convolution.
    """
    for module in model.modules() if isinstance(model, Variant) else ():
        if isinstance(module, nn.Conv2d):
            module.to(torch.bfloat16)


def channels_last(model: nn.Module) -> None:
    """Lay out 2D convolution weights as channels-last; the feature maps follow. 3D convolutions would refuse."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
