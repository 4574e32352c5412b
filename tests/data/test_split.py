"""A patient is on one side only, whatever the order of the files."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmnet.data.split import Seen, Split, as_document, load_split, make_split, save_split, split_from
from fsmnet.errors import UserError

CASES = [f"case-{n:03d}" for n in range(20)]


@given(st.integers(4, 200), st.integers(0, 1000), st.floats(0, 0.4), st.floats(0, 0.4))
def test_every_case_is_on_one_side_in_its_share(n, seed, validation, test):
    cases = [f"case-{number}" for number in range(n)]
    split = make_split(cases, seed, validation, test)
    assert sorted(split.train + split.validation + split.test) == sorted(cases)
    for side, share in ((split.validation, validation), (split.test, test)):
        assert len(side) == (0 if share == 0 else max(1, round(share * n)))
    assert split.train
    assert all(side == sorted(side) for side in (split.train, split.validation, split.test))


@given(st.integers(0, 1000))
def test_the_order_of_the_files_does_not_matter(seed):
    shuffled = random.Random(seed).sample(CASES, len(CASES))
    assert make_split(shuffled, seed, 0.2, 0.1) == make_split(CASES, seed, 0.2, 0.1)
    assert make_split(CASES + CASES[:3], seed, 0.2) == make_split(CASES, seed, 0.2)  # once is enough


def test_the_seed_decides_and_reaches_every_case():
    assert make_split(CASES, 0, 0.2) == make_split(CASES, 0, 0.2)
    held = {case for seed in range(100) for case in make_split(CASES, seed, 0.1).validation}
    assert held == set(CASES)


def test_the_split_of_a_seed_stays_what_it_is():
    # Results are compared across years by their seed.
    split = make_split(CASES, 0, validation=0.1, test=0.15)
    assert split.test == ["case-004", "case-006", "case-019"]
    assert split.validation == ["case-002", "case-013"]


def test_the_papers_three_to_one():
    split = make_split([f"{n}" for n in range(100)], 0, validation=0, test=0.25)
    assert (len(split.train), len(split.validation), len(split.test)) == (75, 0, 25)


def test_too_few_cases_are_refused_in_words():
    assert make_split(["a", "b"], 0, 0.1) in (Split(["a"], ["b"]), Split(["b"], ["a"]))
    assert make_split(["a"], 0, 0) == Split(["a"])
    for cases, shares in ((["a"], (0.1, 0)), (["a", "b"], (0.1, 0.1)), ([], (0, 0)), (CASES, (0.5, 0.5))):
        with pytest.raises(
            UserError, match=f"^{len(cases)} cases cannot give .* set validation_fraction or test_fraction to 0"
        ):
            make_split(cases, 0, *shares)


VISITS = [f"BraTS-GLI-{patient:05d}-{visit}" for patient in range(30) for visit in (100, 101, 102)[: 1 + patient % 3]]


@given(st.integers(0, 1000), st.floats(0.05, 0.4), st.floats(0, 0.4))
def test_time_points_of_a_patient_stay_together(seed, validation, test):
    split = make_split(VISITS, seed, validation, test)
    assert sorted(split.train + split.validation + split.test) == sorted(VISITS)
    assert split.across() == []
    assert len({case[:15] for case in split.validation}) == max(1, round(30 * validation))  # a share of the patients
    assert {split.patient(case) for case in VISITS} == {f"BraTS-GLI-{patient:05d}" for patient in range(30)}


def test_patients_may_be_named():
    cases = ["a", "b", "c", "d"]
    split = make_split(cases, 0, 0.5, patients={"a": "one", "b": "two", "c": "one", "d": "two"})
    assert {tuple(split.train), tuple(split.validation)} == {("a", "c"), ("b", "d")}
    with pytest.raises(UserError, match=r"^4 cases of 1 patients \(name them by --patient if their names mislead\)"):
        make_split(cases, 0, 0.5, patients=dict.fromkeys(cases, "one"))


def test_names_of_patients_do_not_move_them():
    anonymous = make_split(CASES, 0, 0.2, 0.1)
    assert make_split(CASES, 0, 0.2, 0.1, {case: f"{-int(case[-3:])}" for case in CASES}) == anonymous


def test_old_splits_know_patients_by_name_and_tell_who_is_on_two_sides(tmp_path, caplog):
    file = tmp_path / "split.json"
    file.write_text('{"train": ["OMSL-01-s1"], "validation": [], "test": ["OMSL-01-s2", "OMSL-04-s1"]}')
    split = load_split(file)
    assert split.across() == ["OMSL-01"]
    split.warn_of_patients_across(file)
    assert "patient OMSL-01 has cases on two sides; scores on them are too good" in caplog.text


def test_a_case_is_known_by_name_by_patient_and_by_content():
    split = Split(["OMSL-01-s1"], ["v"], ["t"], contents={"v": "abc"}, before=["w"])
    assert split.seen("OMSL-01-s1") == Seen("train", "OMSL-01-s1", "name")
    assert split.seen("OMSL-01-s2") == Seen("train", "OMSL-01-s1", "patient")
    assert split.seen("renamed", content="abc") == Seen("validation", "v", "content")
    assert split.seen("w") == Seen("train", "w", "name")
    assert split.seen("t") == Seen("test", "t", "name")
    assert split.seen("other", content="abd") is None
    after = make_split(["x", "y"], 0, 0.5).after(split)
    assert after.seen("OMSL-01-s2") == Seen("train", "OMSL-01-s1", "patient")
    assert split_from(as_document(after)).seen("w") == Seen("train", "w", "name")


def test_files_are_a_round_trip(tmp_path):
    split = make_split([*CASES, "Fall-ä"], 3, 0.2, 0.1)
    path = tmp_path / "run" / "split.json"
    save_split(split, path)
    assert load_split(path) == split
    assert list(json.loads(path.read_text(encoding="utf-8"))) == ["train", "validation", "test", "patients"]


def test_sides_may_be_left_out_and_cases_be_numbers(tmp_path):
    path = tmp_path / "split.json"
    path.write_text('{"train": [1, 2], "test": ["3"]}')
    assert load_split(path) == Split(["1", "2"], [], ["3"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "not a split; it should read"),
        ("{", "not a split"),
        ("[1, 2]", "not a split"),
        ("3", "not a split"),
        ('{"validation": []}', "not a split"),
        ('{"train": 3}', "not a split"),
        ('{"train": "case-1"}', "not a split"),
        ('{"train": [], "training": []}', "not a split"),
        ('{"train": [], "patients": []}', "not a split"),
        ('{"train": [], "contents": ["a"]}', "not a split"),
        ('{"train": ["a", "b"], "test": ["c", "b", "a"]}', "case a, b is listed twice; a patient belongs to one side"),
        ('{"train": ["a", "a"]}', "case a is listed twice"),
    ],
)
def test_wrong_files_are_refused_in_words(tmp_path, text, sentence):
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence) as error:
        load_split(path)
    assert str(error.value).startswith(f"{path}: ")


def test_missing_and_binary_files_are_refused_in_words(tmp_path):
    with pytest.raises(UserError, match="no such split file"):
        load_split(tmp_path / "gone.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a split"):
        load_split(tmp_path / "binary.json")
