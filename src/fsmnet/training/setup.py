"""What a run is built from: processes and device, data, model, average, loss, optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, is_initialized
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fsmnet.checkpoint import load_weights
from fsmnet.errors import UserError, first_line
from fsmnet.inference.device import choose_device
from fsmnet.models import create_model, model_class, model_options, recipe_of, takes_acquisition
from fsmnet.models.kernels.install import install_kernels
from fsmnet.models.kernels.recompute import recompute_activations
from fsmnet.training.data import TrainingData
from fsmnet.training.losses import SpatialFrequencyLoss, UnrolledLoss
from fsmnet.training.options import TrainConfig


@dataclass(frozen=True)
class Setup:
    """The parts of a run.

    Attributes:
        config: its options.
        data: what it learns from and is judged by.
        accelerator: processes and device.
        model: the network that is trained.
        network: the same weights as they are called: compiled, shared between processes.
        recipe: name and options of the model, as its checkpoint keeps them.
        average: moving average of the weights, or None.
        loss: of a model's output.
        optimizer: of the model's parameters.
    """

    config: TrainConfig
    data: TrainingData
    accelerator: Accelerator
    model: nn.Module
    network: nn.Module
    recipe: dict[str, Any]
    average: MovingAverage | None
    loss: SpatialFrequencyLoss | UnrolledLoss
    optimizer: torch.optim.Optimizer

    @property
    def weights(self) -> nn.Module:
        """The model to use: the average if there is one."""
        return self.model if self.average is None else self.average.module

    @property
    def is_main(self) -> bool:
        """Whether this process writes and reports."""
        return bool(self.accelerator.is_main_process)


class MovingAverage(AveragedModel):
    """Exponential moving average of a model's weights, as PyTorch's, but that it never waits for a GPU.

    How many were averaged is kept on the CPU. ``decay`` is what the average keeps of itself at every step.
    """

    def __init__(self, model: nn.Module, decay: float, device: torch.device) -> None:
        super().__init__(model)
        self.decay = decay
        self.module.to(device)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take the model's weights in; the first time, take them over."""
        own, new = ([parameter.data for parameter in one.parameters()] for one in (self.module, model))
        if self.n_averaged:
            torch._foreach_lerp_(own, new, 1 - self.decay)
        else:
            torch._foreach_copy_(own, new)
        for kept, current in zip(self.module.buffers(), model.buffers(), strict=True):
            kept.copy_(current)
        self.n_averaged += 1


def choose_accelerator(config: TrainConfig) -> Accelerator:
    """Processes and device of a run."""
    device = choose_device(config.device, config.threads)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # accelerate takes the current one
    # accelerate keeps the first run's device for all of a process: the next one would have it too, or be refused.
    if is_initialized() and (before := AcceleratorState()).num_processes == 1 and before.device.type != device.type:
        AcceleratorState._reset_state(reset_partial_state=True)
    # Autocast is ours (step.py): accelerate allows a process one precision for good.
    return Accelerator(cpu=device.type == "cpu", mixed_precision="no")


def check_model(config: TrainConfig) -> None:
    """Refuse what cannot be trained, before data are read.

    Raises:
        UserError: no model, or options for the other kind of networks.
    """
    if takes_acquisition(model_class(config.model)):
        return
    for name, value in (("strip", config.strip), ("blank_auxiliary", config.blank_auxiliary)):
        if value:
            raise UserError(f"{name} is for networks that take k-space, and {config.model} takes images; leave it out")


def options_of_model(config: TrainConfig, data: TrainingData) -> dict[str, Any]:
    """The configured options, and the image's size where weights depend on it and it was not given."""
    options = dict(config.model_options)
    if "image_size" in model_options(config.model):
        options.setdefault("image_size", list(max(data.slices.sizes)))
    return options


def set_up(
    config: TrainConfig,
    data: TrainingData,
    accelerator: Accelerator,
    options: dict[str, Any],
    initial: Mapping[str, Tensor] | None,
) -> Setup:
    """Make model, average, loss and optimiser; the weights follow from the seed, or are ``initial``."""
    torch.manual_seed(config.seed)
    model = create_model(config.model, **options)
    if not any(p.requires_grad for p in model.parameters()):
        raise UserError(f"model {config.model} has nothing to train; choose another with --model")
    if initial is not None:
        load_weights(model, initial, config.init)
    recipe = recipe_of(model)
    install_kernels(model)
    if config.channels_last:
        _channels_last(model)
    average = None if config.ema is None else MovingAverage(model, config.ema, accelerator.device)
    loss = (
        UnrolledLoss()
        if takes_acquisition(model)
        else SpatialFrequencyLoss(
            config.frequency_weight,
            config.wrap_phase,
            image_weight=config.image_weight,
            auxiliary_weight=config.auxiliary_weight,
            kspace_weight=config.kspace_weight,
        )
    )
    optimizer = make_optimizer(config, model)
    if config.checkpointing:
        recompute_activations(model)
    network, optimizer = accelerator.prepare(_compiled(model) if config.compile else model, optimizer)
    return Setup(config, data, accelerator, model, network, recipe, average, loss, optimizer)


def make_optimizer(config: TrainConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The configured optimiser of a model's parameters."""
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
