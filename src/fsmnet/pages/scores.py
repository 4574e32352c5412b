"""The sections of an evaluation and of a comparison: what each method reaches, for whom, in what time."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fsmnet.data.patients import patient_of
from fsmnet.errors import UserError
from fsmnet.evaluation.compare import folder_of
from fsmnet.evaluation.statistics import confidence_interval, patient_means
from fsmnet.files import from_cell, parse_json
from fsmnet.pages.charts import Chart, curves, dots, image_source, scatter
from fsmnet.pages.tables import Cell, cell

Points = list[tuple[float, float]]

MOST_PICTURE = 3_000_000  # bytes of a picture that is put into the page


def is_evaluation(folder: Path) -> bool:
    """Whether ``fsmnet evaluate`` (or ``demo``) wrote a folder."""
    return (folder / "summary.json").is_file() and (folder / "metrics.csv").is_file()


def is_comparison(folder: Path) -> bool:
    """Whether ``fsmnet compare`` wrote a folder."""
    return (folder / "table.csv").is_file() and (folder / "compare.yaml").is_file()


def evaluation_section(folder: Path) -> dict[str, Any]:
    """What the template takes of an evaluation.

    Raises:
        UserError: a damaged table.
    """
    summary = _summary(folder)
    titles = {row["model"]: str(row.get("title") or row["model"]) for row in summary}
    means = _means(_rows(folder / "metrics.csv"), titles)
    headings = ["Method", "n", "PSNR (dB)", "95% interval", "SSIM", "NMSE", "head: PSNR", "head: SSIM", "s per slice"]
    rows = []
    for row in summary:
        rows.append(
            [
                Cell(titles[row["model"]]),
                cell(row["n"], 0),
                cell(row["psnr_mean"], 2, infinite=True, spread=row["psnr_std"]),
                _interval(row["psnr_interval"]),
                cell(row["ssim_mean"], 4, spread=row["ssim_std"]),
                cell(row["nmse_mean"], 4),
                cell(row.get("head_psnr_mean"), 2),
                cell(row.get("head_ssim_mean"), 4),
                cell(_seconds_per_slice(row), 3),
            ]
        )
    times = {titles[row["model"]]: (_seconds_per_slice(row), row["psnr_mean"]) for row in summary}
    first = summary[0]
    return {
        "kind": "evaluation",
        "title": f"Evaluation, {first['acceleration']:g}x",
        "circumstances": _circumstances(first),
        "warnings": [_seen(titles[row["model"]], row) for row in summary if _seen(titles[row["model"]], row)]
        + [f"{titles[row['model']]}: {doubt}" for row in summary for doubt in row.get("doubts") or ()],
        "table": {
            "headings": headings,
            "rows": rows,
            "says": "Mean and standard deviation over all rows of metrics.csv; the interval is of the mean over "
            "patients (Student's t) and needs three. Press a heading to sort.",
        },
        "charts": [*_dots(means), *_time(times, "seconds per slice", [*means])],
        "pictures": _pictures(folder),
        "provenance": json.dumps(summary, indent=2),
    }


def comparison_section(folder: Path) -> dict[str, Any]:
    """What the template takes of a comparison.

    Raises:
        UserError: a damaged table.
    """
    lines = _rows(folder / "table.csv")
    headings = ["Method", "patients", "PSNR (dB)", "95% interval", "SSIM", "head: PSNR", "head: SSIM"]
    headings += ["p", "p (Holm)", "steps", "minutes", "s per slice"]
    rows: list[list[Cell]] = []
    means: dict[str, list[float]] = {}
    losses: dict[str, Points] = {}
    validated: dict[str, Points] = {}
    minutes: dict[str, tuple[float | None, float | None]] = {}
    seconds: dict[str, tuple[float | None, float | None]] = {}
    for line in lines:
        name, run = line["method"], folder / folder_of(line["method"])
        figure = {key: _number(text) for key, text in line.items() if key != "method"}
        scores = run / "scores"
        speed = _seconds_per_slice(_summary(scores)[0]) if is_evaluation(scores) else None
        ends = (figure.get("psnr_low"), figure.get("psnr_high"))
        rows.append(
            [
                Cell(name),
                cell(figure.get("patients"), 0),
                cell(figure.get("psnr_mean"), 2, spread=figure.get("psnr_std")),
                _interval(None if None in ends else ends),
                cell(figure.get("ssim_mean"), 4, spread=figure.get("ssim_std")),
                cell(figure.get("head_psnr_mean"), 2),
                cell(figure.get("head_ssim_mean"), 4),
                *(cell(figure.get(key), 3) for key in ("p", "p_holm")),
                cell(figure.get("steps"), 0),
                cell(figure.get("minutes"), 1),
                cell(speed, 3),
            ]
        )
        minutes[name], seconds[name] = (
            (figure.get("minutes"), figure.get("psnr_mean")),
            (speed, figure.get("psnr_mean")),
        )
        if (scores / "metrics.csv").is_file():
            means |= _means(_rows(scores / "metrics.csv"), None, name)
        if (run / "log.csv").is_file():
            losses[name], validated[name] = _training(run / "log.csv")
    note = (folder / "table.md").read_text(encoding="utf-8").strip().splitlines()[-1] if lines else ""
    trained = {name: point for name, point in minutes.items() if point[0]}
    return {
        "kind": "comparison",
        "title": "Comparison",
        "circumstances": note,
        "warnings": [],
        "table": {"headings": headings, "rows": rows, "says": "Press a heading to sort."},
        "charts": [
            *_dots(means),
            *_curves(losses, "loss", "Training: the loss, as the log has it.", [*means]),
            *_curves(validated, "validation PSNR (dB)", "Training: PSNR of the validation patients.", [*means]),
            *_time(trained, "minutes of training", [*means]),
            *_time(seconds, "seconds per slice", [*means]),
        ],
        "pictures": _pictures(folder, ("figure.png",)) + _extremes(folder, lines),
        "provenance": (folder / "compare.yaml").read_text(encoding="utf-8"),
    }


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a whole folder") from None
    return [{key: from_cell(value or "") for key, value in row.items()} for row in csv.DictReader(io.StringIO(text))]


def _summary(folder: Path) -> list[dict[str, Any]]:
    path = folder / "summary.json"
    try:
        summary = parse_json(path.read_text(encoding="utf-8"))
        if not (isinstance(summary, list) and summary and all("psnr_mean" in row for row in summary)):
            raise ValueError
    except (OSError, ValueError, TypeError):
        raise UserError(f"{path}: is no summary of 'fsmnet evaluate'; run it again") from None
    return summary


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) else value


def _means(
    rows: Sequence[Mapping[str, str]], titles: Mapping[str, str] | None, only: str = ""
) -> dict[str, list[float]]:
    """By method the means of its patients that are finite."""
    found: dict[str, list[float]] = {}
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [(row, value) for row in rows if row["model"] == model and (value := _number(row["psnr"])) is not None]
        patients = [row.get("patient") or patient_of(row["case"]) for row, _ in own]
        means = [value for value in patient_means([v for _, v in own], patients).values() if math.isfinite(value)]
        if means:
            found[only or (titles or {}).get(model, model)] = means
    return found


def _dots(means: Mapping[str, Sequence[float]]) -> list[Chart]:
    if not means:
        return []
    intervals = {name: confidence_interval(dict(enumerate(values))) for name, values in means.items()}  # type: ignore[arg-type]
    return [dots(means, intervals, "PSNR (dB)")]


def _curves(
    lines: Mapping[str, Sequence[tuple[float, float]]], up: str, says: str, order: Sequence[str]
) -> list[Chart]:
    told = {name: points for name, points in lines.items() if points}
    return [curves(told, "minutes of training", up, says, order)] if told else []


def _time(points: Mapping[str, tuple[float | None, float | None]], across: str, order: Sequence[str]) -> list[Chart]:
    told = {name: (x, y) for name, (x, y) in points.items() if x and y is not None and math.isfinite(y)}
    return [scatter(told, across, "PSNR (dB)", f"Quality against time: {across}.", order)] if len(told) > 1 else []


def _training(path: Path) -> tuple[Points, Points]:
    """Minutes with loss, and with validation PSNR."""
    loss: Points = []
    psnr: Points = []
    for row in _rows(path):
        minutes = _number(row.get("seconds", ""))
        for key, points in (("loss", loss), ("validation_psnr", psnr)):
            value = _number(row.get(key, ""))
            if minutes is not None and value is not None and math.isfinite(value):
                points.append((minutes / 60, value))
    return loss, psnr


def _interval(ends: Sequence[float | None] | None) -> Cell:
    if not ends or ends[0] is None or ends[1] is None:
        return Cell("")
    return Cell(f"{ends[0]:.2f} to {ends[1]:.2f}", repr(float(ends[0])))


def _seconds_per_slice(row: Mapping[str, Any]) -> float | None:
    seconds, slices = row.get("seconds"), row.get("slices_scored")
    return None if not seconds or not slices else float(seconds) / float(slices)


def _seen(title: str, row: Mapping[str, Any]) -> str:
    seen = row.get("seen_in_training") or {}
    cases = [case for cases in seen.values() for case in cases]
    return f"{title} had seen in its training: {', '.join(map(str, cases))}; its scores are too good." if cases else ""


def _circumstances(first: Mapping[str, Any]) -> str:
    achieved = first.get("achieved_acceleration") or {}
    kept = f", {achieved['mean']:.2f}x achieved" if "mean" in achieved else ""
    caveat = f" {first['caveat']}." if first.get("caveat") else ""
    count = first.get("slices_scored", first["n"])
    patients = first.get("patients", 1)
    asked = f"Protocol {first['protocol']}, {first['acceleration']:g}x requested{kept}"
    return f"{asked}, {count} slices of {patients} patient{'s' * (patients != 1)}.{caveat}"


SAYS = {
    "figure.png": "The slice of the figure for print, by all methods; below it zoomed, and the errors on one scale.",
    "picture.png": "One slice by all methods, and the errors on one scale.",
    "picture_worst.png": "The worst slice.",
    "picture_best.png": "The best slice.",
}


def _pictures(
    folder: Path, names: Sequence[str] = ("picture.png", "picture_worst.png", "picture_best.png")
) -> list[Chart]:
    found = []
    for name in names:
        path = folder / name
        if path.is_file() and path.stat().st_size <= MOST_PICTURE:
            kind = "chart wide" if name == "figure.png" else "dark"
            found.append({"source": image_source(path.read_bytes(), "png"), "says": SAYS[name], "kind": kind})
    return found


def _extremes(folder: Path, lines: Sequence[Mapping[str, str]]) -> list[Chart]:
    """The worst and the best slice of the method with the highest PSNR."""
    known = [line for line in lines if _number(line["psnr_mean"]) is not None]
    if not known:
        return []
    best = max(known, key=lambda line: _number(line["psnr_mean"]) or -math.inf)["method"]
    found = _pictures(folder / folder_of(best) / "scores", ("picture_worst.png", "picture_best.png"))
    return [{**one, "says": f"{best}: {one['says'].lower()}"} for one in found]
