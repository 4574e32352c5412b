"""Several methods under equal conditions: one data set, one split, one set of masks, one budget, one table."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fsmnet.data.options import PairOptions
from fsmnet.data.patients import patient_of
from fsmnet.data.split import Split, load_split, save_split
from fsmnet.errors import UserError, similar
from fsmnet.evaluation.evaluate import evaluate
from fsmnet.evaluation.figure import print_figure, together
from fsmnet.evaluation.kept import read_definition, read_done, read_scores, read_summary
from fsmnet.evaluation.options import CompareConfig, EvaluateConfig
from fsmnet.evaluation.paper import PAPER, PRESETS
from fsmnet.evaluation.picture import load_shown, save_shown
from fsmnet.evaluation.statistics import confidence_interval, holm, patient_means, smallest_p, wilcoxon_p
from fsmnet.files import csv_text, json_text, make_folder, write_text
from fsmnet.inference.alone import alone
from fsmnet.inference.options import RunOptions
from fsmnet.models.classical import CLASSICAL
from fsmnet.options import by_name, changed_options, dump_config, options_of, values_of
from fsmnet.physics.options import MaskOptions
from fsmnet.protocols import protocol_of
from fsmnet.training.options import TrainConfig
from fsmnet.training.run import train
from fsmnet.training.setup import check_model

logger = logging.getLogger(__name__)

PICTURES = ("picture.npz", "figure.pdf", "figure.png")
FILES = ("compare.yaml", "split.json", "table.md", "table.tex", "table.csv", *PICTURES)


@dataclass
class Line:
    """One row of the table; fields are None where a method was not run or a figure makes no sense.

    Means, deviations (of the sample), intervals and tests are over the means of the patients. An infinite PSNR, of
    images that are identical, is written as ``inf``.
    """

    method: str
    patients: int | None = None
    n: int | None = None
    psnr_mean: float | None = None
    psnr_std: float | None = None
    psnr_low: float | None = None
    psnr_high: float | None = None
    ssim_mean: float | None = None
    ssim_std: float | None = None
    head_psnr_mean: float | None = None
    head_ssim_mean: float | None = None
    p: float | None = None
    p_holm: float | None = None
    steps: int | None = None
    minutes: float | None = None


@by_name(CompareConfig)
@alone(FILES)
def compare(config: CompareConfig) -> list[Line]:
    """Train and score each method; finished ones are taken from the folder. Writes the table after every method.

    Raises:
        UserError: options that cannot be used.
        KeyboardInterrupt: a training was interrupted; started again, it goes on there.
    """
    methods = checked_methods(config)
    out = make_folder(config.out)
    begun = any(any(out.glob(f"*/{file}")) for file in ("done.json", "resume.pt"))
    if begun:
        _same_comparison(config, methods, out)
    split = _earlier_split(config, out) if begun and (out / "split.json").exists() else _new_split(config, out)
    write_text(out / "compare.yaml", dump_config(config))
    for name, options in methods.items():
        folder = out / folder_of(name)
        if (folder / "done.json").exists():
            logger.info("%s: finished before, its scores are those in %s", name, folder / "scores")
        else:
            logger.info("%s: %s", name, options["model"])
            _run(config, options, folder, split)
        lines = [_line(out, method) for method in methods]
        _tests(lines, out, config.reference)
        _write(lines, config, out, split)
    _draw(methods, out)
    return lines


def checked_methods(config: CompareConfig) -> dict[str, dict[str, Any]]:
    """Rows by name with their training options, checked."""
    if (config.minutes is None) == (config.iterations is None):
        raise UserError("give every method the same budget: either --minutes or --iterations")
    methods = dict(PRESETS[config.preset]) if config.preset else {}
    for name, options in config.methods.items():
        merged = {**methods.get(name, {}), **options} if isinstance(options, dict) else {}
        if "model" not in merged:
            raise UserError(
                f"method {name!r} needs a mapping with at least 'model', e.g. {{{name}: {{model: fsmnet}}}}"
            )
        methods[name] = merged
    if not methods:
        raise UserError("name the methods with --preset table1, --preset table2 or --methods")
    slugs = [folder_of(name) for name in methods]
    if len(set(slugs)) < len(slugs):
        raise UserError(f"two methods would share a folder; rename one of {', '.join(methods)}")
    if config.reference not in methods:
        hint = similar(config.reference, methods)
        raise UserError(f"the reference {config.reference!r} is not among the methods {', '.join(methods)}{hint}")
    _check_training("training", config.training, config, {})
    for name, options in methods.items():
        _check_training(name, options, config, config.training)
    return methods


def _check_training(name: str, options: dict[str, Any], config: CompareConfig, common: dict[str, Any]) -> None:
    """Refuse training options that nobody reads, that the comparison decides itself, or that have impossible values."""
    known = {one.name for one in options_of(TrainConfig)} - set(_decided(config, Path()))
    if unknown := [option for option in options if option not in known]:
        hint = similar(str(unknown[0]), known)
        raise UserError(
            f"{name}: unknown training option {', '.join(map(str, unknown))}{hint}; see 'fsmnet train --help'"
        )
    try:
        training = _training(config, {**common, **options}, Path())
        training.check()
        protocol_of(training)
        if training.model not in CLASSICAL:
            check_model(training)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def _same_comparison(config: CompareConfig, methods: dict[str, dict[str, Any]], out: Path) -> None:
    """A folder holds one comparison; methods may be added to it, none may be changed."""
    definition = out / "compare.yaml"
    if definition.exists() and (differences := changed_options(read_definition(definition), config)):
        raise UserError(f"{out} holds another comparison: {differences}; choose another --out")
    for name, options in methods.items():
        done = read_done(out / folder_of(name))
        if done is not None and done.get("options", _plain(options)) != _plain(options):
            raise UserError(
                f"{out}: method {name!r} was finished with the options {json.dumps(done['options'])}, not "
                f"{json.dumps(_plain(options))}; give this row another name, or choose another --out"
            )


def _plain(options: dict[str, Any]) -> Any:
    """Options as JSON keeps them."""
    return json.loads(json_text(options, indent=None))


def _new_split(config: CompareConfig, out: Path) -> Split:
    """That of the file, or a new one; all its cases are there."""
    protocol = protocol_of(config)
    if config.split is None:
        cases = protocol.named_cases(config, out, config.cases)
        split = protocol.split(cases, config, protocol.patients(cases, config))
    elif config.cases is not None:
        raise UserError("give --cases or --split, not both")
    else:
        split = load_split(config.split)
        cases = protocol.named_cases(config, out, sorted(split.named()))
        split = split.with_cases(protocol.patients(cases, config), config.split)
    if not split.test:
        raise UserError("the split keeps no case for testing; set test_fraction or name test cases in the split file")
    save_split(split, out / "split.json")
    return split


def _earlier_split(config: CompareConfig, out: Path) -> Split:
    """That of the methods which are there; a file must agree with it."""
    split = load_split(out / "split.json")
    given = split if config.split is None else load_split(config.split).with_cases(split.patients, config.split)
    if difference := split.difference(given):
        raise UserError(
            f"{config.split}: is another split than that of the comparison in {out}: {difference}; choose another --out"
        )
    return split


def _shared(config: CompareConfig) -> dict[str, Any]:
    """What training and scoring of every method have in common."""
    index = config.index or config.out / "fastmri_index.json"  # where the split was made: read once for all
    return values_of(config, RunOptions, MaskOptions, PairOptions) | {"cases": None, "index": index}


def _decided(config: CompareConfig, folder: Path) -> dict[str, Any]:
    """Training options that no method can set for itself."""
    return {
        "data": config.data,
        "split": config.out / "split.json",
        "out": folder,
        "resume": (folder / "resume.pt").exists(),
        "iterations": config.iterations,
        "minutes": config.minutes,
    }


def _training(config: CompareConfig, options: dict[str, Any], folder: Path) -> TrainConfig:
    """The training of one method."""
    return TrainConfig(**_shared(config) | options | _decided(config, folder))


def _run(config: CompareConfig, options: dict[str, Any], folder: Path, split: Split) -> None:
    """Train (or go on training) and score one method."""
    done: dict[str, Any] = {"steps": 0, "minutes": 0.0}
    model = options["model"]
    if model not in CLASSICAL:
        merged = {**config.training, **options}
        merged["model_options"] = {**config.training.get("model_options", {}), **options.get("model_options", {})}
        result = train(_training(config, merged, folder))
        if not result.finished:
            raise KeyboardInterrupt
        model = str(result.best)
        done = {"steps": result.progress.step, "minutes": round(result.progress.seconds / 60, 2)}
    evaluate(EvaluateConfig(**_shared(config) | {"cases": split.test, "models": [model], "out": folder / "scores"}))
    _check_same_scans(config, folder)
    write_text(folder / "done.json", json_text(done | {"options": options}, indent=None) + "\n")


def _check_same_scans(config: CompareConfig, folder: Path) -> None:
    """Refuse scores of other scans than those that the methods before were scored on, whose names are the same."""
    mine = read_summary(folder / "scores")["contents"]
    for done in sorted(folder.parent.glob("*/done.json")):
        theirs = read_summary(done.parent / "scores")["contents"]
        if other := [case for case in mine if theirs.get(case, mine[case]) != mine[case]]:
            raise UserError(
                f"{config.data}: {', '.join(other)}: not the voxels that {done.parent.name} was scored on; give the "
                "same data, or choose another --out"
            )


FIGURES = ("psnr", "ssim", "head_psnr", "head_ssim")


def _scores(out: Path, method: str) -> list[dict[str, str]] | None:
    """Rows of a method's metrics.csv, or None if it was not run."""
    folder = out / folder_of(method)
    return read_scores(folder / "scores", FIGURES) if (folder / "done.json").exists() else None


