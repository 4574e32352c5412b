"""The benchmark's figures: there, consistent, and of the right networks."""

from __future__ import annotations

import json

import pytest

from fsmnet.benchmark import memory
from fsmnet.benchmark import speed as module
from fsmnet.benchmark.options import BenchmarkConfig
from fsmnet.benchmark.speed import benchmark
from fsmnet.cli import main
from fsmnet.errors import UserError
from fsmnet.inference.simplify import STEPS

SMALL = {"features": 8, "size": 32, "runs": 2}


def test_the_last_line_is_one_json_object(capsys):
    arguments = ["--features", "8", "--size", "32", "--runs", "2", "--json", "--no-memory", "--device", "cpu"]
    assert main(["benchmark", "--model", "fsmnet", *arguments]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["model"] == "fsmnet"
    assert result["speedup"] == pytest.approx(result["baseline_seconds_per_slice"] / result["seconds_per_slice"])
    assert result["seconds_per_slice_least"] <= result["seconds_per_slice"] <= result["seconds_per_slice_most"]
    assert result["psnr_between"] is None or result["psnr_between"] > 30
    assert result["throughput"][0]["batch"] == 1


def test_float32_differs_by_rounding_only():
    result = benchmark(BenchmarkConfig(model="fsmnet", precision="float32", memory=False, device="cpu", **SMALL))
    assert result["precision"] == "float32"
    assert result["psnr_between"] is None or result["psnr_between"] > 80


def test_each_step_is_timed_and_its_image_compared(capsys):
    arguments = ["--features", "8", "--size", "32", "--runs", "2", "--no-memory", "--device", "cpu", "--steps"]
    assert main(["benchmark", *arguments, "--precision", "bfloat16"]) == 0
    *text, last = capsys.readouterr().out.splitlines()
    result = json.loads(last)
    names = ["plain", "install_kernels", *(step.__name__ for step in STEPS), "channels_last", "bfloat16", "fuse"]
    assert [row["step"] for row in result["steps"]] == names
    assert [line.split()[0] for line in text[-len(names) :]] == names
    first, *exact, half = result["steps"]
    assert first["speedup"] == 1
    assert first["psnr_between"] is None
    # Equal in float64 (test_optimise.py); in float32 rounding may carry a phase of the spectrum from pi to -pi.
    assert all(row["psnr_between"] is None or row["psnr_between"] > 50 for row in exact)
    assert half["psnr_between"] > 40
    # The figures of the whole are those of the last step.
    assert first["seconds_per_slice"] == result["baseline_seconds_per_slice"] == result["released_seconds_per_slice"]
    for name in ("seconds_per_slice", "seconds_per_slice_least", "speedup", "psnr_between"):
        assert half[name] == result[name]
    assert result["speedup_over_released"] == result["speedup"]


def test_another_network_is_also_compared_with_the_plain_released_one(monkeypatch):
    seconds = {"plain": [2.0, 3.0, 4.0], "channels_last": [1.0, 1.5, 9.0], "fsmnet_released": [5.0, 6.0, 7.0]}

    def in_turn(tasks, runs):
        for task in tasks.values():
            task()
        return {name: seconds.get(name, [1.0]) for name in tasks}

    monkeypatch.setattr(module, "_in_turn", in_turn)
    result = benchmark(BenchmarkConfig(model="mdunet", memory=False, device="cpu", precision="float32", **SMALL))
    assert "steps" not in result
    assert (result["baseline_seconds_per_slice"], result["seconds_per_slice"]) == (3, 1.5)
    assert (result["speedup"], result["released_seconds_per_slice"], result["speedup_over_released"]) == (2, 6, 4)


def test_one_that_is_stopped_leaves_no_folder(monkeypatch, tmp_path):
    def stop(config, *more):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_measure_inference", stop)
    with pytest.raises(KeyboardInterrupt):
        benchmark(BenchmarkConfig(model="mdunet", device="cpu", precision="float32", out=tmp_path / "out", **SMALL))
    assert not (tmp_path / "out").exists()


def test_training_is_timed_and_memory_measured_when_asked(monkeypatch):
    config = BenchmarkConfig(model="mdunet", training=True, training_batch=1, device="cpu", batches=[1, 2], **SMALL)
    asked = []

    def in_a_process(config, precision, kind):
        asked.append(kind)
        return {"before": 1, "peak": 2}

    monkeypatch.setattr(memory, "measured_in_a_process", in_a_process)
    result = benchmark(config)
    assert asked == ["plain", "fast", "plain training", "fast training"]
    assert result["training_speedup"] > 0
    assert result["training_peak_memory"] == 2
    assert [row["batch"] for row in result["throughput"]] == [1, 2]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"runs": 0}, "runs must be at least 1"),
        ({"size": 3}, "size must be at least 8, not 3"),
        ({"batches": [0]}, "batches and thread_counts must be at least 1"),
        ({"models": ["x"]}, "needs --data, --case and --out"),
        ({"model": "zero_filling"}, "computes nothing"),
    ],
)
def test_wrong_options_are_refused_in_words(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        benchmark(BenchmarkConfig(**{**SMALL, "device": "cpu", **changes}))
