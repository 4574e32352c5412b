"""Where the tasks of a list run: in this process, in several of this machine, or on a cluster, behind one interface."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

from fsmnet.errors import UserError
from fsmnet.inference.elsewhere import require_few
from fsmnet.inference.here import Here
from fsmnet.inference.options import ListOptions

Item = TypeVar("Item")
Result = TypeVar("Result")


class Executor(typing.Protocol):
    """Runs the tasks of a list."""

    def run(
        self, task: Callable[[Item], Result], items: Sequence[Item], done: Callable[[int, Future[Result]], None]
    ) -> None:
        """Run a task for every item.

        Args:
            task: a function of the module's or a partial of one, that can be sent to another process; likewise items.
            items: in the order in which they are begun.
            done: called in this thread for each, in the order in which they end: its number, and its future, which is
                done and holds the result or what the task raised.

        Raises:
            BaseException: an interruption, or what ``done`` raised. What has not begun is dropped then, and what had
                ended well is still told.
        """


def runs_here(options: ListOptions) -> bool:
    """Whether a list runs in this process."""
    return options.cluster is None and options.processes == 1


@contextmanager
def executor_of(options: ListOptions, ahead: int = 0) -> Iterator[Executor]:
    """Where the options say that a list runs.

    Args:
        options: processes, or a cluster.
        ahead: in this process, threads that do what tasks may do beside the one whose turn it is; see :func:`in_turn`.

    Raises:
        UserError: options that do not go together, a cluster that is not there, or a package that is missing.
    """
    if options.processes < 1:
        raise UserError(f"processes must be at least 1, not {options.processes}")
    if options.cluster is not None:
        from fsmnet.inference.cluster import cluster_of

        with cluster_of(options.cluster, options.processes) as cluster:
            yield cluster
    elif options.processes > 1:
        from fsmnet.inference.pool import Pool

        require_few("processes", options.processes)
        yield Pool(options.processes)
    else:
        yield Here(ahead)