def _means(rows: Sequence[dict[str, str]], figure: str) -> dict[str, float]:
    """Means of the patients; tables of before patients and heads were told have neither."""
    told = [row for row in rows if row.get(figure)]
    patients = [row.get("patient") or patient_of(row["case"]) for row in told]
    return patient_means([float(row[figure]) for row in told], patients)


def _seen(out: Path, method: str) -> list[str]:
    """Cases scored that a method had seen in training, as its initial weights may have."""
    scores = out / folder_of(method) / "scores"
    seen = read_summary(scores)["seen_in_training"] if (scores / "summary.json").exists() else {}
    return [case for cases in seen.values() for case in cases]


def _line(out: Path, method: str) -> Line:
    rows = _scores(out, method)
    if rows is None:
        return Line(method)
    done = read_done(out / folder_of(method)) or {}
    line = Line(method, len(_means(rows, "psnr")), len(rows), steps=done["steps"], minutes=done["minutes"])
    for figure in FIGURES:
        means = _means(rows, figure)
        if means:
            setattr(line, f"{figure}_mean", sum(means.values()) / len(means))
        if figure in ("psnr", "ssim") and len(means) > 1 and all(map(math.isfinite, means.values())):
            setattr(line, f"{figure}_std", float(np.std([*means.values()], ddof=1)))
    line.psnr_low, line.psnr_high = confidence_interval(_means(rows, "psnr")) or (None, None)
    return line


