"""Scores as rows, their statistics, and the tables that are written and shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fsmnet.evaluation.options import EvaluateConfig
from fsmnet.metrics import Metrics
from fsmnet.physics.masks import MaskRecipe
from fsmnet.text import csv_text

METRICS_COLUMNS = ["model", "case", "patient", "slice", "acceleration", "protocol", "psnr", "ssim", "nmse", "seen"]


@dataclass(frozen=True)
class Row:
    """Scores of one slice or one volume.

    Attributes:
        model: name, as it was given.
        case: name.
        slice: its number; None for a volume.
        metrics: the scores.
        acquisition: kind of the target, where the protocol tells kinds apart.
        patient: whose scan the case is.
        seen: side of the split of the model's training on which the case was; ``no`` if on none, empty if not known.
    """

    model: str
    case: str
    slice: int | None
    metrics: Metrics
    acquisition: str = ""
    patient: str = ""
    seen: str = ""


def summarise(rows: Sequence[Row], config: EvaluateConfig, recipe: MaskRecipe) -> list[dict[str, Any]]:
    """Mean and population standard deviation per model."""
    summary = []
    for name in config.models:
        summary.append(
            {
                "model": name,
                "data": str(config.data),
                "acceleration": recipe.acceleration,
                "protocol": config.protocol,
                **statistics([row for row in rows if row.model == name]),
            }
        )
    return summary


def statistics(rows: Sequence[Row]) -> dict[str, Any]:
    """Number of rows, mean and population standard deviation of their scores."""
    table = np.array([row.metrics for row in rows], dtype=np.float64)
    with np.errstate(invalid="ignore"):  # an identical slice has an infinite PSNR
        mean, std = table.mean(axis=0), table.std(axis=0)
    return {
        "n": len(table),
        "psnr_mean": _number(mean[0]),
        "psnr_std": _number(std[0]),
        "ssim_mean": _number(mean[1]),
        "ssim_std": _number(std[1]),
        "nmse_mean": _number(mean[2]),
    }


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
    lines = [f"{'model':{width}}  {'n':>5}  {'PSNR (dB)':>14}  {'SSIM':>15}  {'NMSE':>8}"]
    for name, row in table:
        psnr = "infinite" if row["psnr_mean"] is None else f"{row['psnr_mean']:.2f} +- {row['psnr_std']:.2f}"
        ssim = f"{row['ssim_mean']:.3f} +- {row['ssim_std']:.3f}"
        lines.append(f"{name:{width}}  {row['n']:>5}  {psnr:>14}  {ssim:>15}  {row['nmse_mean']:>8.4f}")
    return lines


def table(rows: Sequence[Row], config: EvaluateConfig, recipe: MaskRecipe) -> str:
    """The rows as CSV."""
    lines: list[Sequence[object]] = [METRICS_COLUMNS]
    for row in rows:
        number = "" if row.slice is None else row.slice
        figures = (f"{figure:.10g}" for figure in row.metrics)  # enough for the summary to follow from them
        kind = (f"{recipe.acceleration:g}", config.protocol)
        lines.append([row.model, row.case, row.patient, number, *kind, *figures, row.seen])
    return csv_text(lines)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
