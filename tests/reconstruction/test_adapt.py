"""A network fitted to the scan's own lines: only where lines that no step saw say so, and only a few parameters."""

from __future__ import annotations

import pytest
import torch

from fsmnet.errors import UserError
from fsmnet.models import create_model
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.masks import make_mask
from fsmnet.physics.simulate import coil_profiles, smooth_phase
from fsmnet.reconstruction import adapt as module
from fsmnet.reconstruction.adapt import FITTED, adapt

HEIGHT, WIDTH = 24, 64


@pytest.fixture(params=[1, 3])
def scan(request, smooth):
    """Slice -> lines and no auxiliary."""
    phase = smooth_phase(HEIGHT, WIDTH, 1.0, torch.Generator().manual_seed(0))
    image = torch.polar(torch.from_numpy(smooth(0, (3, HEIGHT, WIDTH), 0, 1)), phase)
    maps = None if request.param == 1 else coil_profiles(request.param, HEIGHT, WIDTH)
    mask = torch.from_numpy(make_mask("random", WIDTH, 3, 0.1, 0).columns)
    whole = Acquisition.simulate(image, mask, maps, noise=0.01, generator=torch.Generator().manual_seed(1))
    return lambda number: (whole[number : number + 1], None)


def network():
    """Of one step, whose line weights are far from good."""
    torch.manual_seed(0)
    model = create_model("fsmnet_unrolled", steps=1, widths=(8, 8, 8)).eval()
    torch.nn.init.normal_(model.steps[0].leave.weight, std=0.01)
    torch.nn.init.constant_(model.lines.layers[-1].bias, -1.0)  # a weight of 0.4
    return model


def test_few_parameters_are_fitted_and_gain_on_lines_that_no_step_saw(scan, monkeypatch):
    monkeypatch.setattr(module, "RATE", 0.02)
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fitted, record = adapt(model, scan, 3, (7,))
    explained = record["HeldOutExplained"]
    if scan(0)[0].lines.shape[1] == 1:  # untrained, it cannot tell lines; several coils' weights can
        assert explained["after"] >= explained["before"]
        return
    assert explained["after"] > explained["before"]
    assert 0 < record["Steps"] <= record["StepsTried"]
    changed = {name for name, value in fitted.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert {name.split(".")[0] for name in changed} <= set(FITTED)
    assert record["Parameters"] == sum(p.numel() for part in FITTED for p in getattr(model, part).parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    again, _ = adapt(model, scan, 3, (7,))
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), fitted.parameters(), strict=True))


def test_without_a_gain_the_network_stays(scan, monkeypatch):
    monkeypatch.setattr(module, "RATE", 0.0)
    model = network()
    fitted, record = adapt(model, scan, 3, (7,))
    assert record["Steps"] == 0
    assert all(torch.equal(a, b) for a, b in zip(fitted.parameters(), model.parameters(), strict=True))


def test_other_networks_and_too_few_lines_are_refused(scan):
    with pytest.raises(UserError, match="adapt is for the network fsmnet_unrolled; leave it out with others"):
        adapt(create_model("pocs"), scan, 3, ())
    centre = Acquisition(scan(0)[0].lines * 0, torch.arange(WIDTH).sub(WIDTH // 2).abs() < 8, scan(0)[0].maps)
    with pytest.raises(UserError, match=r"adapt keeps lines back twice, and .* too few to keep some back; leave it"):
        adapt(network(), lambda _: (centre, None), 1, ())
