"""Maps from fewer slices: which are computed, and what stands between them."""

from __future__ import annotations

import pytest
import torch

from fsmnet.trust.between import between, said, slices_for_maps


@pytest.mark.parametrize(
    ("count", "distance", "slices"),
    [
        (6, 0.0, [0, 1, 2, 3, 4, 5]),  # not known
        (6, 3.3, [0, 1, 2, 3, 4, 5]),
        (6, 1.0, [0, 2, 4, 5]),
        (7, 1.0, [0, 2, 4, 6]),
        (6, 0.6, [0, 3, 5]),
        (1, 1.0, [0]),
    ],
)
def test_slices_lie_at_most_two_millimetres_apart(count, distance, slices):
    assert slices_for_maps(count, distance) == slices


def test_between_two_stands_their_mean_by_distance():
    slices = [0, 3, 5]
    values = torch.tensor([0.0, 6.0, 2.0])[:, None, None].expand(3, 2, 2)
    assert between(values, slices, 6)[:, 0, 0].tolist() == pytest.approx([0, 2, 4, 6, 4, 2])
    assert between(values, [0, 1, 2], 3) is values
    assert "3 of 6 slices" in said(slices, 6)
    assert said([0, 1, 2], 3) == ""
