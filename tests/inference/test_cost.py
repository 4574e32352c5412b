"""Predicted size and cost against a model whose figures can be worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fsmnet.errors import UserError
from fsmnet.inference import cost as profile
from fsmnet.inference.cost import human_bytes, predict_cost
from fsmnet.models import model_options
from fsmnet.models.output import Output

SMALL = {"features": 8, "blocks": 1}


class OneConvolution(nn.Module):
    """3 x 3, 1 -> 4 channels, of the target alone."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)

    def forward(self, target, auxiliary):
        assert target.is_meta  # nothing is computed
        return Output(self.conv(target))


def test_a_single_convolution_by_hand(monkeypatch):
    monkeypatch.setattr(profile, "create_model", lambda name, **options: OneConvolution())
    cost = predict_cost("one", {}, height=10, width=12, batch=3)
    image = 10 * 12 * 4  # bytes; the only thing a convolution keeps besides its weights
    assert cost.parameters == 4 * 9
    assert cost.gflops == 2 * 36 * 120 / 1e9
    assert cost.inference_bytes == 4 * 36 + image
    assert cost.training_bytes == 4 * (4 * 36) + 3 * image  # weights, gradients, two averages


def test_parameters_are_those_of_the_model():
    with torch.device("meta"):
        expected = sum(p.numel() for p in profile.create_model("fsmnet", **SMALL).parameters())
    assert predict_cost("fsmnet", SMALL, 64, 64, batch=1).parameters == expected


def test_cost_follows_the_image_and_memory_the_batch():
    small, double, batch = (predict_cost("fsmnet", SMALL, *size) for size in ((64, 64, 1), (64, 128, 1), (64, 64, 4)))
    weights = 4 * small.parameters
    assert double.gflops == pytest.approx(2 * small.gflops, rel=0.01)
    assert batch.gflops == small.gflops  # of one slice
    assert batch.inference_bytes == small.inference_bytes > weights
    assert batch.training_bytes - 4 * weights == 4 * (small.training_bytes - 4 * weights)
    assert small.training_bytes > small.inference_bytes


@pytest.mark.parametrize("name", ["fsmnet", "fsmnet_released"])
def test_checkpointing_takes_a_fraction_of_the_memory(name):
    """At most the 60% it is there for."""
    kept, twice = (predict_cost(name, SMALL, 64, 64, 1, checkpointing) for checkpointing in (False, True))
    weights = 4 * 4 * kept.parameters
    assert (twice.training_bytes - weights) / (kept.training_bytes - weights) < 0.6
    assert (twice.gflops, twice.inference_bytes) == (kept.gflops, kept.inference_bytes)


def test_the_prediction_leaves_the_random_numbers_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    predict_cost("fsmnet", SMALL, 32, 32, batch=1)
    assert torch.equal(torch.rand(3), expected)


def test_zero_filling_costs_nothing():
    cost = predict_cost("zero_filling", {}, 240, 200, batch=4)
    assert (cost.parameters, cost.gflops, cost.training_bytes) == (0, 0, 0)
    assert cost.inference_bytes == 4 * 240 * 200


def test_options_are_checked():
    assert "features" in model_options("fsmnet")
    with pytest.raises(UserError, match="has no option 'width'"):
        predict_cost("fsmnet", {"width": 3}, 64, 64, batch=1)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (3_100_000_000, "3.1 GB"),
        (32_249_672, "32.2 MB"),
        (415e9, "415 GB"),
    ],
)
def test_bytes_for_people(count, text):
    assert human_bytes(count) == text
