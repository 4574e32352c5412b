"""How far a run is: steps and time against the budget, and the learning rate that follows from them."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass
from statistics import median

from fsmnet.training.options import TrainConfig


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    seconds: float = 0.0
    best_psnr: float = -math.inf
    best_step: int = 0
    pace: float = 0.0  # seconds that a step usually takes


class Clock:
    """Seconds of training: those before this part of the run, and those since it was made."""

    def __init__(self, before: float) -> None:
        self._before, self._started = before, time.perf_counter()

    def __call__(self) -> float:
        """The seconds."""
        return self._before + time.perf_counter() - self._started


class Usual:
    """Seconds that a step usually takes: the median of the last ones."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=20)

    def __call__(self, seconds: float) -> float:
        """With one more step."""
        self._last.append(seconds)
        return median(self._last)


@dataclass(frozen=True)
class Schedule:
    """Budget and learning rate of a run.

    Attributes:
        config: its options.
        slices: training slices, which make an epoch.
    """

    config: TrainConfig
    slices: int

    def share_done(self, progress: Progress) -> float:
        """How much of the budget is spent, 0 to 1: of steps, epochs and minutes the one that is nearest to its end."""
        return min(1.0, max(self._share_of_steps(progress), self._share_of_time(progress)))

    def ends_by_steps(self, progress: Progress) -> bool:
        """Whether the number of steps ends the run, at the speed so far, and not the time."""
        return self._share_of_steps(progress) >= self._share_of_time(progress)

    def _share_of_steps(self, progress: Progress) -> float:
        steps = self.steps()
        return 0.0 if steps is None else progress.step / steps

    def _share_of_time(self, progress: Progress) -> float:
        if self.config.minutes is None:
            return 0.0
        # A step that does not fit any more is not begun.
        next_one = progress.seconds + progress.pace
        return 1.0 if next_one > 60 * self.config.minutes else progress.seconds / (60 * self.config.minutes)

    def steps(self) -> int | None:
        """Steps of the whole run; None where minutes alone end it."""
        config, counts = self.config, []
        if config.iterations is not None:
            counts.append(config.iterations)
        if config.epochs is not None:
            counts.append(math.ceil(config.epochs * self.slices / config.batch))
        return min(counts, default=None)

    def expected(self, pace: float) -> tuple[int, float]:
        """Steps and seconds of the whole run where a step takes ``pace`` seconds; validations come on top."""
        steps, minutes = self.steps(), self.config.minutes
        fitting = math.inf if minutes is None else max(1, 60 * minutes // pace)
        if steps is not None and steps <= fitting:
            return steps, steps * pace
        return int(fitting), 60 * (minutes or 0.0)

    def stale(self, progress: Progress) -> bool:
        """Whether ``patience`` validations passed without a better one."""
        patience = self.config.patience
        since = progress.step - progress.best_step
        return patience is not None and progress.best_step > 0 and since >= patience * self.config.validate_every

    def done(self, progress: Progress) -> bool:
        """Whether the budget is spent."""
        return self.share_done(progress) >= 1.0

    def epoch(self, progress: Progress) -> int:
        """Passes through the slices that are finished."""
        return progress.step * self.config.batch // self.slices

    def seconds_left(self, progress: Progress) -> float:
        """Seconds to the end, at the speed so far."""
        share = self.share_done(progress)
        return progress.seconds * (1 - share) / share if share else math.inf

    def learning_rate(self, progress: Progress) -> float:
        """Learning rate of the next step."""
        factor = learning_rate_factor(self.config, progress.step, self.share_done(progress), self.epoch(progress))
        return self.config.learning_rate * factor


def learning_rate_factor(config: TrainConfig, step: int, share_done: float, epoch: int = 0) -> float:
    """Learning rate at a step over the initial one; the cosine follows the share of the budget that is spent."""
    warmup = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    if config.schedule == "step":
        return warmup * config.decay ** ((epoch if config.decay_unit == "epochs" else step) // config.decay_every)
    if config.schedule == "cosine":
        return warmup * 0.5 * (1 + math.cos(math.pi * share_done))
    return warmup
