"""Scores as rows, their statistics, and the tables that are written and shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fsmnet.errors import listed
from fsmnet.evaluation.options import EvaluateConfig
from fsmnet.evaluation.statistics import confidence_interval, patient_means
from fsmnet.files import csv_text
from fsmnet.metrics import Metrics
from fsmnet.options import portable
from fsmnet.physics.masks import MaskRecipe

METRICS_COLUMNS = [
    *("model", "case", "patient", "slice", "slices", "acceleration", "achieved", "protocol"),
    *("psnr", "ssim", "nmse", "head_psnr", "head_ssim", "head_nmse", "seen"),
]


@dataclass(frozen=True)
class Row:
    """Scores of one slice or one volume.

    Attributes:
        model: name, as it was given.
        case: name.
        slice: its number; None for a volume.
        metrics: the scores.
        head: the scores inside the head, see :mod:`fsmnet.data.head`; None where they were not taken.
        acquisition: kind of the target, where the protocol tells kinds apart.
        patient: whose scan the case is.
        seen: side of the split of the model's training on which the case was; ``no`` if on none, empty if not known.
        slices: how many the scores are of.
        achieved: acceleration of the case's mask.
    """

    model: str
    case: str
    slice: int | None
    metrics: Metrics
    acquisition: str = ""
    patient: str = ""
    seen: str = ""
    head: Metrics | None = None
    slices: int = 1
    achieved: float = math.nan


def summarise(rows: Sequence[Row], config: EvaluateConfig, recipe: MaskRecipe) -> list[dict[str, Any]]:
    """What is told of each model."""
    summary = []
    for name in config.models:
        summary.append(
            {
                "model": name,
                "data": portable(config.data),
                "acceleration": recipe.acceleration,
                "protocol": config.protocol,
                **statistics([row for row in rows if row.model == name]),
            }
        )
    return summary


def statistics(rows: Sequence[Row]) -> dict[str, Any]:
    """Number of rows, mean and population standard deviation of their scores, and what they say of patients.

    What cannot be told is None: the mean where an image is identical and its PSNR infinite, the deviation of one row,
    the interval of fewer than three patients.
    """
    found: dict[str, Any] = {"n": len(rows)}
    table = np.array([[*row.metrics, *(row.head or (math.nan,) * 3)] for row in rows], dtype=np.float64)
    for name, values in zip(("psnr", "ssim", "nmse", "head_psnr", "head_ssim", "head_nmse"), table.T, strict=True):
        values = values[~np.isnan(values)]
        found[f"{name}_mean"] = _number(values.mean()) if len(values) else None
        if "nmse" not in name:
            told = len(values) > 1 and bool(np.isfinite(values).all())
            found[f"{name}_std"] = float(values.std()) if told else None
    patients = [row.patient or row.case for row in rows]
    for name, values in (("psnr", table.T[0]), ("ssim", table.T[1])):
        means = patient_means(values.tolist(), patients)
        found["patients"] = len(means)
        found[f"{name}_patient_mean"] = _number(sum(means.values()) / len(means))
        found[f"{name}_interval"] = confidence_interval(means)
    achieved = [row.achieved for row in rows if not math.isnan(row.achieved)]
    if achieved:
        kept = {"mean": sum(achieved) / len(achieved), "least": min(achieved), "most": max(achieved)}
        found["achieved_acceleration"] = {name: round(value, 4) for name, value in kept.items()}
    found["slices_scored"] = sum(row.slices for row in rows)
    return found


def by_acquisition(rows: Sequence[Row], model: str) -> dict[str, dict[str, Any]]:
    """Statistics of a model for every kind of target by itself."""
    kinds = sorted({row.acquisition for row in rows})
    return {kind: statistics([row for row in rows if (row.model, row.acquisition) == (model, kind)]) for kind in kinds}


def summary_lines(summary: Sequence[dict[str, Any]]) -> list[str]:
    """The summary as a table for people, with a line for every acquisition where there are several."""
    table: list[tuple[str, dict[str, Any]]] = []
    for row in summary:
        table.append((row["model"], row))
        kinds = row.get("acquisitions", {})
        table += [(f"  {kind}", part) for kind, part in kinds.items() if len(kinds) > 1]
    width = max(len("model"), *(len(name) for name, _ in table))
    heading = f"{'model':{width}}  {'n':>5}  {'PSNR (dB)':>14}  {'SSIM':>15}  {'NMSE':>8}"
    lines = [f"{heading}  {'head: PSNR':>14}  {'SSIM':>15}"]
    for name, row in table:
        inside = f"  {_spread(row, 'head_psnr', 2):>14}  {_spread(row, 'head_ssim', 3):>15}"
        whole = f"{_spread(row, 'psnr', 2):>14}  {_spread(row, 'ssim', 3):>15}  {row['nmse_mean']:>8.4f}"
        lines.append(f"{name:{width}}  {row['n']:>5}  {whole}{inside}")
    if any(row["psnr_interval"] for row in summary):
        lines.append("mean over patients, with its 95% interval:")
    for row in summary:
        if interval := row["psnr_interval"]:
            low, high = interval
            lines.append(f"{row['model']:{width}}  {row['psnr_patient_mean']:.2f} dB, {low:.2f} to {high:.2f}")
    for row in summary:
        if alone := row.get("without_auxiliary"):
            cases = f"{len(alone)} case{'s' * (len(alone) != 1)}"
            lines.append(f"{row['model']} did without the auxiliary in {cases}: {listed(alone)}")
    return lines


def circumstances(summary: Sequence[dict[str, Any]]) -> str:
    """What the scores of a summary are of: the protocol, what was asked of the masks and what they are, the slices."""
    first = summary[0]
    least, most = (f"{first['achieved_acceleration'][end]:.2f}x" for end in ("least", "most"))
    achieved = least if least == most else f"{least} to {most} (not all alike)"
    of = f"{first['slices_scored']} slice{'s' * (first['slices_scored'] != 1)}"
    asked = f"{first['acceleration']:g}x requested, {achieved} achieved"
    return f"protocol {first['protocol']}, {asked}, {of} of {first['patients']} patient{'s' * (first['patients'] != 1)}"


def _spread(row: Mapping[str, Any], name: str, digits: int) -> str:
    """Mean and deviation, as far as there are."""
    mean, std = row[f"{name}_mean"], row[f"{name}_std"]
    if mean is None:
        return "infinite" if "psnr" in name else "-"
    return f"{mean:.{digits}f}" + ("" if std is None else f" +- {std:.{digits}f}")


def table(rows: Sequence[Row], config: EvaluateConfig, recipe: MaskRecipe) -> str:
    """The rows as CSV."""
    lines: list[Sequence[object]] = [METRICS_COLUMNS]
    for row in rows:
        number = "" if row.slice is None else row.slice
        figures = [*row.metrics, *(row.head or (math.nan,) * 3)]
        kind = (row.slices, f"{recipe.acceleration:g}", _text(row.achieved, 4), config.protocol)
        lines.append([row.model, row.case, row.patient, number, *kind, *map(_text, figures), row.seen])
    return csv_text(lines)


def _text(value: float, digits: int = 10) -> str:
    """Enough digits for the summary to follow from them; empty where there is no figure."""
    return "" if math.isnan(value) else f"{value:.{digits}g}"


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
