"""What tests of training share: networks of seconds, and what two runs must have in common."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

UNET = {"model": "mdunet", "model_options": {"features": 4, "levels": 2}}
FSMNET = {"model": "fsmnet", "model_options": {"features": 8, "blocks": 1}}


def log_rows(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def timeless(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{name: text for name, text in row.items() if name != "seconds"} for row in rows]


def assert_same_weights(first: Path, second: Path) -> None:
    one, other = load_file(first), load_file(second)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def assert_same_run(first: Path, second: Path) -> None:
    for name in ("last.safetensors", "best.safetensors"):
        assert_same_weights(first / name, second / name)
    assert timeless(log_rows(first)) == timeless(log_rows(second))


def on(device: str) -> SimpleNamespace:
    """One process on a device, as far as figures know it."""
    return SimpleNamespace(device=torch.device(device), reduce=lambda tensor, how: tensor)


class Reads(TorchDispatchMode):
    """Counts numbers that are read off tensors of floats: what a GPU would be waited for."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default and args[0].is_floating_point():
            self.count += 1
        return function(*args, **(kwargs or {}))
