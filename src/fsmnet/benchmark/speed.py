"""Speed and memory of a network, optimised and plain, measured in turn so that both see the same machine."""

from __future__ import annotations

import json
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fsmnet.benchmark.options import BenchmarkConfig
from fsmnet.benchmark.quality import draw, quality_against_time
from fsmnet.errors import UserError
from fsmnet.export.parity import psnr_between
from fsmnet.files import make_folder, write_text
from fsmnet.inference.allocator import keep_freed_blocks, large_blocks_apart
from fsmnet.inference.cost import predict_cost
from fsmnet.inference.device import autocast, choose_device
from fsmnet.inference.optimise import Precision, after, channels_last, chosen_precision, optimise, steps
from fsmnet.models import create_model, model_options
from fsmnet.models.kernels.install import install_kernels
from fsmnet.models.output import as_output
from fsmnet.training.losses import SpatialFrequencyLoss

logger = logging.getLogger(__name__)

Task = Callable[[], object]
RELEASED = "fsmnet_released"


def benchmark(config: BenchmarkConfig) -> dict[str, Any]:
    """Measure as configured; see :class:`fsmnet.benchmark.options.BenchmarkConfig`.

    Returns:
        What ``fsmnet benchmark --json`` prints. Times are of the wall clock, memory is the process's largest resident
        set with what Python and PyTorch need before the model is built in ``memory_before``.

    Raises:
        UserError: options that cannot be used.
    """
    for name in ("runs", "size", "training_batch"):
        if getattr(config, name) < 1:
            raise UserError(f"{name} must be at least 1, not {getattr(config, name)}")
    if any(n < 1 for n in (*config.batches, *config.thread_counts)):
        raise UserError("batches and thread_counts must be at least 1")
    if config.models and (config.data is None or config.case is None or config.out is None):
        raise UserError("a picture of quality against time needs --data, --case and --out")
    device = choose_device(config.device, config.threads)
    precision = chosen_precision(config.precision, device)
    options = _options(config)
    cost = predict_cost(config.model, options, config.size, config.size, config.training_batch)
    if cost is None or not cost.parameters:
        raise UserError(f"model {config.model} computes nothing, or cannot tell how much; choose another with --model")
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
        make_folder(config.out)
    if config.models:  # first, since files can be wrong
        result["quality"] = quality_against_time(config, precision, device)
    result |= _measure_inference(config, precision, device)
    if config.training:
        times = _in_turn(
            {
                "plain": _training(config, options, "float32", False, device),
                "fast": _training(config, options, precision, True, device),
            },
            config.runs,
        )
        result |= _summary(times["plain"], times["fast"], "training_")
    if config.memory:
        result |= _memory(config, precision)
    if config.out is not None:
        write_text(config.out / "benchmark.json", json.dumps(result, indent=2) + "\n")
        if config.models:
            draw(result["quality"], config.out / "quality.png")
    return result


def _options(config: BenchmarkConfig) -> dict[str, Any]:
    known = model_options(config.model)
    options: dict[str, Any] = {"features": config.features} if "features" in known else {}
    return options | ({"image_size": config.size} if "image_size" in known else {})


def _measure_inference(config: BenchmarkConfig, precision: Precision, device: torch.device) -> dict[str, Any]:
    """Seconds per slice of all networks in turn, and how well the images agree with the plain network's."""
    networks = _networks(config, precision, device)
    target, auxiliary = _slices(config.size, 1, device)
    tasks = {name: _inference(network, target, auxiliary) for name, network in networks.items()}
    if config.model != RELEASED:
        released = _plain(RELEASED, {"features": config.features}, device)
        tasks[RELEASED] = _inference(released, target, auxiliary)
    times = _in_turn(tasks, config.runs)
    images = {name: _image(network, target, auxiliary) for name, network in networks.items()}
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
    plain = _plain(config.model, _options(config), device)
    recipe = steps(plain, precision)
    shown = range(len(recipe)) if config.steps else [len(recipe) - 1]
    return {"plain": plain} | {recipe[n].__name__: after(plain, recipe[: n + 1]) for n in shown}


