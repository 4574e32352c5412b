"""Intervals and tests over patients, against values worked out by hand."""

from __future__ import annotations

import pytest

from fsmnet.evaluation.statistics import confidence_interval, patient_means, wilcoxon_p


def test_slices_of_a_patient_count_once():
    assert patient_means([1.0, 3.0, 10.0], ["a", "a", "b"]) == {"a": 2.0, "b": 10.0}


def test_interval_covers_the_mean_and_repeats():
    means = {f"patient {i}": float(i) for i in range(20)}
    low, high = confidence_interval(means)
    # The standard error of 0 ... 19 is 1.29, so the interval is near 9.5 +- 2.5.
    assert low == pytest.approx(7.0, abs=0.4)
    assert high == pytest.approx(12.0, abs=0.4)
    assert confidence_interval(means) == (low, high)


def test_too_few_patients_give_no_interval_and_no_test():
    assert confidence_interval({"a": 1.0, "b": 2.0}) is None
    assert wilcoxon_p({"a": 1.0, "b": 2.0}, {"a": 0.0, "b": 0.0}) is None


def test_wilcoxon_of_six_patients_all_better():
    # All six signed ranks positive: two-sided p = 2 / 2^6.
    better = {str(i): 1.0 + i for i in range(6)}
    assert wilcoxon_p(better, dict.fromkeys(better, 0.0)) == pytest.approx(2 / 64)


def test_wilcoxon_pairs_by_patient_and_needs_a_difference():
    values = {"a": 1.0, "b": 2.0, "c": 3.0}
    assert wilcoxon_p(values, dict(reversed(values.items()))) is None
