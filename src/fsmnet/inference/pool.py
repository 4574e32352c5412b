"""Tasks of a list in several processes of this machine; one that dies does not take the list with it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized
from typing import Any, TypeVar

from fsmnet.errors import UserError
from fsmnet.inference.allocator import large_blocks_apart
from fsmnet.inference.elsewhere import Answer, Place, answer, cores, failed, take_place, told

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
Numbered = tuple[int, Item]


class Pool:
    """Processes that share a list.

    Where one dies, nobody can say which task it was at: those that were begun are done again, each by a process of its
    own, and one that ends this too has failed.
    """

    def __init__(self, count: int) -> None:
        self._count = count

    def run(
        self, task: Callable[[Item], Result], items: Sequence[Item], done: Callable[[int, Future[Result]], None]
    ) -> None:
        """See :meth:`fsmnet.inference.executor.Executor.run`."""
        waiting = deque(enumerate(items))
        while waiting:
            for number, item in self._share(task, waiting, done):
                logger.warning("a process that worked on the list has died; what it had begun is done again")
                if self._share(task, deque([(number, item)]), done):
                    done(number, failed(UserError(
                        "the process that worked on it died twice, by a signal or for want of memory; see the system's "
                        "log, or lower --batch"
                    )))  # fmt: skip

    def _share(
        self,
        task: Callable[[Item], Result],
        waiting: deque[Numbered[Item]],
        done: Callable[[int, Future[Result]], None],
    ) -> list[Numbered[Item]]:
        """Go through what waits until nothing is left, or until a process dies; what had been begun then.

        Raises:
            UserError: no process could be started.
        """
        running: dict[Future[Answer[Result]], Numbered[Item]] = {}

        def finish(future: Future[Answer[Result]]) -> None:
            number, _ = running.pop(future)
            error = future.exception()
            done(number, told(future.result()) if error is None else failed(error))

        with _processes(min(self._count, len(waiting)), self._count) as pool:
            first = pool.submit(os.getpid)
            try:
                while waiting or running:
                    while waiting and len(running) < self._count:
                        future = pool.submit(_work, task, waiting[0][1])
                        running[future] = waiting.popleft()
                    ended, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in ended:
                        if isinstance(error := future.exception(), BrokenProcessPool):
                            raise error
                        finish(future)
            except BrokenProcessPool:
                if not first.done() or first.exception() is not None:
                    raise UserError(
                        "the processes for the list cannot be started; a Python script that starts them needs "
                        "if __name__ == '__main__', and else memory may be short: see what they said"
                    ) from None
            except BaseException:
                for future in [future for future in running if future.done() and future.exception() is None]:
                    finish(future)
                raise
            for future in [future for future in running if not isinstance(future.exception(), BrokenProcessPool)]:
                finish(future)
        return list(running.values())


@contextmanager
def _processes(count: int, beside: int) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes go with it, whatever they are at; each gets its share of the cores."""
    context = multiprocessing.get_context("spawn")  # a fork would copy PyTorch's threads half
    given = (context.Value("i", 0), max(1, cores() // beside))
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=given)
    try:
        yield pool
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(numbers: Synchronized[int], threads: int) -> None:
    """Prepare a process of the pool."""
    with numbers.get_lock():
        number = numbers.value
        numbers.value += 1
    take_place(Place(number, threads))
    large_blocks_apart()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _work(task: Callable[[Item], Result], item: Item) -> Answer[Result]:
    """Run a task; if it is ended, what it wrote half is removed first, and the process goes with it.

    Beside a task SIGTERM ends the process as it is: the pool would take an exception for a task's error, or never give
    back a lock that it came upon, and wait for the process for ever.
    """
    try:
        signal.signal(signal.SIGTERM, _leave)
        try:
            return answer(task, item)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    except SystemExit:
        os._exit(128 + signal.SIGTERM)


def _leave(*_: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit


def _follow(parent: Any) -> None:
    """End when the first process is gone, however it went."""
    parent.join()
    os._exit(1)
