"""What is shown on the terminal: text that it can show, and nothing that steers it."""

from __future__ import annotations

import io
import logging
import signal
import sys
import threading

from fsmnet.files import visible


def say(*lines: str, error: bool = False) -> None:
    """Print lines, each as one."""
    print("\n".join(map(visible, lines)), file=sys.stderr if error else sys.stdout)


def prepare() -> None:
    """Show letters that the terminal's code does not have by their numbers, and log one line a message."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Visible("%(message)s"))
    logging.getLogger("fsmnet").setLevel(logging.INFO)


def answer_terminate() -> None:
    """Let SIGTERM interrupt as Ctrl-C does, so that what is held is released and what is unfinished removed."""
    if threading.current_thread() is threading.main_thread():  # elsewhere signals cannot be caught
        signal.signal(signal.SIGTERM, signal.default_int_handler)


class _Visible(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = visible(record.message)
        return super().formatMessage(record)
