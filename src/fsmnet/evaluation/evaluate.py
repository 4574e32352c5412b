"""Scores of several models on the same slices with the same masks."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fsmnet.checkpoint import open_model, trained_split
from fsmnet.data.formats.fastmri import write_submission
from fsmnet.data.head import head_mask
from fsmnet.errors import UserError
from fsmnet.evaluation.options import EvaluateConfig
from fsmnet.evaluation.scores import Row, by_acquisition, statistics, summarise, table
from fsmnet.evaluation.seen import SeenCases, find_cases
from fsmnet.evaluation.show import FILES as PICTURES
from fsmnet.evaluation.show import Pictures
from fsmnet.evaluation.suitability import Purposes
from fsmnet.files import json_text, write_text
from fsmnet.inference.alone import alone
from fsmnet.inference.device import choose_device
from fsmnet.inference.options import check_batch
from fsmnet.inference.precision import for_inference
from fsmnet.inference.slices import reconstruct_case
from fsmnet.metrics import Metrics
from fsmnet.models.classical import POCS, ZeroFilling
from fsmnet.options import by_name
from fsmnet.physics.extent import interpolated
from fsmnet.physics.masks import MaskRecipe, save_mask
from fsmnet.protocols import protocol_of
from fsmnet.protocols.base import Protocol
from fsmnet.protocols.cases import Accelerated, Case

logger = logging.getLogger(__name__)

FILES = ("metrics.csv", "metrics_slices.csv", "summary.json", "fastmri_index.json", *PICTURES)


@by_name(EvaluateConfig)
@alone(FILES)
def evaluate(config: EvaluateConfig) -> list[dict[str, Any]]:
    """Score models as configured; see :class:`fsmnet.evaluation.options.EvaluateConfig`.

    Writes ``metrics.csv`` (a row per slice or volume), ``summary.json``, the masks, ``picture.png`` (its slice also as
    ``picture.npz``), ``picture_worst.png`` and ``picture_best.png``. In protocol ``fastmri`` also
    ``metrics_slices.csv``, and where ``submission`` says so the reconstructed volumes.

    Returns:
        The rows of ``summary.json``: a dictionary per model.

    Raises:
        UserError: a model, case or option that cannot be used.
    """
    protocol = protocol_of(config)
    recipe = protocol.mask_recipe(config)
    _check(config, protocol)
    models = {name: open_model(name, recipe) for name in config.models}
    networks = _networks(config, protocol, models)
    splits = {name: trained_split(model) for name, model in models.items()}
    pairs, patients = find_cases(config, protocol, splits)
    known, purposes = SeenCases(splits), Purposes(config, protocol, models)
    pictures, seconds = Pictures(config, protocol, models), dict.fromkeys(models, 0.0)
    rows: list[Row] = []
    planes: list[Row] = []
    contents: dict[str, str] = {}
    for number, pair in enumerate(pairs):
        case = protocol.accelerate(pair, recipe, resample=config.resample)
        purposes.check(pair, case.slices)
        contents[pair.case] = case.slices.content
        shown = pictures.choose(pair, case.slices) if number == 0 else 0
        save_mask(case.mask, config.out / "masks" / f"{pair.case}.npz")
        n_slices = len(case.slices.numbers)
        logger.info(
            "%s (%d of %d): %d slices, mask %s", pair.case, number + 1, len(pairs), n_slices, case.mask.describe()
        )
        if not protocol.measured and (doubt := interpolated(pair.case, case.slices.target.numpy(), case.mask.columns)):
            logger.warning(doubt)
        images: dict[str, Tensor] = {}
        head = head_mask(case.slices.target.numpy())
        for name, reconstruct in networks.items():
            started = time.perf_counter()
            images[name] = reconstruct(case, f"{pair.case}, {name}")
            seconds[name] += time.perf_counter() - started
            scored, single = _score(protocol, case, images[name])
            seen = known.look(name, pair.case, patients[pair.case], case.slices.content)
            facts = (case.contrast, patients[pair.case], seen)
            inside = protocol.score_inside(case.slices.target, images[name], head)
            count = (1 if protocol.unit == "slice" else n_slices, case.mask.achieved_acceleration)
            rows += [
                Row(name, pair.case, n, metrics, *facts, part, *count)
                for (n, metrics), part in zip(scored, inside, strict=True)
            ]
            planes += [Row(name, pair.case, n, metrics, *facts, None, 1, count[1]) for n, metrics in single]
        if config.submission is not None:
            _submit(config.submission, pair, case, images)
        if number == 0:
            pictures.draw_first(pair, case, images, shown, rows)
        pictures.take(pair, case, images, number)
    known.warn()
    pictures.draw_extremes()
    told = {name: _told(name, pictures, known, purposes, seconds) for name in models}
    return _write(config, recipe, rows, planes, told, contents)


def _check(config: EvaluateConfig, protocol: Protocol[Any]) -> None:
    """Refuse options that need measured k-space where there is none."""
    check_batch(config.batch)
    if config.submission is not None and not protocol.measured:
        raise UserError("submissions are fastMRI's; leave --submission out or choose --protocol fastmri")
    if config.data_consistency != "off" and not protocol.measured:
        raise UserError("only protocol fastmri has measured k-space; leave --data-consistency out")


Reconstruct = Callable[[Accelerated, str], Tensor]


def _networks(
    config: EvaluateConfig, protocol: Protocol[Any], models: Mapping[str, nn.Module]
) -> dict[str, Reconstruct]:
    """By name what a model makes of a case; the second argument is the text of its progress bar."""
    device = choose_device(config.device, config.threads)

    def network(name: str) -> Reconstruct:
        model = models[name].to(device)
        if isinstance(model, ZeroFilling):
            # Scored as it is stored: normalised and back, it would lose grey levels.
            return lambda case, progress: case.zero_filled
        classical = isinstance(model, POCS)
        model, precision = for_inference(model, config.precision, config.optimise and not classical)

        def reconstruct(case: Accelerated, progress: str) -> Tensor:
            image = reconstruct_case(
                model,
                case,
                protocol,
                whole=classical,
                batch=config.batch,
                device=device,
                precision=precision,
                progress=progress,
                name=name,
            )
            as_it_is = classical or case.consistent is None or config.data_consistency == "off"
            return image if as_it_is or case.consistent is None else case.consistent(image)

        return reconstruct

    return {name: network(name) for name in config.models}


Scored = list[tuple[int | None, Metrics]]


def _score(protocol: Protocol[Any], case: Accelerated, image: Tensor) -> tuple[Scored, Scored]:
    """Scores of a case with the numbers of their slices, and where volumes are scored those of single slices."""
    numbers: list[int | None] = [*case.slices.numbers] if protocol.unit == "slice" else [None]
    scores = protocol.score(case.slices.target, image)
    return [*zip(numbers, scores, strict=True)], [*protocol.score_planes(case.slices, image).items()]


def _submit(folder: Path, pair: Case, case: Accelerated, images: dict[str, Tensor]) -> None:
    """Write the volumes of a case as submissions."""
    if case.left_out:
        count = len(case.slices.numbers)
        logger.warning(
            "%s: the submission has %d of %d slices, as many as the auxiliary", pair.case, count, count + case.left_out
        )
    for name, run in _folders(list(images)).items():
        write_submission(images[name], folder / run / f"{pair.case}.h5")


def _told(
    name: str, pictures: Pictures, known: SeenCases, purposes: Purposes, seconds: Mapping[str, float]
) -> dict[str, Any]:
    """What the summary says of a model beside its scores; the seconds are of all its slices."""
    told = {"seen_in_training": known.summary(name), "caveat": pictures.protocol.caveat}
    return told | {"title": pictures.titles[name], "seconds": round(seconds[name], 3)} | purposes.summary(name)


def _write(
    config: EvaluateConfig,
    recipe: MaskRecipe,
    rows: list[Row],
    planes: list[Row],
    facts: Mapping[str, Mapping[str, Any]],
    contents: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Write the tables; the summary."""
    summary = summarise(rows, config, recipe)
    for entry in summary:
        entry.update(facts[entry["model"]], contents=dict(contents))
    write_text(config.out / "metrics.csv", table(rows, config, recipe))
    if planes:
        write_text(config.out / "metrics_slices.csv", table(planes, config, recipe))
        for entry in summary:
            entry["acquisitions"] = by_acquisition(rows, entry["model"])
            entry["slices"] = statistics([row for row in planes if row.model == entry["model"]])
    write_text(config.out / "summary.json", json_text(summary) + "\n")
    return summary


def _folders(names: Sequence[str]) -> dict[str, str]:
    """A folder's name for each model: that of its run, if it is a checkpoint, with more where two would share it."""
    forms: dict[str, list[str]] = {}
    for name in names:
        path = Path(name).absolute()
        run = path.parent.name
        forms[name] = [run, f"{run}_{path.stem}", "_".join(path.parts[1:])] if path.suffix else [name]
    taken = Counter(form for own in forms.values() for form in own)
    return {name: next((form for form in own if taken[form] == 1), own[-1]) for name, own in forms.items()}
