"""Peak memory: a process for each figure, since a process never gives its peak back."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from fsmnet.benchmark.options import BenchmarkConfig
from fsmnet.benchmark.tasks import fresh, inference, options_of, smooth_slices, training
from fsmnet.inference.allocator import keep_freed_blocks, large_blocks_apart
from fsmnet.inference.device import choose_device
from fsmnet.inference.optimise import Precision, optimise

logger = logging.getLogger(__name__)

MEASURE = """
import json, sys
from fsmnet.benchmark.memory import measure
print(json.dumps(measure(json.loads(sys.argv[1]))))
"""


def peaks(config: BenchmarkConfig, precision: Precision) -> dict[str, Any]:
    """Peak resident memory of the plain and the fast network, in bytes."""
    kinds = {"plain": "baseline_peak_memory", "fast": "peak_memory"}
    if config.training:
        kinds |= {"plain training": "training_baseline_peak_memory", "fast training": "training_peak_memory"}
    result: dict[str, Any] = {}
    for kind, name in kinds.items():
        if measured := measured_in_a_process(config, precision, kind):
            result[name] = measured["peak"]
            result["memory_before"] = measured["before"]
    return result


def measured_in_a_process(config: BenchmarkConfig, precision: Precision, kind: str) -> dict[str, int] | None:
    """What :func:`measure` returns in a fresh process; None, with a warning, if that could not be."""
    request = {
        "kind": kind,
        "precision": precision,
        **{name: getattr(config, name) for name in ("model", "features", "size", "training_batch", "device")},
        "threads": torch.get_num_threads(),
    }
    command = [sys.executable, "-c", MEASURE, json.dumps(request)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        logger.warning("the peak memory (%s) could not be measured: %s", kind, process.stderr.strip()[-200:])
        return None
    measured: dict[str, int] = json.loads(process.stdout)
    return measured


def measure(request: dict[str, Any]) -> dict[str, int]:
    """In a fresh process: the peak before the model is built, and after two runs of it."""
    kind, precision = request.pop("kind"), request.pop("precision")
    config = BenchmarkConfig(**request)
    large_blocks_apart()
    device = choose_device(config.device, config.threads)
    before = peak_memory()
    fast = kind.startswith("fast")
    if kind.endswith("training"):
        task = training(config, options_of(config), precision if fast else "float32", fast, device)
    else:
        model = fresh(config.model, options_of(config), device)
        if fast:
            model = optimise(model, precision)
        task = inference(model, *smooth_slices(config.size, 1, device))
    task()
    keep_freed_blocks()
    task()
    return {"before": before, "peak": peak_memory()}


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes.

    On Linux not by ``getrusage``, whose figure a process inherits from the one that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return 1024 * int(line.split()[1])
    import resource

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else 1024 * largest
