"""Small structure put into a scan: kept by who looks at the lines, lost by who does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.masks import Mask, make_mask
from fsmnet.reconstruction.again import Again
from fsmnet.reconstruction.measured import Measured
from fsmnet.trust.probe import APART, CONTRAST, probe, spots

PIXEL = (2.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def head():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 80), torch.linspace(-1, 1, 72), indexing="ij")
    return (0.3 + 0.5 * (3 * x).sin().square()) * (y.square() + x.square() < 0.7)


def scan(head, network, mask, phase=True):
    """Two slices, reconstructed by a function of zero-filled magnitude and lines."""
    turn = torch.polar(torch.ones_like(head), 0.8 * torch.linspace(-1, 1, 72).expand_as(head))
    images = torch.stack([head, head.flip(0)]) * (turn if phase else 1)
    columns = torch.from_numpy(mask.columns)
    whole = [Acquisition.simulate(one, columns) for one in images]
    zero_filled = torch.stack([one.zero_filled for one in whole])
    measured = Measured(zero_filled, mask, None, "", lambda number: whole[number])
    again = Again("scan.nii", measured, None, network, None, pixel=PIXEL)
    result = torch.stack([again.magnitude(number) for number in range(2)])
    return Again("scan.nii", measured, None, network, None, result, pixel=PIXEL)


def zero_filling(zero_filled, other, lines):
    return lines(slice(0, 1)).zero_filled


ALL = Mask(np.ones(72, dtype=bool), "all")


def test_all_is_kept_where_every_line_is_measured(head):
    found = probe(scan(head, zero_filling, ALL), [0, 1])
    assert found.record() == {
        "Millimetres": 5.0,
        "Median": pytest.approx(1, abs=1e-3),
        "Tenth": pytest.approx(1, abs=0.01),
    }
    assert float(found.map().values.max()) < 0.05 * found.contrast


def test_nothing_is_kept_by_who_does_not_look(head):
    found = probe(scan(head, lambda zero_filled, other, lines: head[None], ALL), [0, 1])
    assert (found.record()["Median"], found.record()["Tenth"]) == (0, 0)
    lost = found.map().values
    assert float(lost[0][head > 0].median()) == pytest.approx(found.contrast)
    assert not lost[0][:5].any()  # air
    assert found.contrast == pytest.approx(CONTRAST * float(np.percentile(head[head > 0], 99)), rel=0.02)


def test_what_is_lost_is_told_where_it_is_lost(head):
    def right_half_only(zero_filled, other, lines):
        image = lines(slice(0, 1)).zero_filled.abs()
        return torch.where(torch.arange(72) < 36, head[None], image)

    kept = probe(scan(head, right_half_only, ALL), [0]).kept[0]
    assert float(kept[:, :30].nanmedian()) < 0.1
    assert float(kept[:, 42:].nanmedian()) > 0.9


def test_fewer_lines_keep_less(head):
    shares = [
        probe(scan(head, zero_filling, make_mask("random", 72, at, seed=0)), [0, 1]).record()["Median"] for at in (2, 6)
    ]
    assert 1 > shares[0] > shares[1] > 0


def test_spots_lie_apart_and_are_dark_only_where_there_is_something_to_darken(head):
    found = spots(head, 0.15, (1.0, 1.0), 0)
    labels, count = ndimage.label(found.abs() > 0.5)
    assert count > 15
    places = np.array(ndimage.center_of_mass(found.abs(), labels, range(1, count + 1)))
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + 1e9 * np.eye(count)
    assert apart.min() > 0.5 * APART
    assert found.max() == pytest.approx(1, abs=0.1)
    centres = tuple(places[found.numpy()[tuple(places.round().astype(int).T)] < -0.5].round().astype(int).T)
    assert float(head[centres].min()) > 0.15


def test_the_same_scan_gets_the_same_spots(head):
    one, other = (probe(scan(head, zero_filling, make_mask("random", 72, 4, seed=0)), [0]) for _ in range(2))
    assert torch.equal(one.kept.nan_to_num(), other.kept.nan_to_num())
