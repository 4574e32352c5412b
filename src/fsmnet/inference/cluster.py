"""Tasks of a list on dask.distributed, on as many machines as it has.

The scheduler sends a task whose worker died to another one, and one that failed unexpectedly is tried again; its
dashboard shows what goes on. All machines see the same files at the same paths.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from fsmnet._version import __version__
from fsmnet.errors import UserError, first_line
from fsmnet.inference.elsewhere import Place, answer, cores, failed, require_few, told

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

RETRIES = 2  # of a task that raised what is not the user's mistake
AT_ONCE = 2  # tasks of a worker: one reads or writes while another computes
INSTALL = 'pip install "fsmnet[cluster]"'


@contextmanager
def cluster_of(where: str, processes: int) -> Iterator[Cluster]:
    """A cluster, which is closed afterwards if it was made for the list.

    Args:
        where: address of a scheduler or its file, ``local:N``, or ``slurm``.
        processes: jobs to submit to Slurm.

    Raises:
        UserError: the packages are missing, or no such cluster.
    """
    try:
        from distributed import Client
    except ImportError:
        raise UserError(f"--cluster needs the package distributed; {INSTALL}") from None
    if processes > 1 and where != "slurm":
        raise UserError(f"--cluster {where} has its own workers; leave --processes out")
    told = logging.getLogger("distributed")
    told.setLevel(logging.WARNING)  # else every connection is told
    places: list[Place] = []
    expected, made = 0, None
    if where.startswith("local"):
        made, places = _local(where)
    elif where == "slurm":
        made, expected = slurm_cluster(), processes
        made.scale(jobs=processes)
    try:
        with _connected(Client, where, made) as client:
            yield Cluster(client, expected, places)
    finally:
        if made is not None:
            told.setLevel(logging.ERROR)  # that workers end, and how, is no news now
            made.close()


class Cluster:
    """The workers of a scheduler.

    Args:
        client: connected to the scheduler.
        expected: workers that are to come.
        places: of the workers by name, where they are ours.
    """

    def __init__(self, client: Any, expected: int = 0, places: Sequence[Place] = ()) -> None:
        self._client, self._expected, self._places = client, expected, places

    def run(
        self, task: Callable[[Item], Result], items: Sequence[Item], done: Callable[[int, Future[Result]], None]
    ) -> None:
        """See :meth:`fsmnet.inference.executor.Executor.run`.

        Tasks are handed out as workers become free: what waits in a worker's threads would take its memory.
        """
        from distributed import as_completed

        waiting = deque(enumerate(items))
        running: dict[Any, int] = {}
        work, ended = partial(_work, task, self._places), as_completed([])

        def hand_out() -> None:
            while waiting and len(running) < AT_ONCE * max(1, self._expected, self._workers()):
                number, item = waiting.popleft()
                future = self._client.submit(work, item, pure=False, retries=RETRIES)
                running[future] = number
                ended.add(future)

        def finish(future: Any) -> None:
            number = running.pop(future)
            done(number, told(future.result()) if future.status == "finished" else failed(_reason(future)))

        try:
            hand_out()
            if not self._workers():
                logger.info("no worker is there yet; the list begins when the first one comes")
            for future in ended:
                finish(future)
                hand_out()
        except BaseException:
            for future in [future for future in running if future.status == "finished"]:
                finish(future)
            self._client.cancel(list(running))
            raise

    def _workers(self) -> int:
        return len(self._client.scheduler_info(n_workers=-1)["workers"])


def _reason(future: Any) -> Exception:
    """Why a task came to no result."""
    from distributed import KilledWorker

    if future.status == "cancelled":
        return UserError("the scheduler dropped it; see its log")
    error: Exception = future.exception()
    if isinstance(error, KilledWorker):
        return UserError(
            "every worker that worked on it died, by a signal or for want of memory; see the workers' logs, or lower "
            "--batch"
        )
    return error


def _work(task: Callable[[Item], Result], places: Sequence[Place], item: Item) -> Any:
    """Run a task in a worker."""
    from distributed import get_worker

    worker = get_worker()
    place = places[int(worker.name)] if places else Place(threads=worker.state.nthreads)
    return answer(task, item, place)


@contextmanager
def _connected(connect: Callable[..., Any], where: str, made: Any) -> Iterator[Any]:
    """A client of a scheduler, once its workers are known to have this package."""
    address = {"scheduler_file": where} if made is None and where.endswith(".json") else {"address": made or where}
    if made is None and where.endswith(".json") and not Path(where).is_file():
        raise UserError(
            f"{where}: no such file of a scheduler; start one with 'dask scheduler --scheduler-file {where}'"
        )
    try:
        client = connect(**address)
    except (OSError, ValueError, RuntimeError) as error:  # which of them depends on the kind of address
        raise UserError(
            f"--cluster {where}: no scheduler answers there ({first_line(error)}); give its address such as "
            "tcp://HOST:8786, or local:N, or slurm"
        ) from None
    with client:
        versions = client.run(_version, on_error="return")
        for worker, version in versions.items():
            if version != __version__:
                said = f"has fsmnet {version}" if isinstance(version, str) else f"has no fsmnet ({first_line(version)})"
                raise UserError(f"--cluster {where}: the worker {worker} {said}; install {__version__} there")
        logger.info("%d workers of %s; dashboard: %s", len(versions), where, client.dashboard_link)
        yield client


def _version() -> str:
    return __version__


def _local(where: str) -> tuple[Any, list[Place]]:
    """Workers in processes of this machine, and their places."""
    from distributed import LocalCluster

    found = re.fullmatch(r"local:(\d+)", where)
    count = int(found[1]) if found else 0
    if count < 1:
        raise UserError(f"--cluster {where}: give the number of processes, such as local:4")
    require_few(f"--cluster {where}: processes", count)
    made = LocalCluster(n_workers=count, threads_per_worker=AT_ONCE, dashboard_address="127.0.0.1:0")
    return made, [Place(number, max(1, cores() // count)) for number in range(count)]


def slurm_cluster() -> Any:
    """A scheduler here that submits jobs of one worker each, as dask-jobqueue's configuration describes them."""
    try:
        from dask import config
        from dask_jobqueue.slurm import SLURMCluster
    except ImportError:
        raise UserError(f"--cluster slurm needs the package dask-jobqueue; {INSTALL}") from None
    if missing := [name for name in ("cores", "memory") if config.get(f"jobqueue.slurm.{name}", None) is None]:
        raise UserError(
            f"--cluster slurm: {' and '.join(missing)} of a job are not known; set them under jobqueue: slurm: in "
            "~/.config/dask/jobqueue.yaml, as examples/slurm/jobqueue.yaml does"
        )
    return SLURMCluster(processes=1, scheduler_options={"dashboard_address": ":0"})
