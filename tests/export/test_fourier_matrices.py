"""Transforms without complex numbers are the transforms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fsmnet.export.fourier_matrices import without_complex_numbers
from fsmnet.models.blocks import FrequencyBlock


@pytest.mark.parametrize("block", [FrequencyBlock(8), FrequencyBlock(8, magnitude=True, epsilon=1e-2)])
@pytest.mark.parametrize(("height", "width"), [(12, 10), (9, 14), (16, 7), (5, 5)])
def test_transforms_without_complex_numbers_are_the_transforms(block, height, width):
    block = block.double()
    x = torch.randn(2, 8, height, width, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        expected = FrequencyBlock.forward(block, x)
        block.__class__ = FrequencyBlock
        plain = block(x)
        without_complex_numbers(nn.Sequential(block))
        assert type(block) is not FrequencyBlock
        assert (block(x) - plain).abs().max() < 1e-10
        assert (expected - plain).abs().max() < 1e-10
    block.__class__ = FrequencyBlock
