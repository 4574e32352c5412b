"""From expected errors to bounds: how many patients it takes, and that the promise is kept."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fsmnet.errors import UserError
from fsmnet.trust.conformal import (
    Calibration,
    brightness,
    calibration_of,
    factors_of,
    group_edges,
    needed,
    patient_scores,
    promised,
)


@pytest.mark.parametrize(("rate", "patients"), [(0.9, 9), (0.95, 19), (0.5, 1), (0.8, 4)])
def test_the_rate_decides_how_many_patients_it_takes(rate, patients):
    assert needed(rate) == patients
    assert promised(patients) >= rate - 1e-12
    factors_of([[1.0]] * patients, rate)
    if patients > 1:
        with pytest.raises(UserError, match=f"needs {patients}"):
            factors_of([[1.0]] * (patients - 1), rate)


def population(rng, patients, voxels=1000):
    """Patients whose errors are larger or smaller than expected as a whole: voxels of one err together."""
    for _ in range(patients):
        expected = rng.gamma(2, 0.01, voxels)
        yield rng.lognormal(0, 0.5) * expected * rng.exponential(1, voxels), expected


def test_the_share_of_patients_that_keep_the_bound_is_the_rate():
    rng, rate, kept = np.random.default_rng(0), 0.9, []
    for _ in range(150):
        known, new = list(population(rng, 29)), list(population(rng, 20))
        edges = group_edges([expected for _, expected in known])
        factors = factors_of([patient_scores(*one, edges, rate) for one in known], rate)
        found = Calibration(rate, edges, factors, 29, "", (4, 8))
        for error, expected in new:
            groups = np.digitize(expected, edges)
            below = error <= found.bound(expected, 1.0)
            kept += [below[groups == group].mean() >= rate for group in range(4) if (groups == group).sum() >= 100]
    assert np.mean(kept) == pytest.approx(27 / 30, abs=0.02)


def test_a_group_that_is_hardly_there_gives_no_score():
    scores = patient_scores(np.ones(150), np.r_[np.full(120, 0.1), np.full(30, 0.9)], [0.5], 0.9)
    assert scores[0] == pytest.approx(10)
    assert math.isnan(scores[1])


def test_brightness_does_not_ask_for_empty_space():
    image = np.zeros((1, 8, 8), dtype=np.float32)
    image[0, 2:4, 2:4] = 3
    assert brightness(image) == pytest.approx(3)
    assert brightness(np.pad(image, ((0, 0), (9, 9), (9, 9)))) == pytest.approx(3)
    assert brightness(0 * image) == 1


def test_it_comes_back_from_a_header_and_says_where_it_holds():
    made = Calibration(0.9, (0.01, 0.02), (3.0, 2.0, 1.5), 11, "error network", (4, 8), ("a", "b"))
    assert calibration_of(made.record()) == made
    assert calibration_of({}) is None
    assert made.why_not("error network", 5) == ""
    assert "4 to 8x" in made.why_not("error network", 12)
    assert "another estimator" in made.why_not("edges", 4)
    assert "90% of patients" in made.says()
    assert "11 patients" in made.says()
    bound = made.bound(np.array([0.5, 1.5, 3.0]) / 100 * 7, 7.0)
    assert bound == pytest.approx(np.array([1.5, 3.0, 4.5]) / 100 * 7)
    with pytest.raises(UserError, match="damaged"):
        calibration_of(made.record() | {"factors": [1.0]})
    with pytest.raises(UserError, match="damaged"):
        calibration_of({"rate": 0.9})
