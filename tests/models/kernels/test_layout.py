"""Rearrangements of memory: the same values, in the layout that was asked for, and gradients likewise."""

import pytest
import torch

from fsmnet.models.kernels.layout import Layout, follow_weights, is_channels_last, planes

CHANNELS_LAST = torch.channels_last


def maps(channels, height=40, width=30, dtype=torch.float32):
    x = torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(channels))
    return x.to(dtype).contiguous(memory_format=CHANNELS_LAST)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 3, 16, 64, 72])
def test_planes_are_the_same_values_to_the_last_bit(channels, dtype):
    x = maps(channels, dtype=dtype)
    got = planes(x)
    assert got.is_contiguous()
    assert torch.equal(got, x)
    assert got.dtype == dtype


def test_a_product_is_made_where_it_pays(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "bmm", lambda unit, pixels: asked.append(pixels.dtype) or unit @ pixels)
    for x in (maps(16), maps(72), maps(16, 8, 8), maps(16).double(), maps(16).contiguous()):
        planes(x)
    assert asked == [torch.float32]


def test_autocast_does_not_round_planes():
    x = maps(16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(planes(x), x)


def test_gradients_lie_as_what_they_belong_to():
    x = maps(16).requires_grad_()
    towards = torch.randn(x.shape)
    (gradient,) = torch.autograd.grad((planes(x) * towards).sum(), x)
    assert torch.equal(gradient, towards)
    assert is_channels_last(gradient)
    flat = maps(16).contiguous().requires_grad_()
    turned = Layout(torch.float32, CHANNELS_LAST).of(flat)
    assert torch.equal(turned, flat)
    assert is_channels_last(turned)
    (gradient,) = torch.autograd.grad(turned, flat, towards.contiguous(memory_format=CHANNELS_LAST))
    assert torch.equal(gradient, towards)
    assert gradient.is_contiguous()


def test_a_layout_is_precision_and_order():
    x = maps(8).to(torch.bfloat16)
    copied = Layout.like(x).of(torch.randn(2, 8, 40, 30))
    assert copied.dtype == torch.bfloat16
    assert is_channels_last(copied)
    assert Layout.like(x.contiguous()).of(x).is_contiguous()


def test_an_image_follows_the_weights():
    image = torch.randn(2, 1, 8, 6)
    weight = torch.randn(4, 4, 3, 3)
    assert follow_weights(image, weight) is image
    followed = follow_weights(image, weight.contiguous(memory_format=CHANNELS_LAST))
    assert torch.equal(followed, image)
    assert followed.stride() == (48, 1, 6, 1)
