"""Options of the commands: plain dataclasses that become YAML keys and flags of the same names.

Nothing here imports torch, so that ``--help`` is quick. A key nobody knows is an error.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_type_hints

from fsmnet.errors import UserError
from fsmnet.masks import (
    BRATS_SEED,
    Mask,
    MaskKind,
    Seed,
    default_center_fraction,
    make_mask,
    mixed_mask,
    seed_from_name,
)

ProtocolName = Literal["brats", "float", "fastmri"]
BatchSize = int | Literal["auto"]
PrecisionChoice = Literal["auto", "float32", "bfloat16"]
PRECISION = (
    "of convolutions and maps between them, FFTs stay float32; auto: bfloat16 where the processor has it in hardware"
)


def check_batch(batch: BatchSize) -> None:
    """Refuse a number of slices that is none."""
    if batch != "auto" and (isinstance(batch, str) or batch < 1):  # any text from Python
        raise UserError(f"batch must be at least 1, not {batch}; or auto")


def option(default: Any, help: str) -> Any:
    """A dataclass field with the help text of its flag."""
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata={"help": help})
    return field(default=default, metadata={"help": help})


def required(help: str) -> Any:
    """A dataclass field without a default."""
    return field(metadata={"help": help})


@dataclass(kw_only=True)
class MaskOptions:
    """How k-space is under-sampled."""

    acceleration: float = option(4, "requested acceleration")
    mask_kind: MaskKind | None = option(
        None, "kind of mask; by default the protocol's (BraTS 4x random, 8x equispaced)"
    )
    center_fraction: float | None = option(None, "share of columns always kept in the middle; default: the protocol's")
    mask_seed: int | Literal["name"] | None = option(
        None, "seed of the mask, or 'name' for one mask per file from its name; default: 1337 (brats), name (others)"
    )

    def mask_recipe(self, protocol: str) -> MaskRecipe:
        """The recipe in force: given options over the protocol's."""
        equispaced = protocol == "brats" and self.acceleration == 8 and self.center_fraction is None
        kind: MaskKind = self.mask_kind or ("equispaced_fraction" if equispaced else "random")
        center = self.center_fraction
        if center is None:
            brats_4x = protocol == "brats" and self.acceleration == 4
            center = 0.10 if brats_4x else default_center_fraction(self.acceleration)
        seed = self.mask_seed if self.mask_seed is not None else (BRATS_SEED if protocol == "brats" else "name")
        return MaskRecipe(kind, float(self.acceleration), center, seed)


@dataclass(frozen=True)
class MaskRecipe:
    """How masks are drawn.

    Attributes:
        kind: see :data:`fsmnet.masks.MASK_KINDS`.
        acceleration: requested.
        center_fraction: share of columns always kept in the middle.
        seed: a number for one mask everywhere, or ``"name"`` for one per file from the file's own name.
        mixed: pairs of acceleration and center fraction, of which every training sample gets one; empty for one kind.
    """

    kind: MaskKind
    acceleration: float
    center_fraction: float
    seed: int | str
    mixed: tuple[tuple[float, float], ...] = ()

    def includes(self, other: MaskRecipe) -> bool:
        """Whether who trains with these masks sees those of another recipe."""
        kinds = self.mixed or ((self.acceleration, self.center_fraction),)
        return any(replace(self, acceleration=a, center_fraction=c, mixed=()) == other for a, c in kinds)

    def __str__(self) -> str:
        """In words, for messages."""
        kinds = self.mixed or ((self.acceleration, self.center_fraction),)
        drawn = " or ".join(f"{acceleration:g}x with centre {center:g}" for acceleration, center in kinds)
        return f"{self.kind}, {drawn}, seed {'from the name' if self.seed == 'name' else self.seed}"

    def draw(self, columns: int, name: str | Path) -> Mask:
        """The mask of a file."""
        return self.draw_with(columns, self.seed if isinstance(self.seed, int) else seed_from_name(name))

    def draw_with(self, columns: int, seed: Seed) -> Mask:
        """A mask of this kind with another seed."""
        return make_mask(self.kind, columns, self.acceleration, self.center_fraction, seed)

    def draw_sample(self, columns: int, seed: Seed) -> Mask:
        """The mask of a training sample: one of the mixed kinds, if there are several."""
        return mixed_mask(self.kind, columns, self.mixed, seed) if self.mixed else self.draw_with(columns, seed)


