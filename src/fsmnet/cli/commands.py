"""What can be asked for: each command with its options, a line of help, and what a first user needs of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fsmnet.benchmark.options import BenchmarkConfig
from fsmnet.cli.options import (
    CompareCommand,
    CompletionConfig,
    DemoConfig,
    DoctorConfig,
    EvaluateCommand,
    HelpConfig,
    MaskConfig,
    ModelsConfig,
    ReconstructCommand,
    RunsConfig,
    TrainCommand,
)
from fsmnet.data.options import PairConfig
from fsmnet.export.options import ExportConfig
from fsmnet.options import Options
from fsmnet.pages.options import ReportConfig
from fsmnet.trust.options import CalibrateConfig


@dataclass(frozen=True)
class Section:
    """A part of ``--help``: one thing that people do with a command.

    Attributes:
        title: what it is.
        example: how it is asked for; runs as it stands.
        options: those it takes, each with a few words; with none, the option's own help.
    """

    title: str
    example: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Command:
    """One command; the work is started by ``command(config)`` in the module of its name beside this one.

    Attributes:
        options: its configuration.
        help: what it does, in a line.
        sections: what ``--help`` shows, at most a screen; ``--help-all`` shows every option.
        positional: options that words without a flag stand for, in this order. Of several in one place the first one
            is meant, unless a flag gives another of them.
    """

    options: type[Options]
    help: str
    sections: tuple[Section, ...]
    positional: tuple[tuple[str, ...], ...] = ()


COMMANDS = {
    "demo": Command(
        DemoConfig,
        "make a head, accelerate it, reconstruct it; needs no data",
        (
            Section(
                "With the shipped network",
                "fsmnet demo",
                {
                    "out": "",
                    "acceleration": "",
                    "seed": "of the head",
                    "report": "one page with a viewer, OUT/report.html",
                },
            ),
            Section(
                "With a network that is trained here first, on made heads",
                "fsmnet demo --train --minutes 4 -o demo_trained",
                {"train": "", "minutes": "training time", "subjects": "heads to train on; one more is held out"},
            ),
        ),
    ),
    "train": Command(
        TrainCommand,
        "train a network on pairs of contrasts",
        (
            Section(
                "A first network, in 40 minutes on two cores",
                "fsmnet train DATA --config quick -o runs/quick",
                {
                    "data": "folder of cases: <case>/<case>_t2.nii.gz ...",
                    "config": "preset (quick, paper, released, ...) or YAML file; options given here win over it",
                    "out": "folder for checkpoints, log, configuration, split",
                    "target": "contrast that is accelerated",
                    "auxiliary": "contrast that is fully sampled",
                    "test_fraction": "share of the patients kept for 'fsmnet evaluate'",
                },
            ),
            Section(
                "Go on where it was stopped",
                "fsmnet train --config runs/quick/config.yaml --resume",
                {"resume": ""},
            ),
            Section(
                "What would be trained: data, split, shapes, cost, time; leaves nothing",
                "fsmnet train DATA --config quick -o runs/quick --dry-run",
                {"dry_run": "read the data, build the network, take a step"},
            ),
            Section(
                "A recipe of your own",
                "fsmnet train DATA --model mdunet --minutes 30 --schedule cosine --acceleration 8 -o runs/own",
                {
                    "protocol": "complex, float, brats or fastmri (default: complex)",
                    "model": "see 'fsmnet models'",
                    "model_options": "such as '{features: 16, blocks: 2}'",
                    "acceleration": "",
                    "minutes": "training time",
                    "iterations": "steps; whichever ends first",
                    "patience": "validations without a better one that end it",
                    "batch": "slices a step",
                    "learning_rate": "",
                },
            ),
            Section(
                "fastMRI's knee",
                "fsmnet train KNEE --config fastmri_fsmnet --pairs pairs.csv -o runs/knee",
                {"pairs": "from 'fsmnet pair KNEE --layout fastmri'"},
            ),
        ),
        positional=(("data",),),
    ),
    "runs": Command(
        RunsConfig,
        "list the trainings below a folder",
        (Section("What, how far, how good, and whether it runs", "fsmnet runs runs", {"folder": "", "json": ""}),),
        positional=(("folder",),),
    ),
    "evaluate": Command(
        EvaluateCommand,
        "score models on the same slices with the same masks",
        (
            Section(
                "Score a network beside zero-filling, on the patients that its training kept for testing",
                "fsmnet evaluate DATA --models zero_filling runs/quick/best.safetensors -o results",
                {
                    "data": "folder of cases",
                    "models": "checkpoints, 'shipped', zero_filling, pocs",
                    "out": "folder for scores, masks and the picture",
                    "report": "also one page, OUT/report.html",
                    "acceleration": "",
                    "target": "contrast that is accelerated",
                    "auxiliary": "contrast that is fully sampled",
                    "cases": "",
                    "split": "",
                },
            ),
            Section(
                "As the paper scores: magnitudes in 8 bits, per slice",
                "fsmnet evaluate DATA --models shipped --protocol brats -o results_brats",
                {"protocol": "complex, float, brats, fastmri; never to be compared with each other"},
            ),
            Section(
                "For a script",
                "fsmnet evaluate DATA --models shipped -o results --json -q",
                {"json": ""},
            ),
        ),
        positional=(("data",),),
    ),
    "compare": Command(
        CompareCommand,
        "train and score several methods under equal conditions",
        (
            Section(
                "The paper's Table 1 in small",
                "fsmnet compare DATA --config compare_small -o runs/table1",
                {
                    "data": "folder of cases",
                    "config": "preset (compare_small, compare, compare_fast) or YAML file",
                    "out": "folder; started again, finished methods are skipped",
                    "minutes": "",
                    "iterations": "",
                    "report": "also one page, OUT/report.html",
                },
            ),
            Section(
                "Methods of your own",
                "fsmnet compare DATA --methods '{U-Net: {model: mdunet}, FSMNet: {}}' --minutes 10 -o runs/mine",
                {
                    "methods": "rows by name, each with its training options",
                    "preset": "",
                    "training": "options common to all methods",
                    "reference": "",
                },
            ),
        ),
        positional=(("data",),),
    ),
    "reconstruct": Command(
        ReconstructCommand,
        "reconstruct one scan, or a whole list",
        (
            Section(
                "An experiment: under-sample a full scan, reconstruct it, see what was lost",
                "fsmnet reconstruct T2.nii.gz T1.nii.gz -o T2_again.nii.gz",
                {
                    "target": "scan to reconstruct: NIfTI, NumPy, fastMRI's file or a DICOM folder",
                    "auxiliary": "fully sampled scan of another contrast; the shipped network does without",
                    "out": "result; its mask and record come beside it",
                    "acceleration": "how many times fewer lines; default: the network's",
                    "checkpoint": "weights from 'fsmnet train'; default: the shipped network",
                    "report": "also one page with a viewer, OUT_report.html",
                    "resample": "bring the auxiliary onto the target's grid",
                },
            ),
            Section(
                "A scan that is degraded already",
                "fsmnet reconstruct T2.nii.gz T1.nii.gz --target-is zero-filled -o restored.nii.gz",
                {"target_is": ""},
            ),
            Section(
                "Measured k-space",
                "fsmnet reconstruct --kspace scan.h5 --auxiliary T1.nii.gz -o T2.nii.gz",
                {"kspace": "fastMRI, ISMRMRD, .npy or .npz", "mask": "file; default: what was measured"},
            ),
            Section(
                "DICOM",
                "fsmnet reconstruct STUDY STUDY --target-series T2 --auxiliary-series T1 -o NEW",
                {"target_series": "number, UID or a part of its description", "auxiliary_series": ""},
            ),
            Section(
                "A whole list",
                "fsmnet reconstruct --pairs pairs.csv -o results",
                {"pairs": "table from 'fsmnet pair'"},
            ),
        ),
        positional=(("target", "kspace", "pairs"), ("auxiliary",)),
    ),
    "calibrate": Command(
        CalibrateConfig,
        "learn from scans how wrong a network is, for the map of its error",
        (
            Section(
                "On patients that the network was not trained on",
                "fsmnet calibrate DATA --checkpoint runs/quick/best.safetensors --rate 0.5 -o quick.safetensors",
                {
                    "data": "folder of cases, fully sampled",
                    "checkpoint": "weights from 'fsmnet train'",
                    "out": "a copy of them that knows these scans",
                    "rate": "of patients and voxels with an error below the bound; 0.9 needs nine patients",
                    "accelerations": "each scan is accelerated so many times",
                    "slices": "of each scan",
                },
            ),
        ),
        positional=(("data",),),
    ),
    "report": Command(
        ReportConfig,
        "put results on one page with a viewer; needs no network",
        (
            Section(
                "A reconstruction, an evaluation, a comparison",
                "fsmnet report T2_again.nii.gz results runs/table1 -o report.html",
                {
                    "results": "",
                    "out": "",
                    "sources": "folder of the scans, where they lie elsewhere than the record says",
                    "megabytes": "",
                    "overwrite": "",
                },
            ),
            Section(
                "The figure for print",
                "fsmnet report runs/table1 --figure figure.pdf",
                {"figure": "methods in columns, errors below: .pdf, .png or .svg"},
            ),
        ),
        positional=(("results",),),
    ),
    "pair": Command(
        PairConfig,
        "find pairs of contrasts in a folder, with a reason for each refusal",
        (
            Section(
                "By the names of the files",
                "fsmnet pair DATA --target t2 --auxiliary t1 -o pairs.csv",
                {
                    "data": "folder of cases: BraTS, BIDS, DICOM studies",
                    "target": "contrast to be accelerated, or a pattern with {case}",
                    "auxiliary": "fully sampled contrast, likewise",
                    "out": "table to write: case, target, auxiliary, status, reason",
                    "resample": "accept pairs on different grids",
                    "overwrite": "",
                },
            ),
            Section(
                "By a pattern",
                "fsmnet pair BIDS --target '{case}/anat/{case}_T2w.nii.gz' "
                "--auxiliary '{case}/anat/{case}_T1w.nii.gz' -o bids.csv",
            ),
            Section(
                "By what the images show",
                "fsmnet pair KNEE --layout fastmri -o knee.csv",
                {"layout": "fastmri: the names tell nothing, the content does"},
            ),
        ),
        positional=(("data",),),
    ),
    "mask": Command(
        MaskConfig,
        "draw a sampling mask and save it",
        (
            Section(
                "A mask for 'fsmnet reconstruct --mask'",
                "fsmnet mask --columns 240 --acceleration 4 --seed 1337 -o mask.npz",
                dict.fromkeys(
                    ("out", "columns", "acceleration", "kind", "center_fraction", "seed", "name", "overwrite"), ""
                ),
            ),
        ),
    ),
    "models": Command(
        ModelsConfig,
        "list the models with their size and cost",
        (
            Section(
                "All of them, at 320 x 320",
                "fsmnet models --size 320 --batch 8",
                dict.fromkeys(("size", "batch", "json"), ""),
            ),
        ),
    ),
    "export": Command(
        ExportConfig,
        "write a network for use without this package (.pt2, .onnx, hub, monai)",
        (
            Section(
                "A network of your own",
                "fsmnet export runs/quick/best.safetensors -o quick.onnx",
                {"checkpoint": "", "out": "file to write: .pt2 (torch.export) or .onnx", "overwrite": ""},
            ),
            Section(
                "A folder that others load",
                "fsmnet export shipped --format hub -o fsmnet-unrolled",
                {"format": "hub (Hugging Face) or monai (a MONAI bundle)", "scores": ""},
            ),
            Section(
                "Compared on a scan, too",
                "fsmnet export --target T2.nii.gz --auxiliary T1.nii.gz -o shipped.pt2",
                {
                    "target": "fully sampled scan, which is under-sampled",
                    "auxiliary": "",
                    "tolerance": "largest difference, in deviations of the target",
                },
            ),
        ),
        positional=(("checkpoint",),),
    ),
    "benchmark": Command(
        BenchmarkConfig,
        "measure a network's speed and memory",
        (
            Section(
                "A network, plain and optimised in turn",
                "fsmnet benchmark --model fsmnet_released --features 64 --size 240 --runs 5 --json",
                dict.fromkeys(("model", "features", "size", "runs", "precision", "threads", "json"), ""),
            ),
            Section(
                "What each step of the optimisation brings",
                "fsmnet benchmark --features 16 --steps",
                {"steps": "", "training": "also time training steps"},
            ),
            Section(
                "Quality against time",
                "fsmnet benchmark --features 16 --models shipped --data DATA --case TCGA-FG-6692 -o speed",
                {"models": "checkpoints to draw", "data": "", "case": "case to score", "out": ""},
            ),
        ),
    ),
    "doctor": Command(
        DoctorConfig,
        "check this installation",
        (Section("This installation, and a folder of data", "fsmnet doctor DATA", {"data": "", "json": ""}),),
        positional=(("data",),),
    ),
    "completion": Command(
        CompletionConfig,
        "let the shell complete commands, options and files",
        (
            Section("Once, for bash", "fsmnet completion bash > ~/.local/share/bash-completion/completions/fsmnet"),
            Section("Once, for zsh, into a folder of $fpath", "fsmnet completion zsh > ~/.zfunc/_fsmnet"),
            Section("Once, for fish", "fsmnet completion fish > ~/.config/fish/completions/fsmnet.fish"),
        ),
        positional=(("shell",),),
    ),
    "help": Command(
        HelpConfig,
        "explain a command",
        (Section("What --help shows, or --help-all", "fsmnet help train --all", {"command": "", "all": ""}),),
        positional=(("command",),),
    ),
}
