"""Training: steps, validation, checkpoints, and going on where it stopped.

The order of the slices and everything random about them follow from the seed and the step, so that the state of a run
is its weights, the optimiser's averages and a step number. A run that is stopped and resumed takes the same steps.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from fsmnet.checkpoint import read_checkpoint
from fsmnet.data.split import save_split, split_from
from fsmnet.errors import UserError
from fsmnet.files import write_text
from fsmnet.inference.allocator import keep_freed_blocks
from fsmnet.inference.alone import alone
from fsmnet.inference.slices import reconstruct_case
from fsmnet.options import by_name, dump_config
from fsmnet.physics.masks import save_mask
from fsmnet.training.data import TrainingData, batches, read_data
from fsmnet.training.deadline import Deadline
from fsmnet.training.log import Log, announce
from fsmnet.training.options import TrainConfig
from fsmnet.training.pace import Pace
from fsmnet.training.pictures import CURVES, EXAMPLE, Album
from fsmnet.training.schedule import Clock, Progress, Schedule, Usual
from fsmnet.training.setup import Setup, check_model, choose_accelerator, options_of_model, set_up
from fsmnet.training.signals import stop_on_signal
from fsmnet.training.state import check_data, read_state, restore, save_state, save_weights
from fsmnet.training.step import Figures, check_last_step
from fsmnet.training.together import Together

logger = logging.getLogger(__name__)

FILES = (
    "config.yaml", "split.json", "mask.npz", "log.csv", "resume.pt", "best.safetensors", "last.safetensors", CURVES,
    EXAMPLE,
)  # fmt: skip


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


@by_name(TrainConfig)
def train(config: TrainConfig) -> TrainResult:
    """Train a model as configured; see :class:`fsmnet.training.options.TrainConfig`.

    Raises:
        UserError: a wrong option, data that cannot be used, or a loss that is no longer finite.
    """
    config.check()
    return _train(config)


@alone(FILES, together=True)
def _train(config: TrainConfig) -> TrainResult:
    """Build what the run needs, or put it back as it was; take the steps; leave the checkpoints."""
    state = read_state(config)
    accelerator = choose_accelerator(config)
    check_model(config)  # what can be refused is refused before the data are read
    initial, before = None, None
    if config.init is not None and state is None:
        initial, header = read_checkpoint(config.init)
        before = split_from(header.split) if header.split else None
    data = read_data(config, None if state is None else state.split, before)
    if state is not None:
        check_data(config, state, data)
    options = options_of_model(config, data)
    announce(config, data, options, accelerator.device)
    setup = set_up(config, data, accelerator, options, initial)
    progress = Progress()
    if state is not None:
        progress = restore(setup, state)
        logger.info("resuming %s at step %d", config.out, progress.step)
    if setup.is_main:
        _write_definition(config, data)
    finished = _take_steps(setup, progress)
    return TrainResult(config.out / "best.safetensors", config.out / "last.safetensors", progress, finished)


def _write_definition(config: TrainConfig, data: TrainingData) -> None:
    write_text(config.out / "config.yaml", dump_config(replace(config, resume=False)))
    save_split(data.split, config.out / "split.json")
    save_mask(data.slices.example_mask(), config.out / "mask.npz")


def _take_steps(setup: Setup, progress: Progress) -> bool:
    """Train until the budget is spent or a signal comes; whether the budget is spent."""
    config, data, accelerator, first = setup.config, setup.data, setup.accelerator, progress.step
    schedule, figures = Schedule(config, len(data.slices)), Figures(config.out, accelerator)
    log = Log(schedule, progress, silent=not setup.is_main)
    source = batches(config, data, first, accelerator)
    together, album, usual = Together(accelerator), Album(setup), Usual()
    finished = schedule.done(progress) or bool(together.first(schedule.stale(progress)))
    quiet, fault = not setup.is_main, None
    clock = Clock(progress.seconds)  # before the deadline's, so that what that one ends counts as at its end
    with (
        stop_on_signal(silent=quiet) as stop, log, together.watching(), Pace(silent=quiet) as pace, closing(source),
        Deadline(setup, progress) as limit,
    ):  # fmt: skip
        while not finished:
            rate = schedule.learning_rate(progress)
            pace.fetch(progress.step + 1)
            batch, fault = _fetched(source)
            if together.any(stop or fault):
                break
            pace.compute()
            taken, before = limit.take(batch, rate, figures), progress.seconds
            pace.done()
            if taken and progress.step == first:
                keep_freed_blocks()
            progress.step += taken
            progress.seconds = together.first(clock())
            progress.pace = usual(progress.seconds - before)
            finished = not taken or schedule.done(progress)
            if finished and taken:
                check_last_step(setup, batch, figures)
            psnr = None
            if data.validation and (finished or progress.step % config.validate_every == 0):
                figures.look()
                psnr = _validate(setup, progress, album)
                progress.seconds = together.first(clock())
                finished = finished or bool(together.first(schedule.stale(progress)))
            if psnr is not None or finished or progress.step % config.log_every == 0:
                figures.look()
                log.add(figures.loss, figures.norm, rate, psnr)
            log.advance(figures.loss)
            if progress.step % config.save_every == 0:
                figures.look()
                _save(setup, progress, log)
            if psnr is not None or progress.step % config.save_every == 0:
                log.show(album.draw(progress))
        figures.look()
        if fault is None or progress.step > log.saved:
            _save(setup, progress, log)
        log.show(album.draw(progress, last=True))
        if setup.is_main and not data.validation and fault is None:
            save_weights(setup, "best.safetensors", step=progress.step)
        accelerator.wait_for_everyone()
    if fault is not None:
        raise UserError(f"{fault}; the run is saved at step {log.saved}, go on with --resume" if log.saved else fault)
    return finished


def _fetched(source: Iterator[Sequence[Tensor]]) -> tuple[Sequence[Tensor], UserError | None]:
    """The next batch, or why there is none."""
    try:
        return next(source), None
    except UserError as error:
        return (), error


def _validate(setup: Setup, progress: Progress, album: Album) -> float:
    """Mean PSNR over the validation slices; saves the checkpoint if it is the best so far."""
    psnr = -math.inf
    if setup.is_main:
        config, protocol, model = setup.config, setup.data.protocol, setup.weights.eval()
        values: list[float] = []
        shown: Tensor | None = None
        for case in setup.data.validation:
            images = reconstruct_case(
                model, case, protocol, batch=config.batch, device=setup.accelerator.device, precision=config.precision
            )
            shown = images if shown is None else shown
            values += [metrics.psnr for metrics in protocol.score(case.slices.target, images)]
        psnr = sum(values) / len(values)
        if shown is not None:
            album.see(setup.data.validation[0], shown, psnr, progress.step)
        if psnr > progress.best_psnr:
            progress.best_psnr, progress.best_step = psnr, progress.step
            save_weights(setup, "best.safetensors", step=progress.step, validation_psnr=psnr)
    setup.accelerator.wait_for_everyone()
    return psnr


def _save(setup: Setup, progress: Progress, log: Log) -> None:
    """Weights for use, and state for resuming, each replaced in one step; the rows until then are on the disk first."""
    if setup.is_main:
        log.keep()
        save_weights(setup, "last.safetensors", step=progress.step)
        save_state(setup, progress)
    log.saved = progress.step
