"""Run a network over slices: normalised, batch after batch, and back to intensities.

One loop runs both kinds of networks (:mod:`fsmnet.models`): what each takes of a batch, :class:`Images` and
:class:`Measurements` say.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from fsmnet.checkpoint import header_of, trained_normalisation
from fsmnet.errors import UserError
from fsmnet.inference.allocator import keep_freed_blocks
from fsmnet.inference.device import autocast, choose_batch
from fsmnet.inference.options import BatchSize
from fsmnet.inference.precision import FasterPrecision
from fsmnet.models import takes_acquisition
from fsmnet.models.output import as_output
from fsmnet.physics.acquisition import Acquisition
from fsmnet.protocols.base import Protocol
from fsmnet.protocols.cases import Accelerated
from fsmnet.transforms import NormalisationRecipe, center_fit, to_unit

logger = logging.getLogger(__name__)

WORTH_TELLING = 2.0  # seconds


@dataclass(frozen=True)
class Batch:
    """Slices that the network is done with.

    Attributes:
        part: which they are.
        image: ``(b, H, W)`` on the CPU, as :func:`reconstruct_slices` gives it.
        seconds: time of the network's pass alone.
    """

    part: slice
    image: Tensor
    seconds: float


Restore = Callable[[Tensor], Tensor]  # a network's image (b, 1, H, W) to intensities (b, H, W)


@dataclass(frozen=True)
class Images:
    """Slices for a network that takes zero-filled images; see :func:`reconstruct_slices`."""

    zero_filled: Tensor
    auxiliary: Tensor
    normalisation: NormalisationRecipe
    auxiliary_zero_filled: Tensor | None = None

    def batch(self, part: slice, device: torch.device) -> tuple[Tensor, Tensor, Restore]:
        """Normalised target and auxiliary of some slices, ``(b, 1, H, W)``, and the way back."""
        masked = () if self.auxiliary_zero_filled is None else (self.auxiliary_zero_filled,)
        scans = (self.zero_filled, self.auxiliary, *masked)
        target, auxiliary, *others = (scan[part, None].to(device) for scan in scans)
        inputs = self.normalisation.inputs(target, auxiliary, *others)
        return inputs.target, inputs.auxiliary, lambda image: inputs.normalisation.undo(image.float())[:, 0]


@dataclass(frozen=True)
class Measurements:
    """Slices for a network that takes what was measured; see :func:`reconstruct_slices`."""

    measured: Callable[[slice], Acquisition]
    auxiliary: Tensor | None
    phase: bool = False

    def batch(self, part: slice, device: torch.device) -> tuple[Acquisition, Tensor | None, Restore]:
        """The lines of some slices, the auxiliary ``(b, 1, H, W)``, and the image as it is, or its magnitude."""
        lines, auxiliary = self.measured(part).to(device), None
        if self.auxiliary is not None:  # where a scanner's field of view is wider, zeros
            auxiliary = center_fit(to_unit(self.auxiliary[part, None].to(device)), *lines.shape[-2:])
        return lines, auxiliary, lambda image: image[:, 0] if self.phase else image[:, 0].abs()


def reconstruct_slices(
    model: nn.Module,
    zero_filled: Tensor,
    auxiliary: Tensor | None,
    normalisation: NormalisationRecipe,
    *,
    measured: Callable[[slice], Acquisition] | None = None,
    phase: bool = False,
    finish: Callable[[Tensor], Tensor] = lambda image: image,
    batch: BatchSize = "auto",
    device: torch.device | None = None,
    precision: str = "float32",
    progress: str = "",
    name: object = "the network",
    auxiliary_zero_filled: Tensor | None = None,
    each: Callable[[Batch], None] = lambda _: None,
) -> Tensor:
    """Reconstruct zero-filled slices one batch after the other.

    Args:
        model: a model in eval mode, on ``device``.
        zero_filled: ``(n, H, W)`` on [0, 1] (float32) or in 8 bits (uint8).
        auxiliary: ``(n, H, W)``, likewise; of a k-space model None to do without it.
        normalisation: how the network's images are normalised: as its training's were.
        measured: which slices -> what was measured of them, lines ``(b, C, H, W)``, in the scale of ``zero_filled``
            if it is float32; k-space models (:func:`fsmnet.models.takes_acquisition`) need it.
        phase: give the image of a k-space model with its phase, not its magnitude.
        finish: brings a reconstruction into the form in which it is scored, such as a protocol's; float32 as it is
            by default.
        batch: slices per step, see :func:`fsmnet.inference.device.choose_batch`.
        device: where the model is; the CPU by default.
        precision: ``float32`` or ``bfloat16`` (autocast).
        progress: text of the predicted time and of the progress bar; neither if empty, no bar if nobody watches.
        name: what an error calls the model, e.g. its file.
        auxiliary_zero_filled: ``(n, H, W)``, see :meth:`fsmnet.transforms.NormalisationRecipe.inputs`.
        each: called with every batch when it is done.

    Returns:
        ``(n, H, W)`` on the CPU, float32 (complex64 with ``phase``) on the inputs' scale, or what ``finish`` makes of
        it.

    Raises:
        UserError: the model gives NaN or infinite values, or something that it takes is missing.
    """
    device = device or torch.device("cpu")
    size = choose_batch(batch, model, zero_filled, device)
    slices: Images | Measurements
    if takes_acquisition(model):
        if measured is None:
            raise UserError(f"{name}: is a network for k-space, which is not given here; take one for images")
        slices = Measurements(measured, auxiliary, phase)
    elif auxiliary is None:
        raise UserError(f"{name}: needs the other contrast; give --auxiliary")
    else:
        slices = Images(zero_filled, auxiliary, normalisation, auxiliary_zero_filled)

    def reconstruct(part: slice) -> Batch:
        target, helper, restore = slices.batch(part, device)
        started = time.perf_counter()
        with torch.inference_mode(), autocast(device, precision):
            image = as_output(model(target, helper), helper).image
            finite = bool(torch.isfinite(image).all())  # waits for a GPU
        seconds = time.perf_counter() - started
        if not finite:
            raise UserError(f"{name}: gives NaN or infinite values; its weights diverged, use other ones")
        return Batch(part, finish(restore(image)).cpu(), seconds)

    if isinstance(model, FasterPrecision):
        target, helper, _ = slices.batch(slice(0, 1), device)
        model.settle(target, helper, len(zero_filled))
    done = []
    starts = range(0, len(zero_filled), size)
    for number, start in enumerate(progress_bar(starts, progress, unit="batch")):
        one = reconstruct(slice(start, start + size))
        if number == 0:
            keep_freed_blocks()
        elif number == 1 and progress:  # libraries set themselves up in the first pass, so the second tells
            _tell(one.seconds * len(starts), progress)
        done.append(one.image)
        each(one)
    return torch.cat(done)


def reconstruct_case(
    model: nn.Module,
    case: Accelerated,
    protocol: Protocol[Any],
    *,
    whole: bool = False,
    alone: bool = False,
    finished: bool = True,
    phase: bool = False,
    **options: Any,
) -> Tensor:
    """Reconstruct a case of a protocol, as it is scored: ``(n, H, W)``.

    Args:
        model: for images or for k-space.
        case: what was measured.
        protocol: how images are finished, and normalised unless the model's checkpoint says how its training did it.
        finished: bring it into the form in which it is scored, see :meth:`Protocol.finish`.
        alone: leave out the auxiliary; of a k-space model.
        phase: give the images of a k-space model as they are, complex and of all columns.
        whole: give a k-space model a scanner's lines without maps, where that is possible.
        options: the others of :func:`reconstruct_slices`.
    """
    finish = protocol.finish if finished else lambda image: image
    size = case.zero_filled.shape[-2:]
    return reconstruct_slices(
        model,
        case.zero_filled,
        None if alone else case.slices.auxiliary,
        trained_normalisation(model) if header_of(model).normalisation else protocol.normalisation,
        measured=(whole and case.whole) or case.measured,
        phase=phase,
        finish=lambda image: image if phase else finish(center_fit(image, *size)),
        auxiliary_zero_filled=case.auxiliary_zero_filled,
        **options,
    )


def _tell(seconds: float, text: str) -> None:
    """Say how long it will take, where that is worth saying."""
    if seconds > WORTH_TELLING:
        logger.info("%s: about %.0f s", text, seconds)


def progress_bar(items: range, text: str, unit: str) -> Iterator[int]:
    """Iterate with a progress bar on the terminal; silent without a text or when nobody watches."""
    return iter(tqdm(items, desc=text, unit=unit, disable=not text or not sys.stderr.isatty(), leave=False))
