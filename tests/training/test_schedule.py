"""Budget and learning rate."""

from __future__ import annotations

import pytest

from fsmnet.training.run import train
from fsmnet.training.schedule import Progress, Schedule, learning_rate_factor


def test_learning_rate_by_hand(configure):
    constant = configure(schedule="constant")
    assert [learning_rate_factor(constant, step, 0.5) for step in (0, 1000)] == [1, 1]

    warm = configure(schedule="constant", warmup=4)
    assert [learning_rate_factor(warm, step, 0) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]

    step = configure(schedule="step", decay=0.1, decay_every=20)
    factors = [learning_rate_factor(step, at, 0) for at in (0, 19, 20, 39, 40)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01])

    epochs = configure(schedule="step", decay=0.5, decay_every=2, decay_unit="epochs")
    assert [learning_rate_factor(epochs, 999, 0, epoch) for epoch in range(5)] == [1, 1, 0.5, 0.5, 0.25]

    cosine = configure(schedule="cosine", warmup=10)
    factors = [learning_rate_factor(cosine, *at) for at in ((0, 0.0), (99, 1 / 3), (99, 0.5), (99, 1.0))]
    assert factors == pytest.approx([0.1, 0.75, 0.5, 0])


def test_epochs_and_minutes_are_budgets_too(configure):
    # 4 cases of 5 slices
    assert train(configure("epochs", iterations=None, epochs=0.25)).progress.step == 5
    result = train(configure("minutes", iterations=None, minutes=0.3 / 60))
    assert result.finished
    assert result.progress.seconds + result.progress.pace > 0.3  # no further step would fit
    # A second later the time is still spent.
    assert train(configure("minutes", iterations=None, minutes=0.3 / 60, resume=True)).progress == result.progress


def test_what_ends_a_run_and_when(configure):
    both = Schedule(configure(iterations=1000, minutes=1.0), slices=20)
    assert both.expected(0.01) == (1000, 10.0)
    assert both.expected(2.0) == (30, 60.0)
    assert both.expected(100.0) == (1, 60.0)
    assert not both.ends_by_steps(Progress(step=25, seconds=50.0, pace=2.0))
    assert both.ends_by_steps(Progress(step=900, seconds=9.0, pace=0.01))
    assert Schedule(configure(iterations=None, epochs=2.5), slices=20).expected(2.0) == (50, 100.0)
    assert Schedule(configure(iterations=None, minutes=1.0), slices=20).expected(2.0) == (30, 60.0)
