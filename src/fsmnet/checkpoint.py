"""One checkpoint file: weights in safetensors, and in its header what made them.

The header holds, as JSON texts, ``model`` (name and options), ``training`` (configuration), ``split`` (cases),
``metrics`` and ``versions``, so that a file found years later still says what it is. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from fsmnet._version import __version__
from fsmnet.errors import UserError, listed
from fsmnet.files import atomic_write
from fsmnet.models import from_recipe, recipe_of
from fsmnet.options import options_of
from fsmnet.physics.masks import MaskRecipe
from fsmnet.physics.options import TrainingMaskOptions

FORMAT = "fsmnet-1"
SHIPPED = "fsmnet_quick_4x.safetensors"


@dataclass
class Header:
    """What a checkpoint says of itself."""

    model: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    split: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def save_checkpoint(path: Path, state: Mapping[str, Tensor], header: Header) -> None:
    """Write weights and header in one step."""
    from safetensors.torch import save

    metadata = {"format": FORMAT} | {name: json.dumps(value) for name, value in vars(header).items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with atomic_write(path) as file:  # not save_file, whose error on a full disk is no OSError
        file.write(save(tensors, metadata))


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], Header]:
    """Weights and header of a checkpoint.

    Raises:
        UserError: missing, cut short, or not one of ours.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint file; make one with 'fsmnet train'")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: cut short, or not a safetensors checkpoint ({error}); copy it again") from None
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path}: a safetensors file, but not a checkpoint of fsmnet (its header lacks the format)")
    try:
        header = Header(**{name: json.loads(text) for name, text in metadata.items() if name != "format"})
        if not {"name", "options"} <= set(header.model):
            raise ValueError("it does not name the model and its options")
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: the header is damaged ({error})") from None
    return state, header


def load_weights(model: nn.Module, state: Mapping[str, Tensor], source: object) -> None:
    """Load a state dict; entries that do not fit are listed in one error."""
    own = model.state_dict()
    problems = [f"missing {name}" for name in own if name not in state]
    problems += [f"extra {name}" for name in state if name not in own]
    problems += [
        f"{name} is {list(tensor.shape)} instead of {list(own[name].shape)}"
        for name, tensor in state.items()
        if name in own and tensor.shape != own[name].shape
    ]
    if problems:
        raise UserError(f"{source}: not weights of {recipe_of(model)['name']}: {listed(problems)}")
    model.load_state_dict(state)


def load_model(path: str | Path) -> nn.Module:
    """Model in eval mode from a checkpoint of ours, or from an authors' ``.pth`` of the released network.

    The header is kept as ``model.header``.
    """
    path = Path(path)
    if path.suffix in (".pth", ".pt", ".tar"):
        from fsmnet.models.released_weights import load_released

        model = load_released(path)
        model.header = Header(recipe_of(model))  # type: ignore[assignment]
        return model
    state, header = read_checkpoint(path)
    model = from_recipe(header.model)
    load_weights(model, state, path)
    model.header = header  # type: ignore[assignment]
    return model.eval()


def header_of(model: nn.Module) -> Header:
    """Header of the checkpoint a model came from; empty for a model made otherwise."""
    return cast("Header", getattr(model, "header", Header({})))


def trained_recipe(model: nn.Module) -> MaskRecipe | None:
    """The masks a loaded model was trained with, from its header; None if it does not say."""
    training = header_of(model).training
    if "acceleration" not in training:
        return None
    options = {one.name: training[one.name] for one in options_of(TrainingMaskOptions) if one.name in training}
    return TrainingMaskOptions(**options).training_recipe(training["protocol"])


def shipped_checkpoint() -> Path | None:
    """The weights that come with the package, or None if this build has none."""
    path = Path(str(resources.files("fsmnet"))) / "weights" / SHIPPED
    return path if path.is_file() else None


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    import numpy
    import torch

    return {
        "fsmnet": __version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
    }
