"""Scores of several models on the same slices with the same masks."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fsmnet.checkpoint import header_of, load_model, shipped_checkpoint
from fsmnet.config import EvaluateConfig, MaskOptions, MaskRecipe, field_types
from fsmnet.data.datasets import prepared_slices
from fsmnet.data.pairs import Pair, find_pairs
from fsmnet.data.split import load_split
from fsmnet.errors import UserError
from fsmnet.files import write_text
from fsmnet.inference import choose_device, reconstruct_slices
from fsmnet.masks import save_mask
from fsmnet.metrics import Metrics, score
from fsmnet.models import MODELS, create_model
from fsmnet.models.zero_filling import ZeroFilling
from fsmnet.picture import comparison_picture
from fsmnet.protocols import Slices, check_protocol, to_unit, zero_fill

logger = logging.getLogger(__name__)

METRICS_COLUMNS = ["model", "case", "slice", "acceleration", "protocol", "psnr", "ssim", "nmse"]


@dataclass(frozen=True)
class Row:
    """Scores of one slice (``brats``) or one volume (``float``; ``slice`` is None)."""

    model: str
    case: str
    slice: int | None
    metrics: Metrics


def evaluate(config: EvaluateConfig) -> list[dict[str, Any]]:
    """Score models as configured; see :class:`fsmnet.config.EvaluateConfig`.

    Writes ``metrics.csv`` (a row per slice or volume), ``summary.json``, the masks and ``picture.png``.

    Returns:
        The rows of ``summary.json``: a dictionary per model.

    Raises:
        UserError: a model, case or option that cannot be used.
    """
    protocol = check_protocol(config.protocol)
    recipe = config.mask_recipe(protocol)
    if config.batch < 1:
        raise UserError(f"batch must be at least 1, not {config.batch}")
    device = choose_device(config.device, config.threads)
    models = {name: open_model(name, recipe).to(device) for name in config.models}
    pairs = find_pairs(config.data, config.target, config.auxiliary, _cases(config))
    out = config.out
    rows: list[Row] = []
    for number, pair in enumerate(pairs):
        slices = prepared_slices(pair, protocol, config.resample)
        mask = recipe.draw(slices.target.shape[-1], pair.target.name)
        shown = _slice_to_show(config, pair, slices) if number == 0 else 0
        save_mask(mask, out / "masks" / f"{pair.case}.npz")
        logger.info(
            "%s (%d of %d): %d slices, mask %s", pair.case, number + 1, len(pairs), len(slices.numbers), mask.describe()
        )
        zero_filled = zero_fill(slices.target, torch.from_numpy(mask.columns), protocol)
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
                    protocol,
                    batch=config.batch,
                    device=device,
                    precision=config.precision,
                    progress=f"{pair.case}, {name}",
                    name=name,
                )
            )
            scores = score(slices.target, images[name], protocol)
            numbers: list[int | None] = [*slices.numbers] if protocol == "brats" else [None]
            rows += [Row(name, pair.case, n, s) for n, s in zip(numbers, scores, strict=True)]
        if number == 0:
            _draw(config, pair, slices, shown, images, rows)
    summary = summarise(rows, config, recipe)
    write_text(out / "metrics.csv", _table(rows, config, recipe))
    write_text(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    return summary


def open_model(name: str, recipe: MaskRecipe | None = None) -> nn.Module:
    """Model in eval mode: a checkpoint's path, ``shipped`` for the weights of this package, or ``zero_filling``.

    Warns when a checkpoint was trained for other masks than ``recipe`` draws.
    """
    if name == "zero_filling":
        return create_model(name).eval()
    if name in MODELS:
        raise UserError(f"{name} is a model without weights; give a checkpoint of it from 'fsmnet train'")
    if name == "shipped":
        shipped = shipped_checkpoint()
        if shipped is None:
            raise UserError("this build carries no weights; give a checkpoint from 'fsmnet train'")
        model = load_model(shipped)
    elif Path(name).is_dir():
        raise UserError(f"{name}: is a folder; give a checkpoint in it, such as {Path(name) / 'best.safetensors'}")
    elif not Path(name).exists():
        raise UserError(f"{name}: neither a checkpoint file nor a model; models are {', '.join(MODELS)}")
    else:
        model = load_model(name)
    trained = trained_recipe(model)
    if recipe is not None and trained is not None and trained != recipe:
        logger.warning("%s was trained for other masks (%s) than these (%s)", name, trained, recipe)
    return model


def trained_recipe(model: nn.Module) -> MaskRecipe | None:
    """The masks a loaded model was trained with, from its header; None if it does not say."""
    training = header_of(model).training
    if "acceleration" not in training:
        return None
    names = [name for name, *_ in field_types(MaskOptions)]
    return MaskOptions(**{name: training[name] for name in names}).mask_recipe(training["protocol"])


def summarise(rows: Sequence[Row], config: EvaluateConfig, recipe: MaskRecipe) -> list[dict[str, Any]]:
    """Mean and population standard deviation per model."""
    summary = []
    for name in config.models:
        table = np.array([row.metrics for row in rows if row.model == name], dtype=np.float64)
        with np.errstate(invalid="ignore"):  # an identical slice has an infinite PSNR
            mean, std = table.mean(axis=0), table.std(axis=0)
        summary.append(
            {
                "model": name,
                "data": str(config.data),
                "acceleration": recipe.acceleration,
                "protocol": config.protocol,
                "n": len(table),
                "psnr_mean": _number(mean[0]),
                "psnr_std": _number(std[0]),
                "ssim_mean": _number(mean[1]),
                "ssim_std": _number(std[1]),
                "nmse_mean": _number(mean[2]),
            }
        )
    return summary


def summary_lines(summary: Sequence[dict[str, Any]]) -> list[str]:
    """The summary as a table for people."""
    width = max(len("model"), *(len(row["model"]) for row in summary))
    lines = [f"{'model':{width}}  {'n':>5}  {'PSNR (dB)':>14}  {'SSIM':>15}  {'NMSE':>8}"]
    for row in summary:
        psnr = "infinite" if row["psnr_mean"] is None else f"{row['psnr_mean']:.2f} +- {row['psnr_std']:.2f}"
        ssim = f"{row['ssim_mean']:.3f} +- {row['ssim_std']:.3f}"
        lines.append(f"{row['model']:{width}}  {row['n']:>5}  {psnr:>14}  {ssim:>15}  {row['nmse_mean']:>8.4f}")
    return lines


def command(config: EvaluateConfig) -> int:
    """``fsmnet evaluate``."""
    summary = evaluate(config)
    unit = "slices" if config.protocol == "brats" else "volumes"
    print(f"protocol {config.protocol}, {summary[0]['acceleration']:g}x, mean +- standard deviation over {unit}")
    print("\n".join(summary_lines(summary)))
    print(f"written to {config.out}: metrics.csv, summary.json, picture.png, masks")
    return 0


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


def _slice_to_show(config: EvaluateConfig, pair: Pair, slices: Slices) -> int:
    """Index among the prepared slices of the one in the picture."""
    if config.picture_slice is None:
        return int((slices.target > 0).sum((-2, -1)).argmax())
    if config.picture_slice not in slices.numbers:
        first, last = slices.numbers[0], slices.numbers[-1]
        raise UserError(f"slice {config.picture_slice} of {pair.case} has no content; choose one of {first} to {last}")
    return slices.numbers.index(config.picture_slice)


def _draw(
    config: EvaluateConfig, pair: Pair, slices: Slices, index: int, images: dict[str, Tensor], rows: Sequence[Row]
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


def _short(name: str, names: Iterable[str]) -> str:
    """A checkpoint's run and file name, or all of it where that does not tell the columns apart."""
    if not Path(name).suffix:
        return name
    end = Path(name).parts[-2:]
    return "/".join(end) if sum(Path(other).parts[-2:] == end for other in names) == 1 else name


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
