"""How the entries of MINet are called in its authors' checkpoints, see :mod:`fsmnet.models.released_weights`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fsmnet.models.minet import MINet


def _convolutions(places: Mapping[str, str]) -> dict[str, str]:
    """Weight and bias of each convolution, our path -> theirs."""
    return {f"{o}.{kind}": f"{t}.{kind}" for o, t in places.items() for kind in ("weight", "bias")}


def _stage_names(groups: int, blocks: int) -> dict[str, str]:
    """Stages of one branch."""
    places: dict[str, str] = {}
    for g in range(groups):
        for b in range(blocks):
            ours, theirs = f"stages.{g}.blocks.{b}", f"body.{g}.body.{b}.body"
            places |= {
                f"{ours}.conv1": f"{theirs}.0",
                f"{ours}.conv2": f"{theirs}.2",
                f"{ours}.gate.squeeze": f"{theirs}.3.conv_du.0",
                f"{ours}.gate.expand": f"{theirs}.3.conv_du.2",
            }
        places[f"stages.{g}.close"] = f"body.{g}.body.{blocks}"
    places[f"stages.{groups}"] = f"body.{groups}"
    return _convolutions(places)


def released_names(model: MINet) -> dict[str, str]:
    """Every entry of our state dict -> its name in the FSMNet authors' checkpoints, in their order."""
    groups, blocks = model.groups, model.blocks
    before_merge = {
        **_convolutions({"head": "head.0"}),
        **_stage_names(groups, blocks),
        "attention.gamma": "csa.gamma",
        **_convolutions({"attention.conv": "csa.conv"}),
    }
    auxiliary = before_merge | _convolutions({"merge": "last1", "out": "final.0"})
    target = before_merge | _convolutions({"merge": "last", "out": "final.0"})
    names = {f"auxiliary.{ours}": f"net1.{theirs}" for ours, theirs in auxiliary.items()}
    for ours, theirs in target.items():
        if ours == "merge.weight":
            names["layer_attention.gamma"] = "net2.la.gamma"
            names |= _convolutions({"summarise": "net2.last_conv"})
        names[f"target.{ours}"] = f"net2.{theirs}"
    integrate = {f"integrate.{stage}": f"fusion_convs.{stage}" for stage in range(groups + 1)}
    return names | _convolutions({"target_head": "tail.1", **integrate})


def released_options(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Constructor options read from the entries of a checkpoint; only those they decide (not the output activation)."""
    options: dict[str, Any] = {}
    places = [m for name in shapes if (m := re.fullmatch(r"net1\.body\.(\d+)\.body\.(\d+)\.body\.0\.weight", name))]
    if places:
        options["groups"] = len({m[1] for m in places})
        options["blocks"] = len({m[2] for m in places})
    if "net1.head.0.weight" in shapes:
        options["features"] = shapes["net1.head.0.weight"][0]
    gate = "net1.body.0.body.0.body.3.conv_du.0.weight"
    if gate in shapes:
        inner, features = shapes[gate][:2]
        options["reduction"] = features // inner
    return options


def unused_entries(model: MINet) -> dict[str, str | Tensor]:
    """Entries of the FSMNet authors' checkpoints that nothing reads -> an entry of the same shape, or zeros."""
    groups, blocks = model.groups, model.blocks
    third_branch = _stage_names(groups, blocks).values()
    return {
        "net1.la.gamma": "net2.la.gamma",
        **_convolutions({"net1.last_conv": "net2.last_conv", "net1.last": "net2.last", "net1.tail.1": "tail.1"}),
        **_convolutions({"net2.last1": "net1.last1", "net2.tail.1": "tail.1"}),
        **{name: f"net1.{name}" for name in third_branch},
        "csa.gamma": "net1.csa.gamma",
        **_convolutions({"csa.conv": "net1.csa.conv"}),
        "la.gamma": "net2.la.gamma",
        **_convolutions({"last_conv": "net2.last_conv", "last": "net2.last", "last1": "net1.last1"}),
        **_convolutions({"conv1": "net2.last"}),
        **_convolutions({f"map_convs.{stage}": "net1.final.0" for stage in range(groups + 1)}),
        "rgbd_global.outlayer.0.bias": "net1.head.0.bias",
        **{name: torch.zeros(shape) for name, shape in _unmatched_shapes(model).items()},
    }


def _unmatched_shapes(model: MINet) -> dict[str, tuple[int, ...]]:
    """Unread entries whose shape no other entry has; with 64 features only, the one width of the authors' code."""
    half = model.target_head.out_channels // 2
    shapes: dict[str, tuple[int, ...]] = {}
    for modality in ("T1", "T2"):
        for stage in range(model.groups + 1):
            shapes[f"fusion_convs{modality}.{stage}.weight"] = (half, 2 * half, 1, 1)
            shapes[f"fusion_convs{modality}.{stage}.bias"] = (half,)
    norm = "rgbd_global.enlayer.1"
    return shapes | {
        "rgbd_global.enlayer.0.weight": (half, 2 * half, 3, 3),
        "rgbd_global.enlayer.0.bias": (half,),
        **{f"{norm}.{kind}": (half,) for kind in ("weight", "bias", "running_mean", "running_var")},
        f"{norm}.num_batches_tracked": (),
        "rgbd_global.outlayer.0.weight": (2 * half, half, 1, 1),
    }
