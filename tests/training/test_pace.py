"""A slow step is told while it lasts, and not twice."""

from __future__ import annotations

import logging

import pytest

import fsmnet.training.pace
from fsmnet.training.pace import LEAST, QUIET, Pace


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on when it is told to; nobody watches but the test."""
    now = [1000.0]
    monkeypatch.setattr(fsmnet.training.pace.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(fsmnet.training.pace.threading.Thread, "start", lambda thread: None)
    monkeypatch.setattr(fsmnet.training.pace.threading.Thread, "join", lambda thread: None)
    return now


def steps(pace: Pace, clock: list[float], count: int, seconds: float = 1.0) -> None:
    for step in range(count):
        pace.fetch(step)
        pace.compute()
        clock[0] += seconds
        pace.done()


def test_a_slow_step_is_told_once_with_what_it_does(clock, caplog):
    with Pace() as pace, caplog.at_level(logging.WARNING, "fsmnet"):
        steps(pace, clock, LEAST)
        clock[0] += 100  # a validation is no step
        pace.look(clock[0])
        pace.fetch(41)
        clock[0] += 4.9
        pace.look(clock[0])
        assert caplog.messages == []
        clock[0] += 0.2
        pace.look(clock[0])
        assert caplog.messages == ["step 41: waiting for data for 5.1 s; a step usually takes 1 s"]
        pace.compute()
        clock[0] += 50
        pace.done()
        assert len(caplog.messages) == 1
        clock[0] += QUIET
        pace.fetch(42)
        pace.compute()
        clock[0] += 6
        pace.done()
        assert caplog.messages[1] == "step 42: computing for 6.0 s; a step usually takes 1 s"


def test_nothing_is_usual_yet_or_nobody_listens(clock, caplog):
    with Pace() as pace:
        steps(pace, clock, LEAST - 1)
        pace.fetch(9)
        clock[0] += 1000
        pace.done()
    with Pace(silent=True) as pace:
        steps(pace, clock, LEAST)
        steps(pace, clock, 1, 1000)
    with Pace() as pace:
        steps(pace, clock, LEAST, 0.01)
        steps(pace, clock, 1, 1.0)  # a hundred times as long, and nobody's trouble
    assert caplog.messages == []


def test_a_step_that_never_ends_is_told_too(monkeypatch, caplog):
    monkeypatch.setattr(fsmnet.training.pace, "SHORTEST", 0.0)
    monkeypatch.setattr(fsmnet.training.pace, "QUIET", 1e9)
    with Pace() as pace:
        pace._told = -2e9
        for step in range(LEAST):
            pace.fetch(step)
            pace.done()
        pace.fetch(LEAST)
        while not caplog.messages:  # by the thread, of a step that is not done
            pass
    assert caplog.messages[0].startswith(f"step {LEAST}: waiting for data for ")
    assert pace._watch is not None
    assert not pace._watch.is_alive()
