"""What a run says while it trains: messages, rows of log.csv, a progress bar, and TensorBoard's events."""

from __future__ import annotations

import csv
import io
import logging
import math
import sys
from pathlib import Path
from typing import Any

import psutil
import torch
from tqdm import tqdm

from fsmnet.data.split import Split
from fsmnet.errors import UserError, first_line
from fsmnet.files import write_text
from fsmnet.inference.cost import human_bytes, predict_cost
from fsmnet.training.data import TrainingData
from fsmnet.training.options import TrainConfig
from fsmnet.training.schedule import Progress, Schedule

logger = logging.getLogger(__name__)

LOG_COLUMNS = ["step", "epoch", "seconds", "learning_rate", "loss", "gradient_norm", "validation_psnr"]


def announce(config: TrainConfig, data: TrainingData, model_options: dict[str, Any], device: torch.device) -> None:
    """Say what is about to be trained and what it will take."""
    height, width = max(data.slices.sizes)
    mask = data.slices.example_mask()  # before anything is said: it may be refused
    part = math.ceil(config.batch / config.accumulate)
    cost = predict_cost(config.model, model_options, height, width, part, config.checkpointing)
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
    logger.info("mask %s", mask.describe())
    free = psutil.virtual_memory().available
    if cost is not None and device.type == "cpu" and cost.training_bytes > free:
        remedy = "lower batch or the model's size, raise accumulate, or turn checkpointing on"
        logger.warning("that is more than the %s that are free; %s", human_bytes(free), remedy)
    if not data.validation:
        logger.info("no validation cases: the best checkpoint will be the last")


def _cases(split: Split, cases: list[str]) -> str:
    """How many, and of how many patients where there are fewer."""
    patients = len({split.patient(case) for case in cases})
    counted = f"{len(cases)} case{'s' * (len(cases) != 1)}"
    return counted if patients == len(cases) else f"{counted} of {patients} patient{'s' * (patients != 1)}"


class Log:
    """The rows of a run, shown on a terminal and to TensorBoard too; of an earlier part of it those until ``progress``.

    ``silent`` shows and writes nothing, for the processes beside the main one.
    """

    def __init__(self, schedule: Schedule, progress: Progress, *, silent: bool = False) -> None:
        self.schedule, self.progress, self.silent = schedule, progress, silent
        self.file = schedule.config.out / "log.csv"
        self.rows = _rows_until(self.file, progress.step)
        tensorboard = schedule.config.tensorboard and not silent
        self._board = _tensorboard(schedule.config.out / "tensorboard") if tensorboard else None
        # The bar counts thousandths of the budget, be it steps or minutes.
        watched = sys.stderr.isatty() and not silent
        form = "{l_bar}{bar}| {elapsed} < {remaining}{postfix}"
        self._bar = tqdm(total=1000, desc="training", disable=not watched, bar_format=form)
        self._bar.update(int(1000 * schedule.share_done(progress)))
        if watched:  # time left counts from the start of the run, not of its continuation
            self._bar.start_t -= progress.seconds

    def close(self) -> None:
        """Leave the terminal and TensorBoard."""
        self._bar.close()
        if self._board is not None:
            self._board.close()

    def add(self, loss: float, norm: float, rate: float, psnr: float | None) -> None:
        """A row: loss, gradient norm and learning rate of the last step, and the PSNR in dB if it was validated."""
        progress = self.progress
        self.rows.append(
            {
                "step": progress.step,
                "epoch": self.schedule.epoch(progress),
                "seconds": round(progress.seconds, 2),
                "learning_rate": f"{rate:.4g}",
                "loss": f"{loss:.6g}",
                "gradient_norm": f"{norm:.4g}",
                "validation_psnr": "" if psnr is None else f"{psnr:.3f}",
            }
        )
        if psnr is not None and not self.silent:
            left = self.schedule.seconds_left(progress)
            words = f", {in_words(left)} left" if left else ""
            logger.info("step %d: loss %.4f, validation %.2f dB%s", progress.step, loss, psnr, words)
        if self._board is not None:
            for name, value in (("loss", loss), ("learning_rate", rate), ("validation_psnr", psnr)):
                if value is not None:
                    self._board.add_scalar(name, value, progress.step)

    def advance(self, loss: float) -> None:
        """Move the bar to where the run stands."""
        if not self._bar.disable:
            self._bar.set_postfix_str(f"step {self.progress.step}, loss {loss:.4f}", refresh=False)
            self._bar.update(int(1000 * self.schedule.share_done(self.progress)) - self._bar.n)

    def save(self) -> None:
        """Write ``log.csv`` in one step."""
        text = io.StringIO()
        writer = csv.DictWriter(text, LOG_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.file, text.getvalue())


def in_words(seconds: float) -> str:
    """A time as one reads it."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _rows_until(file: Path, step: int) -> list[dict[str, Any]]:
    """Rows of an earlier part of the run.

    Raises:
        UserError: the file is damaged.
    """
    if not step or not file.exists():
        return []
    try:
        with file.open(encoding="utf-8", newline="") as text:
            return [row for row in csv.DictReader(text) if int(row["step"]) <= step]
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{file}: not a training's log ({first_line(error)}); move it away to go on") from None


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("--tensorboard needs the tensorboard package; pip install 'fsmnet[tensorboard]'") from None
    return SummaryWriter(folder)
