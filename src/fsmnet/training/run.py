"""Training: steps, validation, checkpoints, and going on where it stopped.

The order of the slices and everything random about them follow from the seed and the step, so that the state of a run
is its weights, the optimiser's averages and a step number. A run that is stopped and resumed takes the same steps.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import signal
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import torch
import yaml
from accelerate import Accelerator
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from fsmnet.checkpoint import Header, load_weights, read_checkpoint, save_checkpoint, versions
from fsmnet.data.options import ProtocolName
from fsmnet.data.pairing.fastmri_lists import FastMRIPair
from fsmnet.data.pairing.names import Pair
from fsmnet.data.split import Split, load_split, save_split
from fsmnet.errors import UserError, first_line
from fsmnet.files import atomic_write, make_folder, write_text
from fsmnet.inference.allocator import keep_freed_blocks
from fsmnet.inference.cost import human_bytes, predict_cost
from fsmnet.inference.slices import autocast, choose_device, reconstruct_slices
from fsmnet.metrics import score
from fsmnet.models import create_model, model_class, model_options, recipe_of
from fsmnet.models.kernels.checkpointing import checkpoint_activations
from fsmnet.models.output import Output
from fsmnet.options import field_types
from fsmnet.physics.masks import MaskRecipe, save_mask
from fsmnet.protocols.base import check_protocol
from fsmnet.protocols.cases import Case, accelerate_case, find_cases, split_cases
from fsmnet.protocols.fastmri_slices import FastMRISlices
from fsmnet.protocols.slices import RunSampler, SlicePairs
from fsmnet.training.losses import SpatialFrequencyLoss
from fsmnet.training.options import TrainConfig

logger = logging.getLogger(__name__)

# What may change between a run and its continuation; everything else defines the result.
_MAY_CHANGE = {
    "out", "resume", "data", "index", "iterations", "epochs", "minutes", "device", "threads", "workers", "cache",
    "cache_folder", "save_every", "log_every", "tensorboard",
}  # fmt: skip
LOG_COLUMNS = ["step", "epoch", "seconds", "learning_rate", "loss", "gradient_norm", "validation_psnr"]


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    seconds: float = 0.0
    best_psnr: float = -math.inf
    best_step: int = 0


@dataclass(frozen=True)
class TrainResult:
    """What a run left behind.

    Attributes:
        best: checkpoint with the highest validation PSNR (the last one without validation cases).
        last: checkpoint of the last step.
        progress: steps, seconds and validation PSNR.
        finished: False if the run was interrupted.
    """

    best: Path
    last: Path
    progress: Progress
    finished: bool


def train(config: TrainConfig) -> TrainResult:
    """Train a model as configured; see :class:`fsmnet.training.options.TrainConfig`.

    Raises:
        UserError: a wrong option, data that cannot be used, or a loss that is no longer finite.
    """
    config.check()
    is_new = not config.out.exists()
    try:
        return _Run(config).execute()
    except UserError:
        if is_new:
            with suppress(OSError):  # goes only while it is empty
                config.out.rmdir()
        raise


class _Run:
    """One training run: everything that :func:`train` builds and moves along."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.protocol: ProtocolName = check_protocol(config.protocol)
        self.mask: MaskRecipe = config.training_recipe(self.protocol)
        self.out = config.out
        self.state_file = self.out / "resume.pt"
        saved = self._saved_state()
        device = choose_device(config.device, config.threads)
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)  # accelerate takes the current one
        # Autocast is ours (_step): accelerate allows a process one precision for good.
        self.accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision="no")
        model_class(config.model)  # what can be refused is refused before the data are read
        initial = read_checkpoint(config.init)[0] if config.init is not None and saved is None else None
        cases = {case.case: case for case in find_cases(config, self.out, config.cases)}
        self.split = self._split(list(cases.values()), saved)
        make_folder(self.out)
        cache = (config.cache_folder or self.out / "cache") if config.cache == "disk" else None
        self.data = self._training_slices([cases[name] for name in self.split.train], cache)
        if len(self.data.sizes) > 1 and config.batch > 1:
            sizes = ", ".join(f"{h} x {w}" for h, w in sorted(self.data.sizes))
            remedy = "" if self.protocol == "fastmri" else " or protocol to brats"
            raise UserError(f"slices of different sizes ({sizes}) cannot share a batch; set batch to 1{remedy}")
        self.validation = [
            accelerate_case(
                cases[name],
                self.mask,
                self.protocol,
                resample=config.resample,
                cache=cache,
                most=max(1, config.validate_slices // len(self.split.validation)) if config.validate_slices else None,
            )
            for name in self.split.validation
        ]

        self.model_options = self._model_options()
        self._announce()
        torch.manual_seed(config.seed)
        self.model = create_model(config.model, **self.model_options)
        if not any(p.requires_grad for p in self.model.parameters()):
            raise UserError(f"model {config.model} has nothing to train; choose another with --model")
        if initial is not None:
            load_weights(self.model, initial, config.init)
        self.recipe = recipe_of(self.model)
        if config.channels_last:
            _channels_last(self.model)
        self.average = None
        if config.ema is not None:
            self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
            self.average.to(self.accelerator.device)
        self.loss = SpatialFrequencyLoss(
            config.frequency_weight,
            config.wrap_phase,
            image_weight=config.image_weight,
            auxiliary_weight=config.auxiliary_weight,
            kspace_weight=config.kspace_weight,
        )
        self.optimizer = _optimizer(config, self.model)
        if config.checkpointing:
            checkpoint_activations(self.model)
        network = _compiled(self.model) if config.compile else self.model
        self.network, self.optimizer = self.accelerator.prepare(network, self.optimizer)
        self.progress = Progress()
        self.rows: list[dict[str, Any]] = []
        self.board: Any = None
        if saved is not None:
            self._restore(saved)

    # -- the run ------------------------------------------------------------------------------------------------------

    def execute(self) -> TrainResult:
        """Write what defines the run, take the steps, leave the checkpoints."""
        config, progress = self.config, self.progress
        if self.accelerator.is_main_process:
            self._write_definition()
        loader = DataLoader(
            self.data,
            batch_sampler=RunSampler(
                len(self.data),
                config.batch,
                config.seed,
                start=progress.step,
                rank=self.accelerator.process_index,
                world=self.accelerator.num_processes,
            ),
            num_workers=config.workers,
            worker_init_fn=_leave_interrupts_to_the_main_process,
            generator=torch.Generator(),  # else every start of the loader would draw from the weights' generator
            persistent_workers=config.workers > 0,
            pin_memory=self.accelerator.device.type == "cuda",
        )
        finished = self._done()
        with _stop_on_signal() as stop, self._bar() as bar:
            first, before, started = progress.step, progress.seconds, time.perf_counter()
            batches = iter(loader)
            while not finished and not stop:
                loss, norm, rate = self._step(_next(batches))
                if progress.step == first:
                    keep_freed_blocks()
                progress.step += 1
                progress.seconds = before + time.perf_counter() - started
                finished = self._done()
                psnr = None
                if self.validation and (progress.step % config.validate_every == 0 or finished):
                    psnr = self._validate()
                    progress.seconds = before + time.perf_counter() - started
                if psnr is not None or progress.step % config.log_every == 0 or finished:
                    self._log(loss, norm, rate, psnr)
                self._advance(bar, loss)
                if progress.step % config.save_every == 0:
                    self._save()
        if self.accelerator.is_main_process:
            self._save()
            if not self.validation:
                self._save_weights("best.safetensors", {"step": progress.step})
            if self.board is not None:
                self.board.close()
        self.accelerator.wait_for_everyone()
        return TrainResult(self.out / "best.safetensors", self.out / "last.safetensors", progress, finished)

    def _step(self, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[float, float, float]:
        """One optimiser step; loss, gradient norm and learning rate."""
        config = self.config
        rate = config.learning_rate * learning_rate_factor(
            config, self.progress.step, self._share_done(), self._epoch()
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        self.optimizer.zero_grad()
        loss = 0.0
        parts = list(zip(*(t.chunk(config.accumulate) for t in batch), strict=True))
        for number, part in enumerate(parts, 1):
            # Processes exchange their gradients once, after the last part.
            with nullcontext() if number == len(parts) else self.accelerator.no_sync(self.network):
                loss += self._add_gradient(part, len(part[0]) / len(batch[0]))
        norm = self.accelerator.clip_grad_norm_(self.network.parameters(), config.clip_norm or math.inf)
        self._stop_if_diverged(loss, float(norm or 0.0))
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return loss, float(norm or 0.0), rate

    def _add_gradient(self, part: tuple[Tensor, ...], share: float) -> float:
        """Forward and backward pass of a part of the batch; its share of the loss."""
        zero_filled, auxiliary, target = (t.to(self.accelerator.device, non_blocking=True) for t in part)
        with autocast(self.accelerator.device, self.config.precision):
            output = _forward(self.network, zero_filled, auxiliary)
        loss = share * self.loss(output, target, auxiliary)
        self.accelerator.backward(loss)
        return float(loss.detach())

    def _stop_if_diverged(self, loss: float, norm: float) -> None:
        """Refuse to take a step that would spoil the weights."""
        if math.isfinite(loss) and math.isfinite(norm):
            return
        last = self.out / "last.safetensors"
        left = f"{last} is from before and may be good" if last.exists() else "no checkpoint was written yet"
        raise UserError(
            f"the loss is {loss:g} and the gradient's norm {norm:g} at step {self.progress.step + 1}; {left}; lower "
            "learning_rate or set clip_norm in a new run"
        )

    def _share_done(self) -> float:
        """How much of the budget is spent, 0 to 1."""
        shares = []
        if self.config.iterations is not None:
            shares.append(self.progress.step / self.config.iterations)
        if self.config.epochs is not None:
            shares.append(self.progress.step / math.ceil(self.config.epochs * len(self.data) / self.config.batch))
        if self.config.minutes is not None:
            shares.append(self.progress.seconds / (60 * self.config.minutes))
        return min(1.0, max(shares))

    def _epoch(self) -> int:
        return self.progress.step * self.config.batch // len(self.data)

    def _done(self) -> bool:
        return self._share_done() >= 1.0

    def _validate(self) -> float:
        """Mean PSNR over the validation cases; saves the checkpoint if it is the best so far."""
        psnr = -math.inf
        if self.accelerator.is_main_process:
            model = self._weights_to_use().eval()
            values: list[float] = []
            for case in self.validation:
                images = reconstruct_slices(
                    model,
                    case.zero_filled,
                    case.slices.auxiliary,
                    self.protocol,
                    batch=self.config.batch,
                    device=self.accelerator.device,
                    precision=self.config.precision,
                    auxiliary_zero_filled=case.auxiliary_zero_filled,
                )
                values += [metrics.psnr for metrics in score(case.slices.target, images, self.protocol)]
            psnr = sum(values) / len(values)
            if psnr > self.progress.best_psnr:
                self.progress.best_psnr, self.progress.best_step = psnr, self.progress.step
                self._save_weights("best.safetensors", {"step": self.progress.step, "validation_psnr": psnr})
        self.accelerator.wait_for_everyone()
        return psnr

    def _weights_to_use(self) -> nn.Module:
        return self.model if self.average is None else self.average.module

    # -- before the run -----------------------------------------------------------------------------------------------

    def _split(self, cases: Sequence[Case], saved: Mapping[str, Any] | None) -> Split:
        config = self.config
        if saved is not None:
            split = Split(**json.loads(saved["split"]))
        elif config.split is not None:
            split = load_split(config.split)
        else:
            split = split_cases(cases, config)
        missing = sorted({*split.train, *split.validation} - {case.case for case in cases})
        if missing:
            raise UserError(f"{config.data}: the split names cases that are not there: {', '.join(missing)}")
        if not split.train:
            raise UserError("the split has no case to train on")
        return split

    def _training_slices(self, cases: Sequence[Case], cache: Path | None) -> SlicePairs | FastMRISlices:
        config = self.config
        if self.protocol == "fastmri":
            knees = [case for case in cases if isinstance(case, FastMRIPair)]
            return FastMRISlices(knees, self.mask, seed=config.seed)
        return SlicePairs(
            [case for case in cases if isinstance(case, Pair)],
            self.protocol,
            self.mask,
            seed=config.seed,
            augment=config.augment,
            resample=config.resample,
            cache=cache,
        )

    def _model_options(self) -> dict[str, Any]:
        """The configured options, and the image's size where weights depend on it and it was not given."""
        options = dict(self.config.model_options)
        if "image_size" in model_options(self.config.model):
            options.setdefault("image_size", list(max(self.data.sizes)))
        return options

    def _announce(self) -> None:
        """Say what is about to be trained and what it will take."""
        config = self.config
        height, width = max(self.data.sizes)
        mask = self.data.example_mask()
        part = math.ceil(config.batch / config.accumulate)
        cost = predict_cost(config.model, self.model_options, height, width, part, config.checkpointing)
        logger.info(
            "%s: %s parameters, %.1f GFLOP a slice, about %s for training with batches of %d%s%s",
            config.model,
            f"{cost.parameters:,}",
            cost.gflops,
            human_bytes(cost.training_bytes),
            config.batch,
            f" in parts of {part}" if part < config.batch else "",
            ", feature maps computed twice" if config.checkpointing else "",
        )
        logger.info(
            "%d training slices of %d cases, %d validation slices of %d; protocol %s",
            len(self.data),
            len(self.split.train),
            sum(len(case.slices.numbers) for case in self.validation),
            len(self.split.validation),
            config.protocol,
        )
        logger.info("mask %s", mask.describe())
        free = psutil.virtual_memory().available
        if self.accelerator.device.type == "cpu" and cost.training_bytes > free:
            remedy = "lower batch or the model's size, raise accumulate, or turn checkpointing on"
            logger.warning("that is more than the %s that are free; %s", human_bytes(free), remedy)
        if not self.validation:
            logger.info("no validation cases: the best checkpoint will be the last")

    def _write_definition(self) -> None:
        config = self.config
        write_text(self.out / "config.yaml", dump_config(replace(config, resume=False)))
        save_split(self.split, self.out / "split.json")
        save_mask(self.data.example_mask(), self.out / "mask.npz")
        if config.tensorboard:
            self.board = _tensorboard(self.out / "tensorboard")

    # -- the log ------------------------------------------------------------------------------------------------------

    def _log(self, loss: float, norm: float, rate: float, psnr: float | None) -> None:
        progress = self.progress
        row = {
            "step": progress.step,
            "epoch": self._epoch(),
            "seconds": round(progress.seconds, 2),
            "learning_rate": f"{rate:.4g}",
            "loss": f"{loss:.6g}",
            "gradient_norm": f"{norm:.4g}",
            "validation_psnr": "" if psnr is None else f"{psnr:.3f}",
        }
        self.rows.append(row)
        if not self.accelerator.is_main_process:
            return
        if psnr is not None:
            left = "" if self._done() else f", {_minutes(self._seconds_left())} left"
            logger.info("step %d: loss %.4f, validation %.2f dB%s", progress.step, loss, psnr, left)
        if self.board is not None:
            for name, value in (("loss", loss), ("learning_rate", rate), ("validation_psnr", psnr)):
                if value is not None:
                    self.board.add_scalar(name, value, progress.step)

    def _seconds_left(self) -> float:
        share = self._share_done()
        return self.progress.seconds * (1 - share) / share if share else math.inf

    @contextmanager
    def _bar(self) -> Iterator[tqdm[Any]]:
        # The bar counts thousandths of the budget, be it steps or minutes.
        watched = sys.stderr.isatty() and self.accelerator.is_main_process
        form = "{l_bar}{bar}| {elapsed} < {remaining}{postfix}"
        with tqdm(total=1000, desc="training", disable=not watched, bar_format=form) as bar:
            bar.update(int(1000 * self._share_done()))
            if watched:  # time left counts from the start of the run, not of its continuation
                bar.start_t -= self.progress.seconds
            yield bar

    def _advance(self, bar: tqdm[Any], loss: float) -> None:
        if not bar.disable:
            bar.set_postfix_str(f"step {self.progress.step}, loss {loss:.4f}", refresh=False)
            bar.update(int(1000 * self._share_done()) - bar.n)

    # -- files --------------------------------------------------------------------------------------------------------

    def _save_weights(self, name: str, metrics: dict[str, Any]) -> None:
        header = Header(
            model=self.recipe,
            training=plain_config(self.config),
            split=asdict(self.split),
            metrics=metrics,
            versions=versions(),
        )
        try:
            save_checkpoint(self.out / name, self._weights_to_use().state_dict(), header)
        except SafetensorError as error:  # its words for a full disk
            raise UserError(f"{self.out / name}: cannot be written ({error}); free space on the disk") from None

    def _save(self) -> None:
        """Weights for use, state for resuming, and the log, each replaced in one step."""
        if not self.accelerator.is_main_process:
            return
        self._save_weights("last.safetensors", {"step": self.progress.step})
        state = {
            "config": json.dumps(plain_config(self.config)),
            "split": json.dumps(asdict(self.split)),
            "progress": asdict(self.progress),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        content = io.BytesIO()  # torch.save has no words for a full disk
        torch.save(state, content)
        with atomic_write(self.state_file) as file:
            file.write(content.getbuffer())
        text = io.StringIO()
        writer = csv.DictWriter(text, LOG_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.out / "log.csv", text.getvalue())

    def _saved_state(self) -> dict[str, Any] | None:
        """State of the run in the output folder, if this is to be its continuation."""
        if not self.config.resume:
            if self.state_file.exists():
                raise UserError(
                    f"{self.out} already holds a run; pass --resume to go on with it, or choose another --out"
                )
            return None
        if not self.state_file.exists():
            raise UserError(f"{self.state_file}: there is no run to resume; leave --resume out to start one")
        try:
            state: dict[str, Any] = torch.load(self.state_file, map_location="cpu", weights_only=True)
            earlier = {name: default for name, _, default, _ in field_types(TrainConfig)} | json.loads(state["config"])
        except Exception:  # torch raises many kinds for a damaged file, and advises to load it unsafely
            raise UserError(
                f"{self.state_file}: damaged, or no state of a training; start again with another --out"
            ) from None
        if differences := changed_options(earlier, plain_config(self.config), _MAY_CHANGE):
            raise UserError(
                f"{self.out}: this is not the run that was stopped: {differences}; use its config.yaml or another --out"
            )
        return state

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.progress = Progress(**state["progress"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda_rng"])
        log = self.out / "log.csv"
        if log.exists():
            with log.open(newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= self.progress.step]
        logger.info("resuming %s at step %d", self.out, self.progress.step)


def _leave_interrupts_to_the_main_process(worker: int) -> None:
    """Ctrl-C reaches the workers too; they must live until the current step is finished."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _next(batches: Iterator[Any]) -> Any:
    """The next batch; of a worker's error the sentence alone, without the traceback PyTorch puts around it."""
    try:
        return next(batches)
    except UserError as error:
        raise UserError(str(error).rpartition(f"{UserError.__name__}: ")[2].strip()) from None


def learning_rate_factor(config: TrainConfig, step: int, share_done: float, epoch: int = 0) -> float:
    """Learning rate at a step over the initial one; the cosine follows the share of the budget that is spent."""
    warmup = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    if config.schedule == "step":
        return warmup * config.decay ** ((epoch if config.decay_unit == "epochs" else step) // config.decay_every)
    if config.schedule == "cosine":
        return warmup * 0.5 * (1 + math.cos(math.pi * share_done))
    return warmup


def plain_config(config: Any) -> dict[str, Any]:
    """A configuration as JSON and YAML can hold it."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}


def changed_options(earlier: Mapping[str, Any], now: Mapping[str, Any], free: Collection[str]) -> str:
    """Options that differ between two plain configurations, in words; those in ``free`` may. Empty if none does."""
    changed = [name for name in now if name not in free and now[name] != earlier.get(name)]
    return ", ".join(f"{name} was {earlier.get(name)!r}, is {now[name]!r}" for name in changed)


def dump_config(config: Any) -> str:
    """A configuration as YAML that ``--config`` reads back."""
    text: str = yaml.safe_dump(plain_config(config), sort_keys=False)
    return text


def _optimizer(config: TrainConfig, model: nn.Module) -> torch.optim.Optimizer:
    parameters, rate, decay = model.parameters(), config.learning_rate, config.weight_decay
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=rate, weight_decay=decay)
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=config.betas[0], weight_decay=decay)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr=rate, betas=(config.betas[0], config.betas[1]), weight_decay=decay, fused=True)


def _channels_last(model: nn.Module) -> None:
    """Lay out 2D convolution weights as channels-last; the images follow. 3D convolutions would refuse."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _compiled(model: nn.Module) -> nn.Module:
    """The model with its passes compiled, whose weights are the model's own.

    Raises:
        UserError: there is nothing to compile with, which a function of one line tells at once.
    """
    try:
        torch.compile(lambda x: x + 1)(torch.ones(2))
    except Exception as error:  # of many kinds, by what is missing
        raise UserError(
            f"compile: torch.compile does not work here ({first_line(error)}); install a C++ compiler, or leave "
            "--compile out"
        ) from None
    compiled: nn.Module = torch.compile(model, dynamic=False)  # type: ignore[assignment]
    return compiled


def _forward(network: nn.Module, zero_filled: Tensor, auxiliary: Tensor) -> Output:
    """The network's output; of a network that cannot be compiled the reason in a sentence."""
    try:
        output: Output = network(zero_filled, auxiliary)
    except Exception as error:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise UserError(
                f"compile: torch.compile cannot compile this model ({first_line(error)}); leave --compile out"
            ) from None
        raise
    return output


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("--tensorboard needs the tensorboard package; pip install 'fsmnet[tensorboard]'") from None
    return SummaryWriter(folder)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


@contextmanager
def _stop_on_signal() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM: the list turns true, the current step is finished, the state is saved."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received:  # asked twice: at once
            raise KeyboardInterrupt
        received.append(number)

    try:
        earlier = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread, where signals cannot be caught
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def command(config: TrainConfig) -> int:
    """``fsmnet train``."""
    result = train(config)
    progress = result.progress
    if not result.finished:
        logger.info(
            "stopped at step %d; to go on: fsmnet train --config %s --resume",
            progress.step,
            config.out / "config.yaml",
        )
        return 130
    best = f", best validation {progress.best_psnr:.2f} dB at step {progress.best_step}" if progress.best_step else ""
    logger.info("%d steps in %s%s; weights: %s", progress.step, _minutes(progress.seconds), best, result.best)
    return 0
