"""How the entries of MTrans are called in its authors' checkpoints, see :mod:`fsmnet.models.released_weights`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fsmnet.models.mtrans import MTrans

# Inside a CrossUpdate: our parts -> the authors', in their order.
_UPDATE_PARTS = {
    "project_in": "project_in",
    "project_out": "project_out",
    "norm_own": "fn.x_norm1",
    "norm_other": "fn.c_norm1",
    "attention.query": "fn.attn.to_q",
    "attention.key_value": "fn.attn.to_kv",
    "attention.project": "fn.attn.proj",
    "norm_mlp": "fn.x_norm2",
    "mlp.0": "fn.mlp.fc1",
    "mlp.2": "fn.mlp.fc2",
}


def released_names(model: MTrans) -> dict[str, str]:
    """Every entry of our state dict -> its name in the authors' checkpoints, in the authors' order."""
    names = {"positions_target": "x_pos_embedding", "positions_auxiliary": "complement_pos_embedding"}
    parts: list[tuple[str, str]] = []
    for ours, theirs in (("head_target", "head"), ("head_auxiliary", "head2")):
        parts += [(f"{ours}.convs.{i}", f"{theirs}.conv{i + 1}") for i in range(3)]
        parts += [(f"{ours}.norms.{i}", f"{theirs}.bn{i + 1}") for i in range(3)]
    for layer in range(len(model.layers)):
        for number, stream in enumerate(("target", "auxiliary")):
            parts += [
                (f"layers.{layer}.{stream}.{ours}", f"cross_transformer.layers.{layer}.{number}.{theirs}")
                for ours, theirs in _UPDATE_PARTS.items()
            ]
    parts += [("tail_target", "tail1"), ("tail_auxiliary", "tail2")]
    for ours, theirs in parts:
        names |= {f"{ours}.{k}": f"{theirs}.{k}" for k in model.get_submodule(ours).state_dict()}
    return names


def released_options(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Constructor options read from the shapes of an authors' checkpoint, whose images are square.

    The number of heads leaves no trace in the shapes. For rectangular images give ``image_size``.
    """
    options: dict[str, Any] = {}
    if "head.conv1.weight" in shapes:
        options["hidden"], options["in_chans"] = shapes["head.conv1.weight"][:2]
    if "tail1.weight" in shapes:
        options["out_chans"] = shapes["tail1.weight"][0]
    for table, option in (("x_pos_embedding", "patch_target"), ("complement_pos_embedding", "patch_aux")):
        if table in shapes and "hidden" in options:
            tokens, width = shapes[table][1:]
            options[option] = math.isqrt(width // options["hidden"])
            if math.isqrt(tokens) ** 2 == tokens:
                options["image_size"] = math.isqrt(tokens) * options[option]
    layers = {int(m[1]) for name in shapes if (m := re.match(r"cross_transformer\.layers\.(\d+)\.", name))}
    if layers:
        options["depth"] = len(layers)
    mlp = shapes.get("cross_transformer.layers.0.0.fn.mlp.fc1.weight")
    if mlp is not None:
        options["mlp_ratio"] = mlp[0] // mlp[1]
    return options


def unused_entries(model: MTrans) -> dict[str, str]:
    """Entries of the authors' checkpoints that nothing reads: none."""
    return {}
