"""What signals do to a run: Ctrl-C and SIGTERM stop it after the step, a worker's death does not come in the middle."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

logger = logging.getLogger(__name__)


@contextmanager
def stop_on_signal(*, silent: bool = False) -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM: the list turns true, the current step is finished, the state is saved.

    That is said at once, unless ``silent``. Under torchrun a second one changes nothing: a terminal's or a queue's
    signal reaches a process twice, since torchrun passes its own on; and after 30 seconds it kills.

    Raises:
        KeyboardInterrupt: at the second signal.
    """
    received: list[int] = []
    twice = "TORCHELASTIC_RUN_ID" in os.environ

    def note(number: int, frame: FrameType | None) -> None:
        if received:  # asked twice: at once
            if twice:
                return
            raise KeyboardInterrupt
        received.append(number)
        if not silent:
            name, then = signal.Signals(number).name, "" if twice else "; a second one stops at once"
            logger.info("%s: stopping after this step, with everything saved%s", name, then)

    try:
        earlier = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread, where signals cannot be caught
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def leave_interrupts_to_the_main_process(worker: int) -> None:
    """Ctrl-C reaches the workers too; they must live until the current step is finished."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class WorkerDeaths:
    """PyTorch's answer to the death of a data worker, an exception out of a signal handler, where it can be borne.

    It would come in the middle of a step, with half of the weights moved. To be made once the workers are there, and
    closed; it is :meth:`answered` while a batch is waited for.
    """

    def __init__(self) -> None:
        self._number: int | None = getattr(signal, "SIGCHLD", None)
        self._answer: Any = None if self._number is None else signal.getsignal(self._number)
        self._set(signal.SIG_DFL)

    def close(self) -> None:
        """Leave things as they were."""
        self._set(self._answer)

    @contextmanager
    def answered(self) -> Iterator[None]:
        """Let it come, of a death of before too."""
        self._set(self._answer)
        try:
            if callable(self._answer):
                self._answer(self._number, None)
            yield
        finally:
            self._set(signal.SIG_DFL)

    def _set(self, answer: Any) -> None:
        try:
            if self._number is not None and callable(self._answer):
                signal.signal(self._number, answer)
        except ValueError:  # not in the main thread, where PyTorch does not answer either
            self._answer = None
