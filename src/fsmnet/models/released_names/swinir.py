"""How the entries of SwinIR are called in its authors' checkpoints, see :mod:`fsmnet.models.released_weights`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor

from fsmnet.models.swinir import Stage, SwinIR, offset_index, shift_mask

# Entries of one Swin block: ours -> the authors', in the authors' order.
_BLOCK_NAMES = {
    "norm1.weight": "norm1.weight",
    "norm1.bias": "norm1.bias",
    "attention.bias_table": "attn.relative_position_bias_table",
    "attention.qkv.weight": "attn.qkv.weight",
    "attention.qkv.bias": "attn.qkv.bias",
    "attention.project.weight": "attn.proj.weight",
    "attention.project.bias": "attn.proj.bias",
    "norm2.weight": "norm2.weight",
    "norm2.bias": "norm2.bias",
    "mlp.0.weight": "mlp.fc1.weight",
    "mlp.0.bias": "mlp.fc1.bias",
    "mlp.2.weight": "mlp.fc2.weight",
    "mlp.2.bias": "mlp.fc2.bias",
}


def released_names(model: SwinIR) -> dict[str, str]:
    """Every entry of our state dict -> its name in the authors' checkpoints, in the authors' order."""
    names: dict[str, str] = {}

    def convolutions_or_norm(ours: str, theirs: str) -> None:
        # Inside a row of convolutions the numbers are the same as theirs.
        names.update({f"{ours}.{k}": f"{theirs}.{k}" for k in model.get_submodule(ours).state_dict()})

    convolutions_or_norm("shallow", "conv_first")
    convolutions_or_norm("embed_norm", "patch_embed.norm")
    for i, j in _blocks(model):
        names.update({f"stages.{i}.blocks.{j}.{k}": f"{_block(i, j)}.{v}" for k, v in _BLOCK_NAMES.items()})
        if j == len(cast("Stage", model.stages[i]).blocks) - 1:
            convolutions_or_norm(f"stages.{i}.close", f"layers.{i}.conv")
    convolutions_or_norm("norm", "norm")
    convolutions_or_norm("close", "conv_after_body")
    convolutions_or_norm("head", "conv_last" if model.residual else "upsample.0")
    return names


def released_options(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Constructor options read from the shapes of an authors' checkpoint; only those it decides."""
    options: dict[str, Any] = {}
    if "conv_first.weight" in shapes:
        options["embed_dim"], options["in_channels"] = shapes["conv_first.weight"][:2]
    blocks = {
        (int(m[1]), int(m[2])) for name in shapes if (m := re.match(r"layers\.(\d+)\.\w+\.blocks\.(\d+)\.", name))
    }
    stages = sorted({i for i, _ in blocks})
    tables = [f"{_block(i, 0)}.attn.relative_position_bias_table" for i in stages]
    if stages and all(table in shapes for table in tables):
        options["depths"] = tuple(sum(stage == i for stage, _ in blocks) for i in stages)
        options["num_heads"] = tuple(shapes[table][1] for table in tables)
        options["window_size"] = (math.isqrt(shapes[tables[0]][0]) + 1) // 2
    hidden = f"{_block(0, 0)}.mlp.fc1.weight"
    if hidden in shapes:
        options["mlp_ratio"] = shapes[hidden][0] / shapes[hidden][1]
    for name, head in (("upsample.0.weight", "direct"), ("conv_last.weight", "residual")):
        if name in shapes:
            options["head"], options["out_channels"] = head, shapes[name][0]
    if "conv_after_body.weight" in shapes or "conv_after_body.0.weight" in shapes:
        options["convolutions"] = 1 if "conv_after_body.weight" in shapes else 3
    return options


def unused_entries(model: SwinIR) -> dict[str, Tensor]:
    """Tables in the authors' checkpoints that follow from the sizes and are not read, for the paper's 240 x 240."""
    return computed_entries(model)


def computed_entries(model: SwinIR, height: int = 240, width: int = 240) -> dict[str, Tensor]:
    """The tables that the authors' strict loader expects.

    Args:
        model: network to be exported.
        height: H for which the authors' network is built, a multiple of the window.
        width: W likewise.
    """
    mask, index = shift_mask(height, width, model.window, model.window // 2), offset_index(model.window)
    return {
        name: mask if name.endswith("attn_mask") else index for i, j in _blocks(model) for name in _computed_names(i, j)
    }


def target_only(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An authors' state dict with only the first row of its last convolution: what a model with one output reads."""
    head = "upsample.0." if "upsample.0.weight" in state else "conv_last."
    return {name: tensor[:1] if name.startswith(head) else tensor for name, tensor in state.items()}


def _blocks(model: SwinIR) -> list[tuple[int, int]]:
    return [(i, j) for i, stage in enumerate(model.stages) for j in range(len(cast("Stage", stage).blocks))]


def _block(i: int, j: int) -> str:
    return f"layers.{i}.residual_group.blocks.{j}"


def _computed_names(i: int, j: int) -> list[str]:
    index = f"{_block(i, j)}.attn.relative_position_index"
    return [f"{_block(i, j)}.attn_mask", index] if j % 2 else [index]
