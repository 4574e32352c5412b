"""What a run says while it trains: messages, rows of log.csv, a progress bar, and TensorBoard's events."""

from __future__ import annotations

import csv
import logging
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import psutil
import torch
from tqdm import tqdm

from fsmnet.data.split import Split
from fsmnet.errors import UserError, first_line
from fsmnet.files import append, csv_text, told, write_text
from fsmnet.inference.cost import Cost, human_bytes, predict_cost
from fsmnet.training.board import Board
from fsmnet.training.data import TrainingData
from fsmnet.training.options import TrainConfig
from fsmnet.training.schedule import Progress, Schedule

logger = logging.getLogger(__name__)

LESS_MEMORY = "lower batch or the model's size, raise accumulate, or turn checkpointing on"
TOLD_EVERY = 30.0  # seconds between two lines about a run that nobody sees the bar of
LOG_COLUMNS = ["step", "epoch", "seconds", "learning_rate", "loss", "gradient_norm", "validation_psnr"]


def announce(config: TrainConfig, data: TrainingData, model_options: dict[str, Any], device: torch.device) -> None:
    """Say what is about to be trained and what it will take.

    Raises:
        UserError: a mask that cannot be drawn, or more memory than the machine has by far.
    """
    height, width = max(data.slices.sizes)
    height = config.strip or height
    mask = data.slices.example_mask()  # before anything is said: it may be refused
    part = math.ceil(config.batch / config.accumulate)
    cost = predict_cost(config.model, model_options, height, width, part, config.checkpointing)
    _check_memory(cost, device)
    if cost is None:
        logger.info("%s: a network whose cost cannot be told beforehand", config.model)
    else:
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
        "%d training slices of %s, %d validation slices of %s; protocol %s",
        len(data.slices),
        _cases(data.split, data.split.train),
        sum(len(case.slices.numbers) for case in data.validation),
        _cases(data.split, data.split.validation),
        config.protocol,
    )
    if (sizes := len({*data.shapes})) > 1 and config.batch > 1:
        logger.info("slices of %d sizes: each batch of %d is of one of them", sizes, config.batch)
    logger.info("mask %s", mask.describe())
    if not data.split.test:
        logger.info(
            "no test cases (--test-fraction 0.25 would keep a quarter of the patients apart): score the network on "
            "other patients than these"
        )
    free = psutil.virtual_memory().available
    if cost is not None and device.type == "cpu" and cost.training_bytes > free:
        logger.warning("that is more than the %s that are free; %s", human_bytes(free), LESS_MEMORY)
    if not data.validation:
        logger.info("no validation cases: the best checkpoint will be the last")


def _check_memory(cost: Cost | None, device: torch.device) -> None:
    """Refuse what can by no means fit: before it failed, it would take the machine's memory from everything else.

    Raises:
        UserError: more than twice the machine's memory is needed; the prediction is not as wrong as that.
    """
    memory = psutil.virtual_memory().total
    if cost is not None and device.type == "cpu" and cost.training_bytes > 2 * memory:
        needed = f"training takes about {human_bytes(cost.training_bytes)}"
        raise UserError(f"{needed}, and this machine has {human_bytes(memory)}; {LESS_MEMORY}")


def _cases(split: Split, cases: list[str]) -> str:
    """How many, and of how many patients where there are fewer."""
    patients = len({split.patient(case) for case in cases})
    counted = f"{len(cases)} case{'s' * (len(cases) != 1)}"
    return counted if patients == len(cases) else f"{counted} of {patients} patient{'s' * (patients != 1)}"


