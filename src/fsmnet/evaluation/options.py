"""Options of scoring and comparing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fsmnet.data.options import PairOptions, SplitOptions
from fsmnet.inference.options import (
    BATCH,
    KEEP_AUXILIARY,
    OPTIMISE,
    PRECISION,
    BatchSize,
    ListOptions,
    PrecisionChoice,
    RunOptions,
    SuitabilityOptions,
)
from fsmnet.options import option, required
from fsmnet.physics.options import MaskOptions


@dataclass(kw_only=True)
class EvaluateConfig(ListOptions, RunOptions, SuitabilityOptions, MaskOptions, PairOptions):
    """Score models on the same slices with the same masks."""

    models: list[str] = required(
        "checkpoints and model names, e.g. zero_filling runs/quick/best.safetensors", group="model"
    )
    out: Path = required(
        "folder for metrics.csv, summary.json, the masks and the picture", material=False, group="output"
    )
    split: Path | None = option(None, "split file of a training run; its test cases are scored", group="split")
    batch: BatchSize = option("auto", BATCH, material="rounding", group="device")
    precision: PrecisionChoice = option("float32", PRECISION, group="device")
    optimise: bool = option(True, OPTIMISE, group="device")
    picture_slice: int | None = option(
        None, "slice shown in the picture; default: the one with most content", material=False, group="output"
    )
    data_consistency: Literal["off", "hard", "weighed"] = option(
        "off",
        "hard: put the measured k-space lines, or the simulated ones, back into the networks' images before they are "
        "scored; weighed: both by what they may be wrong, as 'fsmnet reconstruct --kspace' does it after networks for "
        "images, and if asked after those for k-space where lines that are kept back confirm it",
        group="model",
    )
    keep_auxiliary: bool = option(False, KEEP_AUXILIARY, group="model")
    submission: Path | None = option(
        None,
        "fastmri: folder for the reconstructed volumes in the form of a submission, one folder per model",
        material=False,
        group="output",
    )


@dataclass(kw_only=True)
class CompareConfig(RunOptions, SplitOptions, MaskOptions, PairOptions, group="comparison"):
    """Train and score several methods on one data set, with one split, one set of masks and one budget."""

    out: Path = required(
        "folder for runs, scores and tables; started again, finished methods are skipped",
        material=False,
        group="output",
    )
    preset: Literal["table1", "table2"] | None = option(
        None, "the rows of the paper's Table 1, or of its ablation", material="extent"
    )
    methods: dict[str, Any] = option(
        {},
        "rows by name, each a mapping of training options, e.g. '{U-Net: {model: mdunet}}'; added to a preset's",
        material="extent",
    )
    training: dict[str, Any] = option(
        {}, "training options common to all methods, e.g. '{batch: 2, learning_rate: 1e-3}'"
    )
    minutes: float | None = option(None, "training time of each method", group="budget")
    iterations: int | None = option(None, "optimiser steps of each method", group="budget")
    reference: str = option(
        "FSMNet", "row that the others are tested against (Wilcoxon, paired over patients)", material=False
    )
    test_fraction: float = option(0.25, "share of the patients that are scored", group="split")
    paper: bool = option(
        False,
        "print the paper's own figures in a column of their own (other patients, full training)",
        material=False,
        group="output",
    )