def _plain(model: str, options: dict[str, Any], device: torch.device) -> nn.Module:
    torch.manual_seed(0)
    return create_model(model, **options).eval().requires_grad_(False).to(device)


def _slices(size: int, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Two smooth images, normalised, always the same."""
    noise = torch.randn(2 * batch, 1, size, size, generator=torch.Generator().manual_seed(0))
    smooth = nn.functional.avg_pool2d(nn.functional.pad(noise, (4, 4, 4, 4), mode="circular"), 9, stride=1)
    target, auxiliary = (smooth / smooth.std()).to(device).split(batch)
    return target, auxiliary


def _inference(model: nn.Module, target: Tensor, auxiliary: Tensor) -> Task:
    return lambda: _image(model, target, auxiliary).sum().item()  # waits for a GPU


def _image(model: nn.Module, target: Tensor, auxiliary: Tensor) -> Tensor:
    with torch.inference_mode():
        return as_output(model(target, auxiliary)).image


def _training(
    config: BenchmarkConfig, options: dict[str, Any], precision: Precision, fast: bool, device: torch.device
) -> Task:
    """One optimiser step on the same batch."""
    torch.manual_seed(0)
    model = create_model(config.model, **options).to(device)
    if fast:
        install_kernels(model)
        channels_last(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    loss = SpatialFrequencyLoss()
    target, auxiliary = _slices(config.size, config.training_batch, device)

    def step() -> object:
        optimizer.zero_grad()
        with autocast(device, precision):
            output = as_output(model(target, auxiliary))
        value = loss(output, auxiliary, auxiliary)
        value.backward()
        optimizer.step()
        return value.item()

    return step


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
            times = _in_turn({"fast": _inference(fast, *_slices(config.size, batch, device))}, config.runs)["fast"]
            per_second = batch / statistics.median(times)
            rows.append({"threads": threads, "batch": batch, "slices_per_second": per_second})
    torch.set_num_threads(before)
    return rows


# -- memory: a process for each figure, since a process never gives its peak back -------------------------------------


def _memory(config: BenchmarkConfig, precision: Precision) -> dict[str, Any]:
    """Peak resident memory of the plain and the fast network, in bytes."""
    kinds = {"plain": "baseline_peak_memory", "fast": "peak_memory"}
    if config.training:
        kinds |= {"plain training": "training_baseline_peak_memory", "fast training": "training_peak_memory"}
    result: dict[str, Any] = {}
    for kind, name in kinds.items():
        if measured := _measured_in_a_process(config, precision, kind):
            result[name] = measured["peak"]
            result["memory_before"] = measured["before"]
    return result


def _measured_in_a_process(config: BenchmarkConfig, precision: Precision, kind: str) -> dict[str, int] | None:
    request = {
        "kind": kind,
        "precision": precision,
        **{name: getattr(config, name) for name in ("model", "features", "size", "training_batch", "device")},
        "threads": torch.get_num_threads(),
    }
    command = [sys.executable, "-m", "fsmnet.benchmark.speed", json.dumps(request)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        logger.warning("the peak memory (%s) could not be measured: %s", kind, process.stderr.strip()[-200:])
        return None
    measured: dict[str, int] = json.loads(process.stdout)
    return measured


def _measure_memory(request: dict[str, Any]) -> dict[str, int]:
    """In a fresh process: the peak before the model is built, and after two runs of it."""
    kind, precision = request.pop("kind"), request.pop("precision")
    config = BenchmarkConfig(**request)
    large_blocks_apart()
    device = choose_device(config.device, config.threads)
    before = peak_memory()
    fast = kind.startswith("fast")
    if kind.endswith("training"):
        task = _training(config, _options(config), precision if fast else "float32", fast, device)
    else:
        model = _plain(config.model, _options(config), device)
        if fast:
            model = optimise(model, precision)
        task = _inference(model, *_slices(config.size, 1, device))
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


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure_memory(json.loads(sys.argv[1]))))  # to the process that started this one
