"""What a run says: forecast, rows, TensorBoard."""

from __future__ import annotations

import logging
import math
import re

import pytest

import fsmnet.training.log
from fsmnet.inference.cost import predict_cost
from fsmnet.training.run import train
from training_run import FSMNET, log_rows


def test_forecast_and_mask_are_announced(configure, monkeypatch, caplog):
    monkeypatch.setattr(fsmnet.training.log, "predict_cost", predict_cost)
    with caplog.at_level(logging.INFO, "fsmnet"):
        train(configure(iterations=1, validation_fraction=0.25, **FSMNET))
    first, second, third = caplog.messages[:3]
    assert re.fullmatch(r"fsmnet: [\d,]+ parameters, [\d.]+ GFLOP a slice, about [\d.]+ MB for training .* of 1", first)
    assert second == "15 training slices of 3 cases, 5 validation slices of 1 case; protocol float"
    assert re.fullmatch(r"mask random: \d+ of 64 columns, 4x requested, [\d.]+x achieved", third)


def test_tensorboard_events(configure):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = configure(tensorboard=True, validation_fraction=0.25)
    train(config)
    events = accumulator.EventAccumulator(str(config.out / "tensorboard")).Reload()
    assert {"loss", "learning_rate", "validation_psnr"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("loss")] == [1, 2]


def test_learning_rate_in_the_log(configure):
    train(configure(iterations=4, learning_rate=0.01, schedule="cosine"))
    rates = [float(row["learning_rate"]) for row in log_rows(configure().out)]
    expected = [0.01 * 0.5 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    assert rates == pytest.approx(expected, rel=1e-3)
