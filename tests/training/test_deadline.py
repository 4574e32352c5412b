"""A budget of minutes holds even within a step; patience ends a run that gets no better."""

from __future__ import annotations

import pytest
import torch

import fsmnet.training.deadline
from fsmnet.errors import UserError
from fsmnet.metrics import Metrics
from fsmnet.protocols.base import Protocol
from fsmnet.training.deadline import Deadline
from fsmnet.training.run import train
from fsmnet.training.schedule import Progress, Schedule
from training_run import assert_same_weights, log_rows


@pytest.fixture
def jump(monkeypatch):
    """Function (which look at the clock) -> for a run whose budget is over from there on, seen by the deadline only."""
    real = fsmnet.training.deadline.time

    def at(look: int) -> list[int]:
        looks = [0]

        class Time:
            @staticmethod
            def perf_counter() -> float:
                looks[0] += 1
                return real.perf_counter() + (1e4 if looks[0] >= look else 0.0)

        monkeypatch.setattr(fsmnet.training.deadline, "time", Time)
        return looks

    return at


def test_a_slow_step_is_given_up_whole(configure, jump):
    """The run ends with the weights of the step before, wherever in the step time ran out."""
    looks = jump(10**9)
    two = train(configure("two", iterations=2, minutes=60.0))
    a_step = looks[0] // 2
    for name, look in (("forwards", a_step + 3), ("backwards", 2 * a_step - 1)):
        jump(look)
        result = train(configure(name, iterations=9, minutes=60.0))
        assert (result.progress.step, result.finished) == (1, True)
        one = train(configure(f"{name}_one", iterations=1))
        assert_same_weights(result.last, one.last)
    assert two.progress.step == 2


def test_not_one_step(configure, jump):
    jump(3)
    with pytest.raises(UserError, match="not one step fits into 60 minutes; give more"):
        train(configure(minutes=60.0))


def test_several_processes_take_every_step(configure):
    class Several:
        num_processes = 2

    class Setup:
        config, accelerator, model = configure(minutes=1.0), Several(), torch.nn.Linear(2, 2)

    with Deadline(Setup(), Progress()):
        assert not Setup.model._forward_pre_hooks


def test_a_step_that_would_not_fit_is_not_begun(configure):
    schedule = Schedule(configure(iterations=None, minutes=1.0), 20)
    assert not schedule.done(Progress(step=5, seconds=50.0, pace=9.0))
    assert schedule.done(Progress(step=5, seconds=50.0, pace=11.0))


def test_patience(configure, monkeypatch):
    figures = iter([20.0, 30.0, 25.0, 29.0, 31.0])
    monkeypatch.setattr(Protocol, "score", lambda *_: [Metrics(next(figures), 0.5, 0.5)])
    config = configure(iterations=9, validation_fraction=0.25, validate_every=1, patience=2)
    result = train(config)
    assert (result.progress.step, result.progress.best_step, result.finished) == (4, 2, True)
    assert len(log_rows(config.out)) == 4
    # Nothing more is done without more patience.
    again = configure(iterations=9, validation_fraction=0.25, validate_every=1, patience=2, resume=True)
    assert train(again).progress == result.progress
    with pytest.raises(UserError, match="patience counts validations, and there are none"):
        train(configure("without", patience=2))
