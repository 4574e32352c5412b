"""Run a network over slices: batches, precision, progress."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from tqdm import tqdm

from fsmnet.config import ProtocolName
from fsmnet.errors import UserError
from fsmnet.protocols import finish, network_inputs


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

    Returns:
        ``(n, H, W)`` on the CPU, uint8 in the ``brats`` protocol, float32 on [0, 1] otherwise.

    Raises:
        UserError: the model gives NaN or infinite values.
    """
    device = device or torch.device("cpu")
    done = []
    with torch.inference_mode(), autocast(device, precision):
        for start in progress_bar(range(0, len(zero_filled), batch), progress, unit="batch"):
            part = slice(start, start + batch)
            inputs = network_inputs(zero_filled[part, None].to(device), auxiliary[part, None].to(device))
            image = model(inputs.target, inputs.auxiliary).image.float()
            if not torch.isfinite(image).all():
                raise UserError(f"{name}: gives NaN or infinite values; its weights diverged, use other ones")
            done.append(finish(inputs.normalisation.undo(image)[:, 0], protocol).cpu())
    return torch.cat(done)


def progress_bar(items: range, text: str, unit: str) -> Iterator[int]:
    """Iterate with a progress bar on the terminal; silent without a text or when nobody watches."""
    return iter(tqdm(items, desc=text, unit=unit, disable=not text or not sys.stderr.isatty(), leave=False))
