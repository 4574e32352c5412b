"""Intervals and tests count patients, not slices, and say what so few of them allow."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fsmnet.evaluation.statistics import confidence_interval, holm, patient_means, smallest_p, wilcoxon_p


def named(values):
    return {f"p{number}": float(value) for number, value in enumerate(values)}


def test_slices_of_a_patient_count_once():
    assert patient_means([1, 3, 10], ["a", "a", "b"]) == {"a": 2.0, "b": 10.0}


@pytest.mark.parametrize("n", [3, 5, 10, 25])
def test_the_interval_covers_what_it_says(n):
    rng = np.random.default_rng(n)
    covered = []
    for _ in range(2000):
        low, high = confidence_interval(named(rng.normal(35, 2, n)))
        covered.append(low < 35 < high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


def test_the_interval_is_students_about_the_patients_mean():
    values = [30.0, 31.0, 35.0, 36.5]
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert confidence_interval(named(values)) == pytest.approx(expected)


def test_too_few_patients_or_an_infinite_one_give_none():
    assert confidence_interval({"a": 1.0, "b": 2.0}) is None
    assert confidence_interval({"a": 1.0, "b": 2.0, "c": math.inf}) is None
    assert wilcoxon_p({"a": 1.0, "b": 2.0}, {"a": 0.0, "b": 0.0}) is None


def test_wilcoxon_is_paired_over_common_patients():
    means = named([1, 2, 3, 4, 5, 6])
    reference = named([0.5, 1.3, 2.1, 2.9, 3.7, 4.5]) | {"other": 100.0}
    assert wilcoxon_p(means, reference) == pytest.approx(2 / 2**6) == smallest_p(6)
    assert wilcoxon_p(means, means) is None


def test_infinite_scores_are_ranked_and_give_no_nan():
    means, reference = named([math.inf, 31, 32, 33, 34.5]), named([30, 30, 30.5, 31, 32])
    assert wilcoxon_p(means, reference) == pytest.approx(smallest_p(5))
    same = {**means, "p9": math.inf}
    assert math.isfinite(wilcoxon_p(same, {**reference, "p9": math.inf}))


def test_the_smallest_p():
    assert [smallest_p(n) for n in (1, 3, 5, 6)] == [1, 0.25, 0.0625, 0.03125]


def test_holms_correction():
    # By hand: 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.9 x 1, never falling.
    corrected = holm([0.03, None, 0.01, 0.9, 0.02])
    assert corrected[1] is None
    assert [p for p in corrected if p is not None] == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert holm([None, 0.7, 0.6]) == [None, 1.0, 1.0]
