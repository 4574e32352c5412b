"""Pairs are found in the folders people have."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsmnet.data.pairing.names import Pair, find_pairs
from fsmnet.errors import UserError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def files(pairs: list[Pair], root: Path) -> list[tuple[str, str, str]]:
    return [(p.case, p.target.relative_to(root).as_posix(), p.auxiliary.relative_to(root).as_posix()) for p in pairs]


def test_the_older_naming_of_brats(brats_folder):
    (brats_folder / "case-1" / "case-1_seg.nii.gz").touch()
    assert files(find_pairs(brats_folder, "t2", "t1"), brats_folder) == [
        (f"case-{n}", f"case-{n}/case-{n}_t2.nii.gz", f"case-{n}/case-{n}_t1.nii.gz") for n in (1, 2, 3)
    ]
    assert [p.target.name for p in find_pairs(brats_folder, "flair", "t1")] == [
        f"case-{n}_flair.nii.gz" for n in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("target", "auxiliary", "suffixes"),
    [("t2", "t1", ("t2w", "t1n")), ("flair", "t1ce", ("t2f", "t1c")), ("T2w", "t1n", ("t2w", "t1n"))],
)
def test_the_naming_of_brats_from_2023(tmp_path, target, auxiliary, suffixes):
    cases = ["BraTS-GLI-00000-000", "BraTS-GLI-00002-001"]
    kinds = ("t1n", "t1c", "t2w", "t2f", "seg")
    root = touch(tmp_path, *(f"{case}/{case}-{kind}.nii.gz" for case in cases for kind in kinds))
    assert files(find_pairs(root, target, auxiliary), root) == [
        (case, f"{case}/{case}-{suffixes[0]}.nii.gz", f"{case}/{case}-{suffixes[1]}.nii.gz") for case in cases
    ]


def test_both_namings_at_any_depth_sorted_by_case(tmp_path):
    root = touch(
        tmp_path,
        "HGG/B_2/B_2_t1.nii.gz",
        "HGG/B_2/B_2_t2.nii",
        "more/2023/A-1/A-1-t1n.nii.gz",
        "more/2023/A-1/A-1-t2w.nii.gz",
        "C/C_T1.nii.gz",  # contrasts in any case
        "C/C_T2.nii.gz",
    )
    assert files(find_pairs(root, "t2", "t1"), root) == [
        ("A-1", "more/2023/A-1/A-1-t2w.nii.gz", "more/2023/A-1/A-1-t1n.nii.gz"),
        ("B_2", "HGG/B_2/B_2_t2.nii", "HGG/B_2/B_2_t1.nii.gz"),
        ("C", "C/C_T2.nii.gz", "C/C_T1.nii.gz"),
    ]


def test_similar_names_are_not_taken_for_a_contrast(tmp_path):
    root = touch(
        tmp_path,
        "A/A_t1.nii.gz",
        "A/A_t2.nii.gz",
        "A/A_t2_brain.nii.gz",  # other contrasts
        "A/A_not_t2.nii.gz",
        "A/A_t2w.nii.gz",  # BraTS's newer name stands after a hyphen only
        "A/At2.nii.gz",
        "A/B_t2.nii.gz",  # another case's file
        "A/A_t2.nii.gz.part",
        "A/A_t2.json",
    )
    assert files(find_pairs(root, "t2", "t1"), root) == [("A", "A/A_t2.nii.gz", "A/A_t1.nii.gz")]
    for name in ("t2_brain", "T2w"):
        assert files(find_pairs(root, name, "t1"), root) == [("A", f"A/A_{name.lower()}.nii.gz", "A/A_t1.nii.gz")]


def test_patterns_name_the_case_once_or_twice(tmp_path):
    root = touch(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_T2w.nii.gz",
        "sub-02/anat/sub-02_T1w.nii.gz",
        "sub-02/anat/sub-02_T2w.nii.gz",
        "sub-02/anat/sub-01_T2w.nii.gz",  # misplaced: both places must name the same case
    )
    assert files(find_pairs(root, "{case}/anat/{case}_T2w.nii.gz", "{case}/anat/{case}_T1w.nii.gz"), root) == [
        (f"sub-0{n}", f"sub-0{n}/anat/sub-0{n}_T2w.nii.gz", f"sub-0{n}/anat/sub-0{n}_T1w.nii.gz") for n in (1, 2)
    ]
    flat = touch(tmp_path / "flat", "x.1_T2.nii.gz", "x.1_T1.nii.gz", "y+2_T2.nii.gz", "y+2_T1.nii.gz")
    assert [p.case for p in find_pairs(flat, "{case}_T2.nii.gz", "{case}_T1.nii.gz")] == ["x.1", "y+2"]
    assert [p.case for p in find_pairs(root, "sub-{case}/anat/*_T1w.nii.gz", "sub-{case}/anat/*_T1w.nii.gz")] == [
        "01",
        "02",
    ]


def test_patterns_may_hold_wildcards(tmp_path):
    root = touch(tmp_path, *(f"{place}s1_{kind}.nii" for place in ("", "a/", "b/c/") for kind in ("T1", "T2")))
    for place in ("a/", "*/", "b/**/", "?/"):
        found = find_pairs(root, place + "{case}_T2.nii", place + "{case}_T1.nii")
        assert [p.case for p in found] == ["s1"]
    with pytest.raises(UserError, match="case s1 has two candidates"):
        find_pairs(root, "**/{case}_T2.nii", "**/{case}_T1.nii")  # at every depth
    with pytest.raises(UserError, match=r"pattern /data/\{case\}_T2\.nii starts with /; write it relative"):
        find_pairs(root, "/data/{case}_T2.nii", "/data/{case}_T1.nii")


def test_cases_without_one_contrast_are_left_out_with_a_warning(brats_folder, caplog):
    (brats_folder / "case-1" / "case-1_t1.nii.gz").unlink()
    (brats_folder / "case-3" / "case-3_t2.nii.gz").unlink()
    assert [p.case for p in find_pairs(brats_folder, "t2", "t1")] == ["case-2"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{brats_folder}: 2 of 3 cases left out: case-1 has no t1; case-3 has no t2"
    ]
    caplog.clear()
    find_pairs(brats_folder, "t2", "t1", cases=["case-2"])
    assert not caplog.records  # nothing is missing of what was asked for


def test_only_the_cases_asked_for_in_that_order(brats_folder):
    assert [p.case for p in find_pairs(brats_folder, "t2", "t1", ["case-3", "case-1"])] == ["case-3", "case-1"]
    with pytest.raises(UserError) as error:
        find_pairs(brats_folder, "t2", "t1", ["case-1", "case-9", "case-8"])
    assert str(error.value) == f"{brats_folder}: no pair for case case-9, case-8; there are case-1, case-2, case-3"


def test_two_candidates_for_one_case_are_refused_in_words(tmp_path):
    root = touch(tmp_path, "a/A/A_t1.nii.gz", "a/A/A_t2.nii.gz", "b/A/A_t2.nii.gz")
    with pytest.raises(UserError) as error:
        find_pairs(root, "t2", "t1")
    first, second = root / "a/A/A_t2.nii.gz", root / "b/A/A_t2.nii.gz"
    assert str(error.value) == f"case A has two candidates, {first} and {second}; keep one or use a narrower pattern"
    touch(root, "flat/A_1_t2.nii.gz", "flat/A_2_t2.nii.gz", "flat/A_t1.nii.gz")
    with pytest.raises(UserError, match="case A has two candidates"):
        find_pairs(root, "flat/{case}_*_t2.nii.gz", "flat/{case}_t1.nii.gz")


def test_folders_without_pairs_are_refused_in_words(tmp_path):
    with pytest.raises(UserError, match="gone: no such folder; give the folder that holds the cases with --data"):
        find_pairs(tmp_path / "gone", "t2", "t1")
    with pytest.raises(UserError, match=r"no case has both t2 and t1 \(looked for <case>/<case>_t2\.nii\.gz\)"):
        find_pairs(tmp_path, "t2", "t1")
    with pytest.raises(UserError, match=r"looked for files matching \{case\}_a\.nii and \{case\}_b\.nii"):
        find_pairs(tmp_path, "{case}_a.nii", "{case}_b.nii")
    with pytest.raises(UserError, match="both as contrast names or both as patterns"):
        find_pairs(tmp_path, "{case}_a.nii", "t1")
