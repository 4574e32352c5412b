"""Every shipped configuration is accepted, and impossible values are refused in one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fsmnet.cli.parser import parse
from fsmnet.cli.presets import FOLDER
from fsmnet.errors import UserError
from fsmnet.evaluation.compare import checked_methods
from fsmnet.models import create_model
from fsmnet.physics.masks import MaskRecipe
from fsmnet.training.options import TrainConfig

CONFIGS = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_shipped_configurations_are_accepted(path):
    command = "compare" if path.stem.startswith("compare") else "train"
    config = parse([command, "--config", str(path), "--data", "D", "--out", "O"]).config
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
    assert {p.stem for p in CONFIGS if p.stem.startswith("fastmri_")} == {f"fastmri_{method}" for method in methods}
    for method in methods:
        words = ["train", "--config", f"fastmri_{method}", "--data", "D", "--out", "O"]
        four, eight = parse(words).config, parse([*words, "--acceleration", "8"]).config
        assert (four.model, four.protocol, four.acceleration) == (method, "fastmri", 4)
        assert replace(four, acceleration=8) == eight


# What each recipe says beside the model, and how it differs from the released code's generic one.
GENERIC = {
    "batch": 4, "iterations": 100_000, "epochs": None, "optimizer": "adamw", "learning_rate": 1e-4,
    "weight_decay": 1e-4, "schedule": "step", "decay_unit": "steps", "decay_every": 20_000, "decay": 0.5,
    "clip_norm": 0.01, "betas": [0.9, 0.999], "frequency_weight": 0.01, "image_weight": 1.0, "auxiliary_weight": 0.0,
    "kspace_weight": 0.0, "augment": True,
}  # fmt: skip
EPOCHS = {
    "iterations": None,
    "decay_unit": "epochs",
    "decay_every": 40,
    "decay": 0.1,
    "clip_norm": None,
    "weight_decay": 0.0,
}
RECIPES = {
    "paper": {"weight_decay": 0.01, "decay": 0.1, "clip_norm": None},
    "released": {},
    "table1_mdunet": {},
    "table1_swinir": {},
    "table1_minet": EPOCHS
    | {"epochs": 35, "optimizer": "rmsprop", "learning_rate": 1e-5, "image_weight": 0.3, "auxiliary_weight": 0.7},
    "table1_mcca": EPOCHS
    | {
        "epochs": 80,
        "optimizer": "rmsprop",
        "batch": 2,
        "image_weight": 0.6,
        "auxiliary_weight": 0.4,
        "kspace_weight": 0.01,
    },
    "table1_mtrans": EPOCHS
    | {"epochs": 100, "optimizer": "sgd", "learning_rate": 1e-5, "weight_decay": 1e-4, "auxiliary_weight": 1.0},
    "table1_dcamsr": EPOCHS | {"epochs": 50, "optimizer": "adam", "batch": 32, "learning_rate": 2e-4},
}


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipes_are_the_published_ones(name):
    config = parse(["train", "--config", name, "--data", "D", "--out", "O"]).config
    assert {key: getattr(config, key) for key in GENERIC} == GENERIC | RECIPES[name]
    assert (config.protocol, config.target, config.auxiliary, config.acceleration) == ("brats", "t2", "t1", 4)


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
