"""Options of benchmarks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fsmnet.inference.options import PrecisionChoice, RunOptions
from fsmnet.options import option


@dataclass(kw_only=True)
class BenchmarkConfig(RunOptions, group="measurement"):
    """Measure a network's speed and memory, optimised against plain (eager, float32), in interleaved runs.

    speedup is over the same network plain, speedup_over_released over the plain fsmnet_released of --features; for
    --model fsmnet_released they are one. psnr_between compares the optimised image with the plain one. Weights and
    images are made up; --models takes trained networks and a real case. The last line of the output is a JSON object.
    """

    model: str = option("fsmnet_released", "name, see 'fsmnet models'", group="model")
    features: int = option(64, "width of the network, for models that have one", group="model")
    size: int = option(240, "rows and columns of a slice", most=16_384)
    runs: int = option(5, "runs of each, in turn", most=10_000)
    steps: bool = option(
        False, "also time the network after each step of the optimisation, and compare its image with the plain one's"
    )
    precision: PrecisionChoice = option(
        "auto", "of the fast network; auto: what is faster here, by a short trial of both"
    )
    batches: list[int] = option([1], "batch sizes whose throughput is measured")
    thread_counts: list[int] = option(
        [], "numbers of threads whose throughput is measured; default: --threads alone", most=1_024
    )
    training: bool = option(False, "also time training steps, and their memory with --memory")
    training_batch: int = option(4, "slices of a training step")
    memory: bool = option(True, "measure the peak memory, each in a process of its own")
    json: bool = option(False, "print nothing but one JSON object", group="output")
    out: Path | None = option(
        None, "folder for benchmark.json and, with --models, the picture of quality against time", group="output"
    )
    models: list[str] = option(
        [],
        "checkpoints to draw, or 'shipped': PSNR on --case against seconds per slice, plain and optimised",
        group="comparison",
    )
    data: Path | None = option(None, "folder of cases in BraTS's layout, for --models", group="comparison")
    case: str | None = option(
        None, "case to score, for --models; every tenth slice, 4x, protocol brats", group="comparison"
    )
