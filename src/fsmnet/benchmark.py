"""Speed and memory of a network, optimised and plain, measured in turn so that both see the same machine."""

from __future__ import annotations

import json
import logging
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fsmnet.config import BenchmarkConfig
from fsmnet.errors import UserError
from fsmnet.export import Precision, best_precision, channels_last, optimise
from fsmnet.files import make_folder, write_text
from fsmnet.inference import autocast, choose_device
from fsmnet.losses import SpatialFrequencyLoss
from fsmnet.models import create_model, model_options
from fsmnet.profile import human_bytes, predict_cost

logger = logging.getLogger(__name__)

Task = Callable[[], object]


def benchmark(config: BenchmarkConfig) -> dict[str, Any]:
    """Measure as configured; see :class:`fsmnet.config.BenchmarkConfig`.

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
    precision = best_precision(device) if config.precision == "auto" else config.precision
    options = _options(config)
    cost = predict_cost(config.model, options, config.size, config.size, config.training_batch)
    if not cost.parameters:
        raise UserError(f"model {config.model} computes nothing; choose another with --model")
    plain, fast = _networks(config, precision, device)
    target, auxiliary = _slices(config.size, 1, device)
    times = _in_turn(
        {"plain": _inference(plain, target, auxiliary), "fast": _inference(fast, target, auxiliary)}, config.runs
    )
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
        **_summary(times, ""),
        "psnr_between": _psnr_between(plain, fast, target, auxiliary),
        "throughput": _throughput(config, fast, device),
    }
    if config.training:
        times = _in_turn(
            {
                "plain": _training(config, options, "float32", False, device),
                "fast": _training(config, options, precision, True, device),
            },
            config.runs,
        )
        result |= _summary(times, "training_")
    if config.memory:
        result |= _memory(config, precision)
    if config.models:
        result["quality"] = _quality(config, precision)
    if config.out is not None:
        write_text(make_folder(config.out) / "benchmark.json", json.dumps(result, indent=2) + "\n")
        if config.models:
            _draw(result["quality"], config)
    return result


def _options(config: BenchmarkConfig) -> dict[str, Any]:
    known = model_options(config.model)
    options: dict[str, Any] = {"features": config.features} if "features" in known else {}
    return options | ({"image_size": config.size} if "image_size" in known else {})


def _networks(config: BenchmarkConfig, precision: Precision, device: torch.device) -> tuple[nn.Module, nn.Module]:
    """The plain network and the fast one, of the same fresh weights."""
    torch.manual_seed(0)
    plain = create_model(config.model, **_options(config)).eval().requires_grad_(False).to(device)
    return plain, optimise(plain, precision)


def _slices(size: int, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Two smooth images, normalised, always the same."""
    noise = torch.randn(2 * batch, 1, size, size, generator=torch.Generator().manual_seed(0))
    smooth = nn.functional.avg_pool2d(nn.functional.pad(noise, (4, 4, 4, 4), mode="circular"), 9, stride=1)
    target, auxiliary = (smooth / smooth.std()).to(device).split(batch)
    return target, auxiliary


def _inference(model: nn.Module, target: Tensor, auxiliary: Tensor) -> Task:
    def run() -> object:
        with torch.inference_mode():
            return model(target, auxiliary).image.sum().item()  # waits for a GPU

    return run


