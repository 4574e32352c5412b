"""The benchmark's figures: there, consistent, and of the right networks."""

from __future__ import annotations

import json

import pytest

from fsmnet import benchmark as module
from fsmnet.benchmark import benchmark
from fsmnet.cli import main
from fsmnet.config import BenchmarkConfig
from fsmnet.errors import UserError

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


def test_training_is_timed_and_memory_measured_when_asked(monkeypatch):
    config = BenchmarkConfig(model="mdunet", training=True, training_batch=1, device="cpu", batches=[1, 2], **SMALL)
    asked = []

    def in_a_process(config, precision, kind):
        asked.append(kind)
        return {"before": 1, "peak": 2}

    monkeypatch.setattr(module, "_measured_in_a_process", in_a_process)
    result = benchmark(config)
    assert asked == ["plain", "fast", "plain training", "fast training"]
    assert result["training_speedup"] > 0
    assert result["training_peak_memory"] == 2
    assert [row["batch"] for row in result["throughput"]] == [1, 2]


def test_memory_is_the_peak_of_a_process_of_its_own():
    config = BenchmarkConfig(model="fsmnet", device="cpu", **SMALL)
    measured = module._measured_in_a_process(config, "float32", "fast")
    assert measured is not None
    assert 5e7 < measured["before"] <= measured["peak"] < 2e9


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"runs": 0}, "runs must be at least 1"),
        ({"batches": [0]}, "batches and thread_counts must be at least 1"),
        ({"models": ["x"]}, "needs --data, --case and --out"),
        ({"model": "zero_filling"}, "computes nothing"),
    ],
)
def test_wrong_options_are_refused_in_words(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        benchmark(BenchmarkConfig(**{**SMALL, "device": "cpu", **changes}))
