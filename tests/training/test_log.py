"""What a run says: forecast, rows, TensorBoard."""

from __future__ import annotations

import logging
import math
import re
from contextlib import ExitStack

import pytest

import fsmnet.training.log
import fsmnet.training.run
from fsmnet.errors import UserError
from fsmnet.files import csv_text
from fsmnet.inference.cost import predict_cost
from fsmnet.training.log import LOG_COLUMNS, rows_until
from fsmnet.training.run import train
from fsmnet.training.step import take_step
from full_disk import full_disk
from training_run import FSMNET, log_rows


def test_forecast_and_mask_are_announced(configure, monkeypatch, caplog):
    monkeypatch.setattr(fsmnet.training.log, "predict_cost", predict_cost)
    with caplog.at_level(logging.INFO, "fsmnet"):
        train(configure(iterations=1, validation_fraction=0.25, **FSMNET))
    first, second, third = caplog.messages[:3]
    assert re.fullmatch(r"fsmnet: [\d,]+ parameters, [\d.]+ GFLOP a slice, about [\d.]+ MB for training .* of 1", first)
    assert second == "15 training slices of 3 cases, 5 validation slices of 1 case; protocol float"
    assert re.fullmatch(r"mask random: \d+ of 64 columns, 4x requested, [\d.]+x achieved", third)


def test_what_can_by_no_means_fit_is_refused(configure, monkeypatch):
    monkeypatch.setattr(fsmnet.training.log, "predict_cost", predict_cost)
    with pytest.raises(UserError, match=r"training takes about .* GB, and this machine has .*; lower batch"):
        train(configure(iterations=1, batch=10_000_000, **FSMNET))


def test_tensorboard_events(configure):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = configure(tensorboard=True, validation_fraction=0.25, pictures=True)
    train(config)
    events = accumulator.EventAccumulator(str(config.out / "tensorboard")).Reload()
    assert [event.step for event in events.Images("validation")] == [2]
    assert {"loss", "learning_rate", "gradient_norm", "validation_psnr"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("loss")] == [1, 2]
    [file] = (config.out / "tensorboard").iterdir()
    assert re.fullmatch(r"events\.out\.tfevents\.\d+\.\d+", file.name)  # not named after the machine


def test_a_line_now_and_then_without_a_terminal(configure, monkeypatch, caplog):
    monkeypatch.setattr(fsmnet.training.log, "TOLD_EVERY", 0.0)
    with caplog.at_level(logging.INFO, "fsmnet"):
        train(configure(iterations=3))
    lines = [message for message in caplog.messages if " s a step, " in message]
    assert [line.partition(":")[0] for line in lines] == ["step 1 of 3, 33%", "step 2 of 3, 67%", "step 3 of 3, 100%"]
    assert all(re.fullmatch(r"[^:]*: loss \d\.\d{4}, \S+ s a step, \d+ s left", line) for line in lines)


def test_learning_rate_in_the_log(configure):
    train(configure(iterations=4, learning_rate=0.01, schedule="cosine"))
    rates = [float(row["learning_rate"]) for row in log_rows(configure().out)]
    expected = [0.01 * 0.5 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    assert rates == pytest.approx(expected, rel=1e-3)


def test_rows_until_a_step_without_the_line_that_a_kill_left(tmp_path):
    file = tmp_path / "log.csv"
    text = csv_text([LOG_COLUMNS, *([step, 0, step / 2, "0.1", "1", "1", ""] for step in (1, 9, 10, 11))])
    for cut in range(len(text) - 10, len(text)):  # through "11,0,..." to all but the last line's end
        file.write_text(text[:cut])
        assert [row[0] for row in rows_until(file, 11)] == ["1", "9", "10"]
    file.write_text(text)
    assert [row[0] for row in rows_until(file, 9)] == ["1", "9"]
    assert [row[0] for row in rows_until(file, 11)] == ["1", "9", "10", "11"]


def test_a_log_that_is_gone_or_none(tmp_path, caplog):
    assert rows_until(tmp_path / "log.csv", 3) == []
    assert "log.csv: is gone; it begins anew" in caplog.text
    for text in ("", "step,loss\n1,2\n", ",".join(LOG_COLUMNS) + "\nx,,,,,,\n", "\0\n"):
        (tmp_path / "log.csv").write_text(text)
        with pytest.raises(UserError, match=r"log.csv: not a training's log \(.*\); move it away to go on"):
            rows_until(tmp_path / "log.csv", 3)


def test_rows_are_there_when_they_are_added_and_a_full_disk_leaves_whole_ones(configure, monkeypatch):
    config = configure(iterations=9, save_every=100)
    seen = []

    def limited(setup, batch, rate, figures, step):
        seen.append(len(log_rows(config.out)))
        if step == 4:
            filled.enter_context(full_disk((config.out / "log.csv").stat().st_size + 10))
        take_step(setup, batch, rate, figures, step)

    monkeypatch.setattr("fsmnet.training.deadline.take_step", limited)
    with (
        ExitStack() as filled,
        pytest.raises(UserError, match=r"log.csv: cannot be written \(.*ile too large.*\); free"),
    ):
        train(config)
    assert seen == [0, 1, 2, 3]
    assert (config.out / "log.csv").read_text().endswith("\n")
    assert [row["step"] for row in log_rows(config.out)] == ["1", "2", "3"]
