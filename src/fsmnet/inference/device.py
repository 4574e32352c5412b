"""Where a network computes, in which precision, and how many slices at once."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch
from torch import Tensor, nn

from fsmnet.errors import UserError
from fsmnet.inference.options import BatchSize
from fsmnet.models import recipe_of

LARGEST_BATCH = 32


def choose_device(name: str, threads: int | None = None) -> torch.device:
    """Device by name; ``auto`` takes a GPU if there is one. Also sets the number of CPU threads when given.

    Raises:
        UserError: a device this machine does not have.
    """
    if threads is not None:
        if threads < 1:
            raise UserError(f"threads must be at least 1, not {threads}")
        torch.set_num_threads(threads)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UserError(f"device {name!r} is not available here; use --device cpu, or auto") from None
    return device


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Region in which convolutions run in bfloat16, if asked for."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bfloat16" else nullcontext()


def choose_batch(asked: BatchSize, model: nn.Module, slices: Tensor, device: torch.device) -> int:
    """Slices per step: as asked, or for ``auto`` what suits the device and its free memory.

    On a processor one slice at a time is fastest: its feature maps stay in the cache, and all cores work on them. A GPU
    gets as many as :func:`fsmnet.inference.cost.predict_cost` fits into half of its free memory, at most
    :data:`LARGEST_BATCH` and no more than there are.

    Args:
        asked: a number, or ``auto``.
        model: the network, made by :func:`fsmnet.create_model`.
        slices: those to reconstruct, ``(n, H, W)``.
        device: where the model is.
    """
    if asked != "auto":
        return asked
    if device.type == "cpu":
        return 1
    recipe = recipe_of(model)
    each = _bytes_of_a_slice(recipe.get("class", recipe["name"]), json.dumps(recipe["options"]), *slices.shape[-2:])
    return 1 if each is None else max(1, min(free_memory(device) // 2 // each, LARGEST_BATCH, len(slices)))


@cache
def _bytes_of_a_slice(name: str, options: str, height: int, width: int) -> int | None:
    """Memory for the feature maps of one slice, if that can be told; ``options`` as JSON. Found once for a size."""
    from fsmnet.inference.cost import predict_cost  # a processor does without

    cost = predict_cost(name, json.loads(options), height, width, batch=1)
    return None if cost is None else max(1, cost.inference_bytes - 4 * cost.parameters)


def free_memory(device: torch.device) -> int:
    """Bytes that a GPU has left, those that PyTorch keeps for the next tensors among them."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
