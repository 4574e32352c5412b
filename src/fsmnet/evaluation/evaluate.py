"""Scores of several models on the same slices with the same masks."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from fsmnet.checkpoint import open_model
from fsmnet.data.formats.fastmri import write_submission
from fsmnet.data.split import load_split
from fsmnet.errors import UserError
from fsmnet.evaluation.options import EvaluateConfig
from fsmnet.evaluation.picture import comparison_picture
from fsmnet.files import write_text
from fsmnet.inference.device import choose_device
from fsmnet.inference.optimise import chosen_precision, optimise
from fsmnet.inference.options import check_batch
from fsmnet.inference.slices import reconstruct_slices
from fsmnet.metrics import Metrics
from fsmnet.models.classical import ZeroFilling
from fsmnet.options import by_name
from fsmnet.physics.masks import MaskRecipe, save_mask
from fsmnet.protocols import get_protocol
from fsmnet.protocols.cases import Case, Slices
from fsmnet.transforms import to_unit

logger = logging.getLogger(__name__)

METRICS_COLUMNS = ["model", "case", "slice", "acceleration", "protocol", "psnr", "ssim", "nmse"]


@dataclass(frozen=True)
class Row:
    """Scores of one slice (``brats``) or one volume (``float`` and ``fastmri``; ``slice`` is None)."""

    model: str
    case: str
    slice: int | None
    metrics: Metrics
    acquisition: str = ""


@by_name(EvaluateConfig)
def evaluate(config: EvaluateConfig) -> list[dict[str, Any]]:
    """Score models as configured; see :class:`fsmnet.evaluation.options.EvaluateConfig`.

    Writes ``metrics.csv`` (a row per slice or volume), ``summary.json``, the masks and ``picture.png``. In protocol
    ``fastmri`` also ``metrics_slices.csv``, and where ``submission`` says so the reconstructed volumes.

    Returns:
        The rows of ``summary.json``: a dictionary per model.

    Raises:
        UserError: a model, case or option that cannot be used.
    """
    protocol = get_protocol(config.protocol)
    recipe = protocol.mask_recipe(config)
    check_batch(config.batch)
    device = choose_device(config.device, config.threads)
    precision = chosen_precision(config.precision, device, config.optimise)
    models = {name: open_model(name, recipe).to(device) for name in config.models}
    if config.optimise:  # zero-filling has no weights, and is recognised by its class
        models = {
            name: model if isinstance(model, ZeroFilling) else optimise(model, precision)
            for name, model in models.items()
        }
    if config.submission is not None and not protocol.measured:
        raise UserError("submissions are fastMRI's; leave --submission out or choose --protocol fastmri")
    if config.data_consistency != "off" and not protocol.measured:
        raise UserError("only protocol fastmri has measured k-space; leave --data-consistency out")
    pairs = protocol.find_cases(config, config.out, _cases(config))
    out = config.out
    folders = _folders(config.models)
    rows: list[Row] = []
    single: list[Row] = []
    for number, pair in enumerate(pairs):
        case = protocol.accelerate(pair, recipe, resample=config.resample)
        slices, zero_filled, mask = case.slices, case.zero_filled, case.mask
        shown = _slice_to_show(config, pair, slices) if number == 0 else 0
        save_mask(mask, out / "masks" / f"{pair.case}.npz")
        logger.info(
            "%s (%d of %d): %d slices, mask %s", pair.case, number + 1, len(pairs), len(slices.numbers), mask.describe()
        )
        images: dict[str, Tensor] = {}
        for name, model in models.items():
            # Zero-filling is scored as it is stored: normalised and back, it would lose grey levels.
            images[name] = (
                zero_filled
                if isinstance(model, ZeroFilling)
                else reconstruct_slices(
                    model,
                    zero_filled,
                    slices.auxiliary,
                    protocol.normalisation,
                    finish=protocol.finish,
                    batch=config.batch,
                    device=device,
                    precision=precision,
                    progress=f"{pair.case}, {name}",
                    name=name,
                    auxiliary_zero_filled=case.auxiliary_zero_filled,
                )
            )
            if config.data_consistency == "hard" and not isinstance(model, ZeroFilling) and case.consistent is not None:
                images[name] = case.consistent(images[name])
            scores = protocol.score(slices.target, images[name])
            numbers: list[int | None] = [*slices.numbers] if protocol.unit == "slice" else [None]
            rows += [Row(name, pair.case, n, s, case.contrast) for n, s in zip(numbers, scores, strict=True)]
            planes = protocol.score_planes(slices, images[name])
            single += [Row(name, pair.case, number, scored, case.contrast) for number, scored in planes.items()]
            if config.submission is not None:
                if case.left_out and name == config.models[0]:
                    count = len(slices.numbers)
                    logger.warning(
                        "%s: the submission has %d of %d slices, as many as the auxiliary",
                        pair.case,
                        count,
                        count + case.left_out,
                    )
                write_submission(images[name], config.submission / folders[name] / f"{pair.case}.h5")
        if number == 0:
            _draw(config, pair, slices, shown, images, rows)
    summary = summarise(rows, config, recipe)
    write_text(out / "metrics.csv", _table(rows, config, recipe))
    if single:
        write_text(out / "metrics_slices.csv", _table(single, config, recipe))
        for entry in summary:
            entry["acquisitions"] = _by_acquisition(rows, entry["model"])
            entry["slices"] = _statistics([row for row in single if row.model == entry["model"]])
    write_text(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    return summary


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
                **_statistics([row for row in rows if row.model == name]),
            }
        )
    return summary


def _statistics(rows: Sequence[Row]) -> dict[str, Any]:
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


def _by_acquisition(rows: Sequence[Row], model: str) -> dict[str, dict[str, Any]]:
    """Statistics of a model for every kind of target by itself."""
    kinds = sorted({row.acquisition for row in rows})
    return {kind: _statistics([row for row in rows if (row.model, row.acquisition) == (model, kind)]) for kind in kinds}


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


def _cases(config: EvaluateConfig) -> list[str] | None:
    if config.split is None:
        return config.cases
    if config.cases is not None:
        raise UserError("give --cases or --split, not both")
    test = load_split(config.split).test
    if not test:
        raise UserError(f"{config.split}: the split keeps no case for testing; name some with --cases")
    return test


def _table(rows: Sequence[Row], config: EvaluateConfig, recipe: MaskRecipe) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(METRICS_COLUMNS)
    for row in rows:
        number = "" if row.slice is None else row.slice
        figures = (f"{figure:.10g}" for figure in row.metrics)  # enough for the summary to follow from them
        writer.writerow([row.model, row.case, number, f"{recipe.acceleration:g}", config.protocol, *figures])
    return text.getvalue()


def _slice_to_show(config: EvaluateConfig, pair: Case, slices: Slices) -> int:
    """Index among the prepared slices of the one in the picture."""
    if config.picture_slice is None:
        return get_protocol(config.protocol).slice_to_show(slices)
    if config.picture_slice not in slices.numbers:
        first, last = slices.numbers[0], slices.numbers[-1]
        raise UserError(f"slice {config.picture_slice} of {pair.case} has no content; choose one of {first} to {last}")
    return slices.numbers.index(config.picture_slice)


def _draw(
    config: EvaluateConfig, pair: Case, slices: Slices, index: int, images: dict[str, Tensor], rows: Sequence[Row]
) -> None:
    """Picture of one slice of the first case."""
    number = slices.numbers[index]
    titles = {name: _short(name, images) for name in images}
    by_model = {row.model: row.metrics for row in rows if row.case == pair.case and row.slice in (number, None)}
    comparison_picture(
        config.out / "picture.png",
        to_unit(slices.target[index]).numpy(),
        to_unit(slices.auxiliary[index]).numpy(),
        {titles[name]: to_unit(image[index]).numpy() for name, image in images.items()},
        {titles[name]: f"{m.psnr:.2f} dB, SSIM {m.ssim:.3f}" for name, m in by_model.items()},
        f"{pair.case}, slice {number}, {config.acceleration:g}x, protocol {config.protocol}",
    )


def _folders(names: Sequence[str]) -> dict[str, str]:
    """A folder's name for each model: that of its run, if it is a checkpoint, with more where two would share it."""
    forms: dict[str, list[str]] = {}
    for name in names:
        path = Path(name).absolute()
        run = path.parent.name
        forms[name] = [run, f"{run}_{path.stem}", "_".join(path.parts[1:])] if path.suffix else [name]
    taken = Counter(form for own in forms.values() for form in own)
    return {name: next((form for form in own if taken[form] == 1), own[-1]) for name, own in forms.items()}


def _short(name: str, names: Iterable[str]) -> str:
    """A checkpoint's run and file name, or all of it where that does not tell the columns apart."""
    if not Path(name).suffix:
        return name
    end = Path(name).parts[-2:]
    return "/".join(end) if sum(Path(other).parts[-2:] == end for other in names) == 1 else name


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