@dataclass(kw_only=True)
class PairOptions:
    """Which exams, and which contrast of each is accelerated."""

    data: Path = required(
        "folder of cases: BraTS (either naming convention), any folder if the contrasts are patterns, or fastMRI's "
        "volumes"
    )
    target: str = option(
        "t2",
        "contrast to be accelerated, or a pattern such as '{case}/{case}_T2w.nii.gz'; fastmri: an acquisition, by "
        "default what the list of pairs says",
    )
    auxiliary: str = option("t1", "fully sampled contrast, likewise")
    cases: list[str] | None = option(None, "only these cases")
    protocol: ProtocolName = option(
        "brats", "how to simulate and score: brats (8 bits, per slice), float or fastmri (k-space; both per volume)"
    )
    resample: bool = option(False, "bring the auxiliary onto the target's grid where they differ")
    pairs: Path | None = option(
        None, "fastmri: list of pairs (.csv), auxiliary first, as 'fsmnet pair' writes it or MINet published"
    )
    coils: Literal["single", "multi"] = option("single", "fastmri: emulated single-coil or multi-coil volumes")
    index: Path | None = option(None, "fastmri: where the files' headers are kept; default: OUT/fastmri_index.json")

    def contrasts(self) -> tuple[str | None, str | None]:
        """The acquisitions of target and auxiliary; None where the list of pairs decides."""
        names = (self.target, "t2"), (self.auxiliary, "t1")
        target, auxiliary = (None if name == brats else name for name, brats in names)
        return target, auxiliary


@dataclass(kw_only=True)
class SplitOptions:
    """Which patients are trained on, which choose the checkpoint, which are scored."""

    split: Path | None = option(None, "JSON file with train, validation and test cases; made from split_seed if absent")
    split_seed: int = option(0, "seed of the split by patient")
    validation_fraction: float = option(0.1, "share of the patients kept for choosing the best checkpoint")
    test_fraction: float = option(0.0, "share of the patients left untouched, for 'fsmnet evaluate'")


@dataclass(kw_only=True)
class RunOptions:
    """Where and how to compute."""

    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps")
    threads: int | None = option(None, "CPU threads; default: all cores")


