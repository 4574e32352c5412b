"""Each simplification alone leaves the function as it was, in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fsmnet.inference import simplify
from fsmnet.models import create_model
from fsmnet.models.blocks import ChannelAttention, ConvPReLU, Down, FrequencyBlock, ResidualGroup
from fsmnet.models.kernels.install import install_kernels

VARIANTS = ["fsmnet", "fsmnet_released"]


def noise(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(name, features=16):
    """Slopes, scales and temperatures away from their initial values, which a mistake might leave out unseen."""
    torch.manual_seed(0)
    model = create_model(name, features=features, blocks=1).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() < 4:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("step", simplify.STEPS, ids=lambda step: step.__name__)
@pytest.mark.parametrize("kernels", [False, True], ids=["readable", "kernels"])
def test_each_step_leaves_the_network_s_function(name, step, kernels):
    model = network(name)
    changed = copy.deepcopy(model)
    if kernels:
        install_kernels(changed)
    step(changed)
    x, y = noise(1, 2, 1, 27, 40), noise(2, 2, 1, 27, 40)
    with torch.inference_mode():
        expected, output = model(x, y), changed(x, y)
    assert (output.image - expected.image).abs().max() < 1e-12
    assert (output.frequency_image - expected.frequency_image).abs().max() < 1e-12


@pytest.mark.parametrize(("height", "width"), [(2, 2), (2, 6), (8, 10)])
def test_a_collapsed_down_is_equal_up_to_the_border(height, width):
    down = Down(8).double()
    holder = nn.Sequential(down)
    x = noise(0, 2, 8, height, width)
    expected = down(x)
    simplify.collapse_down(holder)
    assert isinstance(holder[0], nn.Conv2d)
    assert holder[0].weight.shape == (8, 8, 4, 4)
    assert (holder(x) - expected).abs().max() < 1e-13


def test_a_collapsed_down_takes_two_fifths_of_the_multiplications():
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        holder = nn.Sequential(Down(64))
        counts = []
        for change in (lambda model: None, simplify.collapse_down):
            change(holder)
            with FlopCounterMode(display=False) as counter:
                holder(torch.empty(1, 64, 48, 48))
            counts.append(counter.get_total_flops())
    assert counts[1] / counts[0] == pytest.approx(0.4, abs=0.001)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("features", [8, 16, 64])
def test_merged_attention_is_the_attention(features, layout):
    block = ChannelAttention(features).double()
    install_kernels(block)
    assert block.by_one_matrix == (features < 64)
    with torch.no_grad():
        block.temperature.copy_(3 * noise(3, 8, 1, 1))
        a, b = (noise(seed, 2, features, 6, 10).contiguous(memory_format=layout) for seed in (0, 1))
        block.merged = False
        expected = block(a, b)
        simplify.merge_attention(block)
        assert block.merged
        assert (block(a, b) - expected).abs().max() < 1e-13


def test_fixed_slopes_and_scales_are_the_learned_ones():
    head, group = ConvPReLU(1, 8), ResidualGroup(8, 1)
    with torch.no_grad():
        head.act.weight.fill_(-0.375)
        group.scale.fill_(0.625)
        group.close.act.weight.fill_(0.125)
    simplify.fix_slopes(head)
    assert head.act.negative_slope == -0.375
    simplify.simplify(group)
    assert (group.scale, group.close.act.negative_slope) == (0.625, 0.125)
    assert "scale" not in group.state_dict()


def test_the_epsilon_moves_into_the_bias():
    block = FrequencyBlock(8, magnitude=True, epsilon=1e-3).double()  # large enough to be seen
    x = noise(0, 1, 8, 12, 10)
    with torch.no_grad():
        expected, bias = block(x), block.pre.bias.clone()
        simplify.fold_epsilon(block)
        assert torch.equal(block.pre.bias, bias + 1e-3)
        assert block.epsilon == 0.0
        assert (block(x) - expected).abs().max() < 1e-12


def test_the_random_numbers_are_left_alone():
    model = network("fsmnet", 8)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    simplify.simplify(model)
    assert torch.equal(torch.rand(3), expected)
