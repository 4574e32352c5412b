"""What the benchmark repeats: one pass of a network over a slice, or one training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fsmnet.benchmark.options import BenchmarkConfig
from fsmnet.inference.device import autocast
from fsmnet.inference.optimise import Precision, channels_last
from fsmnet.models import create_model, model_options
from fsmnet.models.kernels.install import install_kernels
from fsmnet.models.output import as_output
from fsmnet.training.losses import SpatialFrequencyLoss

Task = Callable[[], object]


def options_of(config: BenchmarkConfig) -> dict[str, Any]:
    """Constructor options of the network to measure."""
    known = model_options(config.model)
    options: dict[str, Any] = {"features": config.features} if "features" in known else {}
    return options | ({"image_size": config.size} if "image_size" in known else {})


def fresh(model: str, options: dict[str, Any], device: torch.device) -> nn.Module:
    """The network with weights that are always the same, for inference."""
    torch.manual_seed(0)
    return create_model(model, **options).eval().requires_grad_(False).to(device)


def smooth_slices(size: int, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Two smooth images, normalised, always the same."""
    noise = torch.randn(2 * batch, 1, size, size, generator=torch.Generator().manual_seed(0))
    smooth = nn.functional.avg_pool2d(nn.functional.pad(noise, (4, 4, 4, 4), mode="circular"), 9, stride=1)
    target, auxiliary = (smooth / smooth.std()).to(device).split(batch)
    return target, auxiliary


def inference(model: nn.Module, target: Tensor, auxiliary: Tensor) -> Task:
    """One pass."""
    return lambda: image_of(model, target, auxiliary).sum().item()  # waits for a GPU


def image_of(model: nn.Module, target: Tensor, auxiliary: Tensor) -> Tensor:
    """The network's reconstruction."""
    with torch.inference_mode():
        return as_output(model(target, auxiliary)).image


def training(
    config: BenchmarkConfig, options: dict[str, Any], precision: Precision, fast: bool, device: torch.device
) -> Task:
    """One optimiser step on the same batch."""
    torch.manual_seed(0)
    model = create_model(config.model, **options).to(device)
    if fast:
        install_kernels(model)
        channels_last(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    loss = SpatialFrequencyLoss()
    target, auxiliary = smooth_slices(config.size, config.training_batch, device)

    def step() -> object:
        optimizer.zero_grad()
        with autocast(device, precision):
            output = as_output(model(target, auxiliary))
        value = loss(output, auxiliary, auxiliary)
        value.backward()
        optimizer.step()
        return value.item()

    return step
