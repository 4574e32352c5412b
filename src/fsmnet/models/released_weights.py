"""Weights trained by the authors' code of each method, in and out.

A file of the model's name in :mod:`fsmnet.models.released_names` states how its entries are called in the authors'
checkpoints:

- ``released_names(model)``: our entry name -> theirs, in their order;
- ``released_options(shapes)``: the constructor options that their entries' shapes decide;
- ``unused_entries(model)``: entries of theirs that nothing reads, ignored in loading -> what to write for them in
  exporting: the name of the entry to copy, or a tensor.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fsmnet.errors import UserError, listed
from fsmnet.files import atomic_write
from fsmnet.models import MODELS, create_model, model_class, recipe_of, released_names
from fsmnet.models.torch_weights import read_state, state_of

Weights = str | Path | Mapping[str, Any]


def load_released(weights: Weights, model: str = "fsmnet_released", **options: Any) -> nn.Module:
    """Model in eval mode with weights trained by the authors' code.

    Args:
        weights: a ``torch.save`` file of any ending, a state dict, or what holds one as trainers do, such as
            ``{"network": ...}``, see :mod:`fsmnet.models.torch_weights`; names with or without wrappers' prefixes.
        model: which method, see :func:`fsmnet.list_models`.
        options: constructor options; those not given are read from the shapes where they decide them.

    Raises:
        UserError: not a checkpoint, or missing, extra and misshapen entries, all in one message.
    """
    module = _names_module(model)
    state = read_state(Path(weights)) if isinstance(weights, str | Path) else state_of(weights)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    network = create_model(model, **{**module.released_options(shapes), **options})
    names: dict[str, str] = module.released_names(network)
    own = network.state_dict()
    problems = [f"missing {theirs}" for theirs in names.values() if theirs not in state]
    extra = set(state) - set(names.values()) - set(module.unused_entries(network))
    problems += [f"extra {theirs}" for theirs in state if theirs in extra]
    problems += [
        f"{theirs} is {list(shapes[theirs])} instead of {list(own[ours].shape)}"
        for ours, theirs in names.items()
        if theirs in state and shapes[theirs] != tuple(own[ours].shape)
    ]
    if problems:
        source = weights if isinstance(weights, str | Path) else "the state dict"
        raise UserError(f"{source}: not weights of {model}: {listed(problems, most=8)}")
    network.load_state_dict({ours: state[theirs] for ours, theirs in names.items()}, strict=False)
    return network.eval()


def export_released(network: nn.Module, path: str | Path | None = None) -> dict[str, dict[str, Tensor]]:
    """``{"network": state dict}`` with the authors' names in their order, to be read by their code.

    Entries that nothing reads are written too, since the authors' loaders insist on them.

    Args:
        network: a model made by :func:`fsmnet.create_model` or :func:`load_released`.
        path: written with ``torch.save`` when given.
    """
    module = _names_module(recipe_of(network)["name"])
    names: dict[str, str] = module.released_names(network)
    own = network.state_dict()
    state: dict[str, Tensor] = {}
    copies: dict[str, list[str]] = {}
    computed: dict[str, Tensor] = {}
    for unused, value in module.unused_entries(network).items():
        if isinstance(value, Tensor):
            computed[unused] = value
        else:
            copies.setdefault(value, []).append(unused)
    waiting: dict[str, Tensor] = {}
    for ours, theirs in names.items():
        # The unused twin of a block follows the block as a whole.
        if waiting and theirs not in copies:
            state |= waiting
            waiting = {}
        state[theirs] = own[ours].detach().cpu().contiguous()
        waiting |= {unused: state[theirs].clone() for unused in copies.get(theirs, ())}
    state |= waiting | computed
    checkpoint = {"network": state}
    if path is not None:
        with atomic_write(Path(path)) as file:
            torch.save(checkpoint, file)
    return checkpoint


def _names_module(model: str) -> Any:
    model_class(model)  # refuses what is no model
    known = [module.name for module in pkgutil.iter_modules(released_names.__path__)]
    if model not in known:
        told = ", ".join(name for name in MODELS if name in known)
        raise UserError(f"{model} has no weights trained by others; load_released knows {told}")
    return importlib.import_module(f"{released_names.__name__}.{model}")
