"""Trials of reading: damaged files of every kind, in processes with limits of time and memory."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

from .registry import trial

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from fuzz.harness import fuzz
from fuzz.readers import READERS

MEMORY = 2048  # MiB


def damaged(reader: str, folder: Path, count: int) -> dict[str, Any]:
    outcomes, told, memory = fuzz(reader, count, folder)
    bad = {name: outcomes.get(name, 0) for name in ("unexpected", "unclear", "hung", "died")}
    for line in told:
        print(line, file=sys.stderr)
    good = {name: outcomes.get(name, 0) for name in ("read", "refused")}
    return {
        "files": sum(outcomes.values()),
        **good,
        **bad,
        "MiB": memory,
        "held": not any(bad.values()) and memory <= MEMORY and sum(outcomes.values()) == count,
    }


for name in READERS:
    trial(f"fuzz-{name}", f"damaged files for the reader of {name}", count=2000)(partial(damaged, name))
