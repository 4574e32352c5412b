"""Stopping: after the step, or at once."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import fsmnet.cli.train
import fsmnet.training.run
from fsmnet.options import dump_config
from fsmnet.training.run import train
from fsmnet.training.step import take_step
from training_run import FSMNET, assert_same_run, log_rows


def test_ctrl_c_stops_after_the_step_and_resume_goes_on(configure, tmp_path):
    """As from a terminal: the signal reaches the workers too."""
    config = configure("stopped", iterations=10_000, workers=2, save_every=1, threads=1, **FSMNET)
    file = tmp_path / "run.yaml"
    file.write_text(dump_config(config))
    process = subprocess.Popen(
        [sys.executable, "-m", "fsmnet", "train", "--config", str(file)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (config.out / "resume.pt").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    last_line = errors.splitlines()[-1]
    assert last_line.endswith(f"to go on: fsmnet train --config {config.out / 'config.yaml'} --resume")

    done = torch.load(config.out / "resume.pt", weights_only=True)["progress"]["step"]
    assert 1 <= done == int(log_rows(config.out)[-1]["step"])
    options = {"iterations": done + 2, "threads": 1, **FSMNET}
    train(configure("stopped", resume=True, **options))
    train(configure("straight", **options))
    assert_same_run(tmp_path / "stopped", tmp_path / "straight")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_saves(configure, monkeypatch, number, caplog):
    handler = signal.getsignal(number)

    def interrupted(setup, batch, rate, figures, step):
        if step == 2:
            os.kill(os.getpid(), number)
        take_step(setup, batch, rate, figures, step)

    monkeypatch.setattr(fsmnet.training.run, "take_step", interrupted)
    config = configure(iterations=5)
    with caplog.at_level(logging.INFO, "fsmnet"):
        assert fsmnet.cli.train.command(config) == 130
    assert "stopped at step 2; to go on" in caplog.text
    assert [row["step"] for row in log_rows(config.out)] == ["1", "2"]
    assert signal.getsignal(number) == handler


def test_a_second_signal_stops_at_once(configure, monkeypatch):
    def impatient(*_):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(fsmnet.training.run, "take_step", impatient)
    with pytest.raises(KeyboardInterrupt):
        train(configure())
