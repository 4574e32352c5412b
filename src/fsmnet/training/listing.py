"""The runs below a folder: what each trains, how far it is, how good, and whether somebody is at it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsmnet.data.find import files_below, require_folder
from fsmnet.errors import UserError
from fsmnet.inference.alone import holder
from fsmnet.options import build, load_yaml, options_of
from fsmnet.training.log import rows_until
from fsmnet.training.options import TrainConfig
from fsmnet.training.schedule import Progress, Schedule

RUNNING, FINISHED, STOPPED = "running", "finished", "stopped"


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        name: its folder, from the one that was looked through.
        model: what is trained.
        protocol: how it is scored.
        acceleration: that is asked for.
        state: ``running`` (somebody holds the folder), ``finished``, or ``stopped``.
        by: who is at it; empty if nobody.
        step: steps taken so far, as far as ``log.csv`` tells.
        share: of the budget, 0 to 1.
        seconds: spent on it.
        seconds_left: until the budget is spent, at the speed so far; None if it is, or nothing is known.
        best_psnr: highest validation PSNR, in dB; None without a validation.
        best_step: when that was.
    """

    name: str
    model: str
    protocol: str
    acceleration: float
    state: str
    by: str
    step: int
    share: float
    seconds: float
    seconds_left: float | None
    best_psnr: float | None
    best_step: int


def find_runs(folder: Path) -> tuple[list[Run], list[str]]:
    """Every run below a folder, and what stands in the way of others.

    Raises:
        UserError: there is no such folder.
    """
    require_folder(folder, "give the one that holds the runs")
    runs, faults = [], []
    for found in files_below(folder, ("config.yaml",)):
        if found.place.name != "config.yaml" or not (found.place.parent / "split.json").exists():
            continue
        try:
            runs.append(_run(found.place.parent, folder))
        except UserError as error:
            faults.append(str(error))
    return runs, faults


def _run(place: Path, root: Path) -> Run:
    config = _config(place)
    rows = rows_until(place / "log.csv", _ALL) if (place / "log.csv").exists() else []
    progress = _progress(rows)
    schedule = Schedule(config, _slices(config, rows))
    share, by = schedule.share_done(progress), holder(place)
    over = bool(rows) and (share >= 1 or schedule.stale(progress))
    left = None if over or not rows else schedule.seconds_left(progress)
    return Run(
        name=place.relative_to(root).as_posix(),
        model=config.model,
        protocol=config.protocol,
        acceleration=config.acceleration,
        state=RUNNING if by else FINISHED if over else STOPPED,
        by=by,
        step=progress.step,
        share=share,
        seconds=progress.seconds,
        seconds_left=left if left is not None and math.isfinite(left) else None,
        best_psnr=progress.best_psnr if progress.best_step else None,
        best_step=progress.best_step,
    )


_ALL = 1 << 62  # steps


def _config(place: Path) -> TrainConfig:
    """The options of a run; those that this version does not know are passed over."""
    file = place / "config.yaml"
    try:
        said = load_yaml(file.read_text(encoding="utf-8"))
    except Exception:  # of many kinds, by what is wrong with it
        raise UserError(f"{file}: not the configuration of a run") from None
    known = {one.name for one in options_of(TrainConfig)}
    values: dict[str, Any] = {k: v for k, v in said.items() if k in known} if isinstance(said, dict) else {}
    try:
        return build(TrainConfig, values)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _progress(rows: Sequence[Sequence[str]]) -> Progress:
    """Where a run stands by its rows; the pace is that between the last two."""
    if not rows:
        return Progress()
    scores = {int(row[0]): float(row[6]) for row in rows if row[6]}
    best = max(scores, key=lambda step: scores[step], default=0)
    (step, seconds), pace = (int(rows[-1][0]), float(rows[-1][2])), 0.0
    earlier = [(int(row[0]), float(row[2])) for row in rows if int(row[0]) < step]
    if earlier:
        pace = (seconds - earlier[-1][1]) / (step - earlier[-1][0])
    return Progress(step, seconds, scores.get(best, -math.inf), best, max(0.0, pace))


def _slices(config: TrainConfig, rows: Sequence[Sequence[str]]) -> int:
    """Training slices, as the steps of the finished passes tell; one pass of them is as exact as that is."""
    done = [(int(row[0]), int(row[1])) for row in rows if int(row[1])]
    return max(1, done[-1][0] * config.batch // done[-1][1]) if done else 1 << 31