def _tests(lines: Sequence[Line], out: Path, reference: str) -> None:
    """Fill in p against the reference method, and p corrected for the number of methods."""
    against = _scores(out, reference)
    if against is None:
        return
    for line in lines:
        rows = _scores(out, line.method)
        if rows is not None and line.method != reference:
            line.p = wilcoxon_p(_means(rows, "psnr"), _means(against, "psnr"))
    for line, corrected in zip(lines, holm([line.p for line in lines]), strict=True):
        line.p_holm = corrected


def _write(lines: Sequence[Line], config: CompareConfig, out: Path, split: Split) -> None:
    """The table as Markdown, CSV and LaTeX."""
    trained, tested = (len({split.patient(case) for case in cases}) for cases in (split.train, split.test))
    caption = (
        f"{config.acceleration:g}x, protocol {config.protocol}, mean +- standard deviation over {tested} "
        f"patient{'s' * (tested != 1)} (means of a patient's {protocol_of(config).unit}s); "
    )
    if tested >= 3:
        caption += (
            f"interval: 95%, Student's t over patients; p: Wilcoxon over patients against {config.reference}, then "
            f"corrected for the number of rows (Holm); the smallest p that {tested} patients allow is "
            f"{smallest_p(tested):.2g}. "
        )
    else:
        caption += "intervals and tests need at least three patients. "
    if caveat := protocol_of(config).caveat:
        caption += f"Protocol {config.protocol}: {caveat}. "
    caption += f"Head: inside the head of the reference. Trained on {trained} patient{'s' * (trained != 1)}."
    if seen := {line.method: cases for line in lines if (cases := _seen(out, line.method))}:
        caption += " Too good, since they had been trained on cases that are scored here: "
        caption += "; ".join(f"{method} ({', '.join(cases)})" for method, cases in seen.items()) + "."
    header = [
        "method",
        "n",
        "PSNR (dB)",
        "95% interval",
        "SSIM",
        "head: PSNR",
        "SSIM",
        "p",
        "p (Holm)",
        "steps",
        "minutes",
    ]
    body = [_cells(line) for line in lines]
    if config.paper:
        header.append("paper: other patients, full training")
        for line, cells in zip(lines, body, strict=True):
            cells.append(PAPER.get(config.protocol, {}).get(line.method, {}).get(config.acceleration, ""))
    markdown = ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *body)]
    write_text(out / "table.md", "\n".join([*markdown, "", caption, ""]))
    latex = [" & ".join(map(_latex, cells)) + r" \\" for cells in (header, *body)]
    text = [rf"% {caption}", rf"\begin{{tabular}}{{l{'c' * (len(header) - 1)}}}", r"\hline", latex[0], r"\hline"]
    write_text(out / "table.tex", "\n".join([*text, *latex[1:], r"\hline", r"\end{tabular}", ""]))
    write_text(out / "table.csv", csv_text([list(asdict(lines[0])), *(list(asdict(line).values()) for line in lines)]))


