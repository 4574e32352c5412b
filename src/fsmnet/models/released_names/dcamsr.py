"""How the entries of DCAMSR are called in its authors' checkpoints, see :mod:`fsmnet.models.released_weights`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fsmnet.models.dcamsr import DCAMSR

# Inside a FusionBlock: our parts -> the authors', in their order. They register one projection under two names, E and
# F; a state dict is read in order, so F decides.
_FUSION_PARTS = {
    "norm": "norm",
    "attention.query": "epa_block.q",
    "attention.key_values": "epa_block.kvv",
    "attention.project_tokens": "epa_block.F",
    "attention.out_channel": "epa_block.out_proj",
    "attention.out_spatial": "epa_block.out_proj2",
    "feed_forward.0": "ffn.0",
    "feed_forward.2": "ffn.2",
}
# Our decoder stages -> the authors' convolution and residual blocks, in their order.
_DECODER_STAGES = {
    "down": ("conv_L3", "blk_L3"),
    "bottom": ("conv_L2", "blk_L2"),
    "up": ("conv_L1", "blk_L1"),
    "merge.0": ("merge_warp_x1", "blk_x1"),
    "merge.1": ("merge_warp_x2", "blk_x2"),
    "merge.2": ("merge_warp_x4", "blk_x4"),
}


def released_names(model: DCAMSR) -> dict[str, str]:
    """Every entry of our state dict -> its name in the authors' checkpoints, in the authors' order."""
    names: dict[str, str] = {}
    for level in range(3):
        names |= _stage(model, f"encoder.{level}", "enc", f"conv_L{level + 1}", f"blk_L{level + 1}")
    for stage, (conv, blocks) in _DECODER_STAGES.items():
        names |= _stage(model, f"decoder.{stage}", "decoder", conv, blocks)
    names |= _layer("decoder.out", "decoder.conv_out")
    for part, theirs in (("shared", "conv_shared.0"), ("gamma", "conv_gamma"), ("beta", "conv_beta")):
        names |= _layer(f"decoder.adapt.{part}", f"decoder.pAda.{theirs}")
    for level in range(3):
        for i in range(_count(model, f"fusion.{level}.blocks")):
            names |= _fusion(f"fusion.{level}.blocks.{i}", f"trans_lv{level + 1}.{i}", first=i == 0)
    return names


def _count(model: DCAMSR, path: str) -> int:
    return len(list(model.get_submodule(path).children()))


def _layer(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.{kind}": f"{theirs}.{kind}" for kind in ("weight", "bias")}


def _stage(model: DCAMSR, ours: str, prefix: str, conv: str, blocks: str) -> dict[str, str]:
    names = _layer(f"{ours}.conv", f"{prefix}.{conv}")
    for i in range(_count(model, f"{ours}.blocks")):
        for part in ("conv1", "conv2"):
            names |= _layer(f"{ours}.blocks.{i}.{part}", f"{prefix}.{blocks}.{i}.{part}")
    return names


def _fusion(ours: str, prefix: str, first: bool) -> dict[str, str]:
    names = {} if first else {f"{ours}.positions": f"{prefix}.pos_embed"}
    for part, theirs in _FUSION_PARTS.items():
        names |= _layer(f"{ours}.{part}", f"{prefix}.{theirs}")
        if part == "norm":
            names[f"{ours}.attention.temperature_channel"] = f"{prefix}.epa_block.temperature"
            names[f"{ours}.attention.temperature_spatial"] = f"{prefix}.epa_block.temperature2"
    return names


def released_options(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Constructor options read from the shapes of an authors' checkpoint, whose images are square.

    The scale and the dropout leave no trace in the shapes. For rectangular images give ``image_size``.
    """
    options: dict[str, Any] = {}

    def count(prefix: str) -> int:
        return len({m[1] for name in shapes if (m := re.match(re.escape(prefix) + r"\.(\d+)\.", name))})

    if "enc.conv_L1.weight" in shapes:
        options["nf"], options["in_chans"] = shapes["enc.conv_L1.weight"][:2]
    counts = {
        "n_blks": tuple(count(f"enc.blk_L{level}") for level in (1, 2, 3)),
        "n_blks_dec": tuple(count(f"decoder.{blocks}") for _, blocks in _DECODER_STAGES.values()),
        "depths": tuple(count(f"trans_lv{level}") for level in (1, 2, 3)),
    }
    options |= {option: values for option, values in counts.items() if all(values)}
    temperature = shapes.get("trans_lv1.0.epa_block.temperature")
    if temperature is not None:
        options["num_heads"] = temperature[0]
    projection = shapes.get("trans_lv1.0.epa_block.F.weight")
    if projection is not None:
        options["proj_size"] = projection[0]
        if math.isqrt(projection[1]) ** 2 == projection[1]:
            options["image_size"] = math.isqrt(projection[1])
    return options


def unused_entries(model: DCAMSR) -> dict[str, str]:
    """Entries of the authors' checkpoints that nothing reads: the token projection's first name -> its second."""
    return {
        theirs.replace(".epa_block.F.", ".epa_block.E."): theirs
        for theirs in released_names(model).values()
        if ".epa_block.F." in theirs
    }
