"""Convolutions in one pass with what follows them, against the same one after the other."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fsmnet.models import create_model
from fsmnet.models.kernels import onednn
from fsmnet.models.kernels.install import install_kernels
from fsmnet.models.kernels.onednn import FusedConv2d, convolve, fuse

ACTIVATIONS = {
    "none": lambda x: x,
    "relu": F.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.3),
    "sigmoid": torch.sigmoid,
}


@pytest.fixture(params=[True, False], ids=["oneDNN", "without it"])
def one_pass(request, monkeypatch):
    dtype = request.node.callspec.params.get("dtype", torch.float32)
    if not onednn.available(dtype):
        pytest.skip(f"no {dtype} convolutions of oneDNN in this PyTorch on this processor")
    if not request.param:
        monkeypatch.setattr(FusedConv2d, "takes", lambda *_: False)


def inputs(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    x, plus = (torch.randn(2, n, 12, 10, generator=generator) for n in (8, 16))
    return tuple(t.to(dtype).contiguous(memory_format=torch.channels_last) for t in (x, plus))


def fused_block(convolution, dtype):
    block = nn.Sequential(convolution).to(dtype).to(memory_format=torch.channels_last).requires_grad_(False)
    fuse(block)
    return block[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kernel", [1, 3, 4])
@pytest.mark.parametrize("with_sum", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_one_pass_is_one_after_the_other(activation, with_sum, kernel, dtype, one_pass):
    torch.manual_seed(0)
    convolution = nn.Conv2d(8, 16, kernel, padding=kernel // 2)
    x, plus = inputs(dtype)
    expected = F.conv2d(
        x.float(), convolution.weight.to(dtype).float(), convolution.bias.to(dtype).float(), 1, kernel // 2
    )
    plus = torch.ones_like(expected, dtype=dtype) if kernel == 4 else plus
    expected = ACTIVATIONS[activation](expected + plus.float() if with_sum else expected)
    with torch.inference_mode():
        got = convolve(fused_block(convolution, dtype), x, activation, 0.3, plus if with_sum else None)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    assert got.dtype == dtype
    assert got.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(got.float(), expected, rtol=tolerance, atol=tolerance)


def test_a_convolution_that_nobody_fused_does_the_same():
    torch.manual_seed(0)
    convolution = nn.Conv2d(8, 16, 3, padding=1)
    x, plus = inputs()
    expected = F.leaky_relu(convolution(x) + plus, 0.3)
    torch.testing.assert_close(convolve(convolution, x, "leaky_relu", 0.3, plus), expected)


def test_gradients_are_not_lost():
    x, _ = inputs()
    convolution = fused_block(nn.Conv2d(8, 16, 3, padding=1), torch.float32)
    x.requires_grad_()
    convolve(convolution, x, "relu").sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() > 0


@pytest.mark.parametrize("name", ["fsmnet", "fsmnet_released"])
def test_a_network_after_fusing(name, one_pass):
    torch.manual_seed(0)
    model = create_model(name, features=8, blocks=1).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    install_kernels(model)
    target, auxiliary = (torch.randn(1, 1, 44, 36) for _ in range(2))
    with torch.inference_mode():
        plain = model(target, auxiliary).image
        fuse(model)
        assert sum(isinstance(module, FusedConv2d) for module in model.modules()) > 50
        torch.testing.assert_close(model(target, auxiliary).image, plain, rtol=0, atol=1e-3)


def test_each_precision_is_asked_for_apart(monkeypatch):
    """A processor with AVX2 alone has float32's convolutions and none in bfloat16."""
    operation = torch.ops.mkldnn._convolution_pointwise

    class Float32Alone:
        @staticmethod
        def binary(x, *others):
            if x.dtype == torch.bfloat16:
                raise RuntimeError("mkldnn pointwise binary: bf16 path needs the cpu support avx_ne_convert")
            return operation.binary(x, *others)

    if not onednn.available(torch.float32):
        pytest.skip("no float32 convolutions of oneDNN in this PyTorch on this processor")
    monkeypatch.setattr(torch.ops.mkldnn, "_convolution_pointwise", Float32Alone)
    asked = onednn.available.__wrapped__
    assert asked(torch.float32)
    assert not asked(torch.bfloat16)
    assert not asked(torch.float64)
    monkeypatch.setattr(onednn, "available", asked)
    both = nn.Sequential(nn.Conv2d(8, 16, 3), nn.Conv2d(8, 16, 3).to(torch.bfloat16))
    fuse(both)
    assert [type(layer) for layer in both] == [FusedConv2d, nn.Conv2d]


def test_asking_takes_no_random_numbers():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    onednn.available.__wrapped__(torch.float32)
    assert torch.equal(torch.rand(3), expected)


def test_nothing_changes_where_oneDNN_is_missing(monkeypatch):  # noqa: N802
    monkeypatch.setattr(onednn, "available", lambda _: False)
    convolution = nn.Conv2d(8, 16, 3)
    assert fused_block(convolution, torch.float32) is convolution


def test_depthwise_convolutions_are_left():
    convolution = nn.Conv2d(8, 8, 3, groups=8)
    assert fused_block(convolution, torch.float32) is convolution