def _training(
    config: BenchmarkConfig, options: dict[str, Any], precision: Precision, fast: bool, device: torch.device
) -> Task:
    """One optimiser step on the same batch."""
    torch.manual_seed(0)
    model = create_model(config.model, **options).to(device)
    if fast:
        channels_last(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    loss = SpatialFrequencyLoss()
    target, auxiliary = _slices(config.size, config.training_batch, device)

    def step() -> object:
        optimizer.zero_grad()
        with autocast(device, precision):
            output = model(target, auxiliary)
        value = loss(output, auxiliary, auxiliary)
        value.backward()
        optimizer.step()
        return value.item()

    return step


def _in_turn(tasks: dict[str, Task], runs: int) -> dict[str, list[float]]:
    """Seconds of each task, run one after the other so that a change of the machine meets all of them."""
    for task in tasks.values():
        task()  # libraries choose their kernels in the first call
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(runs):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            times[name].append(time.perf_counter() - started)
    return times


def _summary(times: dict[str, list[float]], prefix: str) -> dict[str, Any]:
    unit = "seconds_per_step" if prefix else "seconds_per_slice"
    summary: dict[str, Any] = {}
    for name, label in (("fast", ""), ("plain", "baseline_")):
        summary[f"{prefix}{label}{unit}"] = statistics.median(times[name])
        summary[f"{prefix}{label}{unit}_least"] = min(times[name])
        summary[f"{prefix}{label}{unit}_most"] = max(times[name])
    summary[f"{prefix}speedup"] = statistics.median(times["plain"]) / statistics.median(times["fast"])
    return summary


def _psnr_between(plain: nn.Module, fast: nn.Module, target: Tensor, auxiliary: Tensor) -> float | None:
    """PSNR (dB) of the fast image against the plain one, whose range is the peak; None where they are identical."""
    with torch.inference_mode():
        expected, image = (model(target, auxiliary).image.double() for model in (plain, fast))
    error = float((image - expected).square().mean())
    return 10 * math.log10(float(expected.max() - expected.min()) ** 2 / error) if error else None


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
    command = [sys.executable, "-m", "fsmnet.benchmark", json.dumps(request)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        logger.warning("the peak memory (%s) could not be measured: %s", kind, process.stderr.strip()[-200:])
        return None
    measured: dict[str, int] = json.loads(process.stdout)
    return measured


def _measure_memory(request: dict[str, Any]) -> dict[str, int]:
    """In a fresh process: the peak before the model is built, and after two runs of it."""
    import resource

    def peak() -> int:
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return largest if sys.platform == "darwin" else 1024 * largest

    kind, precision = request.pop("kind"), request.pop("precision")
    config = BenchmarkConfig(**request)
    device = choose_device(config.device, config.threads)
    before = peak()
    fast = kind.startswith("fast")
    if kind.endswith("training"):
        task = _training(config, _options(config), precision if fast else "float32", fast, device)
    else:
        torch.manual_seed(0)
        model = create_model(config.model, **_options(config)).eval().requires_grad_(False).to(device)
        if fast:
            model = optimise(model, precision)
        task = _inference(model, *_slices(config.size, 1, device))
    task()
    task()
    return {"before": before, "peak": peak()}


# -- quality against time ---------------------------------------------------------------------------------------------


def _quality(config: BenchmarkConfig, precision: Precision) -> list[dict[str, Any]]:
    """PSNR of each checkpoint on every tenth slice of a case, plain and fast, and its seconds per slice."""
    from fsmnet.data.datasets import prepared_slices
    from fsmnet.data.pairs import find_pairs
    from fsmnet.evaluate import open_model
    from fsmnet.inference import reconstruct_slices
    from fsmnet.masks import brats_mask
    from fsmnet.metrics import score
    from fsmnet.protocols import zero_fill

    assert config.data is not None
    assert config.case is not None
    device = choose_device(config.device)
    [pair] = find_pairs(config.data, "t2", "t1", [config.case])
    slices = prepared_slices(pair, "brats")
    target, auxiliary = slices.target[::10], slices.auxiliary[::10]
    zero_filled = zero_fill(target, torch.from_numpy(brats_mask(4).columns), "brats")
    rows = []
    for name in config.models:
        model = open_model(name).to(device)
        for kind, network in (("plain float32", model), (f"optimised {precision}", optimise(model, precision))):
            started = time.perf_counter()
            images = reconstruct_slices(network, zero_filled, auxiliary, "brats", batch=1, device=device)
            seconds = (time.perf_counter() - started) / len(target)
            psnr = statistics.fmean(metrics.psnr for metrics in score(target, images, "brats"))
            row = {"model": name, "kind": kind, "psnr": psnr, "seconds_per_slice": seconds}
            rows.append({**row, "slices": len(target)})
    return rows


def _draw(rows: list[dict[str, Any]], config: BenchmarkConfig) -> None:
    from matplotlib.figure import Figure

    from fsmnet.files import atomic_path

    assert config.out is not None
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        axes.plot(row["seconds_per_slice"], row["psnr"], "o")
        axes.annotate(f"{row['model']}\n{row['kind']}", (row["seconds_per_slice"], row["psnr"]), fontsize=7)
    axes.set(xscale="log", xlabel="seconds per slice", ylabel=f"PSNR on {config.case} (dB)")
    with atomic_path(config.out / "quality.png") as path:
        figure.savefig(path, dpi=150)


def command(config: BenchmarkConfig) -> int:
    """``fsmnet benchmark``."""
    result = benchmark(config)
    if not config.json:
        print(f"{config.model}, {result['parameters']:,} parameters, {result['gflops']:.1f} GFLOP a slice")
        rows = [("a slice", "", "seconds_per_slice"), ("a training step", "training_", "seconds_per_step")]
        for label, prefix, unit in rows[: 2 if config.training else 1]:
            plain, fast = result[f"{prefix}baseline_{unit}"], result[f"{prefix}{unit}"]
            ratio = result[f"{prefix}speedup"]
            print(f"{label}: plain float32 {plain:.3f} s, {result['precision']} {fast:.3f} s, {ratio:.2f}x")
        for name in [name for name in result if name.endswith("peak_memory")]:
            print(f"{name.replace('_', ' ')}: {human_bytes(result[name])}")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    print(json.dumps(_measure_memory(json.loads(sys.argv[1]))))
