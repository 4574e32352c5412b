"""One optimiser step, and what it gave, without waiting for a GPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from fsmnet.errors import UserError, first_line
from fsmnet.inference.device import autocast
from fsmnet.models import takes_acquisition
from fsmnet.models.output import Output, as_output
from fsmnet.physics.acquisition import Acquisition
from fsmnet.protocols.slices import MeasuredSample
from fsmnet.training.setup import Setup

SPOILT = 1000.0  # a loss that one step raises by more than this diverged


class Figures:
    """Loss and gradient norm (before clipping) of the steps; on a GPU they stay there until somebody looks at them.

    Reading a number off a GPU waits for all that it has been given to do. So the figures of several steps are fetched
    together, always before weights are validated or saved: what was spoilt since is never kept. On a CPU there is
    nothing to wait for: every step is looked at before the weights follow.

    :attr:`step`, :attr:`loss` (the whole batch's) and :attr:`norm` are those of the last step that was looked at.
    """

    def __init__(self, out: Path, accelerator: Accelerator) -> None:
        self.step, self.loss, self.norm = 0, math.nan, math.nan
        self._out, self._accelerator = out, accelerator
        self._steps: list[int] = []
        self._figures: list[Tensor] = []

    def add(self, step: int, losses: Sequence[Tensor], norm: Tensor) -> None:
        """Note a step's shares of the loss and its gradient norm, scalars on the device."""
        self._steps.append(step)
        self._figures.append(torch.stack([*losses, norm]))
        if self._accelerator.device.type == "cpu":
            self.look()

    def look(self) -> None:
        """Fetch what was noted.

        Raises:
            UserError: a loss or a norm is no longer finite.
        """
        if not self._steps:
            return
        fetched = self._accelerator.reduce(torch.stack(self._figures), "mean").tolist()
        for step, (*losses, norm) in zip(self._steps, fetched, strict=True):
            self.step, self.loss, self.norm = step, sum(losses), norm
            if not (math.isfinite(self.loss) and math.isfinite(self.norm)):
                raise self.diverged(f"the loss is {self.loss:g} and the gradient's norm {self.norm:g}")
        self._steps.clear()
        self._figures.clear()

    def diverged(self, what: str) -> UserError:
        """The error that ends a run, with the step that was looked at and what is left."""
        last = self._out / "last.safetensors"
        left = f"{last} is from before and may be good" if last.exists() else "no checkpoint was written yet"
        return UserError(f"{what} at step {self.step}; {left}; lower learning_rate or set clip_norm in a new run")


def take_step(setup: Setup, batch: Sequence[Tensor], rate: float, figures: Figures, step: int) -> None:
    """Move the weights, and their average, by one step, the ``step``-th; its loss and norm go to ``figures``.

    ``batch`` is what :func:`fsmnet.training.data.batches` yields.
    """
    config, accelerator, network = setup.config, setup.accelerator, setup.network
    for group in setup.optimizer.param_groups:
        group["lr"] = rate
    network.train()
    setup.optimizer.zero_grad()
    losses = []
    parts = list(zip(*(t.chunk(config.accumulate) for t in batch), strict=True))
    for number, part in enumerate(parts, 1):
        # Processes exchange their gradients once, after the last part.
        with nullcontext() if number == len(parts) else accelerator.no_sync(network):
            loss = len(part[0]) / len(batch[0]) * _loss(setup, network, part)
            accelerator.backward(loss)
            losses.append(loss.detach())
    norm = accelerator.clip_grad_norm_(network.parameters(), config.clip_norm or math.inf)
    figures.add(step, losses, norm)
    setup.optimizer.step()
    if setup.average is not None:
        setup.average.update_parameters(setup.model)


@torch.no_grad()
def check_last_step(setup: Setup, batch: Sequence[Tensor], figures: Figures) -> None:
    """See that the last step did not spoil the weights, which no later one would show.

    Raises:
        UserError: the loss of the batch rose beyond all measure.
    """
    figures.look()
    setup.model.eval()
    part = [t[: math.ceil(len(t) / setup.config.accumulate)] for t in batch]
    loss = float(setup.accelerator.reduce(_loss(setup, setup.model, part), "mean"))
    if not loss <= max(1.0, SPOILT * figures.loss):
        raise figures.diverged(f"the loss went from {figures.loss:g} to {loss:g}")


def _loss(setup: Setup, network: nn.Module, part: Sequence[Tensor]) -> Tensor:
    """Loss of a part of a batch."""
    device = setup.accelerator.device
    tensors = [t.to(device, non_blocking=True) for t in part]
    inputs: Tensor | Acquisition
    if takes_acquisition(setup.model):
        sample = MeasuredSample(*tensors)
        inputs, auxiliary, target, like = sample.acquisition, sample.auxiliary, sample.target, sample.lines[:, :1]
    else:
        inputs, auxiliary, target = tensors
        like = inputs
    with autocast(device, setup.config.precision):
        output = _forward(network, inputs, auxiliary, like)
    loss: Tensor = setup.loss(output, target, auxiliary)
    return loss


def _forward(network: nn.Module, inputs: Tensor | Acquisition, auxiliary: Tensor, like: Tensor) -> Output:
    """The network's output, of the shape of ``like``; of a network that cannot be compiled the reason in a sentence."""
    try:
        return as_output(network(inputs, auxiliary), like)
    except Exception as error:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise UserError(
                f"compile: torch.compile cannot compile this model ({first_line(error)}); leave --compile out"
            ) from None
        raise
