"""Options of scoring and comparing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fsmnet.data.options import PairOptions, SplitOptions
from fsmnet.inference.options import PRECISION, BatchSize, PrecisionChoice, RunOptions
from fsmnet.options import option, required
from fsmnet.physics.options import MaskOptions


@dataclass(kw_only=True)
class EvaluateConfig(RunOptions, MaskOptions, PairOptions):
    """Score models on the same slices with the same masks."""

    models: list[str] = required("checkpoints and model names, e.g. zero_filling runs/quick/best.safetensors")
    out: Path = required("folder for metrics.csv, summary.json, the masks and the picture")
    split: Path | None = option(None, "split file of a training run; its test cases are scored")
    batch: BatchSize = option("auto", "slices per step; auto: 1 on a processor, on a GPU what its memory holds")
    precision: PrecisionChoice = option("float32", PRECISION)
    optimise: bool = option(True, "compute the same image with less work: exact algebra, memory layout")
    picture_slice: int | None = option(None, "slice shown in the picture; default: the one with most content")
    data_consistency: Literal["off", "hard"] = option(
        "off", "fastmri; hard: put the measured k-space lines back into the networks' images before they are scored"
    )
    submission: Path | None = option(
        None, "fastmri: folder for the reconstructed volumes in the form of a submission, one folder per model"
    )


@dataclass(kw_only=True)
class CompareConfig(RunOptions, SplitOptions, MaskOptions, PairOptions):
    """Train and score several methods on one data set, with one split, one set of masks and one budget."""

    out: Path = required("folder for runs, scores and tables; started again, finished methods are skipped")
    preset: Literal["table1", "table2"] | None = option(None, "the rows of the paper's Table 1, or of its ablation")
    methods: dict[str, Any] = option(
        {}, "rows by name, each a mapping of training options, e.g. '{U-Net: {model: mdunet}}'; added to a preset's"
    )
    training: dict[str, Any] = option(
        {}, "training options common to all methods, e.g. '{batch: 2, learning_rate: 1e-3}'"
    )
    minutes: float | None = option(None, "training time of each method")
    iterations: int | None = option(None, "optimiser steps of each method")
    reference: str = option("FSMNet", "row that the others are tested against (Wilcoxon, paired over patients)")
    test_fraction: float = option(0.25, "share of the patients that are scored")
    paper: bool = option(
        False, "print the paper's own figures in a column of their own (other patients, full training)"
    )
