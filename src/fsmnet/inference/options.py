"""Options of running a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fsmnet.errors import UserError
from fsmnet.options import Options, option

BatchSize = int | Literal["auto"]


PrecisionChoice = Literal["auto", "float32", "bfloat16"]


BATCH = "slices per step; auto: 1 on a processor, on a GPU what its memory holds"
OPTIMISE = "compute the same image with less work: exact algebra, memory layout"
PRECISION = (
    "of convolutions and maps between them, FFTs stay float32; auto: what is faster here, by a short trial of both"
)
KEEP_AUXILIARY = (
    "use the auxiliary even where measured lines that were kept back speak against it; by default a k-space network "
    "then does without, and a warning says so"
)


def check_batch(batch: BatchSize) -> None:
    """Refuse a number of slices that is none."""
    if batch != "auto" and (isinstance(batch, str) or batch < 1):  # any text from Python
        raise UserError(f"batch must be at least 1, not {batch}; or auto")


@dataclass(kw_only=True)
class RunOptions(Options, group="device"):
    """Where and how to compute."""

    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps", material="rounding")
    threads: int | None = option(None, "CPU threads; default: all cores", material="rounding", most=1_024)


@dataclass(kw_only=True)
class SuitabilityOptions(Options, group="input"):
    """What the scan is, where its name does not say it, for the comparison with what a network was made for."""

    target_contrast: str | None = option(
        None, "what the target is (t1, t1ce, t2, flair, pd), where headers and names do not tell", material=False
    )
    auxiliary_contrast: str | None = option(None, "the same for the auxiliary", material=False)
    anyway: bool = option(False, "use the network for a scan that it was not made for", material=False)


@dataclass(kw_only=True)
class ListOptions(Options, group="list"):
    """Where a list is worked through."""

    processes: int = option(
        1,
        "processes of this machine that share a list; with --cluster slurm: jobs to submit",
        material=False,
        most=1_024,
    )
    cluster: str | None = option(
        None,
        "share a list on dask.distributed: the address of a scheduler (or its file, .json), local:N for N processes of "
        "this machine, or slurm; needs pip install 'fsmnet[cluster]'",
        material=False,
    )
