"""Convolutions with fewer multiplications, against PyTorch's in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fsmnet.models import create_model
from fsmnet.models.kernels import winograd
from fsmnet.models.kernels.install import install_kernels
from fsmnet.models.kernels.onednn import convolve, fuse

here = pytest.mark.skipif(not winograd.available(), reason="not on this processor, or with this PyTorch")
ACTIVATIONS = {
    "none": lambda x: x,
    "relu": F.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.3),
    "sigmoid": torch.sigmoid,
}


def maps(seed, *shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return x.contiguous(memory_format=torch.channels_last)


def kernels(outputs, inputs):
    return maps(1, outputs, inputs, 3, 3) / (9 * inputs) ** 0.5


def rounding(got, expected):
    """Root mean square of the difference, relative to the values."""
    return float((got - expected).square().mean().sqrt() / expected.square().mean().sqrt())


def test_the_transforms_make_a_correlation():
    """The sum over products of A, G and B is 1 where value i + k meets coefficient k for result i."""
    combine, expand, mix = winograd.transforms()
    got = torch.einsum("ij,jk,js->iks", combine.double(), expand.double(), mix.double())
    expected = torch.zeros_like(got)
    for i in range(6):
        for k in range(3):
            expected[i, k, i + k] = 1
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


@here
@pytest.mark.parametrize("height", [1, 5, 6, 13, 40])
@pytest.mark.parametrize("strip", [1, 2**21])
def test_a_convolution_of_any_height(height, strip, monkeypatch):
    monkeypatch.setattr(winograd, "STRIP", strip)  # with 1, six rows at a time
    x, weight, bias = maps(0, 2, 24, height, 11), kernels(16, 24), torch.linspace(-1, 1, 16)
    for offset in (bias, None):
        expected = F.conv2d(x.double(), weight.double(), None if offset is None else offset.double(), padding=1)
        got = winograd.convolution(x, weight, offset, lambda part, plus: None)
        assert got.is_contiguous(memory_format=torch.channels_last)
        assert rounding(got, expected) < 3e-6


@here
@pytest.mark.parametrize("with_sum", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_large_convolution_with_what_follows(activation, with_sum, monkeypatch):
    calls = []
    convolution = winograd.convolution
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(winograd, "convolution", lambda *args: calls.append(1) or convolution(*args))
    block = nn.Sequential(nn.Conv2d(64, 48, 3, padding=1)).requires_grad_(False)
    block[0].weight.copy_(kernels(48, 64))
    fuse(block)
    x, plus = maps(0, 1, 64, 70, 60), maps(2, 1, 48, 70, 60) if with_sum else None
    expected = F.conv2d(x.double(), block[0].weight.double(), block[0].bias.double(), padding=1)
    expected = ACTIVATIONS[activation](expected + plus if with_sum else expected)
    with torch.inference_mode():
        got = convolve(block[0], x, activation, 0.3, plus)
    assert calls == [1]
    assert rounding(got, expected) < 3e-6


@here
def test_other_convolutions_are_computed_as_before(monkeypatch):
    monkeypatch.setattr(winograd, "convolution", None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    shapes = [
        nn.Conv2d(48, 48, 3, padding=1, stride=2),
        nn.Conv2d(48, 48, 3),
        nn.Conv2d(48, 48, 3, padding=2, dilation=2),
        nn.Conv2d(48, 48, 1),
        nn.Conv2d(48, 32, 3, padding=1),
    ]
    block = nn.ModuleList(shapes).requires_grad_(False)
    fuse(block)
    x = maps(0, 1, 48, 60, 60)
    with torch.inference_mode():
        for layer in block:
            convolve(layer, x)
        fuse(small := nn.Sequential(nn.Conv2d(48, 48, 3, padding=1)).requires_grad_(False))
        small(x[..., :40])
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
        small(x)


@here
@pytest.mark.parametrize("name", ["fsmnet", "fsmnet_released"])
def test_a_network_all_of_whose_convolutions_are_computed_so(name, monkeypatch):
    torch.manual_seed(0)
    model = create_model(name, features=8, blocks=1).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    install_kernels(model)
    fuse(model)
    target, auxiliary = (torch.randn(1, 1, 44, 36) for _ in range(2))
    with torch.inference_mode():
        monkeypatch.setattr(winograd, "pays", lambda x, weight: False)
        plain = model(target, auxiliary).image
        monkeypatch.setattr(winograd, "pays", lambda x, weight: True)
        image = model(target, auxiliary).image
    assert not torch.equal(image, plain)
    torch.testing.assert_close(image, plain, rtol=0, atol=1e-3)


def test_only_where_it_was_measured_and_is_right(monkeypatch):
    asked = winograd.available.__wrapped__
    with monkeypatch.context() as patch:
        patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "SVE256")
        assert not asked()
    with monkeypatch.context() as patch:
        combine, *others = winograd.transforms()
        patch.setattr(winograd, "transforms", lambda: (1.01 * combine, *others))
        assert not asked()
    with monkeypatch.context() as patch:
        patch.setattr(torch.ops.mkldnn, "_convolution_pointwise_", None)
        assert not asked()
