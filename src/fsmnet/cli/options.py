"""Options of commands that stand alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fsmnet.evaluation.options import CompareConfig, EvaluateConfig
from fsmnet.inference.options import OPTIMISE, RunOptions
from fsmnet.options import Options, option, required
from fsmnet.physics.masks import MaskKind
from fsmnet.reconstruction.options import ReconstructConfig
from fsmnet.training.options import TrainConfig

JSON = "print nothing but the answer, as JSON"
REPORT = "also put everything on one page, an HTML file that needs no network: "


@dataclass(kw_only=True)
class EvaluateCommand(EvaluateConfig, group="output"):
    """Score models on the same slices with the same masks."""

    report: bool = option(False, f"{REPORT}OUT/report.html", material=False)
    json: bool = option(False, "print the summary as JSON, and nothing else", material=False)


@dataclass(kw_only=True)
class TrainCommand(TrainConfig, group="output"):
    """Train a network on pairs of contrasts."""

    dry_run: bool = option(
        False,
        "read the data, build the network, take a step or two, say what the run will be; leave nothing",
        material=False,
    )
    json: bool = option(False, "with --dry-run: print what it found as JSON, and nothing else", material=False)


@dataclass(kw_only=True)
class RunsConfig(Options):
    """List the training runs below a folder: what, how far, how good, and whether they run."""

    folder: Path = required("folder of runs")
    json: bool = option(False, JSON, group="output")


@dataclass(kw_only=True)
class CompareCommand(CompareConfig, group="output"):
    """Train and score several methods on one data set, with one split, one set of masks and one budget."""

    report: bool = option(False, f"{REPORT}OUT/report.html", material=False)


@dataclass(kw_only=True)
class ReconstructCommand(ReconstructConfig, group="output"):
    """Reconstruct an accelerated contrast with the help of a fully sampled one."""

    report: bool = option(False, f"{REPORT}OUT_report.html; of a list, one beside each result", material=False)
    json: bool = option(False, "print the record as JSON, of a list its table, and nothing else", material=False)


@dataclass(kw_only=True)
class MaskConfig(Options, group="mask"):
    """Draw a sampling mask and save it."""

    out: Path = required("file to write, .npy (columns) or .npz (columns and recipe)", group="output")
    kind: MaskKind = option(
        "random", "random, equispaced, equispaced_fraction, magic, magic_fraction, or a kind from outside"
    )
    columns: int = option(240, "number of phase-encode columns", most=65_536)
    acceleration: float = option(4, "requested acceleration")
    center_fraction: float | None = option(
        None, "share of columns always kept in the middle; default: 0.32/acceleration"
    )
    seed: int | None = option(None, "seed of the draw")
    name: str | None = option(None, "file name to take the seed from, as fastMRI does; folders are ignored")
    overwrite: bool = option(False, "replace an existing mask", group="output")


@dataclass(kw_only=True)
class ModelsConfig(Options, group="measurement"):
    """List the models with their size and cost."""

    size: int = option(240, "rows and columns for which GFLOPs and memory are given", most=16_384)
    batch: int = option(4, "batch for which training memory is given")
    json: bool = option(False, JSON, group="output")


@dataclass(kw_only=True)
class DoctorConfig(Options):
    """Check this installation, and a data folder if one is given."""

    data: Path | None = option(None, "folder of cases to look through")
    json: bool = option(False, JSON, group="output")


@dataclass(kw_only=True)
class DemoConfig(RunOptions, group="data"):
    """Make a head, accelerate it, reconstruct it, and show the picture; needs no data."""

    out: Path = option(Path("demo"), "folder for images, scores and the picture", group="output")
    report: bool = option(True, f"{REPORT}OUT/report.html", group="output")
    minutes: float = option(4.0, "training time if no weights are shipped or --train is given", group="model")
    train: bool = option(False, "train the quick network here instead of using the shipped one", group="model")
    acceleration: float = option(4, "requested acceleration", group="mask")
    subjects: int = option(6, "subjects made for training; one more is held out", most=1_000)
    optimise: bool = option(True, OPTIMISE, group="device")
    seed: int = option(0, "seed of the subjects and of the training", most=2**32 - 1)


@dataclass(kw_only=True)
class CompletionConfig(Options):
    """Print the script that lets a shell complete commands, options, choices and files."""

    shell: Literal["bash", "zsh", "fish"] = required("which shell")


@dataclass(kw_only=True)
class HelpConfig(Options):
    """Explain a command, or list them all."""

    command: str | None = option(None, "its name; without one the commands are listed")
    all: bool = option(False, "every option of it, not only the few that a first user needs")