class Log:
    """The rows of a run, shown on a terminal and to TensorBoard too; of an earlier part of it those until ``progress``.

    A row is in ``log.csv`` when it is added, so that the file can be followed, and a run that was killed and does not
    go on has told all of it; one that does takes the steps since the last save again, and cuts their rows off first.

    ``silent`` shows and writes nothing, for the processes beside the main one. ``saved`` is the step of the last save.
    """

    def __init__(self, schedule: Schedule, progress: Progress, *, silent: bool = False) -> None:
        self.schedule, self.progress, self.silent = schedule, progress, silent
        self.file = schedule.config.out / "log.csv"
        self.saved = progress.step
        rows = rows_until(self.file, progress.step)
        self._stream: IO[bytes] | None = None if silent else _begun(self.file, rows)
        tensorboard = schedule.config.tensorboard and not silent
        board = schedule.config.out / "tensorboard"
        self._board = Board(board, progress.step + 1) if tensorboard else None
        # The bar counts thousandths of the budget, be it steps or minutes.
        watched = sys.stderr.isatty() and not silent
        form = "{l_bar}{bar}| {elapsed} < {remaining}{postfix}"
        self._bar = tqdm(total=1000, desc="training", disable=not watched, bar_format=form)
        self._bar.update(int(1000 * schedule.share_done(progress)))
        self._told = time.monotonic(), progress.step, progress.seconds
        if watched:  # time left counts from the start of the run, not of its continuation
            self._bar.start_t -= progress.seconds

    def __enter__(self) -> Log:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Leave the terminal, the file and TensorBoard; say what an error loses."""
        self._bar.close()
        if self._board is not None:
            self._board.close()
        if self._stream is not None:
            self._stream.close()
        if kind is not None and self.progress.step > self.saved and not self.silent:
            kept = f"the run goes on from step {self.saved}" if self.saved else "nothing was saved yet"
            logger.warning("steps %d to %d are lost; %s", self.saved + 1, self.progress.step, kept)

    def add(self, loss: float, norm: float, rate: float, psnr: float | None) -> None:
        """A row: loss, gradient norm and learning rate of the last step, and the PSNR in dB if it was validated."""
        progress = self.progress
        row = [
            progress.step,
            self.schedule.epoch(progress),
            round(progress.seconds, 2),
            f"{rate:.4g}",
            f"{loss:.6g}",
            f"{norm:.4g}",
            "" if psnr is None else f"{psnr:.3f}",
        ]
        if self._stream is not None:
            append(self._stream, self.file, csv_text([row]).encode())
        if psnr is not None and not self.silent:
            left = self.schedule.seconds_left(progress)
            words = f", {in_words(left)} left" if left else ""
            logger.info("step %d: loss %.4f, validation %.2f dB%s", progress.step, loss, psnr, words)
        if self._board is not None:
            figures = {"loss": loss, "learning_rate": rate, "gradient_norm": norm, "validation_psnr": psnr}
            for name, value in figures.items():
                if value is not None:
                    self._board.scalar(name, value, progress.step)

    def show(self, pixels: npt.NDArray[np.uint8] | None) -> None:
        """A validation picture ``(H, W, 3)`` for TensorBoard, if there is one."""
        if self._board is not None and pixels is not None:
            self._board.image("validation", pixels, self.progress.step)

    def advance(self, loss: float) -> None:
        """Move the bar to where the run stands; without a terminal, say it now and then."""
        self._tell(loss)
        if not self._bar.disable:
            self._bar.set_postfix_str(f"step {self.progress.step}, loss {loss:.4f}", refresh=False)
            self._bar.update(int(1000 * self.schedule.share_done(self.progress)) - self._bar.n)

    def _tell(self, loss: float) -> None:
        """A line every :data:`TOLD_EVERY` seconds; for the log file alone where the bar is seen."""
        (at, step, seconds), now, progress = self._told, time.monotonic(), self.progress
        if self.silent or now - at < TOLD_EVERY or progress.step == step:
            return
        pace, left = (progress.seconds - seconds) / (progress.step - step), self.schedule.seconds_left(progress)
        most = self.schedule.steps() if self.schedule.ends_by_steps(progress) else None
        logger.log(
            logging.INFO if self._bar.disable else logging.DEBUG,
            "step %d%s, %.0f%%: loss %.4f, %.3g s a step, %s left",
            *(progress.step, "" if most is None else f" of {most}", 100 * self.schedule.share_done(progress), loss),
            *(pace, in_words(left)),
        )
        self._told = now, progress.step, progress.seconds

    def keep(self) -> None:
        """Have the rows so far on the disk; to be called before the state is, which they must not lack."""
        if self._stream is not None:
            with told(self.file):
                os.fsync(self._stream.fileno())


def in_words(seconds: float) -> str:
    """A time as one reads it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def rows_until(file: Path, step: int) -> list[list[str]]:
    """Rows of an earlier part of the run; a line that a kill left unfinished is none.

    Raises:
        UserError: the file is damaged.
    """
    if not step:
        return []
    try:
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        header, *rows = csv.reader(whole, strict=True)
        if header != LOG_COLUMNS or not all(len(row) == len(LOG_COLUMNS) for row in rows):
            raise ValueError("other columns")
        return [row for row in rows if int(row[0]) <= step]
    except FileNotFoundError:
        logger.warning("%s: is gone; it begins anew", file)
        return []
    except (ValueError, csv.Error) as error:
        raise UserError(f"{file}: not a training's log ({first_line(error)}); move it away to go on") from None


def _begun(file: Path, rows: Sequence[Sequence[str]]) -> IO[bytes]:
    """A log of these rows, to be added to."""
    write_text(file, csv_text([LOG_COLUMNS, *rows]))
    with told(file):
        return file.open("ab", buffering=0)
