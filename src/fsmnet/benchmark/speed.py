"""Speed and memory of a network, optimised and plain, measured in turn so that both see the same machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from fsmnet.benchmark.memory import peaks
from fsmnet.benchmark.options import BenchmarkConfig
from fsmnet.benchmark.quality import draw, quality_against_time
from fsmnet.benchmark.tasks import Task, fresh, image_of, inference, options_of, smooth_slices, training
from fsmnet.errors import UserError
from fsmnet.export.parity import psnr_between
from fsmnet.files import json_text, require_writable, write_text
from fsmnet.inference.allocator import keep_freed_blocks
from fsmnet.inference.cost import predict_cost
from fsmnet.inference.device import choose_device
from fsmnet.inference.optimise import Precision, after, steps
from fsmnet.inference.precision import FasterPrecision
from fsmnet.options import at_least

RELEASED = "fsmnet_released"


def benchmark(config: BenchmarkConfig) -> dict[str, Any]:
    """Measure as configured; see :class:`fsmnet.benchmark.options.BenchmarkConfig`.

    Returns:
        What ``fsmnet benchmark --json`` prints. Times are of the wall clock, memory is the process's largest resident
        set with what Python and PyTorch need before the model is built in ``memory_before``.

    Raises:
        UserError: options that cannot be used.
    """
    for name, least in (("runs", 1), ("size", 8), ("training_batch", 1)):
        at_least(config, name, least)
    if any(n < 1 for n in (*config.batches, *config.thread_counts)):
        raise UserError("batches and thread_counts must be at least 1")
    if config.models and (config.data is None or config.case is None or config.out is None):
        raise UserError("a picture of quality against time needs --data, --case and --out")
    device = choose_device(config.device, config.threads)
    options = options_of(config)
    cost = predict_cost(config.model, options, config.size, config.size, config.training_batch)
    if cost is None or not cost.parameters:
        raise UserError(f"model {config.model} computes nothing, or cannot tell how much; choose another with --model")
    precision = config.precision if config.precision != "auto" else _faster(config, device)
    result: dict[str, Any] = {
        "model": config.model,
        "options": options,
        "size": config.size,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "torch": torch.__version__,
        "parameters": cost.parameters,
        "gflops": cost.gflops,
    }
    if config.out is not None:
        require_writable(config.out, config.out)
    if config.models:  # first, since files can be wrong
        result["quality"] = quality_against_time(config, precision, device)
    result |= _measure_inference(config, precision, device)
    if config.training:
        times = _in_turn(
            {
                "plain": training(config, options, "float32", False, device),
                "fast": training(config, options, precision, True, device),
            },
            config.runs,
        )
        result |= _summary(times["plain"], times["fast"], "training_")
    if config.memory:
        result |= peaks(config, precision)
    if config.out is not None:
        write_text(config.out / "benchmark.json", json_text(result) + "\n")
        if config.models:
            draw(result["quality"], config.out / "quality.png")
    return result


def _faster(config: BenchmarkConfig, device: torch.device) -> Precision:
    network = FasterPrecision(fresh(config.model, options_of(config), device))
    return network.settle(*smooth_slices(config.size, 1, device), slices=10**9).precision


def _measure_inference(config: BenchmarkConfig, precision: Precision, device: torch.device) -> dict[str, Any]:
    """Seconds per slice of all networks in turn, and how well the images agree with the plain network's."""
    networks = _networks(config, precision, device)
    target, auxiliary = smooth_slices(config.size, 1, device)
    tasks = {name: inference(network, target, auxiliary) for name, network in networks.items()}
    if config.model != RELEASED:
        released = fresh(RELEASED, {"features": config.features}, device)
        tasks[RELEASED] = inference(released, target, auxiliary)
    times = _in_turn(tasks, config.runs)
    images = {name: image_of(network, target, auxiliary) for name, network in networks.items()}
    rows = [
        {
            "step": name,
            "seconds_per_slice": statistics.median(times[name]),
            "seconds_per_slice_least": min(times[name]),
            "speedup": statistics.median(times["plain"]) / statistics.median(times[name]),
            "psnr_between": psnr_between(images["plain"], images[name]),
        }
        for name in networks
    ]
    last = list(networks)[-1]
    released_seconds = statistics.median(times.get(RELEASED, times["plain"]))
    return {
        **_summary(times["plain"], times[last], ""),
        "released_seconds_per_slice": released_seconds,
        "speedup_over_released": released_seconds / statistics.median(times[last]),
        "psnr_between": rows[-1]["psnr_between"],
        "throughput": _throughput(config, networks[last], device),
        **({"steps": rows} if config.steps else {}),
    }


def _networks(config: BenchmarkConfig, precision: Precision, device: torch.device) -> dict[str, nn.Module]:
    """The plain network first and the fast one last, of the same fresh weights; with ``steps`` those between them."""
    plain = fresh(config.model, options_of(config), device)
    recipe = steps(plain, precision)
    shown = range(len(recipe)) if config.steps else [len(recipe) - 1]
    return {"plain": plain} | {recipe[n].__name__: after(plain, recipe[: n + 1]) for n in shown}


def _in_turn(tasks: dict[str, Task], runs: int) -> dict[str, list[float]]:
    """Seconds of each task, run one after the other so that a change of the machine meets all of them."""
    for task in tasks.values():
        task()  # libraries choose their kernels in the first call
    keep_freed_blocks()
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(runs):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            times[name].append(time.perf_counter() - started)
    return times


def _summary(plain: Sequence[float], fast: Sequence[float], prefix: str) -> dict[str, Any]:
    unit = "seconds_per_step" if prefix else "seconds_per_slice"
    summary: dict[str, Any] = {}
    for times, label in ((fast, ""), (plain, "baseline_")):
        summary[f"{prefix}{label}{unit}"] = statistics.median(times)
        summary[f"{prefix}{label}{unit}_least"] = min(times)
        summary[f"{prefix}{label}{unit}_most"] = max(times)
    summary[f"{prefix}speedup"] = statistics.median(plain) / statistics.median(fast)
    return summary


def _throughput(config: BenchmarkConfig, fast: nn.Module, device: torch.device) -> list[dict[str, Any]]:
    """Slices per second of the fast network by threads and batch."""
    rows = []
    before = torch.get_num_threads()
    for threads in config.thread_counts or [before]:
        torch.set_num_threads(threads)
        for batch in config.batches:
            times = _in_turn({"fast": inference(fast, *smooth_slices(config.size, batch, device))}, config.runs)["fast"]
            per_second = batch / statistics.median(times)
            rows.append({"threads": threads, "batch": batch, "slices_per_second": per_second})
    torch.set_num_threads(before)
    return rows
