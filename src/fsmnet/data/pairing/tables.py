"""The pair table, written and read: which files belong together, and in words why others do not.

A table is a CSV file (see :func:`fsmnet.files.read_csv`) with the columns ``case,target,auxiliary,status,reason``;
``status`` is ``accepted`` or ``rejected``, and whoever disagrees edits it by hand. Paths below the table's folder are
relative to it, so that the folder can be moved. Where the files are DICOM folders, the columns ``target_series`` and
``auxiliary_series`` name the series: its number, its UID or a part of its description, as ``fsmnet reconstruct
--target-series`` takes it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from fsmnet.data.pairing.names import Pair
from fsmnet.errors import UserError
from fsmnet.files import csv_text, file_name, from_cell, is_utf8, read_csv, visible, write_text

COLUMNS = ("case", "target", "auxiliary", "status", "reason")
SERIES_COLUMNS = ("target_series", "auxiliary_series")
ACCEPTED, REJECTED = "accepted", "rejected"

REMEDY = "bring the auxiliary onto the target's grid with --resample or --register rigid"

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Row:
    """One case of the table.

    Attributes:
        case: its name.
        target: file of the contrast to be accelerated, or DICOM folder; None if there is none, or no single one.
        auxiliary: file of the fully sampled one, likewise.
        accepted: whether the two can be used.
        reason: why not, or what has to be done first; empty if there is nothing to say.
        target_shape: voxels along the file's axes (i, j, k); None if unknown.
        auxiliary_shape: likewise.
        target_series: which series of the DICOM folder; None for a file.
        auxiliary_series: likewise.
    """

    case: str
    target: Path | None
    auxiliary: Path | None
    accepted: bool
    reason: str = ""
    target_shape: Shape | None = None
    auxiliary_shape: Shape | None = None
    target_series: str | None = None
    auxiliary_series: str | None = None


def write_table(rows: Sequence[Row], path: Path) -> None:
    """Write rows as CSV in one step; paths below the table's folder relative to it, others absolute.

    Raises:
        UserError: the file cannot be written.
    """
    write_text(path, table_text(rows, path.parent))


def table_text(rows: Sequence[Row], folder: Path) -> str:
    """The table as CSV for a file of that folder; the columns of series are there if a row has any."""
    with_series = any(row.target_series or row.auxiliary_series for row in rows)
    lines: list[Sequence[object]] = [[*COLUMNS[:3], *(SERIES_COLUMNS if with_series else ()), *COLUMNS[3:]]]
    for row in rows:
        files = [_portable(file, folder) for file in (row.target, row.auxiliary)]
        series = [row.target_series or "", row.auxiliary_series or ""] if with_series else []
        lines.append([row.case, *files, *series, ACCEPTED if row.accepted else REJECTED, visible(row.reason)])
    return csv_text(lines)


def read_table(path: Path) -> list[Pair]:
    """The accepted pairs of a table, in its order. Whether the files are there is left to who reads them.

    The columns ``status`` (empty: accepted), ``reason`` and those of series may be missing, others are ignored.

    Raises:
        UserError: no such file, not a table, or a row that cannot be used.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give the table that 'fsmnet pair' makes of it")
    if not path.is_file():
        raise UserError(f"{path}: no such pair table; make one with 'fsmnet pair'")
    (_, header), *rows = read_csv(path) or [(0, [])]
    names = [name.strip() for name in header]
    if absent := [name for name in COLUMNS[:3] if name not in names]:
        raise UserError(f"{path}: has no column {', '.join(absent)}; its first line must name {','.join(COLUMNS)}")
    pairs = [pair for line, row in rows if (pair := _pair(names, row, f"{path}, line {line}", path.parent))]
    if not pairs:
        raise UserError(f"{path}: none of its {len(rows)} rows is accepted; its column reason says why")
    cases = [pair.case for pair in pairs]
    if twice := sorted({case for case in cases if cases.count(case) > 1}):
        raise UserError(f"{path}: case {', '.join(twice)} is accepted twice; give every pair a name of its own")
    return pairs


def _pair(names: Sequence[str], values: Sequence[str], where: str, folder: Path) -> Pair | None:
    """A line of a table; None if it is rejected."""
    if len(values) > len(names):
        raise UserError(
            f"{where}: has more values than there are columns; put a path with a comma or semicolon in double quotes"
        )
    row = {name: value.strip() for name, value in zip_longest(names, values, fillvalue="")}
    status = row.get("status", "").lower() or ACCEPTED
    if status == REJECTED:
        return None
    if status != ACCEPTED:
        raise UserError(f"{where}: status is {status!r}; write {ACCEPTED} or {REJECTED}")
    case, target, auxiliary = (from_cell(row[name]) for name in COLUMNS[:3])
    for name, value in zip(COLUMNS[:3], (case, target, auxiliary), strict=True):
        if not value:
            raise UserError(f"{where}: accepted, but its {name} is empty; fill it in or write {REJECTED}")
    series = [from_cell(row.get(name, "")) or None for name in SERIES_COLUMNS]
    return Pair(file_name(case), folder / file_name(target), folder / file_name(auxiliary), series[0], series[1])


def _portable(file: Path | None, folder: Path) -> str:
    """A path as the table has it: relative to its folder if below, else absolute; with / on every system."""
    if file is None:
        return ""
    inside, base = (Path(os.path.normpath(path.absolute())) for path in (file, folder))
    name = (inside.relative_to(base) if inside.is_relative_to(base) else inside).as_posix()
    return name if is_utf8(name) else visible(name)
