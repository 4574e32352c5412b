"""The table of a list of exams: what became of each, in ``exams.csv`` and in words."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fsmnet.errors import UserError, first_line
from fsmnet.files import csv_text, from_cell, visible, write_text

TABLE = "exams.csv"
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
    cells = ((row.case, row.status, f"{row.seconds:.2f}", visible(row.reason)) for row in rows)
    write_text(path, csv_text([COLUMNS, *cells]))


def read_rows(path: Path) -> list[Row]:
    """A table of ours; empty if it is not there yet.

    Raises:
        UserError: another table, or a damaged one.
    """
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = csv.DictReader(file)
            return [Row(from_cell(r["case"]), r["status"], float(r["seconds"]), from_cell(r["reason"])) for r in rows]
    except FileNotFoundError:
        return []
    except (AttributeError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(
            f"{path}: not a table of exams as this command writes it ({first_line(error)}); move it away"
        ) from None


def table_lines(rows: Sequence[Row]) -> list[str]:
    """The table for people, and how many of each there are."""
    width = max([len(row.case) for row in rows], default=0)
    lines = [f"{row.case:{width}}  {row.status:7}  {row.seconds:8.1f} s  {row.reason}".rstrip() for row in rows]
    counts = (f"{sum(row.status == status for row in rows)} {status}" for status in (DONE, SKIPPED, FAILED))
    return [*lines, f"{len(rows)} exams: {', '.join(counts)}"]
