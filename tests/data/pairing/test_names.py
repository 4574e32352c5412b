"""Pairs are found in the folders people have, and brought onto one grid or refused with numbers."""

from __future__ import annotations

import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fsmnet.data.formats import read_volume
from fsmnet.data.grid import grid_difference, resample_to
from fsmnet.data.pairing.names import Pair, find_pairs, load_pair
from fsmnet.data.volume import Volume
from fsmnet.errors import UserError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def files(pairs: list[Pair], root: Path) -> list[tuple[str, str, str]]:
    return [(p.case, p.target.relative_to(root).as_posix(), p.auxiliary.relative_to(root).as_posix()) for p in pairs]


# --- finding ---------------------------------------------------------------------------------------------------------


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
        f"{brats_folder}: case case-1 has no t1 and is left out",
        f"{brats_folder}: case case-3 has no t2 and is left out",
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


# --- one grid --------------------------------------------------------------------------------------------------------


def volume(data: np.ndarray, affine: np.ndarray, name: str = "made") -> Volume:
    """From an array in the file's order."""
    return Volume(np.ascontiguousarray(np.moveaxis(data, 2, 0), dtype=np.float32), affine, Path(name))


def shifted(affine: np.ndarray, *millimetres: float) -> np.ndarray:
    moved = affine.copy()
    moved[:3, 3] += millimetres
    return moved


GRID = np.diag([1.0, 1.0, 2.0, 1.0])


def voxels(shape: tuple[int, int, int]) -> np.ndarray:
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)


def ramp(shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """20 + 2x - y + 3z at the millimetres of each voxel."""
    x, y, z = np.moveaxis(nib.affines.apply_affine(affine, voxels(shape)), -1, 0)
    return 20 + 2 * x - y + 3 * z


def test_differences_of_grids_are_said_with_numbers():
    data = np.ones((4, 5, 6))
    a = volume(data, GRID, "a.nii")
    assert grid_difference(a, volume(data, GRID, "b.nii")) == ""
    assert grid_difference(a, volume(data, shifted(GRID, 0, 5e-4, 0), "b.nii")) == ""
    assert grid_difference(a, volume(data[:, :, :5], GRID, "b.nii")) == "a.nii is 4 x 5 x 6, b.nii is 4 x 5 x 5"
    assert grid_difference(a, volume(data, shifted(GRID, 3, 4, 0), "b.nii")) == (
        "a.nii and b.nii have the same size but lie up to 5 mm apart"
    )
    # 2 mm slices against 2.5 mm ones: six slices on, 3 mm apart.
    assert "up to 3 mm apart" in grid_difference(a, volume(data, np.diag([1, 1, 2.5, 1]), "b.nii"))
    flipped = shifted(np.diag([-1.0, 1, 2, 1]), 4, 0, 0)
    assert "up to 4 mm apart" in grid_difference(a, volume(data, flipped, "b.nii"))


def test_other_grids_are_refused_unless_resampling_is_asked_for(tmp_path, write_nifti, smooth):
    target = write_nifti(tmp_path / "t2.nii.gz", smooth(0, (20, 22, 10)), GRID)
    auxiliary = write_nifti(tmp_path / "t1.nii.gz", smooth(1, (24, 22, 10)), shifted(GRID, -2, 0, 0))
    with pytest.raises(UserError) as error:
        load_pair(target, auxiliary)
    assert str(error.value) == (
        f"{target} is 20 x 22 x 10, {auxiliary} is 24 x 22 x 10; "
        "pass --resample to bring the auxiliary onto the target's grid"
    )
    t2, t1 = load_pair(target, auxiliary, resample=True)
    assert t1.data.shape == t2.data.shape
    # Whole voxels apart, nothing has to be interpolated.
    np.testing.assert_allclose(t1.data, read_volume(auxiliary).data[:, 2:22], rtol=1e-5)
    assert np.array_equal(t2.data, read_volume(target).data)


def test_equal_grids_are_left_as_they_are(brats_folder):
    pair = find_pairs(brats_folder, "t2", "t1")[0]
    for resample in (False, True):
        target, auxiliary = load_pair(pair.target, pair.auxiliary, resample)
        assert np.array_equal(target.data, read_volume(pair.target).data)
        assert np.array_equal(auxiliary.data, read_volume(pair.auxiliary).data)


def test_repairs_of_both_volumes_are_told(tmp_path, write_nifti, smooth, caplog):
    paths = []
    for number, name in enumerate(("t2", "t1")):
        array = smooth(number, (8, 8, 4))
        array[0, 0, : number + 1] = np.nan
        paths.append(write_nifti(tmp_path / f"{name}.nii.gz", array))
    with caplog.at_level(logging.WARNING):
        load_pair(*paths)
    assert [record.getMessage() for record in caplog.records] == [
        f"{paths[0]}: 1 NaN or infinite voxels of 256 set to 0",
        f"{paths[1]}: 2 NaN or infinite voxels of 256 set to 0",
    ]


@pytest.mark.parametrize(
    "affine",
    [
        shifted(GRID, 0.5, -0.25, 1.3),
        np.diag([-0.8, 0.9, 1.5, 1.0]) + np.array([[0, 0, 0, 30], [0, 0, 0, -3], [0, 0, 0, -4], [0] * 4]),
        np.array([[0, 1.1, 0, -2], [0.9, 0, 0, -3], [0, 0, 1.7, -5], [0, 0, 0, 1]]),  # rows and columns exchanged
    ],
    ids=["shifted", "flipped and finer", "transposed"],
)
def test_linear_interpolation_is_exact_for_a_ramp(affine):
    reference = volume(np.ones((16, 18, 10)), GRID, "reference")
    reference.header = "its header"
    shape = (40, 44, 24)
    moved = resample_to(volume(ramp(shape, affine), affine, "moving"), reference)
    assert moved.data.shape == reference.data.shape
    assert moved.data.dtype == np.float32
    assert moved.data.flags.c_contiguous
    assert (moved.affine is reference.affine, moved.header, moved.source) == (True, "its header", Path("moving"))
    # Voxels of the reference that lie within the moving volume's outermost voxel centres.
    places = nib.affines.apply_affine(np.linalg.inv(affine) @ GRID, voxels(reference.shape))
    inside = np.all((places >= 1e-6) & (places <= np.array(shape) - 1 - 1e-6), axis=-1)
    assert inside.mean() > 0.5
    difference = np.moveaxis(moved.data, 0, 2) - ramp(reference.shape, GRID)
    assert np.abs(difference[inside]).max() < 1e-3


def test_outside_its_field_of_view_an_auxiliary_is_zero():
    moved = resample_to(volume(np.full((4, 4, 4), 7.0), np.eye(4)), volume(np.ones((8, 4, 4)), np.eye(4)))
    assert np.array_equal(moved.data[:, :4], np.full((4, 4, 4), 7))
    assert not moved.data[:, 4:].any()


def test_volumes_apart_in_space_are_refused_in_words():
    there = volume(np.ones((5, 5, 5)), shifted(np.eye(4), 100, 0, 0), "there.nii")
    with pytest.raises(UserError) as error:
        resample_to(there, volume(np.ones((5, 5, 5)), np.eye(4), "here.nii"))
    assert str(error.value) == "there.nii and here.nii do not overlap in space; are they of one exam?"