@dataclass(kw_only=True)
class TrainConfig(RunOptions, SplitOptions, MaskOptions, PairOptions):
    """Train a network on pairs of contrasts."""

    out: Path = required("folder for checkpoints, log, configuration, split and mask")
    resume: bool = option(False, "go on where the run in --out was stopped")
    model: str = option("fsmnet", "name, see 'fsmnet models'")
    model_options: dict[str, Any] = option({}, "constructor options of the model, e.g. '{features: 16, blocks: 2}'")
    init: Path | None = option(None, "start from the weights of this checkpoint")
    seed: int = option(0, "seed of the weights, the order of the slices and the augmentation")

    cache: Literal["memory", "disk"] = option("memory", "where prepared slices are kept between epochs")
    cache_folder: Path | None = option(None, "folder of the disk cache; default: OUT/cache")
    workers: int = option(0, "processes that prepare slices; 0: in the training process")
    augment: bool = option(
        True, "shift both contrasts by up to 8 pixels before under-sampling (reflect-pad and crop); not in fastmri"
    )
    mixed_accelerations: list[float] | None = option(
        None, "accelerations of which every training sample gets one, e.g. 4 8; null: always --acceleration"
    )
    mixed_center_fractions: list[float] | None = option(
        None, "center fraction of each of the mixed accelerations; default: fastMRI's, 0.32/acceleration"
    )

    iterations: int | None = option(100_000, "optimiser steps; null: until another budget is spent")
    epochs: float | None = option(None, "stop after so many passes through the slices")
    minutes: float | None = option(None, "stop after this much training time; the schedule fits itself to it")
    batch: int = option(4, "slices per step, on all devices together")
    accumulate: int = option(1, "parts of a batch that are computed one after the other, to save memory")
    checkpointing: bool = option(
        False, "compute the blocks' feature maps twice instead of keeping them: less memory, about a third more time"
    )
    compile: bool = option(False, "compile the network by torch.compile; the first step then takes minutes")
    optimizer: Literal["adamw", "adam", "rmsprop", "sgd"] = option("adamw", "optimiser")
    learning_rate: float = option(1e-4, "initial learning rate")
    betas: list[float] = option([0.9, 0.999], "Adam's two averaging factors; SGD takes the first as momentum")
    weight_decay: float = option(0.01, "weight decay")
    schedule: Literal["constant", "step", "cosine"] = option("step", "how the learning rate falls")
    warmup: int = option(0, "steps over which the learning rate rises from 0")
    decay_every: int = option(20_000, "step schedule: steps (or epochs) between decays")
    decay_unit: Literal["steps", "epochs"] = option("steps", "step schedule: what decay_every counts")
    decay: float = option(0.1, "step schedule: factor of a decay (the paper's 0.1; the released code's 0.5)")
    clip_norm: float | None = option(None, "largest gradient norm; null: no clipping")
    ema: float | None = option(None, "decay of an exponential moving average of the weights; null: none")
    image_weight: float = option(1.0, "weight of the image's L1 in the loss")
    auxiliary_weight: float = option(0.0, "weight of the auxiliary's L1, for models that reconstruct it (MINet, MCCA)")
    kspace_weight: float = option(0.0, "weight of the L1 in k-space (MCCA)")
    frequency_weight: float = option(0.01, "weight of the amplitude and phase terms of the loss (FSMNet)")
    wrap_phase: bool = option(False, "measure phase differences around the circle")
    precision: Literal["float32", "bfloat16"] = option(
        "float32", "bfloat16: autocast of convolutions; FFTs stay float32"
    )
    channels_last: bool = option(True, "memory layout that suits convolutions on most processors")

    validate_every: int = option(1000, "steps between validations")
    validate_slices: int = option(64, "validation slices at most, spread evenly over the patients; 0: all")
    save_every: int = option(500, "steps between saves of the resumable state")
    log_every: int = option(10, "steps between rows of log.csv")
    tensorboard: bool = option(False, "also write TensorBoard events")

    def training_recipe(self, protocol: str) -> MaskRecipe:
        """The recipe in force, with the mixed accelerations of training.

        Raises:
            UserError: lists that do not fit each other, or a mask seed that gives every sample the same mask.
        """
        recipe = self.mask_recipe(protocol)
        accelerations, centers = self.mixed_accelerations or [], self.mixed_center_fractions
        if centers is None:
            centers = [default_center_fraction(acceleration) for acceleration in accelerations]
        if len(centers) != len(accelerations):
            raise UserError(
                f"mixed_center_fractions has {len(centers)} values, mixed_accelerations {len(accelerations)}; give as "
                "many"
            )
        if accelerations and recipe.seed != "name":
            raise UserError("mixed_accelerations need a new mask for every sample; set mask_seed to name")
        return replace(recipe, mixed=tuple(zip(map(float, accelerations), map(float, centers), strict=True)))

    def check(self) -> None:
        """Refuse impossible values, each in one sentence."""
        if self.iterations is None and self.minutes is None and self.epochs is None:
            raise UserError("give iterations, epochs or minutes; without any the training would never end")
        for name in ("batch", "accumulate", "validate_every", "save_every", "log_every", "decay_every"):
            _at_least(self, name, 1)
        for name in ("seed", "split_seed", "workers", "warmup", "validate_slices", "weight_decay", "frequency_weight"):
            _at_least(self, name, 0)
        for name in ("learning_rate", "decay", "iterations", "epochs", "minutes", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"{name} must be more than 0, not {value}")
        if self.accumulate > self.batch:
            raise UserError(f"a batch of {self.batch} has no {self.accumulate} parts; lower accumulate")
        for name in ("validation_fraction", "test_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 0 and below 1, not {getattr(self, name)}")
        if self.validation_fraction + self.test_fraction >= 1:
            raise UserError("validation_fraction and test_fraction leave no patient to train on; lower one")
        if self.ema is not None and not 0 < self.ema < 1:
            raise UserError(f"ema must lie between 0 and 1, not {self.ema}")
        if len(self.betas) != 2 or not all(0 <= b < 1 for b in self.betas):
            raise UserError(f"betas are two numbers in [0, 1), not {self.betas}")


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


