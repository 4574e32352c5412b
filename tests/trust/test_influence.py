"""The auxiliary's influence: none where it is not used, where and how much where it is."""

from __future__ import annotations

import pytest
import torch

from fsmnet.physics.masks import make_mask
from fsmnet.reconstruction.again import Again
from fsmnet.reconstruction.measured import of_image
from fsmnet.trust.influence import SHIFT, influence, moved


@pytest.fixture
def auxiliary():
    image = torch.zeros(2, 16, 20)
    image[:, 6:10, 8:12] = 2
    return image


def again(auxiliary, network):
    target = torch.rand(2, 16, 20, generator=torch.Generator().manual_seed(0))
    result = torch.cat([network(None, one[None], None) for one in auxiliary])
    mask = make_mask("random", 20, 2, seed=0)
    return Again("scan.nii", of_image(target, mask), auxiliary, network, None, result)


def test_who_ignores_the_auxiliary_is_not_influenced(auxiliary):
    found = influence(again(auxiliary, lambda zero_filled, other, lines: torch.ones(1, 16, 20)), [0, 1], [0])
    assert (found.share_blank, found.share_moved) == (0, 0)
    assert not found.blank.any()


def test_the_map_shows_what_was_copied_in_the_image_s_units(auxiliary):
    scan = again(auxiliary, lambda zero_filled, other, lines: 3.0 + 5 * other)
    found = influence(scan, [0, 1], [1])
    assert torch.equal(found.map([0, 1], 2).values, 5 * auxiliary)
    assert found.share_blank == pytest.approx(float((5 * auxiliary).norm() / scan.result.norm()))
    changed = 5 * (moved(auxiliary) - auxiliary)[1]
    assert found.share_moved == pytest.approx(float(changed.norm() / scan.result[1].norm()))
    assert found.record() == {
        "ChangeWithBlank": round(found.share_blank, 4),
        "ChangeWithMoved": round(found.share_moved, 4),
        "MovedByPixels": SHIFT,
    }


def test_moving_brings_zeros_in(auxiliary):
    shifted = moved(auxiliary + 1)
    assert (shifted[..., :SHIFT] == 0).all()
    assert torch.equal(shifted[..., SHIFT:], (auxiliary + 1)[..., :-SHIFT])
