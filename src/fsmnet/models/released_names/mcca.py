"""How the entries of MCCA are called in its authors' checkpoints, see :mod:`fsmnet.models.released_weights`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from fsmnet.models.mcca import MCCA, Branch, Down, Fusion, ResBlock, TransformerBlock, Up

# Layers inside a block: ours -> the authors', in the authors' order.
_LAYER_NAMES: dict[type[nn.Module], dict[str, str]] = {
    ResBlock: {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "skip": "skip_connection",
    },
    TransformerBlock: {
        **{
            f"attention.{ours}.{layer}": f"attention.{name.format(theirs)}"
            for ours, theirs in (("query", "q"), ("key", "k"), ("value", "v"))
            for layer, name in (("point", "conv_{}.0"), ("depth", "conv_{}.1"), ("norm", "layernorm_{}"))
        },
        "attention.stacked": "attention.attention.in_proj_weight",
        "attention.project": "attention.attention.out_proj",
        "norm1": "ln1",
        "conv": "conv1",
        "norm2": "ln2",
        "multi_scale.near": "mcf.conv1",
        "multi_scale.far": "mcf.conv2",
        "multi_scale.mix": "mcf.conv",
    },
    Down: {"conv": "op"},
    Up: {"conv": "conv"},
    Fusion: {f"gates.{g}.{ours}": f"{g}.conv_du.{i}" for g in range(2) for ours, i in (("squeeze", 0), ("expand", 2))},
}


def _places(model: MCCA) -> Iterator[tuple[str, str]]:
    """Our module paths -> the authors' prefixes, in the authors' order."""
    for ours, theirs in (("auxiliary", "net1"), ("target", "net2")):
        branch: Branch = getattr(model, ours)
        yield f"{ours}.stem", f"{theirs}.input_blocks.0"
        for i, module in enumerate(branch.encoder):
            # Their residual blocks sit in rows of one.
            yield (
                f"{ours}.encoder.{i}",
                f"{theirs}.input_blocks.{i + 1}" + (".0" if isinstance(module, ResBlock) else ""),
            )
        for i in range(len(branch.middle)):
            yield f"{ours}.middle.{i}", f"{theirs}.middle_block.{i}"
        for i in range(len(branch.decoder)):
            yield f"{ours}.decoder.{i}.block", f"{theirs}.output_blocks.{i}.0"
            yield f"{ours}.decoder.{i}.up", f"{theirs}.output_blocks.{i}.1"
        yield f"{ours}.norm", f"{theirs}.out.0"
        yield f"{ours}.head", f"{theirs}.out.2"
    for ours, theirs in (("fuse_encoder", "fusion_input"), ("fuse_middle", "fusion_middle")):
        for i in range(len(getattr(model, ours))):
            yield f"{ours}.{i}", f"{theirs}.{i}"


def released_names(model: MCCA) -> dict[str, str]:
    """Every entry of our state dict -> its name in the authors' checkpoints, in the authors' order."""
    own = model.state_dict().keys()
    names: dict[str, str] = {}
    for path, prefix in _places(model):
        layers = _LAYER_NAMES.get(type(model.get_submodule(path)))
        pairs = [(f"{path}.{k}", f"{prefix}.{v}") for k, v in layers.items()] if layers else [(path, prefix)]
        for ours, theirs in pairs:
            for ending in ("", ".weight", ".bias"):
                if ours + ending in own:
                    names[ours + ending] = theirs + ending
    return names


def released_options(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Constructor options read from the shapes of an authors' checkpoint; only those it decides."""
    options: dict[str, Any] = {}
    if "net1.input_blocks.0.weight" not in shapes:
        return options
    options["channels"], options["in_channels"] = shapes["net1.input_blocks.0.weight"][:2]
    widths = {
        int(m[1]): shape[0]
        for name, shape in shapes.items()
        if (m := re.fullmatch(r"net1\.input_blocks\.(\d+)\.0\.in_layers\.2\.weight", name))
    }
    downs = [int(m[1]) for name in shapes if (m := re.fullmatch(r"net1\.input_blocks\.(\d+)\.op\.weight", name))]
    first_of_levels = [1, *(i + 1 for i in sorted(downs))]
    if all(i in widths for i in first_of_levels):
        options["channel_mult"] = tuple(widths[i] // options["channels"] for i in first_of_levels)
        options["res_blocks"] = len(widths) // len(first_of_levels)
    if "net1.out.2.weight" in shapes:
        options["out_channels"] = shapes["net1.out.2.weight"][0]
    return options


def unused_entries(model: MCCA) -> dict[str, str]:
    """Entries of the authors' checkpoints that nothing reads: none."""
    return {}
