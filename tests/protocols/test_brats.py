"""The paper's protocol for the brain: its one mask, and what it scores."""

from __future__ import annotations

import numpy as np
import pytest

from fsmnet.physics.masks import Mask, make_mask
from fsmnet.protocols.brats import brats_mask


def ranges(text: str) -> list[int]:
    """ "1 4-6" to [1, 4, 5, 6]."""
    columns: list[int] = []
    for part in text.split():
        first, _, last = part.partition("-")
        columns += range(int(first), int(last or first) + 1)
    return columns


def kept(mask: Mask) -> list[int]:
    return np.flatnonzero(mask.columns).tolist()


BRATS_4X = """1 9 12 35 38 39 42 44 55 56 62 68 99 101 108-131 133 135 138 151 152 155 165 174 177 185 186 204 216 217
    221 222 223 228 229 230 237"""
BRATS_8X = "7 18 30 42 53 64 76 88 99 110 115-124 134 145 156 168 180 191 202 214 226 237"


@pytest.mark.parametrize(("acceleration", "columns", "count"), [(4, BRATS_4X, 59), (8, BRATS_8X, 30)])
def test_columns_of_the_brats_protocol(acceleration, columns, count):
    mask = brats_mask(acceleration)
    assert kept(mask) == ranges(columns)
    assert len(kept(mask)) == count
    assert mask.columns.dtype == np.bool_


def test_other_accelerations_of_brats_are_random_with_a_proportional_centre():
    mask = brats_mask(5)
    assert (mask.kind, mask.acceleration, mask.center_fraction) == ("random", 5, pytest.approx(0.064))
    assert np.array_equal(mask.columns, make_mask("random", 240, 5, 0.064, 1337).columns)
