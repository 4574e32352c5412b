"""HDF5 files are looked through by another process before this one opens them.

A few damaged bytes can make the HDF5 library take all memory or never come back, and nothing within the process can end
that. The other process has limits of both; it is started once and asked for each file.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import psutil

from fsmnet.errors import UserError, first_line

SECONDS = 30.0  # of a processor for one file; of damaged ones in gzipped chunks, one in 250 never ends
WAIT = 20.0  # times as long by the clock: a busy machine or a slow disk makes no file a damaged one
MEMORY = 1536 << 20
SMALL = 1 << 20  # bytes of what is read as a whole, such as headers
CODE = "from fsmnet.data.formats.probe import child; child()"

_ASKING = threading.Lock()


def fault(path: Path) -> str:
    """Why a file cannot be opened safely, in words; empty if it can, or nobody could look."""
    state = path.stat()
    return _fault(str(path.absolute()), state.st_size, state.st_mtime_ns)


def damaged(why: str) -> str:
    """What is said of a file that HDF5 cannot read."""
    return f"cut short, damaged or not an HDF5 file ({why}); copy it again"


def environment() -> dict[str, str]:
    """For a process that finds the same packages and needs little memory."""
    places = os.pathsep.join(str(Path(place or ".").absolute()) for place in sys.path)
    return os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def limit(memory: int, seconds: int = 0) -> None:
    """At most so much memory, and processor time if any is given, where the system has such limits."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    if seconds:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))


@lru_cache(maxsize=4096)
def _fault(path: str, size: int, modified: int) -> str:
    with _ASKING:
        process = _process(os.getpid())
        if process is None or process.stdin is None or process.stdout is None:
            return ""
        with ThreadPoolExecutor(1) as beside:
            try:
                process.stdin.write(json.dumps(path) + "\n")
                process.stdin.flush()
                answer = _within(beside.submit(process.stdout.readline), process.pid)
                if answer:
                    return str(json.loads(answer))
                words = "the HDF5 library fails on it"
            except Late:
                words = f"the HDF5 library is not done with it in {SECONDS:.0f} s"
            except OSError:
                words = "the HDF5 library fails on it"
            _end(process)
            _process.cache_clear()
            return damaged(words)


def _within(answer: Future[str], pid: int) -> str:
    """The answer of a process, if it takes no more than its time.

    Raises:
        Late: it does.
    """
    began, spent = time.monotonic(), _spent(pid)
    while True:
        try:
            return answer.result(timeout=min(0.5, SECONDS))
        except Late:
            if _spent(pid) - spent > SECONDS or time.monotonic() - began > WAIT * SECONDS:
                raise


def _spent(pid: int) -> float:
    """Seconds of a processor that a process has had; 0 once it is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


@lru_cache(maxsize=1)
def _process(owner: int) -> subprocess.Popen[str] | None:
    """The process that looks, of this one: a forked worker needs its own. None where none can be started."""
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment(),
        )
    except OSError:
        return None
    atexit.register(_end, process)
    return process


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def child() -> None:
    """Answer each path with what is wrong with the file, until the input ends."""
    limit(MEMORY)
    with os.fdopen(1, "w", buffering=1) as pipe:  # the standard output
        for line in sys.stdin:
            words, path = "", json.loads(line)
            try:
                _look(Path(path))
            except UserError as error:
                words = str(error).removeprefix(f"{path}: ")
            except BaseException as error:
                words = damaged(first_line(error))
            pipe.write(json.dumps(words) + "\n")


def _look(path: Path) -> None:
    """Everything that readers ask for but the bulk of the data."""
    import h5py

    from fsmnet.data.formats.unlocked import check_dataset, unlocked

    with unlocked(path) as file:
        dict(file.attrs)
        found = dict(file.items())
        for item in list(found.values()):
            if isinstance(item, h5py.Group):
                found |= {f"{item.name}/{name}": below for name, below in item.items()}
        for item in found.values():
            if not isinstance(item, h5py.Dataset):
                continue
            check_dataset(item, path)
            if item.shape is None or 0 in item.shape:
                continue
            if item.size * item.dtype.itemsize <= SMALL and "data" not in item.name:
                item[()]
            else:
                item[tuple(0 for _ in item.shape)]
                item[tuple(side - 1 for side in item.shape)]
