"""Weights and inputs of the golden numbers, made again from their rule (see ``../shared/golden/README.md``)."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

SHARED = Path(os.environ.get("FSMNET_SHARED", Path(__file__).resolve().parents[2] / "shared"))
GOLDEN = SHARED / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden numbers (../shared/golden) are not here")


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


def keys(system: str) -> dict[str, dict]:
    """The reference's entries: ``{configuration: {"config": ..., "entries": {name: shape}}}``."""
    document = json.loads((GOLDEN / f"{system}_keys.json").read_text())
    for configuration in document.values():
        if isinstance(configuration, dict) and isinstance(configuration.get("entries"), list):
            configuration["entries"] = {name: shape for name, shape, *_ in configuration["entries"]}
    return document


def arrays(name: str) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def image(seed: int, shape: Sequence[int]) -> torch.Tensor:
    x = np.random.default_rng(seed).standard_normal(shape)
    for axis in (-1, -2):
        x = (x + np.roll(x, 1, axis) + np.roll(x, 2, axis)) / np.sqrt(3)
    return torch.from_numpy(x.astype(np.float32))


def largest_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return float((a.double() - b.double()).abs().max())
