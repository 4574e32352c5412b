"""Which precision ``auto`` takes: by time, once, and said; never by the clock in these tests."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from fsmnet.inference import precision
from fsmnet.inference.optimise import Optimised
from fsmnet.inference.precision import FasterPrecision, choice_of, for_inference, in_hardware
from fsmnet.inference.slices import reconstruct_slices
from fsmnet.models import create_model, recipe_of
from fsmnet.physics.acquisition import Acquisition
from fsmnet.transforms import NormalisationRecipe

CPU = torch.device("cpu")
SECONDS = {"float32": 1.0, "bfloat16": 0.5}


@pytest.fixture
def clock(monkeypatch):
    """A processor with bfloat16 in hardware, whose passes over a strip take what ``seconds`` says; which ran."""

    clock = SimpleNamespace(seconds=dict(SECONDS), ran=[])

    def least_seconds(compute, passes):
        output = compute()
        assert output.image.shape[-2] <= precision.ROWS
        assert not torch.is_grad_enabled() or not output.image.requires_grad
        name = current[-1]
        clock.ran.append(name)
        return clock.seconds[name]

    current = []
    forward = Optimised.forward
    monkeypatch.setattr(
        Optimised, "forward", lambda self, *inputs: (current.append(self.precision), forward(self, *inputs))[1]
    )
    monkeypatch.setattr(precision, "least_seconds", least_seconds)
    monkeypatch.setattr(precision, "in_hardware", lambda device: True)
    return clock


def network(name="fsmnet", **options):
    torch.manual_seed(0)
    return create_model(name, **({"features": 8, "blocks": 1} if name == "fsmnet" else options)).eval()


def image(height=96, width=40):
    return torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("half", "expected"), [(0.5, "bfloat16"), (0.9, "float32"), (8.0, "float32")])
def test_the_faster_one_is_taken_if_it_is_worth_it(clock, half, expected):
    clock.seconds["bfloat16"] = half
    fast = FasterPrecision(network())
    choice = fast.settle(image(), image(), 100)
    assert choice.precision == expected
    assert choice.why == f"timed on 48 rows: float32 2.000 s a slice, bfloat16 {2 * half:.3f} s"
    assert recipe_of(fast)["name"] == "fsmnet"


def test_it_is_asked_once_for_a_size(clock):
    fast = FasterPrecision(network())
    fast.settle(image(), image(), 100)
    asked = len(clock.ran)
    clock.seconds["bfloat16"] = 8.0
    assert fast.settle(image(), image(), 1).precision == "bfloat16"
    assert len(clock.ran) == asked
    assert fast.settle(image(64), image(64), 100).precision == "float32"
    assert fast.settle(image(), image(), 100).precision == "bfloat16"


def test_little_work_is_done_in_float32_without_asking(clock):
    clock.seconds["float32"] = 0.001
    fast = FasterPrecision(network())
    assert fast.settle(image(), image(), 10) == ("float32", "too little work to choose for")
    assert clock.ran == ["float32"]
    clock.seconds["bfloat16"] = 0.0005
    assert fast.settle(image(), image(), 10_000).precision == "bfloat16"


def test_a_processor_without_it_is_not_asked(clock, monkeypatch):
    monkeypatch.setattr(precision, "in_hardware", lambda device: False)
    fast = FasterPrecision(network())
    assert fast.settle(image(), image(), 100) == ("float32", "the processor has no bfloat16 in hardware")
    assert clock.ran == []
    assert isinstance(in_hardware(CPU), bool)
    assert not in_hardware(torch.device("meta"))


def test_a_network_for_k_space_is_asked_too(clock):
    scan = Acquisition.simulate(image()[:, 0], torch.rand(40) < 0.4)
    fast = FasterPrecision(network("fsmnet_unrolled", steps=1, widths=(8, 8, 8)))
    assert fast.settle(scan, None, 100).precision == "bfloat16"
    assert fast(scan, None).image.dtype == torch.complex64


@pytest.mark.parametrize("half", [0.5, 8.0])
def test_slices_are_computed_in_the_precision_that_was_found(clock, half):
    clock.seconds["bfloat16"] = half
    model, region = for_inference(network(), "auto")
    slices = torch.rand(3, 96, 40, generator=torch.Generator().manual_seed(1))
    got = reconstruct_slices(model, slices, slices, NormalisationRecipe(), precision=region)
    choice = choice_of(model, region)
    expected = for_inference(network(), choice.precision)[0]
    assert torch.equal(got, reconstruct_slices(expected, slices, slices, NormalisationRecipe()))
    assert choice.precision == ("bfloat16" if half == 0.5 else "float32")


def test_what_the_options_say_is_done():
    assert choice_of(*for_inference(network(), "bfloat16")) == ("bfloat16", "as the options say")
    plain = network()
    assert for_inference(plain, "auto", optimised=False) == (plain, "float32")
    assert for_inference(plain, "bfloat16", optimised=False) == (plain, "bfloat16")
