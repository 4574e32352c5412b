"""Is a scan like those known? What the images show, and what the hold-out check adds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from fsmnet.errors import UserError
from fsmnet.trust.familiar import (
    FACTOR,
    Sight,
    by_hold_out,
    enough,
    explained_before,
    look,
    look_cropped,
    reference_of,
    unusual,
)

EVERY = range(6)
PIXEL = (1.0, 1.0, 1.0)


def pair(seed):
    """Two contrasts of one head: an ellipsoid with structure, not symmetric."""
    rng = np.random.default_rng(seed)
    anatomy = ndimage.gaussian_filter(rng.standard_normal((6, 72, 64)), (1, 2.5, 2.5))
    anatomy = (anatomy - anatomy.min()) / np.ptp(anatomy)
    y, x = np.mgrid[-1:1:72j, -1:1:64j]
    head = (y**2 / 0.8 + x**2 / 0.7) < 1
    noise = 0.02 * rng.standard_normal(anatomy.shape)
    first, second = (0.3 + 0.6 * anatomy) * head, (1 - 0.7 * anatomy + noise) * head
    return first.astype(np.float32), second.astype(np.float32)


def sights(seed):
    """A whole scan and its middle."""
    return [look(*pair(seed), PIXEL, EVERY), look_cropped(*pair(seed), EVERY)]


@pytest.fixture(scope="module")
def known():
    return reference_of([sights(seed) for seed in range(6)], {4.0: [[0.8], [0.9], [0.85]]})


def test_a_scan_of_the_same_kind_is_not_flagged(known):
    assert (known["displacement"], known["scans"], known["patients"]) == (0, 6, 6)
    assert unusual(look(*pair(9), PIXEL, EVERY), known) == []


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_auxiliary_that_was_moved_by_four_millimetres_is(known, axis):
    image, auxiliary = pair(9)
    found = look(image, np.roll(auxiliary, 4 if axis else 2, axis), (2.0, 1.0, 1.0), EVERY)
    assert found.displacement == 4
    assert any("moved by 4 mm" in reason for reason in unusual(found, known))


def test_an_auxiliary_of_another_patient_is(known):
    found = look(pair(9)[0], pair(10)[1], PIXEL, EVERY)
    assert any("in place than mirrored" in reason for reason in unusual(found, known))


def test_a_part_of_a_scan_is_not(known):
    image, auxiliary = pair(9)
    part = (..., slice(14, 58), slice(12, 54))
    assert unusual(look(image[part], auxiliary[part], PIXEL, EVERY), known) == []


def test_the_range_may_be_left_as_far_as_each_known_patient_leaves_that_of_the_others():
    def reference(*values):
        return reference_of([[replace(look(*pair(0), PIXEL, EVERY), numbers={"told": v})] for v in values], {})

    assert reference(1.0, 1.2)["factors"]["told"] == FACTOR  # two tell nothing
    assert reference(1.0, 1.2, 3.0)["factors"]["told"] == pytest.approx(3.0 / 1.2)
    assert reference(0.5, 1.2, 1.3)["factors"]["told"] == pytest.approx(1.2 / 0.5)
    assert reference(1.0, 1.01, 1.02)["factors"]["told"] == FACTOR
    assert reference_of([[look(*pair(0), PIXEL, EVERY)]], {4: [[0.9], [0.8], [0.6]]})[
        "unexplained_factor"
    ] == pytest.approx(2)


def test_numbers_that_are_known_one_by_one_but_not_together_are_unlike_known_scans():
    def sight(dark, median):
        return Sight({"target dark": dark, "target median": median})

    known = reference_of([[sight(0.1 + 0.02 * k, 0.2 + 0.04 * k)] for k in range(9)], {})  # one is half of the other
    assert unusual(sight(0.2, 0.4), known) == []
    [reason] = unusual(sight(0.12, 0.5), known)
    assert reason.startswith("taken together")
    assert "target: its" in reason
    del known["likeness"]  # of an older checkpoint
    assert unusual(sight(0.12, 0.5), known) == []


def test_other_intensities_are(known):
    image, auxiliary = pair(9)
    reasons = unusual(look(image**4, auxiliary, PIXEL, EVERY), known)
    assert any("target: its mid grey" in reason for reason in reasons)


def test_without_an_auxiliary_only_the_target_is_looked_at(known):
    found = look(pair(9)[0], None, PIXEL, EVERY)
    assert all(name.startswith("target") for name in found.numbers)
    assert unusual(found, known) == []


def test_where_no_distance_is_known_nothing_is_moved():
    assert look(*pair(9), (0.0, 0.0, 0.0), EVERY).displacement == 0


def test_what_the_hold_out_check_adds(known):
    before = explained_before(known, 5)
    assert before == (0.8, pytest.approx(0.85))
    assert explained_before(known, 12) is None
    assert explained_before({}, 4) is None
    assert by_hold_out({"network": 0.8, "network, auxiliary blank": 0.7, "zero-filling": 0.1}, before) == ([], [])
    refused, _ = by_hold_out({"network": 0.1, "zero-filling": 0.2}, before)
    assert "no more" in refused[0]
    refused, _ = by_hold_out({"network": -0.1, "zero-filling": None}, None)
    assert refused
    _, doubted = by_hold_out({"network": 0.8, "network, auxiliary blank": 0.85}, before)
    assert "without the auxiliary" in doubted[0]
    _, doubted = by_hold_out({"network": 0.8, "POCS": 0.85}, before)
    assert "POCS, which has learned nothing, explains 85%" in doubted[0]
    assert by_hold_out({"network": 0.8, "SENSE": 0.8, "POCS": None}, before) == ([], [])
    _, doubted = by_hold_out({"network": 1 - 1.1 * FACTOR * 0.2}, before)
    assert "of known scans at least 80%" in doubted[0]
    assert by_hold_out({"network": None}, before) == ([], [])


def test_a_damaged_reference_is_told():
    with pytest.raises(UserError, match="damaged"):
        unusual(look(*pair(9), PIXEL, EVERY), {"ranges": {}})


@pytest.mark.parametrize(
    ("width", "kept", "judges"), [(64, [4], False), (64, [5], True), (64, [3, 2], True), (112, [1], True)]
)
def test_of_a_small_scan_few_lines_do_not_judge(width, kept, judges):
    assert enough([np.arange(width) < lines for lines in kept]) is judges
    assert enough([]) is False
