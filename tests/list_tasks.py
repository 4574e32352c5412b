"""Tasks that are sent to other processes, which import them from here."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path

from fsmnet.errors import UserError
from fsmnet.inference.here import in_turn


def square(number: int) -> int:
    logging.getLogger("fsmnet.told").info("squared %d", number)
    return number * number


def strict(number: int) -> int:
    if number == 1:
        raise UserError("one is not for you")
    if number == 2:
        raise KeyError("two")
    return square(number)


def process(number: int) -> int:
    return os.getpid()


def kills(number: int, folder: Path, times: int) -> int:
    """Its process dies at number 2, so many times."""
    if number == 2:
        marks = len(list(folder.iterdir()))
        if marks < times:
            (folder / str(marks)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return number


def computed(number: int) -> int:
    return in_turn(lambda: number * number)


def waits(number: int, folder: Path) -> int:
    """Says that it has begun, and never ends by itself."""
    mark = folder / f"{number}-{os.getpid()}"
    try:  # a signal may come as soon as there is a mark
        mark.touch()
        while True:
            time.sleep(0.1)  # a signal just before signal.pause() would not end it
    finally:
        mark.unlink(missing_ok=True)
