"""Runs of seconds."""

from __future__ import annotations

import pytest

import fsmnet.training.log
import fsmnet.training.run
from fsmnet.inference.cost import Cost
from fsmnet.training.options import TrainConfig
from fsmnet.training.step import Figures
from training_run import UNET, on


@pytest.fixture(autouse=True)
def no_forecast(monkeypatch):
    """The forecast of time and memory takes longer than these runs; one test has it back."""
    monkeypatch.setattr(fsmnet.training.log, "predict_cost", lambda *_: Cost(1, 1.0, 1, 1))


@pytest.fixture
def configure(request, tmp_path):
    """Function (name of the output folder, **options) -> a run of seconds, by default on the phantom."""

    def make(out: str = "run", **options) -> TrainConfig:
        defaults = {
            "data": options.get("data") or request.getfixturevalue("heads"),
            "out": tmp_path / out,
            "device": "cpu",
            "protocol": "float",
            **UNET,
            "validation_fraction": 0.0,
            "batch": 1,
            "iterations": 2,
            "log_every": 1,
            "pictures": False,
        }
        return TrainConfig(**{**defaults, **options})

    return make


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Figures are looked at as on a GPU: when they are needed."""
    monkeypatch.setattr(fsmnet.training.run, "Figures", lambda out, _: Figures(out, on("cuda")))
