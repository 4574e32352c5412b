"""Each written-out backward pass against autograd's own of the same formula."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fsmnet.models.blocks import ChannelAttention, Down, Up
from fsmnet.models.kernels.attention import ChannelAttentionKernel
from fsmnet.models.kernels.backward import attend, inner, join, prelu, products, select
from fsmnet.models.kernels.install import install_kernels
from fsmnet.models.kernels.layers import PointwiseKernel

LAYOUTS = torch.contiguous_format, torch.channels_last


def maps(channels, layout=torch.channels_last, seed=0):
    """A feature map ``(2, channels, 10, 6)`` in float64 that wants a gradient."""
    x = torch.randn(2, channels, 10, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x.contiguous(memory_format=layout).requires_grad_()


def twin(block):
    install_kernels(block)
    return block


def same(ours, theirs, inputs):
    """Values and gradients for a gradient that is no constant."""
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    towards = torch.cos(torch.arange(ours.numel(), dtype=torch.float64)).view_as(ours)
    gradients = (torch.autograd.grad((out * towards).sum(), inputs) for out in (ours, theirs))
    for our, their in zip(*gradients, strict=True):
        torch.testing.assert_close(our, their, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_selection(layout):
    both, logits = maps(16, layout, 1), maps(16, layout, 2)
    weighted = (logits.sigmoid() * both).chunk(2, dim=1)
    same(select(both, logits), weighted[0] + weighted[1], [both, logits])


@pytest.mark.parametrize("features", [8, 16, 32])
def test_a_selection_in_half_precision(features):
    both, logits = (maps(2 * features, seed=seed).to(torch.bfloat16) for seed in (1, 2))
    a, b = (logits.float().sigmoid().to(torch.bfloat16) * both).float().chunk(2, dim=1)
    torch.testing.assert_close(select(both, logits), (a + b).to(torch.bfloat16), rtol=0, atol=0)


@pytest.mark.parametrize("pixels", [1, 6, 60, 4096])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_products_of_channels(pixels, dtype):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(2, pixels, n, generator=generator).to(dtype) for n in (3, 10))
    b = b[..., 5:]  # as keys lie beside values
    expected = torch.einsum("bpc,bpd->bcd", a.double(), b.double())
    got = products(a, b)
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    rounding = 1e-12 if dtype == torch.float64 else 2**-6 * pixels**0.5  # sums are about the root of their number
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=rounding)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_inner_product(layout):
    a, b = (maps(8, layout, seed).detach() for seed in (1, 2))
    torch.testing.assert_close(inner(a, b), (a * b).sum())
    half = inner(a.to(torch.bfloat16), b.to(torch.bfloat16))
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.double(), (a * b).sum(), rtol=0, atol=0.02 * a.norm() * b.norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_1x1_convolution_keeps_the_layout(dtype):
    layer, x = PointwiseKernel(8, 16, 1), maps(8).detach().to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        out = layer(x)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    for tensor in (out, gradient):
        assert tensor.dtype == dtype
        assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_a_join():
    a, b = maps(8, seed=1), maps(8, seed=2)
    same(join(a, b), torch.cat([a, b], dim=1), [a, b])


@pytest.mark.parametrize("slope", [0.25, 0.0, -0.5])
def test_a_prelu(slope):
    x, weight = maps(8), torch.tensor([slope], dtype=torch.float64, requires_grad=True)
    same(prelu(x, weight), F.prelu(x, weight), [x, weight])


def formula(block, a, b):
    """Eq. 5 head by head: rows of queries and keys normalised along the pixels, softmax over the keys."""
    key, value = block.key_value_depthwise(block.key_value(b)).chunk(2, dim=1)
    query = block.query_depthwise(block.query(a))
    out = []
    heads = (t.flatten(2).chunk(block.heads, dim=1) for t in (query, key, value))
    for i, (q, k, v) in enumerate(zip(*heads, strict=True)):
        cosines = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT
        out.append((cosines * block.temperature[i]).softmax(dim=-1) @ v)
    return F.conv2d(torch.cat(out, dim=1).view_as(a), block.project.weight)


@pytest.mark.parametrize("features", [8, 24, 64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_attention(features, layout):
    torch.manual_seed(0)
    block = twin(ChannelAttention(features).double())
    with torch.no_grad():
        block.temperature.uniform_(0.5, 2.0)
    a, b = maps(features, layout, 1), maps(features, layout, 2)
    ours = block(a, b)
    assert type(block) is ChannelAttentionKernel
    assert type(ours.grad_fn).__name__ != "MmBackward0"
    same(ours, formula(block, a, b), [a, b, *block.parameters()])
    with torch.no_grad():
        torch.testing.assert_close(block(a, b), ours, rtol=1e-12, atol=1e-12)  # as it is computed without a gradient


def test_the_attention_keeps_the_layout_of_its_query():
    block = twin(ChannelAttention(8).double())
    for layout in LAYOUTS:
        assert block(maps(8, layout), maps(8, layout)).is_contiguous(memory_format=layout)


def test_the_sums_of_the_attention_are_not_made_in_half_precision():
    torch.manual_seed(0)
    block = twin(ChannelAttention(16))
    a, b = (torch.randn(1, 16, 96, 96) + 3 for _ in range(2))
    exact = block.double()(a.double().requires_grad_(), b.double()).detach()
    block.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = block(a.requires_grad_(), b)
    half.float().sum().backward()
    assert a.grad is not None
    assert (half.double() - exact).abs().max() < 0.03 * exact.abs().max()


def test_the_gradients_of_alike_maps_survive_half_precision():
    """Their terms all but cancel; rounded before, they were off by 4%, and training learned more slowly."""

    def cosines(products, query_squares, key_squares):
        return products / (query_squares[:, :, None] * key_squares[:, None, :]).sqrt()

    generator = torch.Generator().manual_seed(0)
    common, *own, towards = (torch.randn(1, 4096, n, generator=generator) for n in (1, 4, 4, 4))
    query, key = ((common + 0.05 * x).bfloat16() for x in own)
    key_value = torch.cat([key, towards.bfloat16()], dim=2)

    def gradients(dtype):
        inputs = [x.to(dtype).requires_grad_() for x in (query, key_value)]
        of_query, of_both = torch.autograd.grad((attend(cosines, *inputs, None) * towards.to(dtype)).sum(), inputs)
        return of_query.double(), of_both[..., :4].double()

    for half, exact in zip(gradients(torch.bfloat16), gradients(torch.float64), strict=True):
        assert (half - exact).norm() < 0.01 * exact.norm()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_down_in_training(layout):
    torch.manual_seed(0)
    down = twin(Down(8).double())
    x = maps(8, layout)
    plain = down.mix(F.pixel_unshuffle(down.smooth(x), 2))
    same(down(x), plain, [x, *down.parameters()])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("outputs", [8, 4])
def test_up(layout, outputs):
    torch.manual_seed(0)
    up = twin(Up(8, outputs).double())
    x = maps(8, layout)
    plain = up.act(F.pixel_shuffle(F.conv2d(x, up.expand.weight, up.expand.bias), 2))
    out = up(x)
    assert out.is_contiguous(memory_format=layout)
    same(out, plain, [x, *up.parameters()])
