"""Two volumes on one grid, or refused with numbers."""

from __future__ import annotations

import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fsmnet.data.formats import read_volume
from fsmnet.data.grid import grid_difference, resample_to
from fsmnet.data.pairing.names import find_pairs, load_pair
from fsmnet.data.volume import Volume
from fsmnet.errors import UserError


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


def test_negative_voxels_of_a_whole_folder_are_told_once(tmp_path, write_nifti, smooth, caplog, monkeypatch):
    monkeypatch.setattr("fsmnet.data.grid._TOLD", [])
    paths = []
    for number in range(4):
        array = smooth(number, (8, 8, 4))
        array[0, 0, : number + 1] = -1 - np.arange(number + 1)
        paths.append(write_nifti(tmp_path / f"case-{number}.nii.gz", array))
    with caplog.at_level(logging.INFO, "fsmnet"):
        for _ in range(2):
            load_pair(*paths[:2])
            load_pair(*paths[2:])
    assert caplog.messages == [
        f"{paths[0]}: 1 negative voxels of 256 set to 0 (interpolation makes a few; of further files -v tells)"
    ]
    assert caplog.records[0].levelno == logging.INFO  # nothing to warn of


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
