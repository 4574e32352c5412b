"""A step that is still being taken when the budget of minutes ends is given up; the weights stay as they were."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils.hooks import RemovableHandle

from fsmnet.errors import UserError
from fsmnet.training.schedule import Progress
from fsmnet.training.setup import Setup
from fsmnet.training.step import Figures, take_step

FIRST = 60.0  # seconds that the first step of all may take, whatever the budget: much is set up in it


class OutOfTime(Exception):  # noqa: N818 - no error
    """The budget ended within a step."""


class Deadline:
    """Takes the steps of a run as long as the budget lasts.

    The clock is looked at between layers on the way there and between gradients on the way back. Weights move after
    both, so that a step is taken whole or not at all. One process of several would leave the others waiting, so several
    take every step to its end; what is compiled is looked at on the way back alone.
    """

    def __init__(self, setup: Setup, progress: Progress) -> None:
        """``progress`` is where the run stands, now and later."""
        self._setup, self._progress, self._within = setup, progress, False
        minutes = setup.config.minutes
        self._watches = minutes is not None and setup.accelerator.num_processes == 1
        self._begin, self._left = time.perf_counter(), 60 * (minutes or 0) - progress.seconds
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Deadline:
        if self._watches:
            model = self._setup.model
            self._handles += [one.register_hook(self._look) for one in model.parameters() if one.requires_grad]
            if not self._setup.config.compile:
                self._handles += [module.register_forward_pre_hook(self._look) for module in model.modules()]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def take(self, batch: Sequence[Tensor], rate: float, figures: Figures) -> bool:
        """:func:`fsmnet.training.step.take_step`; whether there was time for it.

        Raises:
            UserError: there was none for the first step.
        """
        self._within = True
        try:
            take_step(self._setup, batch, rate, figures, self._progress.step + 1)
        except OutOfTime:
            self._setup.optimizer.zero_grad()
            if not self._progress.step:
                raise UserError(
                    f"not one step fits into {self._setup.config.minutes:g} minutes; give more, or lower batch or the "
                    "model's size"
                ) from None
            return False
        finally:
            self._within = False
        return True

    def _look(self, *_: Any) -> None:
        most = self._left if self._progress.step else max(self._left, FIRST)
        if self._within and time.perf_counter() - self._begin > most:
            raise OutOfTime
