"""What is shown on the terminal: text that it can show, and nothing that steers it; and the file that keeps it."""

from __future__ import annotations

import io
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from fsmnet.errors import UserError
from fsmnet.files import reason, visible

logger = logging.getLogger(__name__)

_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


class Telling(NamedTuple):
    """How much is told, and where.

    Attributes:
        quiet: warnings and errors only.
        verbose: what helps to find a fault, too.
        log: a file that gets everything, with the time.
    """

    quiet: bool = False
    verbose: bool = False
    log: str | None = None


class _State:
    """What :func:`telling` set; one program has one terminal."""

    quiet = False
    log: logging.Handler | None = None


def say(*lines: str, error: bool = False) -> None:
    """Print lines, each as one: what a command did. ``--quiet`` leaves it out, unless it is an error."""
    if error or not _State.quiet:
        print("\n".join(map(visible, lines)), file=sys.stderr if error else sys.stdout)
    _keep(lines, logging.ERROR if error else logging.INFO)


def answer(*lines: str) -> None:
    """Print what was asked for, ``--quiet`` or not."""
    print("\n".join(map(visible, lines)))
    _keep(lines, logging.INFO)


def _keep(lines: tuple[str, ...], level: int) -> None:
    if _State.log is not None:
        for line in filter(None, lines):
            _State.log.handle(logging.LogRecord(__name__, level, __file__, 0, line, None, None))


def prepare() -> None:
    """Show letters that the terminal's code does not have by their numbers, and log one line a message."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Visible("%(message)s"))
    logging.getLogger("fsmnet").setLevel(logging.INFO)


@contextmanager
def telling(how: Telling) -> Iterator[None]:
    """Tell as much as asked for while something runs.

    Raises:
        UserError: a log file that cannot be written.
    """
    ours, root = logging.getLogger("fsmnet"), logging.getLogger()
    shown = logging.WARNING if how.quiet else logging.DEBUG if how.verbose else logging.INFO
    ours.setLevel(shown)
    levels = [(handler, handler.level) for handler in root.handlers]
    once = _Once()
    _State.quiet = how.quiet
    try:
        if not how.verbose:
            for handler, _ in levels:
                handler.addFilter(once)
        if how.log is not None:
            _State.log = _opened(Path(how.log))
            for handler, _ in levels:
                handler.setLevel(max(handler.level, shown))
            root.addHandler(_State.log)
            ours.setLevel(logging.DEBUG)
        yield
    finally:
        once.conclude()
        if _State.log is not None:
            root.removeHandler(_State.log)
            _State.log.close()
        for handler, level in levels:
            handler.setLevel(level)
            handler.removeFilter(once)
        _State.quiet, _State.log = False, None
        ours.setLevel(logging.INFO)


def _opened(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _Kept(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({reason(error)}); choose another --log") from None
    handler.setFormatter(_Visible(_FORMAT))
    return handler


def answer_terminate() -> None:
    """Let SIGTERM interrupt as Ctrl-C does, so that what is held is released and what is unfinished removed."""
    if threading.current_thread() is threading.main_thread():  # elsewhere signals cannot be caught
        signal.signal(signal.SIGTERM, signal.default_int_handler)


class _Once(logging.Filter):
    """Lets a warning pass once, and of those that each scan of a data set may give the first.

    See :func:`fsmnet.errors.warn_of_each`. How many more there are is told at the end.
    """

    def __init__(self) -> None:
        super().__init__()
        self._first: dict[str, logging.LogRecord] = {}
        self._more: dict[str, set[str]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it was not told before."""
        if record.levelno < logging.WARNING:
            return True
        words = record.getMessage()
        kind = getattr(record, "kind", words)
        first = self._first.setdefault(kind, record)
        if first is record:  # it passes through every handler
            return True
        if words != first.getMessage():
            self._more.setdefault(kind, set()).add(words)
        return False

    def conclude(self) -> None:
        """Say how many were left out."""
        for kind, words in self._more.items():
            logger.warning(
                "left out: %d more like this, which -v tells: %s", len(words), self._first[kind].getMessage()
            )


class _Kept(logging.FileHandler):
    """A file that keeps what is told. Where it cannot be written any more, that is told, and the work goes on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self._give_up(error)
        else:
            super().handleError(record)

    def close(self) -> None:
        try:
            super().close()
        except OSError as error:  # what could not be written before is tried again
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        if not self.filters:
            self.addFilter(lambda _: False)
            logger.warning(
                "%s: cannot be written (%s); from here on it keeps nothing", self.baseFilename, reason(error)
            )


class _Visible(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = visible(record.message)
        return super().formatMessage(record)
