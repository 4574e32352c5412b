"""Every fast twin against the readable block that it stands for: the same values, gradients and names."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch import nn

from fsmnet.models import blocks, create_model, fast, released
from fsmnet.models.fsmnet import FSFusion, FSMNet
from fsmnet.models.kernels import polar as written_out
from fsmnet.models.kernels.install import TWIN_OF, install_kernels
from fsmnet.models.kernels.layers import PointwiseKernel, PReLUKernel
from fsmnet.models.kernels.recompute import recompute_activations, recomputed_blocks
from fsmnet.models.output import Output
from fsmnet.models.polar import amplitude_phase, from_amplitude_phase
from fsmnet.models.released_names.fsmnet_released import block_names

LAYOUTS = [torch.contiguous_format, torch.channels_last]
SIZE = 10, 6
IMAGES = (1, 24, 16), (1, 24, 16)
# name -> (how it is made, the channels of its inputs)
BLOCKS = {
    "head": (lambda: blocks.ConvPReLU(1, 8), [1]),
    "tail": (lambda: blocks.ConvPReLU(16, 1), [16]),
    "down": (lambda: blocks.Down(16), [16]),
    "up": (lambda: blocks.Up(16), [16]),
    "up to another width": (lambda: blocks.Up(16, 8), [16]),
    "residual block": (lambda: blocks.ResBlock(16), [16]),
    "residual group": (lambda: blocks.ResidualGroup(16, 2), [16]),
    "frequency block": (lambda: blocks.FrequencyBlock(16), [16]),
    "released frequency block": (lambda: blocks.FrequencyBlock(16, magnitude=True, epsilon=1e-3), [16]),
    "attention": (lambda: blocks.ChannelAttention(16), [16, 16]),
    "wide attention": (lambda: blocks.ChannelAttention(64), [64, 64]),
    "selective fusion": (lambda: blocks.SelectiveFusion(16), [16, 16]),
    "convolved selective fusion": (lambda: blocks.SelectiveFusion(16, "convolved"), [16, 16]),
    "FS-fusion": (lambda: FSFusion(16), [16, 16]),
    "sum": (lambda: FSFusion(16, "sum"), [16, 16]),
    "released FS-fusion": (lambda: released.ReleasedFSFusion(16, "attention"), [16, 16]),
    "fast FS-fusion": (lambda: fast.BranchFusion(16), [16, 16]),
}


def made(build, dtype=torch.float64):
    """A block and its twin, slopes, scales and temperatures away from their initial values."""
    torch.manual_seed(0)
    block = build().to(dtype)
    with torch.no_grad():
        for parameter in block.parameters():
            if parameter.dim() < 4:
                parameter.add_(0.1 * torch.randn_like(parameter))
    twin = copy.deepcopy(block)
    install_kernels(twin)
    assert type(twin) is TWIN_OF[type(block)]
    return block, twin


def maps(channels, layout, dtype=torch.float64, size=SIZE, seed=1):
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(2, c, *size, generator=generator).to(dtype).contiguous(memory_format=layout) for c in channels]
    return [x.requires_grad_() for x in drawn]


def outputs(block, inputs):
    out = block(*inputs)
    return out if isinstance(out, tuple) else (out,)


def with_gradients(block, inputs):
    """Outputs, and the gradients of inputs and parameters towards something that is no constant."""
    out = outputs(block, inputs)
    total = sum((o * torch.cos(torch.arange(o.numel(), dtype=torch.float64)).to(o.dtype).view_as(o)).sum() for o in out)
    wanted = [*inputs, *block.parameters()]
    return out, torch.autograd.grad(total, wanted, allow_unused=True, materialize_grads=True)


def close(ours, theirs, tolerance):
    for our, their in zip(ours, theirs, strict=True):
        our, their = our.detach(), their.detach()
        assert our.dtype == their.dtype
        assert (our - their).abs().max() <= tolerance * max(1.0, float(their.abs().max()))


def steady_maps(block, channels, layout, size):
    """Inputs in float32 at which float32's rounding meets no kink: no phase goes from pi to -pi, no slope changes.

    Which values lie on one is a matter of the processor's rounding; in float64 a change of that size tells.
    """
    exact = copy.deepcopy(block).double()
    for seed in range(1, 20):
        inputs = maps(channels, layout, torch.float32, size, seed)
        wide = [x.detach().double().requires_grad_() for x in inputs]
        nudges = maps(channels, layout, torch.float64, size, seed + 100)
        _, before = with_gradients(exact, wide)
        for step in (1e-5, -1e-5):
            nudged = [(x + step * nudge).detach().requires_grad_() for x, nudge in zip(wide, nudges, strict=True)]
            _, after = with_gradients(exact, nudged)
            if any(
                (a - b).abs().max() > 2e-4 * max(1.0, float(b.abs().max())) for a, b in zip(after, before, strict=True)
            ):
                break
        else:
            return inputs
    raise AssertionError("every input lies on a kink")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", BLOCKS)
def test_a_twin_has_the_block_s_values_and_gradients(name, layout):
    build, channels = BLOCKS[name]
    block, twin = made(build)
    inputs = maps(channels, layout)
    for ours, theirs in zip(with_gradients(twin, inputs), with_gradients(block, inputs), strict=True):
        close(ours, theirs, 1e-10)
    with torch.inference_mode():
        close(outputs(twin, inputs), outputs(block, inputs), 1e-11)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", BLOCKS)
def test_in_float32_too(name, layout):
    build, channels = BLOCKS[name]
    block, twin = made(build, torch.float32)
    inputs = steady_maps(block, channels, layout, (40, 24))  # of which rearrangements are worth a product
    for ours, theirs in zip(with_gradients(twin, inputs), with_gradients(block, inputs), strict=True):
        close(ours, theirs, 1e-3)
    with torch.inference_mode():
        close(outputs(twin, inputs), outputs(block, inputs), 1e-4)


@pytest.mark.parametrize("name", BLOCKS)
def test_under_autocast_a_twin_is_as_exact_as_the_block(name):
    build, channels = BLOCKS[name]
    block, twin = made(build, torch.float32)
    inputs = maps(channels, torch.channels_last, torch.float32, (24, 16))
    exact = [x.detach() for part in with_gradients(block, inputs) for x in part]
    errors = []
    for one in (twin, block):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = [x.detach().float() for part in with_gradients(one, inputs) for x in part]
        errors.append([float((h - e).norm()) for h, e in zip(half, exact, strict=True)])
    for ours, theirs, full in zip(*errors, exact, strict=True):
        assert ours <= 1.5 * theirs + 0.01 * float(full.norm()) + 1e-3


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fsmnet", {"features": 16, "blocks": 1}),
        ("fsmnet", {"features": 8, "blocks": 1, "modality_fusion": "sum", "branch_fusion": "sum"}),
        ("fsmnet_released", {"features": 16, "blocks": 1}),
        ("fsmnet_fast", {"widths": [8, 16, 16, 24], "blocks": [1, 0, 1, 1]}),
        ("fsmnet_fast", {"widths": [8, 16, 16, 24], "blocks": [1, 0, 1, 1], "auxiliary_frequency": True}),
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_network_with_its_twins_is_the_network(name, options, layout):
    torch.manual_seed(0)
    model = create_model(name, **options).double()
    twin = copy.deepcopy(model).to(memory_format=layout)
    install_kernels(twin)
    assert [*twin.state_dict()] == [*model.state_dict()]
    assert twin.recipe == model.recipe
    images = [torch.randn(2, 1, 21, 18, generator=torch.Generator().manual_seed(n)).double() for n in (1, 2)]
    gradients = []
    for network in (model, twin):
        output: Output = network(*images)
        (output.image.square().mean() + output.frequency_image.square().mean()).backward()
        gradients.append([p.grad if p.grad is not None else torch.zeros_like(p) for p in network.parameters()])
    close(gradients[1], gradients[0], 1e-9)
    with torch.inference_mode():
        close(twin(*images)[:2], model(*images)[:2], 1e-11)


def test_no_known_block_is_left():
    known = set(TWIN_OF)
    for name, options in (("fsmnet", {}), ("fsmnet_released", {}), ("fsmnet_fast", {"auxiliary_frequency": True})):
        with torch.device("meta"):
            model = create_model(name, **options)
        plain = [type(module) for module in model.modules()]
        install_kernels(model)
        kinds = [type(module) for module in model.modules()]
        assert known & set(plain)
        assert not known & set(kinds)
        assert PReLUKernel in kinds
        assert PointwiseKernel in kinds
        assert not any(type(m) is nn.Conv2d and m.kernel_size == (1, 1) for m in model.modules())
        install_kernels(model)  # once more changes nothing
        assert [type(module) for module in model.modules()] == kinds


def test_a_model_of_another_kind_stays_as_it_is():
    model = create_model("mdunet")
    before = [type(module) for module in model.modules()]
    install_kernels(model)
    assert [type(module) for module in model.modules()] == before


def test_recomputed_twins_give_the_same_gradients():
    torch.manual_seed(0)
    model = create_model("fsmnet", features=8, blocks=1)
    install_kernels(model)
    twice = copy.deepcopy(model)
    assert len(recomputed_blocks(twice)) > 20
    recompute_activations(twice)
    x, y = torch.randn(1, 1, 16, 24), torch.randn(1, 1, 16, 24)
    for network in (model, twice):
        network(x, y).image.square().mean().backward()
    pairs = zip(model.parameters(), twice.parameters(), strict=True)
    assert all((p.grad is None and q.grad is None) or torch.equal(p.grad, q.grad) for p, q in pairs)


@pytest.mark.parametrize("shape", [(6, 7), (5, 8), (8, 8), (9, 5), (1, 1)])
def test_amplitude_and_phase_with_their_gradients(shape):
    image = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    for ours, theirs in zip(written_out.amplitude_phase(image), amplitude_phase(image), strict=True):
        torch.testing.assert_close(ours, theirs)
        (gradient,), (expected,) = (
            torch.autograd.grad(p.square().sum(), image, retain_graph=True) for p in (ours, theirs)
        )
        torch.testing.assert_close(gradient, expected)
    parts = [p.detach().requires_grad_() for p in amplitude_phase(image)]
    ours, theirs = written_out.from_amplitude_phase(*parts, 0.5 + 0.25j), from_amplitude_phase(*parts) + (0.5 + 0.25j)
    torch.testing.assert_close(ours, theirs)
    spectra = [torch.view_as_real(spectrum).square().sum() for spectrum in (ours, theirs)]
    for gradient, expected in zip(*(torch.autograd.grad(s, parts) for s in spectra), strict=True):
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("shape", [(6, 7), (4, 4)])
def test_the_written_out_gradient_is_the_numerical_one(shape):
    image = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    assert torch.autograd.gradcheck(functools.partial(written_out.amplitude_phase), image)


def test_the_written_out_gradient_is_zero_at_zero():
    image = torch.zeros(1, 6, 6, requires_grad=True)
    amplitude, phase = written_out.amplitude_phase(image)
    (amplitude.sum() + phase.sum()).backward()
    assert not image.grad.any()


def test_a_twin_is_an_instance_of_its_block():
    model = create_model("fsmnet", features=8, blocks=1)
    install_kernels(model)
    assert isinstance(model, FSMNet)
    assert block_names(model.encoder[0].down[0]) == block_names(blocks.Down(8))
