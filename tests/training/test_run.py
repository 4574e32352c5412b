"""Training from end to end: the best checkpoint is the best, what is left, mistakes are told in words."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import pytest
import yaml

import fsmnet.cli.train
from fsmnet.checkpoint import load_model, read_checkpoint, trained_normalisation, trained_recipe
from fsmnet.cli import main
from fsmnet.cli.options import TrainCommand
from fsmnet.errors import UserError
from fsmnet.metrics import Metrics
from fsmnet.options import portable_config
from fsmnet.physics.masks import load_mask
from fsmnet.protocols import get_protocol
from fsmnet.protocols.base import Protocol
from fsmnet.training.log import LOG_COLUMNS
from fsmnet.training.run import train
from training_run import assert_same_weights, log_rows


def test_validation_picks_the_best(configure, monkeypatch):
    figures = iter([20.0, 30.0, 25.0])

    def score(protocol, target, images):
        return [Metrics(next(figures), 0.5, 0.5)]

    monkeypatch.setattr(Protocol, "score", score)
    config = configure(iterations=3, validation_fraction=0.25, validate_every=1)
    result = train(config)
    assert (result.progress.best_psnr, result.progress.best_step) == (30.0, 2)
    assert [row["validation_psnr"] for row in log_rows(config.out)] == ["20.000", "30.000", "25.000"]
    assert read_checkpoint(result.best)[1].metrics == {"step": 2, "validation_psnr": 30.0}
    assert read_checkpoint(result.last)[1].metrics == {"step": 3}

    monkeypatch.undo()
    two = train(configure("two", iterations=2, validation_fraction=0.25))
    assert_same_weights(result.best, two.last)


def test_without_validation_the_best_is_the_last(configure, caplog):
    with caplog.at_level(logging.INFO, "fsmnet"):
        result = train(configure())
    assert "no validation cases: the best checkpoint will be the last" in caplog.text
    assert_same_weights(result.best, result.last)


def test_what_a_run_leaves(configure, heads):
    config = configure(validation_fraction=0.25, test_fraction=0.25, batch=2, iterations=5, validate_every=2)
    result = train(config)
    names = ["best.safetensors", "config.yaml", "last.safetensors", "log.csv", "mask.npz", "resume.pt", "split.json"]
    assert sorted(path.name for path in config.out.iterdir()) == names  # and pictures, see test_pictures.py

    rows = log_rows(config.out)
    assert list(rows[0]) == LOG_COLUMNS
    assert LOG_COLUMNS == ["step", "epoch", "seconds", "learning_rate", "loss", "gradient_norm", "validation_psnr"]
    assert [row["step"] for row in rows] == ["1", "2", "3", "4", "5"]
    # Two cases of five slices: the fifth batch of two ends the first pass.
    assert [row["epoch"] for row in rows] == ["0", "0", "0", "0", "1"]
    assert [bool(row["validation_psnr"]) for row in rows] == [False, True, False, True, True]
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)

    split = json.loads((config.out / "split.json").read_text())
    assert [len(split[side]) for side in ("train", "validation", "test")] == [2, 1, 1]
    cases = [case for side in ("train", "validation", "test") for case in split[side]]
    assert sorted(cases) == sorted(path.name for path in heads.iterdir())
    assert load_mask(config.out / "mask.npz", 64).acceleration == 4

    header = read_checkpoint(result.best)[1]
    assert header.model["name"] == "mdunet"
    assert header.model["options"] == {"features": 4, "levels": 2, "dropout": 0.0, "fusion": "input"}
    assert header.training == json.loads(json.dumps(portable_config(config)))
    assert header.split == split
    assert (header.protocol, header.contrasts) == (config.protocol, {"target": "t2", "auxiliary": "t1"})
    assert header.heads == "stripped"
    assert trained_normalisation(load_model(result.best)) == get_protocol(config.protocol).normalisation
    assert trained_recipe(load_model(result.best)) == get_protocol(config.protocol).training_recipe(config)
    assert set(header.versions) >= {"fsmnet", "torch", "numpy", "python"}
    assert not load_model(result.best).training


def test_config_yaml_is_the_same_configuration(configure, monkeypatch, tmp_path):
    config = configure(
        cases=["phantom-0001", "phantom-0002"],
        betas=[0.8, 0.95],
        minutes=10.0,
        mask_seed="name",
        learning_rate=1e-5,
        split=tmp_path / "split.json",
        clip_norm=0.5,
    )
    (tmp_path / "split.json").write_text(json.dumps({"train": config.cases, "validation": [], "test": []}))
    train(config)
    train(configure(**{**vars(config), "resume": True, "out": "run", "iterations": 3}))
    read = []
    monkeypatch.setattr(fsmnet.cli.train, "command", lambda config: read.append(config))
    assert main(["train", "--config", str(config.out / "config.yaml")]) == 0
    config.iterations = 3
    assert read == [TrainCommand(**vars(config))]
    assert yaml.safe_load((config.out / "config.yaml").read_text())["resume"] is False


REFUSED = {
    "workers": (10**6, "workers must be at most [0-9]+ on this machine"),
    "batch": (0, "batch must be at least 1, not 0"),
    "accumulate": (2, "a batch of 1 has no 2 parts; lower accumulate"),
    "iterations": (0, "iterations must be more than 0, not 0"),
    "minutes": (math.nan, "minutes must be more than 0, not nan"),
    "learning_rate": (-1.0, "learning_rate must be more than 0, not -1.0"),
    "ema": (1.0, "ema must lie between 0 and 1, not 1.0"),
    "betas": ([0.9], r"betas are two numbers in \[0, 1\), not \[0.9\]"),
    "test_fraction": (1.0, "test_fraction must be at least 0 and below 1, not 1.0"),
    "threads": (0, "threads must be at least 1, not 0"),
    "device": ("abacus", "device 'abacus' is not available here; use --device cpu, or auto"),
    "model": ("zero_filling", "model zero_filling has nothing to train; choose another with --model"),
    "model_options": (
        {"featurs": 8},
        "no option 'featurs' .did you mean features..; it takes features",
    ),
    "acceleration": (0.0, "acceleration 0 is impossible with 64 columns; give more than 1"),
    "data": (Path("nowhere"), "nowhere: no such folder"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_options(configure, name):
    value, message = REFUSED[name]
    options = {name: value}
    if name == "model":
        options["model_options"] = {}
    with pytest.raises(UserError, match=message):
        train(configure(**options))
    assert not configure().out.exists()


def test_no_budget(configure):
    with pytest.raises(UserError, match="give iterations, epochs or minutes"):
        train(configure(iterations=None))
