"""Run a network over slices: batches, precision, progress."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from tqdm import tqdm

from fsmnet.data.options import ProtocolName
from fsmnet.errors import UserError
from fsmnet.inference.allocator import keep_freed_blocks, large_blocks_apart
from fsmnet.inference.options import BatchSize
from fsmnet.models import recipe_of
from fsmnet.protocols.base import finish, network_inputs

logger = logging.getLogger(__name__)

LARGEST_BATCH = 32
WORTH_TELLING = 2.0  # seconds


def choose_device(name: str, threads: int | None = None) -> torch.device:
    """Device by name; ``auto`` takes a GPU if there is one. Also sets the number of CPU threads when given.

    Raises:
        UserError: a device this machine does not have.
    """
    if threads is not None:
        if threads < 1:
            raise UserError(f"threads must be at least 1, not {threads}")
        torch.set_num_threads(threads)
    large_blocks_apart()
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
    each = _bytes_of_a_slice(recipe["name"], json.dumps(recipe["options"]), *slices.shape[-2:])
    return max(1, min(free_memory(device) // 2 // each, LARGEST_BATCH, len(slices)))


@cache
def _bytes_of_a_slice(name: str, options: str, height: int, width: int) -> int:
    """Memory for the feature maps of one slice; ``options`` as JSON. Found once for all scans of one size."""
    from fsmnet.inference.cost import predict_cost  # a processor does without

    cost = predict_cost(name, json.loads(options), height, width, batch=1)
    return max(1, cost.inference_bytes - 4 * cost.parameters)


def free_memory(device: torch.device) -> int:
    """Bytes that a GPU has left, those that PyTorch keeps for the next tensors among them."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()


@dataclass(frozen=True)
class Batch:
    """Slices that the network is done with.

    Attributes:
        part: which they are.
        image: ``(b, H, W)`` on the CPU, as :func:`reconstruct_slices` gives it.
        seconds: time of the network's pass alone.
    """

    part: slice
    image: Tensor
    seconds: float


def reconstruct_slices(
    model: nn.Module,
    zero_filled: Tensor,
    auxiliary: Tensor,
    protocol: ProtocolName,
    *,
    batch: BatchSize = "auto",
    device: torch.device | None = None,
    precision: str = "float32",
    progress: str = "",
    name: object = "the network",
    auxiliary_zero_filled: Tensor | None = None,
    each: Callable[[Batch], None] = lambda _: None,
) -> Tensor:
    """Reconstruct zero-filled slices one batch after the other.

    Args:
        model: a model in eval mode, on ``device``.
        zero_filled: ``(n, H, W)`` on [0, 1] (float32) or in 8 bits (uint8).
        auxiliary: ``(n, H, W)``, likewise.
        protocol: decides in what form the result is scored.
        batch: slices per step, see :func:`choose_batch`.
        device: where the model is; the CPU by default.
        precision: ``float32`` or ``bfloat16`` (autocast).
        progress: text of the predicted time and of the progress bar; neither if empty, no bar if nobody watches.
        name: what an error calls the model, e.g. its file.
        auxiliary_zero_filled: ``(n, H, W)``, see :func:`fsmnet.protocols.base.network_inputs`.
        each: called with every batch when it is done.

    Returns:
        ``(n, H, W)`` on the CPU, uint8 in the ``brats`` protocol, float32 on the inputs' scale otherwise.

    Raises:
        UserError: the model gives NaN or infinite values.
    """
    device = device or torch.device("cpu")
    size = choose_batch(batch, model, zero_filled, device)

    def reconstruct(part: slice) -> Batch:
        scans = [zero_filled, auxiliary, *([] if auxiliary_zero_filled is None else [auxiliary_zero_filled])]
        target, helper, *masked = (scan[part, None].to(device) for scan in scans)
        inputs = network_inputs(target, helper, protocol, *masked)
        started = time.perf_counter()
        with torch.inference_mode(), autocast(device, precision):
            image = model(inputs.target, inputs.auxiliary).image.float()
            finite = bool(torch.isfinite(image).all())  # waits for a GPU
        seconds = time.perf_counter() - started
        if not finite:
            raise UserError(f"{name}: gives NaN or infinite values; its weights diverged, use other ones")
        return Batch(part, finish(inputs.normalisation.undo(image)[:, 0], protocol).cpu(), seconds)

    done = []
    starts = range(0, len(zero_filled), size)
    for number, start in enumerate(progress_bar(starts, progress, unit="batch")):
        one = reconstruct(slice(start, start + size))
        if number == 0:
            keep_freed_blocks()
        elif number == 1 and progress:  # libraries set themselves up in the first pass, so the second tells
            _tell(one.seconds * len(starts), progress)
        done.append(one.image)
        each(one)
    return torch.cat(done)


def _tell(seconds: float, text: str) -> None:
    """Say how long it will take, where that is worth saying."""
    if seconds > WORTH_TELLING:
        logger.info("%s: about %.0f s", text, seconds)


def progress_bar(items: range, text: str, unit: str) -> Iterator[int]:
    """Iterate with a progress bar on the terminal; silent without a text or when nobody watches."""
    return iter(tqdm(items, desc=text, unit=unit, disable=not text or not sys.stderr.isatty(), leave=False))