@dataclass(kw_only=True)
class ReconstructConfig(RunOptions):
    """Reconstruct an accelerated contrast with the help of a fully sampled one."""

    target: Path | None = option(None, "contrast to reconstruct: a NIfTI, NumPy or fastMRI file or a DICOM folder")
    auxiliary: Path | None = option(None, "fully sampled contrast: always an image, of the same kinds of file")
    out: Path = required(
        "result: .nii.gz; .npy or .npz for arrays and k-space; .h5 for fastMRI's form of a submission; for a DICOM "
        "target a new folder; mask and JSON record come beside it"
    )
    kspace: Path | None = option(
        None,
        "complex k-space instead of --target: fastMRI or ISMRMRD (.h5, .mrd), .npy or .npz with axes (H, W), (S, H, W) "
        "or, with coils, always (S, C, H, W)",
    )
    maps: Path | None = option(
        None, "with --kspace: coil sensitivities (.npy, .npz); default: estimated from the centre lines by ESPIRiT"
    )
    complex: bool = option(False, "with --kspace: also write the complex image, beside the result as OUT_complex")
    target_series: str | None = option(None, "DICOM: number, UID or a part of the description of the target's series")
    auxiliary_series: str | None = option(None, "DICOM: the same for the auxiliary")
    checkpoint: Path | None = option(None, "weights from 'fsmnet train'; default: the shipped network")
    target_is: Literal["full", "zero-filled"] = option(
        "full", "full: under-sample it first, as a retrospective experiment; zero-filled: it is degraded already"
    )
    acceleration: float | None = option(None, "requested acceleration; default: the one the network was trained for")
    mask_kind: MaskKind | None = option(None, "kind of mask; default: the network's")
    center_fraction: float | None = option(None, "share of columns always kept in the middle; default: the network's")
    mask_seed: int | Literal["name"] | None = option(None, "seed of the mask, or 'name'; default: the network's")
    mask: Path | None = option(
        None,
        "mask from a file (.npy, .npz) instead of drawing one; with --kspace by default 'auto': the mask that the file "
        "states, else the columns that are not empty",
    )
    phase_encode: Literal["rows", "columns"] | None = option(
        None,
        "phase-encode axis, of which lines are left out: rows, the first in-plane axis of the file, or columns, the "
        "second; default: what the format says, else columns",
    )
    data_consistency: Literal["auto", "hard", "soft", "off"] = option(
        "auto",
        "hard: put the measured k-space lines back into the network's image; soft: weigh them; auto: hard wherever "
        "they are known",
    )
    noise_weight: float | None = option(
        None,
        "soft: weight w of the measured lines, (network + w measured) / (1 + w): variance of the network's error in "
        "k-space over that of the noise",
    )
    resample: bool = option(False, "bring the auxiliary onto the target's grid where they differ")
    register: Literal["none", "rigid"] = option(
        "none", "rigid: move the auxiliary onto the target by mutual information, then resample it"
    )
    batch: BatchSize = option("auto", "slices per step; auto: 1 on a processor, on a GPU what its memory holds")
    precision: PrecisionChoice = option("auto", PRECISION)
    optimise: bool = option(True, "compute the same image with less work: exact algebra, memory layout")
    overwrite: bool = option(False, "replace an existing result; with --pairs also what is done and verified")
    pairs: Path | None = option(
        None, "a whole list instead of --target and --auxiliary: table from 'fsmnet pair'; --out is then a folder"
    )
    workers: int = option(2, "with --pairs: threads that read the next exams and write finished ones")
    shard: str | None = option(
        None,
        "with --pairs: only this part of the list, such as 1/4 to 4/4; default: all, or under 'accelerate launch' the "
        "process's own part",
    )


@dataclass(kw_only=True)
class MaskConfig:
    """Draw a sampling mask and save it."""

    out: Path = required("file to write, .npy (columns) or .npz (columns and recipe)")
    kind: MaskKind = option("random", "fastMRI's name of the kind")
    columns: int = option(240, "number of phase-encode columns")
    acceleration: float = option(4, "requested acceleration")
    center_fraction: float | None = option(
        None, "share of columns always kept in the middle; default: 0.32/acceleration"
    )
    seed: int | None = option(None, "seed of the draw")
    name: str | None = option(None, "file name to take the seed from, as fastMRI does; folders are ignored")


@dataclass(kw_only=True)
class PairConfig:
    """Find pairs of contrasts in a folder and say of each candidate whether it can be used, and why not."""

    data: Path = required(
        "folder of cases: BraTS, BIDS, DICOM studies, or any folder if the contrasts are patterns with {case}; "
        "may stand right behind the command without --data"
    )
    out: Path = option(Path("pairs.csv"), "table to write: case, target, auxiliary, status, reason")
    target: str = option(
        "t2",
        "contrast to be accelerated, a pattern such as '{case}/{case}_T2w.nii.gz', or for DICOM a part of the series' "
        "description",
    )
    auxiliary: str = option("t1", "fully sampled contrast, likewise")
    resample: bool = option(False, "accept pairs on different grids, to be resampled or registered later")
    overwrite: bool = option(False, "replace an existing table with other rows")
    layout: Literal["cases", "fastmri"] = option(
        "cases", "cases: the files' names or headers tell the pairs; fastmri: nothing does, they are found by content"
    )
    coils: Literal["single", "multi"] = option("single", "fastmri: emulated single-coil or multi-coil volumes")
    index: Path | None = option(
        None, "fastmri: where the files' headers are kept; default: fastmri_index.json beside --out"
    )


