"""Size and cost of a model before anything is computed: parameters, operations, memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fsmnet.models import create_model, recipe_of, takes_acquisition
from fsmnet.models.kernels.install import install_kernels
from fsmnet.models.kernels.recompute import recomputed_blocks
from fsmnet.physics.acquisition import Acquisition


@dataclass(frozen=True)
class Cost:
    """What a model costs at one image size.

    Attributes:
        parameters: number of learned values.
        gflops: floating-point operations of one slice in 1e9, 2 per multiply-add, FFTs not counted.
        inference_bytes: weights and the largest set of live tensors of one slice, roughly.
        training_bytes: weights, gradients, two optimiser averages and what the backward pass keeps for the whole batch
            (with checkpointing: between the blocks, and within the one that needs most).
    """

    parameters: int
    gflops: float
    inference_bytes: int
    training_bytes: int


def predict_cost(
    name: str, options: Mapping[str, object], height: int, width: int, batch: int, checkpointing: bool = False
) -> Cost | None:
    """Cost of a model by name, found on the meta device: no memory is taken and nothing is computed.

    Args:
        name: see :func:`fsmnet.list_models`.
        options: constructor options.
        height: rows of a slice.
        width: columns of a slice.
        batch: slices of a training step.
        checkpointing: training computes the blocks' feature maps twice, see :mod:`fsmnet.models.kernels.recompute`.

    Returns:
        None for a network from outside that cannot be run on the meta device.

    Raises:
        UserError: no such model or option.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model = create_model(name, **options)
        install_kernels(model)  # which training keeps less for
        inputs = _inputs(model, height, width)
    parameters = sum(p.numel() for p in model.parameters())
    if not parameters:
        return Cost(0, 0.0, 4 * height * width, 0)
    counter = FlopCounterMode(display=False)
    try:
        with counter, torch.no_grad():
            model(*inputs)
        saved = _bytes_kept_for_backward(model, inputs)
    except Exception:
        if "class" in recipe_of(model):  # somebody else's: it may look at values, which there are none of
            return None
        raise
    # Inference keeps a few feature maps at a time; the widest handful of what training saves stands for them.
    weights = 4 * parameters
    return Cost(
        parameters=parameters,
        gflops=counter.get_total_flops() / 1e9,
        inference_bytes=weights + _largest_live(saved),
        training_bytes=4 * weights + batch * (_bytes_with_checkpoints(model, inputs) if checkpointing else sum(saved)),
    )


def _inputs(model: nn.Module, height: int, width: int) -> tuple[Tensor | Acquisition, Tensor]:
    """What the model takes of one slice of one coil, on the device in force."""
    image = torch.empty(1, 1, height, width)
    if takes_acquisition(model):
        return Acquisition(image.to(torch.complex64), torch.empty(width, dtype=torch.bool)), image
    return image, image


def _bytes_kept_for_backward(model: nn.Module, inputs: tuple[Tensor | Acquisition, Tensor]) -> list[int]:
    """Sizes of the distinct tensors that autograd keeps for one slice, weights left out."""
    kept = _Kept(model)
    with torch.autograd.graph.saved_tensors_hooks(kept.add, lambda tensor: tensor):
        model(*inputs)
    return list(kept.bytes.values())


def _bytes_with_checkpoints(model: nn.Module, inputs: tuple[Tensor | Acquisition, Tensor]) -> int:
    """What is kept outside the blocks and of their inputs, and within the block that keeps most."""
    outside, largest = _Kept(model), 0
    inside = [outside]

    def enter(block: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        inside.append(_Kept(model))
        for tensor in inputs:
            outside.add(tensor)

    def leave(block: nn.Module, inputs: object, output: object) -> None:
        nonlocal largest
        largest = max(largest, sum(inside.pop().bytes.values()))

    for block in recomputed_blocks(model):
        block.register_forward_pre_hook(enter)
        block.register_forward_hook(leave)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: inside[-1].add(tensor), lambda tensor: tensor):
        model(*inputs)
    return sum(outside.bytes.values()) + largest


class _Kept:
    """Sizes of distinct tensors by the identity of their memory, a model's weights left out."""

    def __init__(self, model: nn.Module) -> None:
        self.bytes: dict[int, int] = {}
        self._weights = {p.untyped_storage()._cdata for p in model.parameters()}
        self._alive: list[Tensor] = []  # so that no identity is used twice

    def add(self, tensor: Tensor) -> Tensor:
        """Count a tensor, once; returns it."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self.bytes and storage._cdata not in self._weights:
            self.bytes[storage._cdata] = storage.nbytes()
            self._alive.append(tensor)
        return tensor


def _largest_live(saved: list[int]) -> int:
    return sum(sorted(saved)[-12:])


def human_bytes(count: float) -> str:
    """Bytes for people: 3.1 GB."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:  # what would be printed as 1000 takes the next unit
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
