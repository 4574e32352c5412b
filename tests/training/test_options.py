"""Every shipped configuration is accepted, and impossible values are refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from fsmnet.cli.parser import parse
from fsmnet.errors import UserError
from fsmnet.evaluation.compare import checked_methods
from fsmnet.models import create_model
from fsmnet.physics.masks import MaskRecipe
from fsmnet.training.options import TrainConfig

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_shipped_configurations_are_accepted(path):
    command = "compare" if path.stem.startswith("compare") else "train"
    _, config = parse([command, "--config", str(path), "--data", "D", "--out", "O"])
    if command == "train":
        config.check()
        methods = {path.stem: {"model": config.model, "model_options": config.model_options}}
    else:
        methods = checked_methods(config)
    for options in methods.values():
        with torch.device("meta"):
            create_model(options["model"], **options.get("model_options", {}))


def test_the_ablation_has_its_four_rows():
    assert {p.stem for p in CONFIGS} >= {f"ablation_{row}" for row in ("unet", "fsfe", "fsfe_cms", "fsfe_cms_fs")}


def test_the_knee_has_every_method_at_both_accelerations():
    methods = ("fsmnet", "fsmnet_released", "mdunet", "minet", "mcca", "swinir", "mtrans", "dcamsr")
    by_name = {p.stem: yaml.safe_load(p.read_text()) for p in CONFIGS if p.stem.startswith("fastmri_")}
    assert by_name.keys() == {f"fastmri_{method}_{x}x" for method in methods for x in (4, 8)}
    for name, content in by_name.items():
        method, _, x = name.removeprefix("fastmri_").rpartition("_")
        assert (content["model"], content["protocol"], content["acceleration"]) == (method, "fastmri", int(x[0]))
        assert content | {"acceleration": 4} == by_name[f"fastmri_{method}_4x"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iterations": None}, "would never end"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be more than 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be more than 0"),
        ({"iterations": 0}, "iterations must be more than 0"),
        ({"epochs": -1.0}, "epochs must be more than 0"),
        ({"validation_fraction": 1.0}, "at least 0 and below 1"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "no patient to train on"),
        ({"ema": 1.0}, "between 0 and 1"),
        ({"betas": [0.9]}, "two numbers"),
        ({"clip_norm": 0.0}, "clip_norm must be more than 0"),
    ],
)
def test_impossible_values_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        TrainConfig(data=Path("D"), out=Path("O"), **changes).check()


def test_a_recipe_in_words():
    assert str(MaskRecipe("random", 4, 0.08, 1337)) == "random, 4x with centre 0.08, seed 1337"
    mixed = MaskRecipe("magic", 4, 0.08, "name", ((4, 0.08), (8, 0.04)))
    assert str(mixed) == "magic, 4x with centre 0.08 or 8x with centre 0.04, seed from the name"
