"""How many slices at a time, and how much memory there is for them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fsmnet.inference import device as devices
from fsmnet.inference.cost import predict_cost
from fsmnet.inference.device import choose_batch
from fsmnet.models import create_model

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SMALL = {"features": 8, "blocks": 1}


def test_a_processor_takes_one_slice_at_a_time_unless_told_otherwise():
    slices = torch.empty(40, 64, 64)
    assert choose_batch("auto", nn.Identity(), slices, CPU) == 1
    assert choose_batch(7, nn.Identity(), slices, CPU) == 7


@pytest.mark.parametrize(
    ("fit", "there", "expected"),
    [(0.4, 40, 1), (1.1, 40, 1), (9.5, 40, 9), (1e4, 40, 32), (1e4, 5, 5)],
)
def test_a_gpu_takes_what_half_its_free_memory_holds(monkeypatch, fit, there, expected):
    model = create_model("fsmnet", **SMALL)
    cost = predict_cost("fsmnet", SMALL, 64, 48, batch=1)
    each = cost.inference_bytes - 4 * cost.parameters
    monkeypatch.setattr(devices, "free_memory", lambda device: int(2 * each * fit))
    assert choose_batch("auto", model, torch.empty(there, 64, 48), GPU) == expected
    assert choose_batch(3, model, torch.empty(there, 64, 48), GPU) == 3


def test_free_memory_counts_what_pytorch_keeps_for_itself(monkeypatch):
    values = {"mem_get_info": (1000, 5000), "memory_reserved": 300, "memory_allocated": 120}
    for name, value in values.items():
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    assert devices.free_memory(GPU) == 1180
