"""Tasks of a list in another process: what it is told of its place, and what comes back.

What a task logs is sent with its result, so that everything is told in one place.
"""

from __future__ import annotations

import logging
import os
import typing
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from fsmnet.errors import UserError
from fsmnet.inference.options import RunOptions
from fsmnet.options import Options

Item = TypeVar("Item")
Result = TypeVar("Result")
Run = TypeVar("Run", bound=RunOptions)
Config = TypeVar("Config", bound=Options)


@dataclass(frozen=True)
class Place:
    """What a process that works for a list is told of itself.

    Attributes:
        number: of the processes on this machine, from 0; each takes the GPU of its number.
        threads: CPU threads for it; None for the usual.
    """

    number: int | None = None
    threads: int | None = None


_place = Place()


def take_place(place: Place) -> None:
    """Say what this process is to the tasks that it runs."""
    global _place
    _place = place


def placed(config: Run) -> Run:
    """A configuration with the device and threads of this process, where they are not given."""
    import torch  # only here: tasks of others need not wait for it

    device, threads = config.device, config.threads if config.threads is not None else _place.threads
    if _place.number is not None and device in ("auto", "cuda") and torch.cuda.is_available():
        device = f"cuda:{_place.number % torch.cuda.device_count()}"
    return replace(config, device=device, threads=threads)


@dataclass(frozen=True)
class Answer(Generic[Result]):
    """What a task gave in another process.

    Attributes:
        said: what it logged.
        result: what it returned.
        mistake: the user's, if it raised one.
    """

    said: list[logging.LogRecord]
    result: Result | None = None
    mistake: UserError | None = None


class _Said(logging.Handler):
    """Keeps what is logged until it is sent."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.records: deque[logging.LogRecord] = deque()

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args, record.exc_info = record.getMessage(), None, None
        self.records.append(record)

    def taken(self) -> list[logging.LogRecord]:
        return [self.records.popleft() for _ in range(len(self.records))]


_said = _Said()


def answer(task: Callable[[Item], Result], item: Item, place: Place | None = None) -> Answer[Result]:
    """Run a task in another process, to be sent back.

    Raises:
        Exception: what is not the user's mistake.
    """
    if place is not None:
        take_place(place)
    logger = logging.getLogger("fsmnet")
    if _said not in logger.handlers:
        logger.addHandler(_said)
        logger.setLevel(logging.INFO)
        logger.propagate = False  # else it would be told here too
    try:
        result = task(item)
    except UserError as mistake:
        return Answer(_said.taken(), mistake=mistake)
    return Answer(_said.taken(), result)


def told(sent: Answer[Result]) -> Future[Result]:
    """The future of an answer; what the task said is said here."""
    for record in sent.said:
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
    future: Future[Result] = Future()
    if sent.mistake is not None:
        future.set_exception(sent.mistake)
    else:
        future.set_result(typing.cast("Result", sent.result))
    return future


def failed(error: BaseException) -> Future[Any]:
    """The future of a task that raised something, or that came to no end."""
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def absolute(config: Config) -> Config:
    """The same files wherever a process was started; names of shipped weights, which are no files, stay names."""
    given: dict[str, Any] = {name: value for name, value in vars(config).items() if isinstance(value, Path)}
    there = {name: path.absolute() for name, path in given.items() if name != "checkpoint" or path.exists()}
    return replace(config, **there)


def require_few(name: str, count: int) -> None:
    """Refuse so many processes, or threads that hold a scan each, that this machine's memory would go before the work.

    Eight for each core are taken, and 32 anyway, so that what was written down on a larger machine runs here.

    Raises:
        UserError: more than that.
    """
    most = max(32, 8 * cores())
    if count > most:
        raise UserError(f"{name} must be at most {most} on this machine, which has {cores()} cores, not {count}")


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
