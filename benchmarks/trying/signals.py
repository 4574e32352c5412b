"""SIGTERM and SIGINT to every command that takes a while, at random moments."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from .disk import COMMANDS, prepare
from .forked import begun
from .registry import trial

SIGNALS = (signal.SIGTERM, signal.SIGINT)
TRIED = ("train", "reconstruct", "reconstruct --pairs", "evaluate", "compare", "export .pt2", "calibrate", "demo")
INTERRUPTED = 130
SOON = 1e-3  # seconds after the lock that every command takes longer than


@trial("signals", "SIGTERM and SIGINT to every command that takes a while, at random moments of its work", count=3)
def signals(folder: Path, count: int) -> dict[str, Any]:
    """So many of each to each command; a command that is done before the signal comes is asked again, later less."""
    prepare(folder)
    chance, seen, slowest = random.Random(0), Counter[str](), 0.0
    for name in TRIED:
        words = [*COMMANDS[name], "--iterations", "1000"] if name in ("train", "compare") else COMMANDS[name]
        late = 4.0  # seconds after the lock, at most
        for number in SIGNALS * count:
            while (met := interrupted(folder, words, number, chance.uniform(0, late))) is None:
                late /= 2
                if late < SOON:
                    raise RuntimeError(f"{name} was never met while it held its place")
            code, seconds, said, left = met
            seen.update(sent=1, code=code == INTERRUPTED, words=in_words(said), left=len(left))
            slowest = max(slowest, seconds)
    sent = seen["sent"]
    return {
        "commands": len(TRIED),
        "signals": sent,
        "exit code 130": seen["code"],
        "told in words": seen["words"],
        "locks and unfinished files left": seen["left"],
        "slowest end in seconds": round(slowest, 1),
        "held": seen["code"] == seen["words"] == sent and not seen["left"],
    }


def interrupted(
    folder: Path, words: list[str], number: signal.Signals, after: float
) -> tuple[int, float, str, list[Path]] | None:
    """Exit code, seconds until the end, what was said and what is left; None if the command was done before.

    Raises:
        RuntimeError: it failed before it was sent a signal.
    """
    out, said = folder / "OUT", folder / "errors"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    said.write_text("")
    process = begun(words, said, lambda: os.chdir(folder))
    while not (ended := _ended(process, said)) and not any(path.name.endswith(".lock") for path in out.rglob(".*")):
        time.sleep(0.01)
    if ended:
        return None
    time.sleep(after)
    if _ended(process, said):
        return None
    begin = time.monotonic()
    os.kill(process, number)
    _, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 0:  # it was at its end
        return None
    return code, time.monotonic() - begin, said.read_text(), list(out.rglob(".*"))


def _ended(process: int, said: Path) -> bool:
    """Whether a command is done; it must have done well."""
    done, status = os.waitpid(process, os.WNOHANG)
    if done and status:
        raise RuntimeError(said.read_text())
    return bool(done)


def in_words(said: str) -> bool:
    return "Traceback" not in said and ("interrupted" in said or "stopped" in said)
