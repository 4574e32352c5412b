"""Is a scan like those known, all its numbers taken together?"""

from __future__ import annotations

import json

import numpy as np
import pytest

from fsmnet.trust.likeness import SHRINKAGE, likeness_of, unlike


def population(count, seed=0):
    """Patients of two scans; ``a`` and ``b`` go together, ``c`` by itself."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((count, 2, 2))
    names = ("target a", "target b", "told")
    return [
        [dict(zip(names, np.exp([x, x + 0.05 * y, y]).tolist(), strict=True)) for x, y in patient] for patient in values
    ]


@pytest.fixture(scope="module")
def known():
    return json.loads(json.dumps(likeness_of(population(12))))  # as a checkpoint keeps it


def test_most_of_the_same_kind_are_like_them(known):
    distances = [unlike(one, known)[0] for patient in population(100, 1) for one in patient]
    assert np.mean(np.array(distances) <= known[0]["bound"]) > 0.9


def test_what_breaks_a_relation_is_not_though_each_number_is_usual(known):
    distance, bound, names = unlike({"target a": 3.0, "target b": 1 / 3, "told": 1.0}, known)
    assert distance > bound
    assert set(names[:2]) == {"target a", "target b"}
    distance, bound, _ = unlike({"target a": 3.0, "target b": 3.0, "told": 1.0}, known)
    assert distance < bound


def test_without_an_auxiliary_the_numbers_of_the_target_are_compared(known):
    assert [one["names"] for one in known] == [["target a", "target b", "told"], ["target a", "target b"]]
    assert unlike({"target a": 1.0, "target b": 1.0}, known)[1] == known[1]["bound"]
    assert unlike({"told": 1.0}, known) is None


def test_the_distance_is_that_of_the_shrunk_correlation():
    scans = [[{"target a": np.exp(x), "target b": np.exp(y)}] for x, y in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
    [one] = likeness_of(scans)  # no correlation: C = I
    assert one["correlation"] == [[1, 0], [0, 1]]
    assert unlike({"target a": np.exp(2), "target b": 1.0}, [one])[0] == pytest.approx(np.sqrt(4 / 2))
    scans = [[{"target a": np.exp(x), "target b": np.exp(x)}] for x in (1, -1, 1, -1)]
    [one] = likeness_of(scans)
    assert one["correlation"][0][1] == pytest.approx(1 - SHRINKAGE)


def test_of_too_few_patients_nothing_is_known():
    assert likeness_of(population(2)) == []
    assert likeness_of([[], *population(2)]) == []
    assert unlike({"target a": 1.0}, []) is None


def test_numbers_that_never_differ_are_no_division_by_zero():
    [one] = likeness_of([[{"target a": 1.0, "target b": 2.0}]] * 4)
    assert one["bound"] == 0
    assert unlike({"target a": 1.0, "target b": 2.0}, [one])[0] == pytest.approx(0, abs=0.01)  # the mean is rounded
    assert unlike({"target a": 2.0, "target b": 2.0}, [one])[0] > 1
