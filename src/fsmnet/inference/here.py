"""Tasks of a list in this process, and what only one of them does at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Done = Callable[[int, Future[Result]], None]


class Dropped(BaseException):
    """A task that another one's end, or an interruption, has made idle."""


@dataclass(eq=False)
class _Turn:
    """Work of a task that waits for the main thread."""

    number: int
    work: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)

    def take(self) -> None:
        try:
            self.future.set_result(self.work())
        except Exception as error:
            self.future.set_exception(error)


class _Helper(threading.local):
    """Of a thread that helps a main thread: where it puts what the main thread is to do."""

    hand_over: Callable[[_Turn], None] | None = None
    number = 0


_helper = _Helper()
_one = threading.Lock()


def in_turn(work: Callable[[], Result]) -> Result:
    """Do what only one task of a process does at a time, since it takes all cores, or a GPU, or most of the memory.

    In the program's own process the main thread does it, where an interruption ends it.
    """
    if _helper.hand_over is None:
        with _one:
            return work()
    turn = _Turn(_helper.number, work)
    _helper.hand_over(turn)
    result: Result = turn.future.result()
    return result


class Here:
    """Tasks in this process; with ``ahead`` threads beside it for everything that need not be done in turn."""

    def __init__(self, ahead: int = 0) -> None:
        self._ahead = ahead

    def run(self, task: Callable[[Item], Result], items: Sequence[Item], done: Done[Result]) -> None:
        """See :meth:`Executor.run`."""
        if self._ahead:
            _Beside(self._ahead + 1, task, items, done).run()
            return
        for number, item in enumerate(items):
            turn = _Turn(number, partial(task, item))
            turn.take()
            done(number, turn.future)


class _Beside(Generic[Item, Result]):
    """Tasks in threads, whose turns the main thread takes in the order of the list.

    An interruption may come anywhere in the main thread: so the deque keeps a turn, and ``told`` has a number, before
    anything is done with it, and the bell only wakes.
    """

    def __init__(self, threads: int, task: Callable[[Item], Result], items: Sequence[Item], done: Done[Result]) -> None:
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._turns: deque[_Turn] = deque()
        self._ended: deque[int] = deque()
        self._told: set[int] = set()
        self._passed: set[int] = set()  # who has had a turn, or ended without
        self._first = 0  # who has not
        self._task, self._done, self._count = task, done, len(items)
        self._pool = ThreadPoolExecutor(threads)
        self._futures = [self._pool.submit(self._begin, number, item) for number, item in enumerate(items)]
        for number, future in enumerate(self._futures):
            future.add_done_callback(partial(self._note, number))

    def _begin(self, number: int, item: Item) -> Result:
        _helper.hand_over, _helper.number = self._hand_over, number
        return self._task(item)

    def _hand_over(self, turn: _Turn) -> None:
        self._turns.append(turn)
        self._bell.put(None)

    def _note(self, number: int, _: Future[Result]) -> None:
        self._passed.add(number)
        self._ended.append(number)
        self._bell.put(None)

    def run(self) -> None:
        try:
            while len(self._told) < self._count:
                self._bell.get()
                self._tell_ended()
                while turn := self._next():
                    turn.take()
                    self._passed.add(turn.number)
                    self._turns.remove(turn)
                    self._tell_ended()
        except BaseException:
            self._drop()
            raise
        finally:
            self._pool.shutdown()

    def _next(self) -> _Turn | None:
        """The turn of a task before which all have had theirs."""
        while self._first in self._passed:
            self._first += 1
        return next((turn for turn in list(self._turns) if turn.number <= self._first), None)

    def _tell_ended(self) -> None:
        while self._ended:
            self._tell(self._ended[0])
            self._ended.popleft()

    def _tell(self, number: int) -> None:
        if number not in self._told:
            self._told.add(number)
            self._done(number, self._futures[number])

    def _drop(self) -> None:
        """Let what has begun come to its end without its turn, and tell what ended well."""
        for future in self._futures:
            future.cancel()
        while not all(future.done() for future in self._futures):
            for turn in list(self._turns):
                if not turn.future.done():
                    turn.future.set_exception(Dropped())
            try:
                self._bell.get(timeout=0.1)
            except Empty:
                continue
        for number, future in enumerate(self._futures):
            if not future.cancelled() and future.exception() is None:
                self._tell(number)
