"""What can be asked for: each command with its options, a line of help, and examples that run as they stand."""

from __future__ import annotations

from dataclasses import dataclass

from fsmnet.benchmark.options import BenchmarkConfig
from fsmnet.cli.options import DemoConfig, DoctorConfig, MaskConfig, ModelsConfig
from fsmnet.data.options import PairConfig
from fsmnet.evaluation.options import CompareConfig, EvaluateConfig
from fsmnet.export.options import ExportConfig
from fsmnet.options import Options
from fsmnet.reconstruction.options import ReconstructConfig
from fsmnet.training.options import TrainConfig


@dataclass(frozen=True)
class Command:
    """One command; the work is started by ``command(config)`` in the module of its name beside this one.

    Attributes:
        options: its configuration.
        help: what it does, in a line.
        examples: shown at the end of its help.
        positional: options that words without a flag stand for, in this order.
    """

    options: type[Options]
    help: str
    examples: tuple[str, ...]
    positional: tuple[str, ...] = ()


COMMANDS = {
    "demo": Command(
        DemoConfig,
        "make a head, accelerate it, reconstruct it; needs no data",
        (
            "fsmnet demo",
            "fsmnet demo --acceleration 8 --out demo_8x",
        ),
    ),
    "train": Command(
        TrainConfig,
        "train a network on pairs of contrasts",
        (
            "fsmnet train --config quick --data DATA --out runs/quick",
            "fsmnet train --config runs/quick/config.yaml --resume",
            "fsmnet train --config fastmri_fsmnet --data KNEE --pairs pairs.csv --out runs/knee",
        ),
    ),
    "evaluate": Command(
        EvaluateConfig,
        "score models on the same slices with the same masks",
        ("fsmnet evaluate --models zero_filling runs/quick/best.safetensors --data DATA --out results",),
    ),
    "compare": Command(
        CompareConfig,
        "train and score several methods under equal conditions",
        ("fsmnet compare --config compare_small --data DATA --out runs/table1",),
    ),
    "reconstruct": Command(
        ReconstructConfig,
        "reconstruct one scan, or a whole list",
        (
            "fsmnet reconstruct --target T2.nii.gz --auxiliary T1.nii.gz --acceleration 4 --out T2_again.nii.gz",
            "fsmnet reconstruct --target T2.nii.gz --auxiliary T1.nii.gz --target-is zero-filled --out restored.nii.gz",
            "fsmnet reconstruct --kspace scan.h5 --auxiliary T1.nii.gz --out T2.nii.gz",
            "fsmnet reconstruct --target STUDY --target-series T2 --auxiliary STUDY --auxiliary-series T1 --out NEW",
            "fsmnet reconstruct --pairs pairs.csv --out results",
        ),
    ),
    "pair": Command(
        PairConfig,
        "find pairs of contrasts in a folder, with a reason for each refusal",
        (
            "fsmnet pair DATA --target t2 --auxiliary t1 --out pairs.csv",
            "fsmnet pair BIDS --target '{case}/anat/{case}_T2w.nii.gz' --auxiliary '{case}/anat/{case}_T1w.nii.gz'",
            "fsmnet pair KNEE --layout fastmri",
        ),
        positional=("data",),
    ),
    "mask": Command(
        MaskConfig,
        "draw a sampling mask and save it",
        ("fsmnet mask --columns 240 --acceleration 4 --seed 1337 --out mask.npz",),
    ),
    "models": Command(
        ModelsConfig,
        "list the models with their size and cost",
        (
            "fsmnet models",
            "fsmnet models --size 320 --batch 8",
        ),
    ),
    "export": Command(
        ExportConfig,
        "write a network for use without this package (.pt2, .onnx)",
        (
            "fsmnet export --checkpoint runs/quick/best.safetensors --out quick.onnx",
            "fsmnet export --target T2.nii.gz --auxiliary T1.nii.gz --out shipped.pt2",
        ),
    ),
    "benchmark": Command(
        BenchmarkConfig,
        "measure a network's speed and memory",
        (
            "fsmnet benchmark --model fsmnet_released --features 64 --size 240 --runs 5 --json",
            "fsmnet benchmark --features 16 --steps",
            "fsmnet benchmark --features 16 --models shipped --data DATA --case TCGA-FG-6692 --out speed",
        ),
    ),
    "doctor": Command(
        DoctorConfig,
        "check this installation",
        ("fsmnet doctor --data DATA",),
    ),
}
