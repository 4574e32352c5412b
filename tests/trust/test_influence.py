"""The auxiliary's influence: none where it is not used, where and how much where it is."""

from __future__ import annotations

import pytest
import torch

from fsmnet.trust.influence import SHIFT, influence, moved


@pytest.fixture
def auxiliary():
    image = torch.zeros(2, 16, 20)
    image[:, 6:10, 8:12] = 2
    return image


def test_who_ignores_the_auxiliary_is_not_influenced(auxiliary):
    image = torch.ones(2, 16, 20)
    found = influence(image, auxiliary, lambda other: image)
    assert (found.share_blank, found.share_moved) == (0, 0)
    assert not found.blank.any()


def test_the_map_shows_what_was_copied_in_the_image_s_units(auxiliary):
    base = torch.full((2, 16, 20), 3.0)
    found = influence(base + 5 * auxiliary, auxiliary, lambda other: base + 5 * other)
    assert torch.equal(found.blank, 5 * auxiliary)
    assert torch.equal(found.moved, 5 * (moved(auxiliary) - auxiliary).abs())
    assert found.share_blank == pytest.approx(float((5 * auxiliary).norm() / (base + 5 * auxiliary).norm()))
    assert found.share_moved == pytest.approx(float(found.moved.norm() / (base + 5 * auxiliary).norm()))


def test_moving_brings_zeros_in(auxiliary):
    shifted = moved(auxiliary + 1)
    assert (shifted[..., :SHIFT] == 0).all()
    assert torch.equal(shifted[..., SHIFT:], (auxiliary + 1)[..., :-SHIFT])
