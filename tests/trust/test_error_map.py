"""Estimators of the error: what they need, and the unit in which they answer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fsmnet.checkpoint import Header
from fsmnet.errors import UserError
from fsmnet.models import create_model
from fsmnet.physics.holdout import folds, without
from fsmnet.physics.masks import make_mask
from fsmnet.reconstruction.again import Again
from fsmnet.reconstruction.measured import of_image
from fsmnet.trust.error_map import (
    BY_SPREAD,
    LEARNED,
    ErrorNetwork,
    edges,
    error_network,
    expected_error,
    looked_at,
    residual,
    spread,
    spread_over_folds,
)


@pytest.fixture
def image():
    found = torch.zeros(2, 31, 40)
    found[:, 8:22, 10:30] = 1
    found[1] *= 2
    return found


def again(image, weights=None):
    model = create_model("zero_filling")
    model.header = Header({}, error_network=weights or {})
    scan = of_image(image, make_mask("random", 40, 2, seed=0))
    return Again("scan.nii", scan, image.flip(-1), None, "hard", result=image, model=model)


def test_the_simple_ones(image):
    assert torch.equal(residual(image, 0.5 * image), 0.5 * image)
    assert spread(image, torch.stack([image + 1, image - 1])) == pytest.approx(torch.ones_like(image))
    near = edges(image)
    assert near.shape == image.shape
    assert near[0, 8, 20] == 1  # on the border
    assert near[0, 15, 20] < 0.2  # in the middle
    assert near[1] == pytest.approx(near[0])  # whatever its brightness


def test_the_network_takes_any_size_and_any_brightness(image):
    torch.manual_seed(0)
    network = ErrorNetwork(inputs=3)
    share = torch.tensor([0.3, 0.3])

    def said(factor):
        images, unit = looked_at(factor * image, 0.9 * factor * image, image.flip(-1))
        return network(images, share) * unit

    assert said(1).shape == image.shape
    assert (said(1) > 0).all()
    assert torch.allclose(said(1000), 1000 * said(1), rtol=1e-3)


def test_without_a_network_the_hold_out_check_gives_the_scale(image):
    found = expected_error(again(image), None, 0.1 * image, range(2), missing=3.0)
    assert found.estimator == BY_SPREAD
    assert float(found.values.double().square().sum()) == pytest.approx(2 * 3.0, rel=1e-5)  # of a real image all
    assert expected_error(again(image), None, 0.1 * image, range(2), missing=float("nan")) is None
    assert expected_error(again(image), None, 0 * image, range(2), missing=3.0) is None


def test_the_network_of_the_checkpoint_is_asked(image):
    torch.manual_seed(1)
    weights = {name: tensor.half() for name, tensor in ErrorNetwork().state_dict().items()}
    nan = float("nan")
    found = expected_error(again(image, weights), 0.1 * image, 0.1 * image, range(2), missing=nan)
    assert found.estimator == LEARNED
    assert found.values.shape == image.shape
    for other in (
        expected_error(again(image, weights), None, 0.1 * image, range(2), missing=nan),  # the auxiliary's influence
        expected_error(again(image, weights), 0.1 * image, 0.2 * image, range(2), missing=nan),  # the spread
    ):
        assert not torch.equal(found.values, other.values)
    alone = replace(again(image, weights), auxiliary=None)
    assert torch.isfinite(expected_error(alone, None, 0.1 * image, range(2), missing=nan).values).all()


def test_spread_over_folds_is_how_far_fewer_lines_lead(image):
    columns = make_mask("random", 40, 2, seed=0).columns
    sets = folds(columns, 2, real=True)
    scan = replace(
        again(image), network=lambda zero_filled, other, lines: lines(None).zero_filled.abs(), consistency=None
    )
    others = [without(scan.lines(0), one).zero_filled.abs()[0] for one in sets]
    expected = spread(image[0], torch.stack(others))
    assert torch.allclose(spread_over_folds(scan, sets, [0])[0], expected, atol=1e-6)


def test_damaged_weights_are_told():
    weights = ErrorNetwork().state_dict()
    with pytest.raises(UserError, match="error network is damaged"):
        error_network({name: tensor for name, tensor in weights.items() if name != "last.bias"})
    with pytest.raises(UserError, match="error network is damaged"):
        error_network({"something": torch.ones(1)})
