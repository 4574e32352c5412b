"""Several processes: one curve, one clock, one end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from fsmnet.errors import UserError
from fsmnet.options import dump_config
from fsmnet.training.options import TrainConfig
from fsmnet.training.run import train
from fsmnet.training.together import Together
from training_run import FSMNET, log_rows

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="PyTorch without gloo")


def free_port() -> int:
    """Below those that the system hands out by itself, so that nobody takes it before the run does."""
    for port in range(20000 + os.getpid() % 10000, 32768):
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")


@pytest.fixture
def start(tmp_path):
    """Function (configuration, number of processes) -> the processes of one run, as torchrun starts them."""
    started: list[subprocess.Popen[str]] = []

    def begin(config: TrainConfig, world: int = 2) -> list[subprocess.Popen[str]]:
        file = tmp_path / "run.yaml"
        file.write_text(dump_config(config))
        port = free_port()
        shared = os.environ | {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        for rank in range(world):
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "fsmnet", "train", "--config", str(file)],
                    env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        return started[-world:]

    yield begin
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


def until(file: Path, processes: list[subprocess.Popen[str]]) -> None:
    while not file.exists():
        assert all(process.poll() is None for process in processes), [p.communicate()[1] for p in processes]
        time.sleep(0.02)


def test_one_process_agrees_with_itself():
    together = Together(Accelerator(cpu=True))
    assert together.first(1.25) == 1.25
    assert not together.any([])
    assert together.any([signal.SIGINT])
    with pytest.raises(RuntimeError, match="Connection closed"), together.watching():
        raise RuntimeError("Connection closed by peer")  # of something else


def test_two_processes_take_the_steps_of_one(configure, start, tmp_path):
    """The same batches, the whole batch's loss; and one process goes on where two stopped."""
    options = {"batch": 4, "ema": 0.9, "validation_fraction": 0.25, "validate_every": 2, "threads": 1, **FSMNET}
    for process in start(configure("two", iterations=3, **options)):
        assert process.wait(600) == 0, process.communicate()[1]
    train(configure("two", iterations=5, resume=True, **options))
    train(configure("one", iterations=5, **options))
    one, two = ([row for row in log_rows(tmp_path / name) if row["step"] != "3"] for name in ("one", "two"))
    for column in ("step", "loss", "gradient_norm", "learning_rate"):  # without the third row's early validation
        assert [float(row[column]) for row in two] == pytest.approx([float(row[column]) for row in one], 1e-3)


@pytest.mark.slow
def test_four_processes_take_the_steps_of_one(configure, start, tmp_path):
    """And others go on: one process begins, two and then four go on."""
    options = {"batch": 4, "ema": 0.9, "validation_fraction": 0.25, "validate_every": 2, "threads": 1, **FSMNET}
    train(configure("one", iterations=7, **options))
    for process in start(configure("four", iterations=3, **options), 4):
        assert process.wait(600) == 0, process.communicate()[1]
    train(configure("grown", iterations=2, **options))
    for world, steps in ((2, 4), (4, 7)):
        for process in start(configure("grown", iterations=steps, resume=True, **options), world):
            assert process.wait(600) == 0, process.communicate()[1]
    one = {row["step"]: row for row in log_rows(tmp_path / "one")}
    for name, steps in (("four", 3), ("grown", 7)):
        rows = log_rows(tmp_path / name)
        assert [row["step"] for row in rows] == [str(step) for step in range(1, steps + 1)]
        for column in ("loss", "gradient_norm", "learning_rate"):
            expected = [float(one[row["step"]][column]) for row in rows]
            assert [float(row[column]) for row in rows] == pytest.approx(expected, 1e-3)


@pytest.mark.slow
def test_the_first_one_says_whether_patience_is_lost(configure, start, tmp_path):
    """The others do not validate: of a run that they go on with they know the best step until then alone."""
    options = {"batch": 4, "validation_fraction": 0.25, "validate_every": 1, "threads": 1, **FSMNET}
    for name in ("one", "two"):
        train(configure(name, iterations=2, **options))
    more = {"iterations": 6, "patience": 2, "resume": True, **options}
    train(configure("one", **more))
    for process in start(configure("two", **more)):
        assert process.wait(600) == 0, process.communicate()[1]
    one, two = ([row["step"] for row in log_rows(tmp_path / name)] for name in ("one", "two"))
    assert two == one == [str(step) for step in range(1, 7)]


@pytest.mark.slow
def test_torchrun_and_a_terminal(configure, tmp_path):
    """Ctrl-C reaches the processes and torchrun, which passes it on: the step is finished and saved all the same."""
    config = configure("run", iterations=10_000, batch=2, save_every=1, threads=1, **FSMNET)
    file = tmp_path / "run.yaml"
    file.write_text(dump_config(config))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.Popen(
        [*launcher, "-m", "fsmnet", "train", "--config", str(file)],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        until(config.out / "resume.pt", [process])
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode != 0
    assert "stopped at step" in errors
    assert "SIGINT: stopping after this step, with everything saved\n" in errors
    steps = len(log_rows(config.out))
    assert (
        train(configure("run", iterations=steps + 1, batch=2, resume=True, threads=1, **FSMNET)).progress.step > steps
    )


def test_one_clock_and_one_stop(configure, start):
    """A budget in minutes, which each would end by its own clock; a signal that only the second process gets."""
    config = configure("stopped", iterations=None, minutes=60.0, batch=2, save_every=1, threads=1, **FSMNET)
    processes = start(config)
    until(config.out / "resume.pt", processes)
    processes[1].send_signal(signal.SIGTERM)
    errors = [process.communicate(timeout=600)[1] for process in processes]
    assert [process.returncode for process in processes] == [130, 130], errors
    lines = [text.splitlines()[-1] for text in errors]
    assert "stopped at step" in lines[0]
    assert lines[0] == lines[1]


@pytest.mark.slow
def test_minutes_end_all(configure, start):
    config = configure("timed", iterations=None, minutes=1 / 60, schedule="cosine", batch=2, threads=1, **FSMNET)
    for process in start(config):
        assert process.wait(600) == 0, process.communicate()[1]
    progress = torch.load(config.out / "resume.pt", weights_only=True)["progress"]
    assert progress["seconds"] + progress["pace"] > 1  # no further step would fit


def test_a_killed_process_ends_the_others_in_words(configure, start):
    config = configure("killed", iterations=10_000, batch=2, save_every=1, threads=1, **FSMNET)
    first, second = start(config)
    until(config.out / "resume.pt", [first, second])
    second.kill()
    _, errors = first.communicate(timeout=600)
    assert first.returncode == 2, errors
    assert "another process of this training ended; see what it said, and go on with --resume" in errors
    assert train(configure("killed", iterations=3, batch=2, resume=True, threads=1, **FSMNET)).progress.step >= 3


def test_other_errors_stay_what_they_are():
    with pytest.raises(UserError, match="mine"), Together(Accelerator(cpu=True)).watching():
        raise UserError("mine")
