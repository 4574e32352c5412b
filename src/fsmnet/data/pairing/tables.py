"""The pair table: which files of a folder belong together, and in words why the others were left out.

A table is a CSV file with the columns ``case,target,auxiliary,status,reason``; ``status`` is ``accepted`` or
``rejected``, and whoever disagrees edits it by hand. Paths below the table's folder are relative to it, so that the
folder can be moved. Where the files are DICOM folders, the columns ``target_series`` and ``auxiliary_series`` name the
series: its number, its UID or a part of its description, as ``fsmnet reconstruct --target-series`` takes it.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fsmnet.data.formats import format_of, read_volume, volume_stem
from fsmnet.data.formats.nifti import read_header
from fsmnet.data.grid import grid_difference
from fsmnet.data.options import PairConfig
from fsmnet.data.pairing.names import Pair, candidates
from fsmnet.data.volume import Volume
from fsmnet.errors import UserError, first_line
from fsmnet.files import keep_edited, reason, write_text

COLUMNS = ("case", "target", "auxiliary", "status", "reason")
SERIES_COLUMNS = ("target_series", "auxiliary_series")
ACCEPTED, REJECTED = "accepted", "rejected"

# Contrast -> BIDS suffix; t1ce is the one with a contrast agent (entity ``ce-``). Other names are taken as suffix.
BIDS_SUFFIXES = {"t1": "T1w", "t1ce": "T1w", "t2": "T2w", "flair": "FLAIR", "pd": "PDw"}

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


def propose_pairs(root: Path, target: str, auxiliary: str, same_grid: bool = True) -> list[Row]:
    """Candidate pairs below a folder with a verdict on each, sorted by case. Of NIfTI and DICOM only headers are read.

    Looked for are BraTS cases (as in :func:`fsmnet.data.pairing.names.find_pairs`) and BIDS files
    ``sub-*/[ses-*/]anat/*_T2w.nii.gz``, where subject and session make the case; or the patterns; or, where there is no
    such file, DICOM studies (see :func:`fsmnet.data.pairing.studies.propose_series`).

    Args:
        root: folder to look through.
        target: a contrast name (``t1``, ``t1ce``, ``t2``, ``flair``, a BIDS suffix), a pattern with ``{case}``, or for
            DICOM a part of the series' description.
        auxiliary: likewise, for the fully sampled contrast.
        same_grid: reject pairs on different grids; False accepts them and says so, for who resamples or registers.

    Raises:
        UserError: no folder, no file of either contrast, or names that cannot be meant.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the folder that holds the cases")
    if ("{case}" in target) != ("{case}" in auxiliary):
        raise UserError("give target and auxiliary both as contrast names or both as patterns with {case}")
    if target.lower() == auxiliary.lower():
        raise UserError(f"target and auxiliary are both {target}; name two contrasts")
    found = [_candidates(root, name) for name in (target, auxiliary)]
    if not any(found):
        if "{case}" not in target and _holds_dicom(root):
            from fsmnet.data.pairing.studies import propose_series

            return propose_series(root, target, auxiliary, same_grid)
        wanted = "files that match" if "{case}" in target else "DICOM series and BraTS or BIDS files of"
        hint = "; fastMRI's volumes need --layout fastmri" if any(root.rglob("*.h5")) else ""
        raise UserError(f"{root}: neither {target} nor {auxiliary} is there (looked for {wanted} these){hint}")
    cases = sorted(found[0].keys() | found[1].keys())
    return [_row(root, case, (target, auxiliary), found, same_grid) for case in cases]


def write_table(rows: Sequence[Row], path: Path) -> None:
    """Write rows as CSV in one step; paths below the table's folder relative to it, others absolute.

    Raises:
        UserError: the file cannot be written.
    """
    write_text(path, _text(rows, path.parent))


def _text(rows: Sequence[Row], folder: Path) -> str:
    """The table as CSV; the columns of series are there if a row has any."""
    with_series = any(row.target_series or row.auxiliary_series for row in rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS[:3], *(SERIES_COLUMNS if with_series else ()), *COLUMNS[3:]])
    for row in rows:
        files = [_portable(file, folder) for file in (row.target, row.auxiliary)]
        series = [row.target_series or "", row.auxiliary_series or ""] if with_series else []
        writer.writerow([row.case, *files, *series, ACCEPTED if row.accepted else REJECTED, row.reason])
    return text.getvalue()


def read_table(path: Path) -> list[Pair]:
    """The accepted pairs of a table, in its order. Whether the files are there is left to who reads them.

    The columns ``status`` (empty: accepted), ``reason`` and those of series may be missing, others are ignored.

    Raises:
        UserError: no such file, not a table, or a row that cannot be used.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such pair table; make one with 'fsmnet pair'")
    try:
        text = path.read_text(encoding="utf-8-sig")  # a spreadsheet may have put a mark in front
        reader = csv.DictReader(io.StringIO(text), strict=True)
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        rows = [(reader.line_num, row) for row in reader if not _is_empty(row)]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({reason(error)})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV file in UTF-8 ({first_line(error)}); save it again as such") from None
    if absent := [name for name in COLUMNS[:3] if name not in (reader.fieldnames or ())]:
        raise UserError(
            f"{path}: has no column {', '.join(absent)}; its first line must name {','.join(COLUMNS)}, with commas"
        )
    pairs = [pair for line, row in rows if (pair := _pair(row, f"{path}, line {line}", path.parent))]
    if not pairs:
        raise UserError(f"{path}: none of its {len(rows)} rows is accepted; its column reason says why")
    names = [pair.case for pair in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{path}: case {', '.join(twice)} is accepted twice; give every pair a name of its own")
    return pairs


def _is_empty(row: Mapping[str | Any, str | Any]) -> bool:
    """Whether a line holds nothing; spreadsheets leave such lines as commas."""
    return not "".join("".join(value) for value in row.values() if value).strip()


def _pair(row: dict[str, str | None], where: str, folder: Path) -> Pair | None:
    """A line of a table; None if it is rejected."""
    if None in row:
        raise UserError(f"{where}: has more values than there are columns; put a path with a comma in double quotes")
    status = (row.get("status") or "").strip().lower() or ACCEPTED
    if status == REJECTED:
        return None
    if status != ACCEPTED:
        raise UserError(f"{where}: status is {status!r}; write {ACCEPTED} or {REJECTED}")
    case, target, auxiliary = ((row[name] or "").strip() for name in COLUMNS[:3])
    for name, value in zip(COLUMNS[:3], (case, target, auxiliary), strict=True):
        if not value:
            raise UserError(f"{where}: accepted, but its {name} is empty; fill it in or write {REJECTED}")
    series = [(row.get(name) or "").strip() or None for name in SERIES_COLUMNS]
    return Pair(case, folder / target, folder / auxiliary, series[0], series[1])


def _portable(file: Path | None, folder: Path) -> str:
    """A path as the table has it: relative to its folder if below, else absolute; with / on every system."""
    if file is None:
        return ""
    inside, base = (Path(os.path.normpath(path.absolute())) for path in (file, folder))
    return (inside.relative_to(base) if inside.is_relative_to(base) else inside).as_posix()


def _row(root: Path, case: str, names: tuple[str, str], found: Sequence[dict[str, list[Path]]], same_grid: bool) -> Row:
    """The verdict on a case, from the files found for its two contrasts."""
    files: list[Path | None] = []
    problems: list[str] = []
    volumes: list[Volume | None] = []
    for name, cases in zip(names, found, strict=True):
        paths = cases.get(case, [])
        files.append(paths[0] if len(paths) == 1 else None)
        try:
            if len(paths) != 1:
                raise UserError(_choice(root, case, name, cases))
            volumes.append(_header(paths[0], root))
        except UserError as error:
            problems.append(str(error))
            volumes.append(None)
    target, auxiliary = volumes
    accepted, note = not problems, "; ".join(problems)
    if target is not None and auxiliary is not None:
        if files[0] == files[1]:
            accepted, note = False, f"target and auxiliary are one file, {target.source}"
        elif difference := grid_difference(target, auxiliary):
            accepted = not same_grid
            note = f"{difference}; {REMEDY}"
    shapes = [None if volume is None else volume.shape for volume in volumes]
    return Row(case, files[0], files[1], accepted, note, shapes[0], shapes[1])


def _choice(root: Path, case: str, name: str, cases: dict[str, list[Path]]) -> str:
    """Why a contrast of a case is not one file: there is none, or there are several."""
    if paths := cases.get(case):
        shown = ", ".join(_inside(path, root) for path in paths)
        return f"{len(paths)} candidates for {name}: {shown}; keep one, or narrow it down with a pattern"
    subject, _, session = case.partition("_ses-")
    others = [other for other in cases if session and other.startswith(f"{subject}_ses-")]
    return f"no {name} of this case" + (f"; that of {', '.join(others)} is another session's" if others else "")


def _header(path: Path, root: Path) -> Volume:
    """A volume for its shape and affine, of NIfTI without voxels; its source is relative to ``root``."""
    name = _inside(path, root)
    if part := _misplaced(path.relative_to(root)):
        raise UserError(f"{name}: lies in the folder of {part}, which its name does not say; move or rename it")
    if (form := format_of(path)) is not None and form.name != "nifti":
        return replace(read_volume(path), source=Path(name))
    return read_header(path, name)


def _misplaced(path: Path) -> str:
    """BIDS: the subject or session of a path's folders that the file's name contradicts; empty if there is none."""
    entities = volume_stem(path).split("_")
    for part in path.parts[:-1] if path.parent.name == "anat" else ():
        kind = part.partition("-")[0]
        others = [entity for entity in entities if entity.startswith(f"{kind}-")]
        if kind in ("sub", "ses") and others and part not in others:
            return part
    return ""


def _inside(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _holds_dicom(root: Path) -> bool:
    """Whether a file below a folder has DICOM's mark, four letters behind 128 bytes; looked for in visible ones."""
    for path in root.rglob("*"):
        if not any(part.startswith(".") for part in path.relative_to(root).parts) and path.is_file():
            with path.open("rb") as file:
                if file.read(132)[128:] == b"DICM":
                    return True
    return False


def _candidates(root: Path, name: str) -> dict[str, list[Path]]:
    """Files of a contrast, or of a pattern, by case; more than one where it is not clear which is meant."""
    found: dict[str, list[Path]] = {}
    for case, path in (*(() if "{case}" in name else _bids_files(root, name)), *candidates(root, name)):
        found.setdefault(case, []).append(path)
    return found


def _bids_files(root: Path, contrast: str) -> Iterator[tuple[str, Path]]:
    """``(case, file)`` of a contrast in BIDS; the case is the subject, ``sub-01``, or ``sub-01_ses-02``."""
    suffix = BIDS_SUFFIXES.get(contrast.lower(), contrast).lower()
    for folder in sorted([*root.glob("sub-*/anat"), *root.glob("sub-*/ses-*/anat")]):
        case = "_".join(folder.relative_to(root).parts[:-1])
        for path in sorted(folder.iterdir()):
            *entities, last = volume_stem(path).split("_")
            enhanced = any(entity.startswith("ce-") for entity in entities)
            wanted = contrast.lower() not in BIDS_SUFFIXES or enhanced == (contrast.lower() == "t1ce")
            if wanted and last.lower() == suffix and path.name.endswith((".nii", ".nii.gz")):
                yield case, path


def command(config: PairConfig) -> int:
    """``fsmnet pair``; exit code 3 if no pair can be used."""
    if config.layout == "fastmri":
        from fsmnet.data.pairing import content

        return content.command(config)
    rows = propose_pairs(config.data, config.target, config.auxiliary, same_grid=not config.resample)
    if not config.overwrite:
        keep_edited(config.out, _text(rows, config.out.parent))
    write_table(rows, config.out)
    for row in rows:
        print(f"{ACCEPTED if row.accepted else REJECTED}  {row.case}" + (f": {row.reason}" if row.reason else ""))
    n_accepted = sum(row.accepted for row in rows)
    print(f"{config.out}: {n_accepted} of {len(rows)} pairs can be used")
    return 0 if n_accepted else 3
