"""Commands run in forked processes, since PyTorch takes seconds to import."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from fsmnet.cli import main


def begun(command: list[str], said: Path, before: Callable[[], None] = lambda: None) -> int:
    """The number of a process of its own that runs a command; what it says is in a file."""
    number = os.fork()
    if number:
        return number
    code = 70
    try:
        with said.open("a") as stream:
            for output in (1, 2):
                os.dup2(stream.fileno(), output)
        before()
        code = main(command)
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def ended(number: int, seconds: float) -> int | None:
    """Its exit code; None if it had to be killed after so many seconds."""
    late = time.monotonic() + seconds
    while time.monotonic() < late:
        done, status = os.waitpid(number, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(number, signal.SIGKILL)
    os.waitpid(number, 0)
    return None
