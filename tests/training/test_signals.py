"""Stopping: after the step, or at once."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch

import fsmnet.cli.train
import fsmnet.training.run
from fsmnet.cli.options import TrainCommand
from fsmnet.errors import UserError
from fsmnet.options import dump_config
from fsmnet.training.data import worker_fault
from fsmnet.training.run import train
from fsmnet.training.signals import stop_on_signal
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

    monkeypatch.setattr("fsmnet.training.deadline.take_step", interrupted)
    config = configure(iterations=5)
    with caplog.at_level(logging.INFO, "fsmnet"):
        assert fsmnet.cli.train.command(TrainCommand(**vars(config))) == 130
    assert f"{number.name}: stopping after this step, with everything saved; a second one" in caplog.text
    assert "stopped at step 2; to go on" in caplog.text
    assert [row["step"] for row in log_rows(config.out)] == ["1", "2"]
    assert signal.getsignal(number) == handler


def test_a_second_signal_stops_at_once(configure, monkeypatch):
    def impatient(*_):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("fsmnet.training.deadline.take_step", impatient)
    with pytest.raises(KeyboardInterrupt):
        train(configure())


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")  # on a machine with one core
def test_a_worker_that_is_killed_is_told_and_nothing_is_lost(configure, monkeypatch, tmp_path):
    """In the middle of a step, which is finished first."""
    options = {"workers": 2, "log_every": 1, **FSMNET}

    def killing(setup, batch, rate, figures, step):
        if step == 3:
            worker = multiprocessing.active_children()[0]
            os.kill(worker.pid, signal.SIGKILL)
            while psutil.Process(worker.pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)
        take_step(setup, batch, rate, figures, step)

    with monkeypatch.context() as patch:
        patch.setattr("fsmnet.training.deadline.take_step", killing)
        with pytest.raises(UserError, match=r"a data worker was killed from outside \(SIGKILL\)") as caught:
            train(configure("killed", iterations=6, **options))
    assert "lower workers, or set cache to disk; the run is saved at step 3, go on with --resume" in str(caught.value)
    train(configure("killed", iterations=6, resume=True, **options))
    train(configure("straight", iterations=6, **options))
    assert_same_run(tmp_path / "killed", tmp_path / "straight")


SAID = {
    "DataLoader worker (pid 7) is killed by signal: Killed. ": "killed from outside (SIGKILL), as the system does",
    "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
    "shared memory. Please try to raise your shared memory limit.": "no room in shared memory (/dev/shm); make it",
    "unable to allocate shared memory(shm) for file </torch_7>: No space left on device (28)": "no room in shared",
    "DataLoader worker (pid(s) 7, 8) exited unexpectedly": "ended unexpectedly (DataLoader worker (pid(s) 7, 8) exited",
    "DataLoader worker (pid 7) is killed by signal: Segmentation fault. ": "Segmentation fault); set workers to 0",
    "Caught MemoryError in DataLoader worker process 0.\nOriginal Traceback": "ran out of memory; lower workers",
    "received 0 items of ancdata": "too many files open; raise the limit",
    "mat1 and mat2 shapes cannot be multiplied": "",
}


@pytest.mark.parametrize("said", SAID)
def test_what_happened_to_a_worker(said):
    fault = worker_fault(said)
    assert SAID[said] in fault
    assert bool(fault) == bool(SAID[said])
    assert "\n" not in fault


def test_an_error_says_which_steps_it_loses(configure, monkeypatch, caplog):
    def failing(setup, batch, rate, figures, step):
        if step == 5:
            raise MemoryError
        take_step(setup, batch, rate, figures, step)

    monkeypatch.setattr("fsmnet.training.deadline.take_step", failing)
    with pytest.raises(MemoryError):
        train(configure("unsaved", iterations=9))
    assert "steps 1 to 4 are lost; nothing was saved yet" in caplog.text
    with pytest.raises(MemoryError):
        train(configure("saved", iterations=9, save_every=3))
    assert "steps 4 to 4 are lost; the run goes on from step 3" in caplog.text
    assert [row["step"] for row in log_rows(configure("saved").out)] == ["1", "2", "3", "4"]  # all that was


def test_under_torchrun_a_signal_comes_twice(monkeypatch):
    """From whoever sends it to the whole job, and from torchrun."""
    with stop_on_signal() as stop:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert stop == [signal.SIGTERM]
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "7")
    with stop_on_signal() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert stop == [signal.SIGTERM]
