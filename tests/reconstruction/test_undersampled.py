"""What is simulated along one axis equals the two-dimensional physics of :mod:`fsmnet.physics.fourier`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fsmnet.physics.fourier import data_consistency, residual, undersample, zero_fill
from fsmnet.physics.masks import make_mask
from fsmnet.reconstruction.undersampled import of_image

SHAPES = [(1, 12, 20), (6, 17, 23), (5, 8, 31)]  # even and odd, more slices than are taken at a time


def images(shape):
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(shape, generator=generator)
    return target, (target + 0.1 * torch.randn(shape, generator=generator)).clamp_min(0)


@pytest.mark.parametrize("shape", SHAPES)
def test_zero_filled_images_are_those_of_two_dimensions(shape):
    target, _ = images(shape)
    mask = make_mask("random", shape[-1], 2, 0.2, 3)
    columns = torch.from_numpy(mask.columns)
    scan = of_image(target, mask, "off", None)
    assert scan.consistency is None
    assert torch.equal(scan.reference, target)
    torch.testing.assert_close(scan.zero_filled, zero_fill(undersample(target, columns)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("weight", [None, 3.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_consistency_is_that_of_two_dimensions(shape, weight):
    target, image = images(shape)
    mask = make_mask("random", shape[-1], 2, 0.2, 3)
    columns = torch.from_numpy(mask.columns)
    measured = undersample(target, columns)
    expected = data_consistency(image + 0j, measured, columns, weight)
    scan = of_image(target, mask, "soft" if weight else "auto", weight)
    part = slice(len(target) // 2, len(target))
    consistent, residuals = scan.consistency(image[part], part)
    torch.testing.assert_close(consistent, expected.real[part], rtol=0, atol=1e-6)
    for name, x in (("ResidualBefore", image), ("ResidualAfter", expected), ("ResidualOfRealPart", expected.real)):
        np.testing.assert_allclose(residuals[name], residual(x, measured, columns)[part], rtol=1e-4, atol=1e-6)
    assert (max(residuals["ResidualAfter"]) < 1e-6) == (weight is None)
    assert scan.how["Kind"].startswith("soft" if weight else "hard")


def test_a_degraded_image_is_taken_as_it_is():
    target, _ = images((2, 8, 8))
    scan = of_image(target, None, "auto", None)
    assert scan.zero_filled is target
    assert (scan.mask, scan.reference, scan.consistency) == (None, None, None)
