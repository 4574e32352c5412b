"""How the entries of the released FSMNet are called in its checkpoints, see :mod:`fsmnet.models.released_weights`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import nn

from fsmnet.models.blocks import (
    ChannelAttention,
    ConvPReLU,
    Down,
    FrequencyBlock,
    ResidualGroup,
    SelectionScores,
    SelectiveFusion,
    Up,
)
from fsmnet.models.released import ReleasedFSFusion, ReleasedFSMNet

# Names inside a block: ours -> the authors'. A block's entries in the authors' order.
_BLOCK_NAMES: dict[type[nn.Module], dict[str, str]] = {
    ConvPReLU: {"conv.weight": "layers.weight", "act.weight": "act.weight"},
    Down: {"smooth.weight": "layers.0.layers.weight", "mix.weight": "layers.2.layers.weight"},
    Up: {"expand.weight": "0.weight", "expand.bias": "0.bias", "act.weight": "2.weight"},
    FrequencyBlock: {
        f"{ours}.{kind}": f"{theirs}.{kind}"
        for ours, theirs in (
            ("pre", "fpre"),
            ("amplitude.0", "amp_fuse.0"),
            ("amplitude.2", "amp_fuse.2"),
            ("phase.0", "pha_fuse.0"),
            ("phase.2", "pha_fuse.2"),
            ("post", "post"),
        )
        for kind in ("weight", "bias")
    },
    ChannelAttention: {
        "temperature": "temperature",
        "key_value.weight": "kv.weight",
        "key_value_depthwise.weight": "kv_dwconv.weight",
        "query.weight": "q.weight",
        "query_depthwise.weight": "q_dwconv.weight",
        "project.weight": "project_out.weight",
    },
    SelectionScores: {
        f"{ours}.{kind}": f"{theirs}.{kind}"
        for ours, theirs in (("squeeze", "0"), ("expand", "1"))
        for kind in ("weight", "bias")
    },
    nn.Conv2d: {"weight": "weight", "bias": "bias"},
}


def block_names(block: nn.Module) -> dict[str, str]:
    """Our entry names inside one block -> the authors', in the authors' order."""
    if isinstance(block, ResidualGroup):
        names = {
            f"blocks.{i}.conv{j + 1}.weight": f"body.{i}.layers.{j}.layers.weight"
            for i in range(len(block.blocks))
            for j in range(2)
        }
        closing = {f"close.{k}": f"body.{len(block.blocks)}.{v}" for k, v in _BLOCK_NAMES[ConvPReLU].items()}
        return names | closing | {"scale": "re_scale.scale"}
    if isinstance(block, ReleasedFSFusion) and block.kind == "attention":
        # The authors' calls pass (frequency, spatial) to a function declared the other way round.
        parts = {"conv_spatial": "fre", "conv_frequency": "spa", "attention": "fre_att", "scores": "fuse"}
    elif isinstance(block, SelectiveFusion):
        parts = {"conv_a": "t1", "conv_b": "t2", "scores": "fuse"}
    else:
        return next((names for kind, names in _BLOCK_NAMES.items() if isinstance(block, kind)), {})
    return {
        f"{ours}.{k}": f"{theirs}.{v}"
        for ours, theirs in parts.items()
        for k, v in block_names(block.get_submodule(ours)).items()
    }


def released_names(model: ReleasedFSMNet) -> dict[str, str]:
    """Every entry of our state dict -> its name in the authors' checkpoints, in the authors' order."""
    places: list[tuple[str, str]] = []  # our module path, their prefix

    def stage(path: str, name: str, suffix: str, resized: bool) -> None:
        branch = "_fre" if "_fre" in suffix else ""
        modality = "_T1" if "_T1" in suffix else ""
        if resized:
            places.append((f"{path}.resize", f"{name}{suffix}.0"))
        places.append((f"{path}.first", f"{name}{suffix}.{int(resized)}"))
        places.append((f"{path}.second", f"{name}{branch}_mo{modality}.0"))

    def encoder(path: str, suffix: str) -> None:
        places.append((f"{path}.head", f"head{suffix}.0"))
        for level in range(4):
            stage(f"{path}.stages.{level}", f"down{level + 1}" if level < 3 else "neck", suffix, level < 3)

    for path, suffix in (("frequency", "_fre"), ("spatial", "")):
        encoder(path, suffix)
        for level in range(3):
            stage(f"{path}.decoder.{level}", f"up{level + 1}", suffix, True)
        places.append((f"{path}.tail", f"tail{suffix}.0"))
    places += [(f"fuse_branches.{i}", f"conv_fuse.{i}") for i in range(14)]
    encoder("auxiliary_frequency", "_fre_T1")
    encoder("auxiliary_spatial", "_T1")
    places += [(f"fuse_frequency.{i}", f"conv_fuse_fre.{i}") for i in range(5)]
    places += [(f"fuse_spatial.{i}", f"conv_fuse_spa.{i}") for i in range(5)]
    return {
        f"{path}.{ours}": f"{prefix}.{theirs}"
        for path, prefix in places
        for ours, theirs in block_names(model.get_submodule(path)).items()
    }


def released_options(shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Constructor options read from the shapes of an authors' checkpoint; only those it decides."""
    options: dict[str, int] = {}
    if "head.0.layers.weight" in shapes:
        options["features"] = shapes["head.0.layers.weight"][0]
    blocks = {int(m[1]) for name in shapes if (m := re.match(r"neck\.0\.body\.(\d+)\.layers\.0\.", name))}
    if blocks:
        options["blocks"] = len(blocks)
    return options


def unused_entries(model: ReleasedFSMNet) -> dict[str, str]:
    """Entries of the authors' checkpoints that nothing reads: their name -> the name of the entry of the same shape."""
    return {
        theirs.replace(".fre_att.", ".spa_att."): theirs
        for theirs in released_names(model).values()
        if ".fre_att." in theirs
    }
