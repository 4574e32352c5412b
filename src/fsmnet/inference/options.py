"""Options of running a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fsmnet.errors import UserError
from fsmnet.options import option

BatchSize = int | Literal["auto"]


PrecisionChoice = Literal["auto", "float32", "bfloat16"]


PRECISION = (
    "of convolutions and maps between them, FFTs stay float32; auto: bfloat16 where the processor has it in hardware"
)


def check_batch(batch: BatchSize) -> None:
    """Refuse a number of slices that is none."""
    if batch != "auto" and (isinstance(batch, str) or batch < 1):  # any text from Python
        raise UserError(f"batch must be at least 1, not {batch}; or auto")


@dataclass(kw_only=True)
class RunOptions:
    """Where and how to compute."""

    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps")
    threads: int | None = option(None, "CPU threads; default: all cores")
