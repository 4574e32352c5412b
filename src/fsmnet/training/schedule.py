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
        config, shares = self.config, []
        if config.iterations is not None:
            shares.append(progress.step / config.iterations)
        if config.epochs is not None:
            shares.append(progress.step / math.ceil(config.epochs * self.slices / config.batch))
        if config.minutes is not None:
            # A step that does not fit any more is not begun.
            next_one = progress.seconds + progress.pace
            shares.append(1.0 if next_one > 60 * config.minutes else progress.seconds / (60 * config.minutes))
        return min(1.0, max(shares))

    def steps(self) -> int | None:
        """Steps of the whole run; None where minutes alone end it."""
        config, counts = self.config, []
        if config.iterations is not None:
            counts.append(config.iterations)
        if config.epochs is not None:
            counts.append(math.ceil(config.epochs * self.slices / config.batch))
        return min(counts, default=None)

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
