"""Options of training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fsmnet.data.options import PairOptions, SplitOptions
from fsmnet.errors import UserError
from fsmnet.inference.elsewhere import require_few
from fsmnet.inference.options import RunOptions
from fsmnet.options import Options, at_least, option, required
from fsmnet.physics.options import TrainingMaskOptions


@dataclass(kw_only=True)
class ModelOptions(Options, group="model"):
    """What is trained, from which start."""

    model: str = option("fsmnet", "name, see 'fsmnet models'")
    model_options: dict[str, Any] = option({}, "constructor options of the model, e.g. '{features: 16, blocks: 2}'")
    init: Path | None = option(None, "start from the weights of this checkpoint")
    seed: int = option(0, "seed of the weights, the order of the slices and the augmentation", most=2**32 - 1)


@dataclass(kw_only=True)
class PreparationOptions(Options, group="preparation"):
    """How slices become ready for training."""

    cache: Literal["memory", "disk"] = option("memory", "where prepared slices are kept between epochs", material=False)
    cache_folder: Path | None = option(None, "folder of the disk cache; default: OUT/cache", material=False)
    workers: int = option(0, "processes that prepare slices; 0: in the training process", material=False)
    augment: bool = option(
        True, "shift both contrasts by up to 8 pixels before under-sampling (reflect-pad and crop); not in fastmri"
    )


@dataclass(kw_only=True)
class KSpaceOptions(Options, group="preparation"):
    """How samples are made for a network that takes k-space."""

    strip: int | None = option(
        None, "networks that take k-space: rows of a sample, from a random place, for more samples a second; null: all"
    )
    blank_auxiliary: float = option(0.0, "networks that take k-space: share of the samples without auxiliary")

    def check_samples(self) -> None:
        """Refuse samples that cannot be made."""
        if self.strip is not None:
            at_least(self, "strip", 8)
        if not 0 <= self.blank_auxiliary <= 1:
            raise UserError(f"blank_auxiliary is a share, 0 to 1, not {self.blank_auxiliary}")


@dataclass(kw_only=True)
class BudgetOptions(Options, group="budget"):
    """How long a training goes; it may go on with more."""

    iterations: int | None = option(100_000, "optimiser steps; null: until another budget is spent", material="extent")
    epochs: float | None = option(None, "stop after so many passes through the slices", material="extent")
    minutes: float | None = option(
        None,
        "stop after this much training time, within a step if it is slow; the schedule fits itself to it",
        material="extent",
    )
    patience: int | None = option(
        None, "stop after so many validations in a row without a better PSNR", material="extent"
    )


@dataclass(kw_only=True)
class OptimiserOptions(Options, group="optimiser"):
    """What a step is."""

    batch: int = option(4, "slices per step, on all devices together")
    accumulate: int = option(1, "parts of a batch that are computed one after the other, to save memory")
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


@dataclass(kw_only=True)
class LossOptions(Options, group="loss"):
    """What is minimised."""

    image_weight: float = option(1.0, "weight of the image's L1 in the loss")
    auxiliary_weight: float = option(0.0, "weight of the auxiliary's L1, for models that reconstruct it (MINet, MCCA)")
    kspace_weight: float = option(0.0, "weight of the L1 in k-space (MCCA)")
    frequency_weight: float = option(0.01, "weight of the amplitude and phase terms of the loss (FSMNet)")
    wrap_phase: bool = option(False, "measure phase differences around the circle")


@dataclass(kw_only=True)
class LogOptions(Options, group="validation and log"):
    """How often a training looks at itself."""

    validate_every: int = option(1000, "steps between validations")
    validate_slices: int = option(64, "validation slices at most, spread evenly over the patients; 0: all")
    save_every: int = option(500, "steps between saves of the resumable state", material=False)
    log_every: int = option(10, "steps between rows of log.csv", material=False)
    tensorboard: bool = option(False, "also write TensorBoard events: curves and validation images", material=False)
    pictures: bool = option(True, "redraw curves.png and validation.png as the run goes", material=False)


@dataclass(kw_only=True)
class TrainingRunOptions(RunOptions, group="device"):
    """Where and how to compute the steps."""

    precision: Literal["float32", "bfloat16"] = option(
        "float32", "bfloat16: autocast of convolutions; FFTs stay float32"
    )
    channels_last: bool = option(True, "memory layout that suits convolutions on most processors")
    checkpointing: bool = option(
        False, "compute the blocks' feature maps twice instead of keeping them: less memory, about a third more time"
    )
    compile: bool = option(False, "compile the network by torch.compile; the first step then takes minutes")


@dataclass(kw_only=True)
class TrainConfig(
    TrainingRunOptions, LogOptions, LossOptions, OptimiserOptions, BudgetOptions, KSpaceOptions, PreparationOptions,
    ModelOptions, TrainingMaskOptions, SplitOptions, PairOptions, group="output",
):  # fmt: skip
    """Train a network on pairs of contrasts."""

    out: Path = required("folder for checkpoints, log, configuration, split and mask", material=False)
    resume: bool = option(False, "go on where the run in --out was stopped", material=False)

    def check(self) -> None:
        """Refuse impossible values, each in one sentence."""
        if self.iterations is None and self.minutes is None and self.epochs is None:
            raise UserError("give iterations, epochs or minutes; without any the training would never end")
        for name in ("batch", "accumulate", "validate_every", "save_every", "log_every", "decay_every"):
            at_least(self, name, 1)
        for name in ("seed", "split_seed", "workers", "warmup", "validate_slices", "weight_decay", "frequency_weight"):
            at_least(self, name, 0)
        for name in ("learning_rate", "decay", "iterations", "epochs", "minutes", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"{name} must be more than 0, not {value}")
        require_few("workers", self.workers)
        self.check_samples()
        self._check_patience()
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

    def _check_patience(self) -> None:
        if self.patience is not None:
            at_least(self, "patience", 1)
            if self.split is None and self.validation_fraction == 0:
                raise UserError("patience counts validations, and there are none; raise validation_fraction")
