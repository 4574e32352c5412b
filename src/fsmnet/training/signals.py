"""Stopping a run by Ctrl-C or SIGTERM: after the step that is being taken, or at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM: the list turns true, the current step is finished, the state is saved.

    Raises:
        KeyboardInterrupt: at the second signal.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received:  # asked twice: at once
            raise KeyboardInterrupt
        received.append(number)

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
