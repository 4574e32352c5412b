"""Damaged files read in processes with limits of time and memory, and what came of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PATIENCE = 600.0  # seconds for one file, before its reader counts as hanging; a start on a busy machine is within


def fuzz(reader: str, count: int, folder: Path, first: int = 0) -> tuple[Counter[str], list[str], int]:
    """Read damaged files.

    Args:
        reader: one of :data:`fuzz.readers.READERS`.
        count: of files.
        folder: an empty one.
        first: seed of the first.

    Returns:
        Files by outcome (read, refused, and what should not be: unclear, unexpected, hung, died), a line for each of
        the latter, and the most memory in MiB.
    """
    folder.mkdir(parents=True, exist_ok=True)
    progress, seed, told = folder / "progress", first, []
    outcomes: Counter[str] = Counter()
    memory = 0
    while seed < first + count:
        progress.write_text("")
        ended = _run(reader, seed, first + count - seed, folder)
        lines = [json.loads(line) for line in progress.read_text().splitlines()]
        for line in lines:
            if "outcome" in line:
                outcomes[line["outcome"]] += 1
                memory = max(memory, line["memory_mib"])
                if line["outcome"] not in ("read", "refused"):
                    told.append(f"{reader} {line['seed']}: {line['outcome']}: {line['words']}")
        if ended == "done":
            break
        if not lines:
            raise RuntimeError(f"the worker for {reader} did not start: {ended}")
        seed = lines[-1]["seed"]
        if "outcome" not in lines[-1]:
            outcomes[ended.split(":")[0]] += 1
            told.append(f"{reader} {seed}: {ended}")
        seed += 1
    return outcomes, told, memory


def _run(reader: str, first: int, count: int, folder: Path) -> str:
    """One process, until it is done, dies, or reads one file for too long."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, sys.path)])}
    command = [sys.executable, str(TESTS / "fuzz" / "worker.py"), reader, str(first), str(count), str(folder)]
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(command, env=environment | {"OMP_NUM_THREADS": "1"}, stderr=errors, stdout=errors)
        size, since = -1, time.monotonic()
        while process.poll() is None:
            time.sleep(0.1)
            if (now := (folder / "progress").stat().st_size) != size:
                size, since = now, time.monotonic()
            if time.monotonic() - since > PATIENCE:
                process.kill()
                process.wait()
                return "hung"
    words = (folder / "errors").read_text()[-300:]
    return "done" if process.returncode == 0 else f"died: {process.returncode} {words}"


if __name__ == "__main__":  # harness.py READER COUNT FOLDER [FIRST]
    outcomes, told, memory = fuzz(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int((sys.argv[4:] or [0])[0]))
    sys.stdout.write("\n".join(told[:60]) + f"\n{sys.argv[1]}: {dict(outcomes)}, {memory} MiB\n")
