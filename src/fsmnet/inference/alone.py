"""One command at a time in an output folder: a lock that says who holds it, and since when."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from time import localtime, strftime
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import psutil

from fsmnet.errors import UserError
from fsmnet.files import json_text, make_folder, reason, remove_parts

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
SAME_START = 2.0  # seconds by which a process's start may be told differently


class _WithFolder(Protocol):
    out: Path


Config = TypeVar("Config", bound=_WithFolder)


def alone(
    names: Collection[str], *, what: str = "fsmnet", together: bool = False
) -> Callable[[Callable[[Config], Result]], Callable[[Config], Result]]:
    """Let a function of a configuration hold its output folder while it runs; see :func:`only_one`.

    Args:
        names: of the files that are written there.
        what: of the lock's name.
        together: whether several processes that were launched together do the work as one: the first one holds the
            folder for all. Otherwise all but the first one are refused.
    """

    def decorate(function: Callable[[Config], Result]) -> Callable[[Config], Result]:
        @wraps(function)
        def call(config: Config) -> Result:
            if together and _launched_beside():
                return function(config)
            refuse_beside(config.out)
            with only_one(config.out, names, what):
                return function(config)

        return call

    return decorate


@contextmanager
def only_one(
    folder: Path, names: Collection[str], what: str = "fsmnet", beside: Collection[str] = ()
) -> Iterator[None]:
    """Hold a folder; unfinished files of a run that was killed are removed first.

    A lock of a process of this machine that has ended is told and taken over. The folder is made, and goes again if
    nothing was put into it.

    Args:
        folder: the output folder.
        names: of the files that are written there.
        what: of the lock's name, for work that may go on side by side.
        beside: other locks' ``what``, whose holders write some of the same files.

    Raises:
        UserError: another process holds the folder, or it cannot be written to.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    lock = make_folder(folder) / _name(what)
    own = None
    try:
        own = _take(lock)
        _refuse_beside(folder, {_name(other) for other in beside} - {lock.name})
        remove_parts(folder, names)
        yield
    finally:
        if own is not None and _read(lock) == own:
            lock.unlink(missing_ok=True)
        for path in made:
            with suppress(OSError):  # goes only while it is empty
                path.rmdir()


def refuse_beside(folder: Path, instead: str = "") -> None:
    """Refuse to do in several processes what one does.

    Args:
        folder: the output folder.
        instead: how the work is shared, if it can be.

    Raises:
        UserError: a launcher started this process beside a first one, and both would do the same.
    """
    if _launched_beside():
        raise UserError(
            f"{folder}: of the processes that were launched together only the first one can write here; leave the "
            f"launcher out{instead and f' ({instead})'}"
        )


def holder(folder: Path, what: str = "fsmnet") -> str:
    """Who holds a folder now, in words; empty if nobody does who is known to be alive, or may be elsewhere."""
    said = _read(folder / f".{what}.lock")
    return "" if said is None or _has_ended(said) else _who(said)


def _launched_beside() -> bool:
    """Whether a launcher (torchrun, accelerate) started this process beside a first one."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and int(os.environ.get("RANK", "0")) > 0


def _name(what: str) -> str:
    return f".{what}.lock"


def _refuse_beside(folder: Path, locks: Collection[str]) -> None:
    """Refuse what others are writing; each looks after it has placed its own lock, so that one of two sees the other.

    Raises:
        UserError: a living process holds one of the locks.
    """
    for lock in (path for path in folder.glob(_name("*")) if path.name in locks):
        holder = _read(lock)
        if holder is not None and not _has_ended(holder):
            raise _held(lock, holder)


def _take(lock: Path) -> dict[str, Any]:
    """Put a lock of this process in its place, in one step."""
    process = psutil.Process()
    own = {
        "pid": process.pid,
        "host": socket.gethostname(),
        "since": strftime("%Y-%m-%d %H:%M:%S", localtime()),
        "started": process.create_time(),
        "mark": uuid4().hex,
    }
    while not _placed(lock, json_text(own)):
        holder = _read(lock)
        if holder is None:  # it went in this moment
            continue
        if not _has_ended(holder):
            raise _held(lock, holder)
        logger.warning("%s: was left by %s, which has ended; taken over", lock.parent, _who(holder))
        _clear(lock, holder)
    return own


def _placed(lock: Path, text: str) -> bool:
    """Write the lock whole, unless there is one."""
    draft = lock.with_name(f"{lock.name}-{uuid4().hex[:8]}")
    try:
        draft.write_text(text, encoding="utf-8")
        os.link(draft, lock)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links, or without space
        return _written(lock, text)
    finally:
        draft.unlink(missing_ok=True)
    return True


def _written(lock: Path, text: str) -> bool:
    """Write the lock, unless there is one; an unfinished one would be taken for somebody else's, and is removed."""
    made = False
    try:
        with lock.open("x", encoding="utf-8") as file:
            made = True
            file.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        if made:
            lock.unlink(missing_ok=True)
        raise UserError(
            f"{lock}: cannot be written ({reason(error)}); free space or choose another place with --out"
        ) from None
    return True


def _clear(lock: Path, holder: dict[str, Any]) -> None:
    """Remove the lock of a dead process, and no other that has come in its place."""
    aside = lock.with_name(f"{lock.name}-{uuid4().hex[:8]}")
    with suppress(FileNotFoundError):
        lock.rename(aside)
        if _read(aside) != holder:
            with suppress(OSError):
                os.link(aside, lock)
        aside.unlink(missing_ok=True)


def _read(lock: Path) -> dict[str, Any] | None:
    """What a lock says; an empty mapping if it says nothing, None if there is none."""
    try:
        said = json.loads(lock.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _has_ended(holder: dict[str, Any]) -> bool:
    """Whether a lock's process of this machine is no more; of another machine that is not known."""
    pid, started = holder.get("pid"), holder.get("started")
    if holder.get("host") != socket.gethostname() or not isinstance(pid, int) or not isinstance(started, float):
        return False
    try:
        process = psutil.Process(pid)
        return process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - started) > SAME_START
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return True
    except psutil.AccessDenied:
        return False


def _held(lock: Path, holder: dict[str, Any]) -> UserError:
    return UserError(
        f"{lock.parent}: {_who(holder)} is writing here; wait for it or choose another --out "
        f"(if it no longer runs, remove {lock})"
    )


def _who(holder: dict[str, Any]) -> str:
    if not holder:
        return "a process that does not say its number"
    return f"process {holder.get('pid')} on {holder.get('host')} (since {holder.get('since')})"
