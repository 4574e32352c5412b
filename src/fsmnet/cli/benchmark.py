"""``fsmnet benchmark``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fsmnet.benchmark.options import BenchmarkConfig
from fsmnet.benchmark.speed import RELEASED, benchmark
from fsmnet.cli.terminal import answer, say
from fsmnet.files import json_text
from fsmnet.inference.allocator import large_blocks_apart
from fsmnet.inference.cost import human_bytes


def command(config: BenchmarkConfig) -> int:
    """Measure, and print the figures; the last line is the JSON object."""
    large_blocks_apart()
    result = benchmark(config)
    if not config.json:
        say(f"{config.model}, {result['parameters']:,} parameters, {result['gflops']:.1f} GFLOP a slice")
        rows = [("a slice", "", "seconds_per_slice"), ("a training step", "training_", "seconds_per_step")]
        for label, prefix, unit in rows[: 2 if config.training else 1]:
            plain, fast = result[f"{prefix}baseline_{unit}"], result[f"{prefix}{unit}"]
            ratio = result[f"{prefix}speedup"]
            say(f"{label}: plain float32 {plain:.3f} s, optimised {result['precision']} {fast:.3f} s, {ratio:.2f}x")
        if config.model != RELEASED:
            plain, ratio = result["released_seconds_per_slice"], result["speedup_over_released"]
            say(f"plain float32 {RELEASED} of {config.features} features: {plain:.3f} s, {ratio:.2f}x")
        say(*_steps_table(result.get("steps", [])))
        for name in [name for name in result if name.endswith("peak_memory")]:
            say(f"{name.replace('_', ' ')}: {human_bytes(result[name])}")
    answer(json_text(result, indent=None))
    return 0


def _steps_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line after each step: all before it are done too."""
    if not rows:
        return []
    width = max(len(row["step"]) for row in rows)
    lines = [f"{'step':{width}}  {'s a slice':>9}  {'least':>7}  {'speedup':>7}  {'PSNR to plain (dB)':>18}"]
    for row in rows:
        median, least = row["seconds_per_slice"], row["seconds_per_slice_least"]
        psnr = "identical" if row["psnr_between"] is None else f"{row['psnr_between']:.1f}"
        lines.append(f"{row['step']:{width}}  {median:>9.3f}  {least:>7.3f}  {row['speedup']:>7.2f}  {psnr:>18}")
    return lines
