"""Run a network over slices: batches, precision, progress."""

from __future__ import annotations

import ctypes
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from tqdm import tqdm

from fsmnet.config import ProtocolName
from fsmnet.errors import UserError
from fsmnet.protocols import finish, network_inputs

logger = logging.getLogger(__name__)


def choose_device(name: str, threads: int | None = None) -> torch.device:
    """Device by name; ``auto`` takes a GPU if there is one. Also sets the number of CPU threads when given.

    Raises:
        UserError: a device this machine does not have.
    """
    if threads is not None:
        if threads < 1:
            raise UserError(f"threads must be at least 1, not {threads}")
        torch.set_num_threads(threads)
    _keep_freed_memory()
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


def _keep_freed_memory() -> None:
    """Let glibc keep the memory of feature maps for the next ones; elsewhere nothing changes.

    By default it gives freed maps back to the system, which then clears every page again at its first use.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(mmap_threshold, 1 << 25)  # its largest value
            mallopt(trim_threshold, (1 << 31) - 1)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Region in which convolutions run in bfloat16, if asked for."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bfloat16" else nullcontext()


def reconstruct_slices(
    model: nn.Module,
    zero_filled: Tensor,
    auxiliary: Tensor,
    protocol: ProtocolName,
    *,
    batch: int = 4,
    device: torch.device | None = None,
    precision: str = "float32",
    progress: str = "",
    name: object = "the network",
    auxiliary_zero_filled: Tensor | None = None,
) -> Tensor:
    """Reconstruct zero-filled slices one batch after the other.

    Args:
        model: a model in eval mode, on ``device``.
        zero_filled: ``(n, H, W)`` on [0, 1] (float32) or in 8 bits (uint8).
        auxiliary: ``(n, H, W)``, likewise.
        protocol: decides in what form the result is scored.
        batch: slices per step.
        device: where the model is; the CPU by default.
        precision: ``float32`` or ``bfloat16`` (autocast).
        progress: text of the progress bar; none if empty or if nobody watches.
        name: what an error calls the model, e.g. its file.
        auxiliary_zero_filled: ``(n, H, W)``, see :func:`fsmnet.protocols.network_inputs`.

    Returns:
        ``(n, H, W)`` on the CPU, uint8 in the ``brats`` protocol, float32 on the inputs' scale otherwise.

    Raises:
        UserError: the model gives NaN or infinite values.
    """
    device = device or torch.device("cpu")
    done = []
    with torch.inference_mode(), autocast(device, precision):
        for start in progress_bar(range(0, len(zero_filled), batch), progress, unit="batch"):
            started, part = time.perf_counter(), slice(start, start + batch)
            masked = None if auxiliary_zero_filled is None else auxiliary_zero_filled[part, None].to(device)
            inputs = network_inputs(
                zero_filled[part, None].to(device), auxiliary[part, None].to(device), protocol, masked
            )
            image = model(inputs.target, inputs.auxiliary).image.float()
            if not torch.isfinite(image).all():
                raise UserError(f"{name}: gives NaN or infinite values; its weights diverged, use other ones")
            if start == 0 and progress and len(zero_filled) > batch:
                _predict(time.perf_counter() - started, len(zero_filled) / batch, progress)
            done.append(finish(inputs.normalisation.undo(image)[:, 0], protocol).cpu())
    return torch.cat(done)


def _predict(first: float, batches: float, text: str) -> None:
    """Say after the first batch how long all of them will take, where that is worth saying."""
    seconds = first * batches
    if seconds > 10:
        logger.info("%s: about %.0f s", text, seconds)


def progress_bar(items: range, text: str, unit: str) -> Iterator[int]:
    """Iterate with a progress bar on the terminal; silent without a text or when nobody watches."""
    return iter(tqdm(items, desc=text, unit=unit, disable=not text or not sys.stderr.isatty(), leave=False))