@dataclass(kw_only=True)
class ModelsConfig:
    """List the models with their size and cost."""

    size: int = option(240, "rows and columns for which GFLOPs and memory are given")
    batch: int = option(4, "batch for which training memory is given")
    json: bool = option(False, "machine-readable output")


@dataclass(kw_only=True)
class ExportConfig:
    """Write a network with its weights for use without this package, and check that it gives the same image."""

    out: Path = required("file to write: .pt2 (torch.export) or .onnx; any height and width that are multiples of 8")
    checkpoint: Path | None = option(None, "weights from 'fsmnet train'; default: the shipped network")
    target: Path | None = option(
        None,
        "also compare on every tenth slice of this fully sampled scan, which is under-sampled as the network was "
        "trained for",
    )
    auxiliary: Path | None = option(None, "the other contrast of that scan")
    tolerance: float = option(1e-3, "largest difference from the model's image, in deviations of the target")
    overwrite: bool = option(False, "replace an existing file")


@dataclass(kw_only=True)
class BenchmarkConfig(RunOptions):
    """Measure a network's speed and memory, optimised against plain (eager, float32), in interleaved runs.

    speedup is over the same network plain, speedup_over_released over the plain fsmnet_released of --features; for
    --model fsmnet_released they are one. psnr_between compares the optimised image with the plain one. Weights and
    images are made up; --models takes trained networks and a real case. The last line of the output is a JSON object.
    """

    model: str = option("fsmnet_released", "name, see 'fsmnet models'")
    features: int = option(64, "width of the network, for models that have one")
    size: int = option(240, "rows and columns of a slice")
    runs: int = option(5, "runs of each, in turn")
    steps: bool = option(
        False, "also time the network after each step of the optimisation, and compare its image with the plain one's"
    )
    precision: PrecisionChoice = option(
        "auto", "of the fast network; auto: bfloat16 where the processor multiplies it in hardware"
    )
    batches: list[int] = option([1], "batch sizes whose throughput is measured")
    thread_counts: list[int] = option([], "numbers of threads whose throughput is measured; default: --threads alone")
    training: bool = option(False, "also time training steps, and their memory with --memory")
    training_batch: int = option(4, "slices of a training step")
    memory: bool = option(True, "measure the peak memory, each in a process of its own")
    json: bool = option(False, "print nothing but one JSON object")
    out: Path | None = option(None, "folder for benchmark.json and, with --models, the picture of quality against time")
    models: list[str] = option(
        [], "checkpoints to draw, or 'shipped': PSNR on --case against seconds per slice, plain and optimised"
    )
    data: Path | None = option(None, "folder of cases in BraTS's layout, for --models")
    case: str | None = option(None, "case to score, for --models; every tenth slice, 4x, protocol brats")


@dataclass(kw_only=True)
class DoctorConfig:
    """Check this installation, and a data folder if one is given."""

    data: Path | None = option(None, "folder of cases to look through")
    json: bool = option(False, "machine-readable output")


@dataclass(kw_only=True)
class DemoConfig(RunOptions):
    """Make a head, accelerate it, reconstruct it, and show the picture; needs no data."""

    out: Path = option(Path("demo"), "folder for images, scores and the picture")
    minutes: float = option(4.0, "training time if no weights are shipped or --train is given")
    train: bool = option(False, "train the quick network here instead of using the shipped one")
    acceleration: float = option(4, "requested acceleration")
    subjects: int = option(6, "subjects made for training; one more is held out")
    optimise: bool = option(True, "compute the same image with less work: exact algebra, memory layout")
    seed: int = option(0, "seed of the subjects and of the training")


def _at_least(config: Any, name: str, least: float) -> None:
    if not getattr(config, name) >= least:
        raise UserError(f"{name} must be at least {least}, not {getattr(config, name)}")


def field_types(config: type[Any]) -> list[tuple[str, Any, Any, str]]:
    """(name, type, default or MISSING, help) of each field."""
    hints = get_type_hints(config)
    rows = []
    for f in fields(config):
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        rows.append((f.name, hints[f.name], default, f.metadata.get("help", "")))
    last = {f.name for f in fields(RunOptions)}
    return sorted(rows, key=lambda row: row[0] in last)
