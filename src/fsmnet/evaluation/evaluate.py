"""Scores of several models on the same slices with the same masks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fsmnet.checkpoint import trained_split
from fsmnet.errors import UserError
from fsmnet.evaluation.case import CaseScores, Scorer, Task, score_case
from fsmnet.evaluation.options import EvaluateConfig
from fsmnet.evaluation.scores import Row, by_acquisition, statistics, summarise, table
from fsmnet.evaluation.seen import SeenCases, find_cases
from fsmnet.evaluation.show import FILES as PICTURES
from fsmnet.evaluation.show import Pictures
from fsmnet.evaluation.suitability import Purposes
from fsmnet.files import json_text, staged, write_text
from fsmnet.inference.alone import alone
from fsmnet.inference.elsewhere import absolute
from fsmnet.inference.executor import executor_of, runs_here
from fsmnet.inference.options import check_batch
from fsmnet.options import by_name
from fsmnet.physics.masks import MaskRecipe
from fsmnet.protocols import protocol_of
from fsmnet.protocols.base import Protocol

STAGE = "evaluation"
FILES = (STAGE, "metrics.csv", "metrics_slices.csv", "summary.json", "fastmri_index.json", *PICTURES)


@by_name(EvaluateConfig)
@alone(FILES)
def evaluate(config: EvaluateConfig) -> list[dict[str, Any]]:
    """Score models as configured; see :class:`fsmnet.evaluation.options.EvaluateConfig`.

    Writes ``metrics.csv`` (a row per slice or volume), ``summary.json``, the masks, ``picture.png`` (its slice also as
    ``picture.npz``), ``picture_worst.png`` and ``picture_best.png``. In protocol ``fastmri`` also
    ``metrics_slices.csv``, and where ``submission`` says so the reconstructed volumes. All of them appear at the end:
    one that is stopped leaves the folder as it was.

    Returns:
        The rows of ``summary.json``: a dictionary per model.

    Raises:
        UserError: a model, case or option that cannot be used.
    """
    _check(config, protocol_of(config))
    index = config.index or config.out / "fastmri_index.json"  # of no result
    sending = nullcontext() if config.submission is None else staged(config.submission, STAGE)
    with staged(config.out, STAGE) as out, sending as submission:
        return _evaluate(config, replace(config, index=index, out=out, submission=submission))


def _evaluate(config: EvaluateConfig, inside: EvaluateConfig) -> list[dict[str, Any]]:
    """The work of :func:`evaluate`.

    Args:
        config: as it was given.
        inside: the same with the folders that are written to.
    """
    here = runs_here(config)
    sent = inside if here else absolute(inside)
    files = {name: name if here or not Path(name).exists() else str(Path(name).absolute()) for name in config.models}
    scorer = Scorer(sent, files, progress=True)
    scorer.tell = scorer.purposes.tell if here else None
    splits = {name: trained_split(model) for name, model in scorer.models.items()}
    pairs, patients = find_cases(sent, scorer.protocol, splits)
    tasks = [Task(number, len(pairs), pair, patients[pair.case]) for number, pair in enumerate(pairs)]
    found: dict[int, CaseScores] = {}

    def done(number: int, future: Future[CaseScores]) -> None:
        scores = future.result()
        scorer.purposes.tell(tasks[number].case.case, scores.doubts)
        scorer.pictures.extremes.take(scores.extremes)
        found[number] = replace(scores, extremes={})

    with executor_of(config) as executor:
        executor.run(scorer.score if here else partial(score_case, config=sent, files=files), tasks, done)
    known = SeenCases(splits)
    rows = [row for task in tasks for row in known.told(found[task.number].rows, found[task.number].content)]
    planes = [row for task in tasks for row in known.told(found[task.number].planes, found[task.number].content)]
    known.warn()
    scorer.pictures.draw_extremes()
    seconds = {name: sum(scores.seconds[name] for scores in found.values()) for name in scorer.models}
    # As the tables name them: in UTF-8, whatever the locale took the folder's name for.
    names = {task.number: os.fsencode(task.case.case).decode("utf-8", "surrogateescape") for task in tasks}
    alone = {name: [case for n, case in names.items() if name in found[n].without_auxiliary] for name in scorer.models}
    told = {name: _told(name, scorer.pictures, known, scorer.purposes, seconds, alone) for name in scorer.models}
    contents = {name: found[number].content for number, name in names.items()}
    return _write(config, inside.out, scorer.recipe, rows, planes, told, contents)


def _check(config: EvaluateConfig, protocol: Protocol[Any]) -> None:
    """Refuse options that nothing could come of."""
    check_batch(config.batch)
    if config.submission is not None and not protocol.measured:
        raise UserError("submissions are fastMRI's; leave --submission out or choose --protocol fastmri")


def _told(
    name: str,
    pictures: Pictures,
    known: SeenCases,
    purposes: Purposes,
    seconds: Mapping[str, float],
    alone: Mapping[str, list[str]],
) -> dict[str, Any]:
    """What the summary says of a model beside its scores; the seconds are of all its slices."""
    told: dict[str, Any] = {"seen_in_training": known.summary(name), "caveat": pictures.protocol.caveat}
    told |= {"title": pictures.titles[name], "seconds": round(seconds[name], 3), "without_auxiliary": alone[name]}
    return told | purposes.summary(name)


def _write(
    config: EvaluateConfig,
    out: Path,
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
    write_text(out / "metrics.csv", table(rows, config, recipe))
    if planes:
        write_text(out / "metrics_slices.csv", table(planes, config, recipe))
        for entry in summary:
            entry["acquisitions"] = by_acquisition(rows, entry["model"])
            entry["slices"] = statistics([row for row in planes if row.model == entry["model"]])
    write_text(out / "summary.json", json_text(summary) + "\n")
    return summary
