"""The table of a list of exams: what became of each, in ``exams.csv`` and in words."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fsmnet.files import write_text

WAITING, DONE, SKIPPED, FAILED = "waiting", "done", "skipped", "failed"
COLUMNS = ("case", "status", "seconds", "reason")


@dataclass(frozen=True)
class Row:
    """A line of the table of results.

    Attributes:
        case: name of the exam.
        status: ``done``, ``skipped`` (done before and verified), ``failed``, or ``waiting``.
        seconds: time spent on it.
        reason: why it failed, or why it was done again; else empty.
    """

    case: str
    status: str = WAITING
    seconds: float = 0.0
    reason: str = ""


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write a table in one step."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**asdict(row), "seconds": f"{row.seconds:.2f}"} for row in rows)
    write_text(path, text.getvalue())


def read_rows(path: Path) -> list[Row]:
    """A table of ours; empty if it is not there yet."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [Row(r["case"], r["status"], float(r["seconds"]), r["reason"]) for r in csv.DictReader(file)]
    except FileNotFoundError:
        return []


def table_lines(rows: Sequence[Row]) -> list[str]:
    """The table for people, and how many of each there are."""
    width = max([len(row.case) for row in rows], default=0)
    lines = [f"{row.case:{width}}  {row.status:7}  {row.seconds:8.1f} s  {row.reason}".rstrip() for row in rows]
    counts = (f"{sum(row.status == status for row in rows)} {status}" for status in (DONE, SKIPPED, FAILED))
    return [*lines, f"{len(rows)} exams: {', '.join(counts)}"]
