"""How the entries of MDUNet are called in its authors' checkpoints, see :mod:`fsmnet.models.released_weights`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fsmnet.models.mdunet import MDUNet


def _block_names(ours: str, theirs: str) -> dict[str, str]:
    """The two convolutions of a block."""
    return {f"{ours}.conv1.weight": f"{theirs}.layers.0.weight", f"{ours}.conv2.weight": f"{theirs}.layers.4.weight"}


def released_names(model: MDUNet) -> dict[str, str]:
    """Every entry of our state dict -> its name in the FSMNet authors' checkpoints, in their order."""
    last = model.levels - 1
    # our U-Net, their prefixes of its encoder, bottleneck and decoder
    streams = [("target", "", "conv", "")]
    if model.fusion == "levels":
        streams = [("auxiliary", "encoder1.", "conv1", "decoder1."), ("target", "encoder2.", "conv2", "decoder2.")]
    names: dict[str, str] = {}
    for ours, encoder, _, _ in streams:
        for level in range(model.levels):
            names |= _block_names(f"{ours}.encoder.{level}", f"{encoder}down_sample_layers.{level}")
    if model.fusion == "levels":
        for ours, theirs in (("fuse_auxiliary", "fuse_conv_layers1"), ("fuse_target", "fuse_conv_layers2")):
            for level in range(model.levels):
                names |= _block_names(f"{ours}.{level}", f"{theirs}.{level}")
    for ours, _, bottleneck, _ in streams:
        names |= _block_names(f"{ours}.bottleneck", bottleneck)
    for ours, _, _, decoder in streams:
        for step in range(model.levels):
            # The last block sits in a pair with the output convolution.
            pair = ".0" if step == last else ""
            names |= _block_names(f"{ours}.decoder.{step}", f"{decoder}up_conv.{step}{pair}")
        names |= {f"{ours}.out.{kind}": f"{decoder}up_conv.{last}.1.{kind}" for kind in ("weight", "bias")}
        for step in range(model.levels):
            names[f"{ours}.up.{step}.conv.weight"] = f"{decoder}up_transpose_conv.{step}.layers.0.weight"
    return names


def released_options(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Constructor options read from the entries of a checkpoint; only those they decide (not ``dropout``)."""
    options: dict[str, Any] = {}
    found = [
        m for name in shapes if (m := re.fullmatch(r"(encoder1\.)?down_sample_layers\.(\d+)\.layers\.0\.weight", name))
    ]
    if found:
        options["features"] = shapes[f"{found[0][1] or ''}down_sample_layers.0.layers.0.weight"][0]
        options["levels"] = len(found)
        options["fusion"] = "levels" if found[0][1] else "input"
    return options


def unused_entries(model: MDUNet) -> dict[str, str]:
    """Entries of the checkpoints that nothing reads: none."""
    return {}
