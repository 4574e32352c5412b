"""The reference networks' numbers: entries and shapes, and outputs for weights and inputs made again from a rule.

``entries.json.gz`` here has the names and shapes of every configuration. ``sample.npz`` has each reference array of up
to 500 values whole, and every 17th value (in C order) of the larger ones. Where the full arrays are there too
(``golden/*.npz`` in ``../shared``, or in the folder that FSMNET_SHARED names), tests compare with all of them. See
README.md beside this file.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parent
SHARED = Path(os.environ.get("FSMNET_SHARED", HERE.parents[2] / "shared"))
FULL = SHARED / "golden"
WHOLE, STEP = 500, 17


@dataclass(frozen=True)
class Sample:
    """Every 17th value of an array."""

    values: torch.Tensor
    shape: tuple[int, ...]

    def abs(self) -> torch.Tensor:
        return self.values.abs()


def entry(name: str, shape: Sequence[int], weight_factor: float = 1.0) -> torch.Tensor:
    """The weight of one state-dict entry, from its name."""
    n = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    if len(shape) >= 2:
        return torch.from_numpy((n / np.sqrt(np.prod(shape[1:]))).astype(np.float32) * np.float32(weight_factor))
    if name.endswith("running_var"):
        value = 1 + 0.1 * np.abs(n)
    elif name.endswith("weight"):
        value = 1 + 0.1 * n
    else:
        value = 0.1 * n
    return torch.from_numpy(np.asarray(value, dtype=np.float32))


def weights(shapes: Mapping[str, Sequence[int]], weight_factor: float = 1.0) -> dict[str, torch.Tensor]:
    return {name: entry(name, shape, weight_factor) for name, shape in shapes.items()}


def keys(system: str) -> dict[str, Any]:
    """The reference's entries: ``{configuration: {"config": ..., "entries": {name: shape}}}``."""
    return json.loads(gzip.decompress((HERE / "entries.json.gz").read_bytes()))[system]


@cache
def committed() -> dict[str, torch.Tensor | Sample]:
    """``file/array`` -> the committed values."""
    with np.load(HERE / "sample.npz") as file:
        values = {key: torch.from_numpy(file[key]) for key in file.files}
    shapes = {key.removesuffix(":shape"): tuple(v.tolist()) for key, v in values.items() if key.endswith(":shape")}
    return {
        key: Sample(value, shapes[key]) if key in shapes else value
        for key, value in values.items()
        if not key.endswith(":shape")
    }


def full(name: str) -> dict[str, torch.Tensor] | None:
    """All values of a file, where it is there."""
    path = FULL / f"{name}.npz"
    if not path.is_file():
        return None
    with np.load(path) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def arrays(name: str) -> dict[str, Any]:
    """Array -> all its values where they are there, else the committed ones; for :func:`largest_difference`."""
    here = {key.split("/")[1]: value for key, value in committed().items() if key.split("/")[0] == name}
    return full(name) or here


def image(seed: int, shape: Sequence[int]) -> torch.Tensor:
    x = np.random.default_rng(seed).standard_normal(shape)
    for axis in (-1, -2):
        x = (x + np.roll(x, 1, axis) + np.roll(x, 2, axis)) / np.sqrt(3)
    return torch.from_numpy(x.astype(np.float32))


def largest_difference(a: torch.Tensor, b: torch.Tensor | Sample) -> float:
    assert tuple(a.shape) == tuple(b.shape)
    if isinstance(b, Sample):
        a, b = a.flatten()[::STEP], b.values
    return float((a.double() - b.double()).abs().max())
