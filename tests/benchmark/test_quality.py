"""The picture of quality against time shows what was measured."""

from __future__ import annotations

import csv
import json

import pytest
import torch

from fsmnet.benchmark import quality
from fsmnet.benchmark.options import BenchmarkConfig
from fsmnet.cli import main
from fsmnet.errors import UserError
from fsmnet.evaluation.evaluate import evaluate
from fsmnet.evaluation.options import EvaluateConfig


@pytest.fixture
def two(tmp_path, checkpoint_file):
    """Two checkpoints."""
    names = [("fsmnet", tmp_path / "a" / "best.safetensors"), ("mdunet", tmp_path / "b" / "best.safetensors")]
    for _, path in names:
        path.parent.mkdir()
    options = {"fsmnet": {"features": 8, "blocks": 1}, "mdunet": {"features": 4}}
    return [str(checkpoint_file(path, name, **options[name])) for name, path in names]


def test_the_command_measures_and_draws(two, brats_folder, tmp_path, capsys):
    out = tmp_path / "out"
    small = [
        "--features",
        "8",
        "--size",
        "32",
        "--runs",
        "1",
        "--no-memory",
        "--device",
        "cpu",
        "--precision",
        "float32",
    ]
    real = ["--models", *two, "--data", str(brats_folder), "--case", "case-2", "--out", str(out), "--json"]
    assert main(["benchmark", *small, *real]) == 0
    result = json.loads(capsys.readouterr().out)["quality"]
    assert result == json.loads((out / "benchmark.json").read_text())["quality"]
    assert (out / "quality.png").stat().st_size > 10_000
    assert (result["case"], result["slices"], result["threads"]) == ("case-2", 1, torch.get_num_threads())
    rows = result["models"]
    assert [(row["model"], row["kind"]) for row in rows] == [(n, k) for n in two for k in ("plain", "optimised")]
    for row in rows:
        assert 0 < row["seconds_per_slice_least"] <= row["seconds_per_slice"] <= row["seconds_per_slice_most"]
        assert row["psnr_change"] == pytest.approx(0, abs=1e-3)
    # evaluate scores the same slice, the first.
    scores = tmp_path / "scores"
    options = {"data": brats_folder, "cases": ["case-2"], "out": scores, "protocol": "brats"}
    evaluate(EvaluateConfig(models=["zero_filling", two[1]], **options))
    lines = csv.DictReader((scores / "metrics.csv").read_text().splitlines())
    psnr = {line["model"]: float(line["psnr"]) for line in lines if line["slice"] == "0"}
    assert [result["zero_filled_psnr"], rows[3]["psnr"]] == pytest.approx([*psnr.values()])


def test_seconds_are_of_single_slices_in_turn_after_a_first_one(monkeypatch):
    asked = []

    def reconstruct(network, zero_filled, auxiliary, normalisation, *, measured, finish, batch, device):
        asked.append((network, int(zero_filled[0, 0, 0])))
        return zero_filled

    monkeypatch.setattr(quality, "reconstruct_slices", reconstruct)
    slices = torch.arange(3)[:, None, None].expand(3, 2, 2)
    networks = {("a", "plain"): 1, ("b", "plain"): 2}
    images, seconds = quality._in_turn(networks, slices, slices, torch.device("cpu"), None)
    assert asked == [(1, 0), (2, 0), (1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (2, 2)]
    assert torch.equal(images["b", "plain"], slices)
    assert len(seconds["a", "plain"]) == 3


def row(model, kind, seconds, psnr, change=0.0):
    times = {"seconds_per_slice": seconds, "seconds_per_slice_least": seconds, "seconds_per_slice_most": seconds}
    recipe = {"name": "fsmnet", "options": {"features": 16}}
    return {"model": model, **recipe, "kind": kind, "psnr": psnr, "psnr_change": change, **times}


def test_the_picture_names_every_model_once_and_joins_its_two_points():
    names = ["runs/a/best.safetensors", "shipped"]
    rows = [
        one
        for n, name in enumerate(names)
        for one in (row(name, "plain", 0.4 + n, 37), row(name, "optimised", 0.2 + n / 2, 36.9, -0.1))
    ]
    result = {"case": "case-1", "protocol": "brats", "acceleration": 4, "slices": 11, "device": "cpu", "threads": 1}
    figure = quality.picture(result | {"precision": "bfloat16", "zero_filled_psnr": 32.24, "models": rows})
    [axes] = figure.axes
    joined = [line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_marker() == "None"]
    assert [list(line.get_xdata()) for line in joined] == [[0.4, 0.2], [1.4, 0.7], [0, 1]]
    assert list(joined[-1].get_ydata()) == [32.24, 32.24]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[0] == "a/best: fsmnet, 16 features\n2.00x as fast, -0.1000 dB"
    assert texts[1].startswith("shipped: fsmnet, 16 features")
    assert texts[2:] == ["plain", "optimised", "zero-filling, 32.24 dB"]
    for part in ("case-1", "11 slices", "4x", "brats", "cpu, 1 thread,", "bfloat16"):
        assert part in axes.get_title()


def test_a_case_that_is_not_there_is_refused(two, brats_folder):
    config = BenchmarkConfig(models=two, data=brats_folder, case="case-9")
    with pytest.raises(UserError, match="no pair for case case-9"):
        quality.quality_against_time(config, "float32", torch.device("cpu"))