def _draw(methods: Iterable[str], out: Path) -> None:
    """The figure for print: the slice that every method's evaluation kept."""
    kept = {name: out / folder_of(name) / "scores" / PICTURES[0] for name in methods}
    if not all(path.is_file() for path in kept.values()):
        missing = ", ".join(name for name, path in kept.items() if not path.is_file())
        logger.warning("no figure is drawn, since no slice was kept of %s when it was scored", missing)
        return
    try:
        shown = together([(name, load_shown(path)) for name, path in kept.items()])
    except UserError as error:
        logger.warning("no figure is drawn: %s", error)
        return
    save_shown(shown, out / PICTURES[0])
    for name in PICTURES[1:]:
        print_figure(shown, out / name)


def _cells(line: Line) -> list[str]:
    if line.n is None:
        return [line.method, *[""] * 10]
    interval = "" if line.psnr_low is None else f"{line.psnr_low:.2f} to {line.psnr_high:.2f}"
    return [
        line.method,
        str(line.n),
        _spread(line.psnr_mean, line.psnr_std, 2),
        interval,
        _spread(line.ssim_mean, line.ssim_std, 3),
        _spread(line.head_psnr_mean, None, 2),
        _spread(line.head_ssim_mean, None, 3),
        *("" if p is None else f"{p:.2g}" for p in (line.p, line.p_holm)),
        str(line.steps),
        f"{line.minutes:g}",
    ]


def _spread(mean: float | None, std: float | None, digits: int) -> str:
    if mean is None:
        return ""
    shown = f"{mean:.{digits}f}" if math.isfinite(mean) else "infinite"
    return shown if std is None else f"{shown} +- {std:.{digits}f}"


def _latex(text: str) -> str:
    return text.replace("%", r"\%").replace("+-", r"$\pm$").replace("_", r"\_")


def folder_of(name: str) -> str:
    """The folder of a method within that of its comparison."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
