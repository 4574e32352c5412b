"""``curves.png`` and ``validation.png``: how far a run is, and what the network makes of a validation slice by now.

Drawn in the run's own time, at validations and saves, and left out where they would take more than a small share of it.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fsmnet.errors import UserError
from fsmnet.models.titles import title_of
from fsmnet.pictures.figures import save_figure
from fsmnet.pictures.panels import ERROR_SCALE, Panel, Picture, content, draw, window
from fsmnet.pictures.view import view_of
from fsmnet.protocols.cases import Accelerated
from fsmnet.training.log import rows_until
from fsmnet.training.schedule import Progress
from fsmnet.training.setup import Setup

logger = logging.getLogger(__name__)

CURVES, EXAMPLE = "curves.png", "validation.png"
SHARE = 0.02  # largest share of a run's time that pictures may take, but for the last ones
POINTS = 2000  # of a curve
FEW = 20  # rows up to which each is marked; one alone would not be seen


class Album:
    """The pictures of a run; of the processes beside the main one there are none.

    Attributes:
        seconds: time spent on them.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup, self._out, self._works = setup, setup.config.out, setup.is_main and setup.config.pictures
        self._example: Picture | None = None
        self.seconds = 0.0

    def see(self, case: Accelerated, images: Tensor, psnr: float, step: int) -> None:
        """Keep a slice of a validation case: ``images`` is ``(n, H, W)``, what the network made of it at a step."""
        if self._works:
            began = time.perf_counter()
            self._example = example(case, images, psnr, step, self._setup.recipe)
            self.seconds += time.perf_counter() - began

    def draw(self, progress: Progress, *, last: bool = False) -> npt.NDArray[np.uint8] | None:
        """Rewrite both where there is time; pixels ``(H, W, 3)`` of the validation picture if it is a new one."""
        if not self._works or (not last and self.seconds > SHARE * progress.seconds):
            return None
        began, drawn = time.perf_counter(), None
        try:
            curves([*map(_numbers, rows_until(self._out / "log.csv", progress.step))], self._out / CURVES)
            if self._example is not None:
                self._example.save(self._out / EXAMPLE)
                drawn = np.asarray(draw(self._example).convert("RGB"))
        except UserError as error:  # a run does not end for a picture
            logger.warning("%s; no more pictures are drawn", error)
            self._works = False
        self._example = None
        self.seconds += time.perf_counter() - began
        return drawn


def example(case: Accelerated, images: Tensor, psnr: float, step: int, recipe: dict[str, Any]) -> Picture:
    """The middle slice of a case: fully sampled, zero-filled, reconstructed; below them the auxiliary and errors."""
    number = len(images) // 2
    target, filled, image, helper = (
        np.abs(stack[number].detach().to("cpu").to(torch.complex64).numpy()).astype(np.float64)
        for stack in (case.slices.target, case.zero_filled, images, case.slices.auxiliary)
    )
    rows, columns = content(target)
    view, top, brightest = view_of(case.slices.affine), window(target), float(target.max()) or 1.0
    shown = {"Zero-filled": filled, title_of(recipe): image}
    errors = {name: 100 * np.abs(one - target)[rows, columns] / brightest for name, one in shown.items()}
    worst = window(errors["Zero-filled"])
    captions = {"Zero-filled": "", title_of(recipe): f"step {step}, all validation slices {psnr:.2f} dB"}
    above = [Panel("Fully sampled", view(target[rows, columns]), top)]
    above += [Panel(name, view(one[rows, columns]), top, captions[name]) for name, one in shown.items()]
    below = [Panel("Auxiliary", view(helper[rows, columns]), window(helper))]
    below += [Panel(f"|error|, {name}", view(error), worst, "", ERROR_SCALE) for name, error in errors.items()]
    return Picture([above, below], view, f"validation after {step} steps", case.mask.columns)


def curves(rows: list[list[float]], path: Path) -> None:
    """Loss, validation PSNR and learning rate over the steps; ``rows`` are those of ``log.csv`` as numbers."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    if not rows:
        return
    table = np.array(rows)
    steps, thinned = table[:, 0], slice(None, None, max(1, len(table) // POINTS))
    judged = np.isfinite(table[:, 6])
    figure = Figure(figsize=(7, 7), layout="constrained")
    FigureCanvasAgg(figure)
    loss, score, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1))
    marker = "." if len(table) <= FEW else ""
    loss.semilogy(steps[thinned], table[thinned, 4], color="tab:blue", linewidth=0.8, marker=marker)
    loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    loss.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    loss.yaxis.set_minor_locator(NullLocator())
    loss.set_ylabel("loss")
    if judged.any():
        best = int(np.nanargmax(table[:, 6]))
        score.plot(steps[judged], table[judged, 6], ".-", color="tab:green")
        score.set_title(f"best {table[best, 6]:.2f} dB at step {steps[best]:.0f}", fontsize=9)
    score.set_ylabel("validation PSNR (dB)")
    rate.plot(steps[thinned], table[thinned, 3], color="tab:gray")
    rate.set_ylabel("learning rate")
    rate.set_xlabel(f"step; {table[-1, 2] / 60:.1f} minutes so far")
    for axes in (loss, score, rate):
        axes.grid(alpha=0.3)
    save_figure(figure, path, dpi=90)


def _numbers(row: list[str]) -> list[float]:
    return [float(cell) if cell else np.nan for cell in row]
