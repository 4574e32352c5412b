"""A moved auxiliary comes back to its place, one in place stays, and a poor fit is told."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from fsmnet.data.formats import read_volume
from fsmnet.data.grid import resample_to
from fsmnet.data.phantom import make_subject
from fsmnet.data.register import (
    head,
    register_rigid,
    similarity,
    similarity_in_place,
    to_simpleitk,
)
from fsmnet.data.volume import Volume
from fsmnet.errors import UserError

sitk = pytest.importorskip("SimpleITK")

OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", [20, -15, 10], degrees=True).as_matrix() * [2.0, 2.5, 3.0]
OBLIQUE[:3, 3] = [-70, -110, -60]


def volume(array: np.ndarray, affine: np.ndarray, name: str) -> Volume:
    return Volume(np.ascontiguousarray(np.moveaxis(array, 2, 0), dtype=np.float32), affine, Path(name))


def subject(seed: int, voxel: float = 3.0, size: int = 70) -> tuple[Volume, Volume]:
    """T2 and T1 of a head."""
    made = make_subject(seed, size=size, voxel=voxel)
    t2, t1 = (volume(made.contrasts[name], made.affine, f"{name}.nii.gz") for name in ("t2", "t1"))
    return t2, t1


@pytest.fixture(scope="module")
def pair() -> tuple[Volume, Volume]:
    return subject(0)


def points(target: Volume) -> np.ndarray:
    """Voxels of the head in mm, (4, n)."""
    k, i, j = np.nonzero(target.data > 0)
    return target.affine @ np.stack([i, j, k, np.ones(len(i))])


def movement(target: Volume, degrees: float, millimetres: float) -> np.ndarray:
    """Rotation around an axis through the head's centre, and shift."""
    axis, direction = np.array([1, 2, 3]) / 14**0.5, np.array([2, -1, 1]) / 6**0.5
    centre = points(target).mean(axis=1)[:3]
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec(np.radians(degrees) * axis).as_matrix()
    motion[:3, 3] = centre - motion[:3, :3] @ centre + millimetres * direction
    return motion


def mean_error(target: Volume, matrix: np.ndarray) -> float:
    places = points(target)
    return float(np.linalg.norm((matrix @ places - places)[:3], axis=0).mean())


def test_a_moved_auxiliary_comes_back(pair, caplog):
    target, auxiliary = pair
    motion = movement(target, 5, 8)
    moved = resample_to(replace(auxiliary, affine=motion @ auxiliary.affine), target)
    assert mean_error(target, motion) > 8
    with caplog.at_level(logging.INFO):
        found = register_rigid(moved, target)
    assert mean_error(target, found.transform @ motion) < 0.5  # mm
    assert found.rotation == pytest.approx(5, abs=0.3)
    assert found.shift == pytest.approx(8, abs=0.5)
    assert found.similarity_before < 0.3 * found.similarity_after
    assert found.similarity_after > 0.8 * similarity(target, auxiliary)  # interpolated twice
    assert found.similarity_after == similarity(target, found.volume)
    assert found.similarity_before == similarity(target, moved)
    assert found.volume.data.shape == target.data.shape
    assert np.array_equal(found.volume.affine, target.affine)
    assert found.volume.source == auxiliary.source
    inside = ndimage.binary_erosion(target.data > 0, iterations=2)
    apart = [np.abs(x.data - auxiliary.data)[inside].mean() for x in (moved, found.volume)]
    assert apart[1] < 0.4 * apart[0]
    [record] = caplog.records
    assert record.levelno == logging.INFO
    assert record.getMessage() == (
        f"t1.nii.gz to t2.nii.gz: moved by {found.shift:.1f} mm and {found.rotation:.1f} degrees, mutual information "
        f"{found.similarity_before:.2f} before, {found.similarity_after:.2f} after"
    )


def test_an_auxiliary_in_place_stays(pair):
    target, auxiliary = pair
    found = register_rigid(auxiliary, target)
    assert mean_error(target, found.transform) < 0.2  # mm


def test_results_repeat(pair, monkeypatch):
    monkeypatch.setattr("fsmnet.data.register.SAMPLES", 20_000)
    target, auxiliary = pair
    moved = replace(auxiliary, affine=movement(target, 5, 8) @ auxiliary.affine)
    first, second, other = (register_rigid(moved, target, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.transform, second.transform)
    assert np.array_equal(first.volume.data, second.volume.data)
    assert first.similarity_after == second.similarity_after
    assert not np.array_equal(first.transform, other.transform)
    assert mean_error(target, np.linalg.inv(first.transform) @ other.transform) < 0.3


def test_other_grids_and_voxel_sizes(pair):
    target, auxiliary = pair
    grid = volume(np.zeros((90, 80, 50)), OBLIQUE @ np.diag([-1, 1, 1, 1]), "t1.nii.gz")
    grid.affine[:3, 3] = (
        target.affine[:3, :3] @ [35, 35, 26] + target.affine[:3, 3] - grid.affine[:3, :3] @ [45, 40, 25]
    )
    oblique = resample_to(auxiliary, grid)
    motion = movement(target, 5, 8)
    found = register_rigid(replace(oblique, affine=motion @ oblique.affine), target)
    assert mean_error(target, found.transform @ motion) < 1
    assert found.volume.data.shape == target.data.shape


def test_headers_without_a_common_origin(pair):
    """One file lost its place in space: the centres of mass bring the two together."""
    target, auxiliary = pair
    motion = movement(target, 8, 0)
    motion[:3, 3] += [300, -200, 500]
    lost = replace(auxiliary, affine=motion @ auxiliary.affine)
    found = register_rigid(lost, target)
    assert found.similarity_before == 0
    assert mean_error(target, found.transform @ motion) < 0.5


def test_thick_slices():
    target, auxiliary = subject(1)
    thick = volume(
        np.moveaxis(ndimage.uniform_filter1d(target.data, 2, axis=0)[::2], 0, 2),
        target.affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 2, -0.5], [0, 0, 0, 1]]),  # means of two slices
        "t2.nii.gz",
    )
    motion = movement(thick, 4, 5)
    found = register_rigid(replace(auxiliary, affine=motion @ auxiliary.affine), thick)
    assert mean_error(thick, found.transform @ motion) < 1
    assert found.similarity_after > 2 * found.similarity_before


def test_similarity_tells_in_place_from_moved_and_related_from_unrelated(pair):
    target, auxiliary = pair
    values = [
        similarity(target, replace(auxiliary, affine=movement(target, 0, shift) @ auxiliary.affine))
        for shift in (0, 2, 5, 10)
    ]
    assert values == sorted(values, reverse=True)
    assert similarity(target, target) > values[0] > 0.3
    noise = np.random.default_rng(0).uniform(1, 2, target.data.shape).astype(np.float32)
    assert similarity(target, replace(auxiliary, data=noise)) < 0.02
    assert similarity(target, replace(auxiliary, data=np.ones_like(noise))) == 0
    assert similarity(target, replace(auxiliary, affine=movement(target, 0, 1000))) == 0


def test_a_poor_fit_is_told_with_numbers(pair, caplog, monkeypatch):
    monkeypatch.setattr("fsmnet.data.register.SAMPLES", 10_000)
    target, auxiliary = pair
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(target.data.shape), 3)
    found = register_rigid(replace(auxiliary, data=np.maximum(noise, 0).astype(np.float32)), target)
    [message] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert message.startswith("t1.nii.gz to t2.nii.gz: ")
    assert f"mutual information {found.similarity_before:.2f} before, {found.similarity_after:.2f} after" in message
    assert "little in common after registration" in message or "made it worse" in message


def test_a_worse_fit_than_before_is_told(pair, caplog, monkeypatch):
    target, auxiliary = pair
    monkeypatch.setattr("fsmnet.data.register._improve", lambda *_: movement(target, 5, 8))
    register_rigid(auxiliary, target)
    [message] = [record.getMessage() for record in caplog.records]
    assert "t1.nii.gz to t2.nii.gz: registration made it worse (moved by " in message
    assert message.endswith("; look at both, or use --resample")


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([1.0, 2.0, 3.0, 1.0]),
        OBLIQUE,
        OBLIQUE @ np.diag([-1, 1, 1, 1]),
        OBLIQUE[:, [2, 0, 1, 3]],
        OBLIQUE @ np.array([[1, 0.2, 0, 0], [0, 1, 0.1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    ],
    ids=["straight", "oblique", "flipped", "axes exchanged", "sheared"],
)
def test_volumes_go_to_simpleitk_and_back(affine, smooth):
    array = smooth(0, (5, 6, 7))
    made = volume(array, affine, "made")
    image = to_simpleitk(made)
    assert image.GetSize() == (5, 6, 7)
    assert image.GetPixel(1, 2, 3) == array[1, 2, 3]
    left, posterior, up = image.TransformIndexToPhysicalPoint((1, 2, 3))
    np.testing.assert_allclose([-left, -posterior, up], nib.affines.apply_affine(affine, [1, 2, 3]), atol=1e-9)
    assert np.array_equal(sitk.GetArrayFromImage(image).swapaxes(1, 2), made.data)
    back = np.eye(4)
    back[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    back[:3, 3] = image.GetOrigin()
    np.testing.assert_allclose(np.diag([-1.0, -1, 1, 1]) @ back, affine, atol=1e-12)


def test_simpleitk_reads_a_nifti_file_at_the_same_place(tmp_path, write_nifti, smooth):
    path = write_nifti(tmp_path / "a.nii.gz", smooth(0, (5, 6, 7)), OBLIQUE)
    theirs, ours = sitk.ReadImage(str(path)), to_simpleitk(read_volume(path))
    assert np.array_equal(sitk.GetArrayFromImage(theirs), sitk.GetArrayFromImage(ours))
    for name in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(theirs, name)(), getattr(ours, name)(), atol=1e-4)


def test_the_head_is_found_in_noise(pair):
    target, _ = pair
    noisy = replace(target, data=target.data + np.random.default_rng(0).uniform(0, 0.02, target.data.shape))
    assert np.mean(head(noisy) != (target.data > 0)) < 0.02
    assert head(replace(target, data=np.zeros((4, 4, 4), np.float32))).all()


def test_what_cannot_be_registered_is_refused_in_words(pair, monkeypatch):
    target, auxiliary = pair
    with pytest.raises(UserError) as error:
        register_rigid(replace(auxiliary, data=auxiliary.data[:3]), target)
    assert str(error.value) == (
        "t1.nii.gz is 70 x 70 x 3: registration needs 4 voxels along each axis; use --resample instead"
    )
    with pytest.raises(UserError, match=r"t2\.nii\.gz: its affine gives a voxel without volume; correct the header"):
        register_rigid(auxiliary, replace(target, affine=np.diag([1.0, 0, 1, 1])))
    with pytest.raises(UserError, match=r"t1\.nii\.gz cannot be laid over t2\.nii\.gz: .*; are they of one exam\?"):
        register_rigid(replace(auxiliary, data=np.ones_like(auxiliary.data)), target)
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    for call in (lambda: register_rigid(auxiliary, target), lambda: similarity(target, auxiliary)):
        with pytest.raises(UserError) as error:
            call()
        assert str(error.value) == "registration needs SimpleITK; install it with pip install 'fsmnet[register]'"


def test_where_the_headers_place_them_is_judged(pair, caplog, monkeypatch):
    target, auxiliary = pair
    with caplog.at_level(logging.INFO):
        found = similarity_in_place(auxiliary, target)
        moved = resample_to(replace(auxiliary, affine=movement(target, 5, 8) @ auxiliary.affine), target)
        low = similarity_in_place(moved, target)
    assert (found, low) == (similarity(target, auxiliary), similarity(target, moved))
    told, warned = caplog.records
    names = "t1.nii.gz and t2.nii.gz"
    assert (told.levelno, warned.levelno) == (logging.INFO, logging.WARNING)
    assert told.getMessage() == f"{names}: mutual information {found:.2f} as they lie"
    assert warned.getMessage() == (
        f"{names}: little in common as they lie (mutual information {low:.2f}; expected at least 0.16); see that both "
        "show one head the same way up, or try --register rigid"
    )
    monkeypatch.setattr("fsmnet.data.register.find_spec", lambda _: None)
    assert similarity_in_place(auxiliary, target) is None


def test_repairs_are_told_before_registration(pair, caplog, monkeypatch):
    monkeypatch.setattr("fsmnet.data.register._improve", lambda _, start, *__: start)
    target, auxiliary = pair
    register_rigid(replace(auxiliary, n_nan=3), replace(target, n_nan=2))
    assert caplog.messages[:2] == [
        f"{name}: {number} NaN or infinite voxels of {target.data.size} set to 0"
        for name, number in (("t2.nii.gz", 2), ("t1.nii.gz", 3))
    ]


def test_a_volume_without_a_place_is_not_registered(pair):
    target, auxiliary = pair
    for moving, still in ((replace(auxiliary, placed=False), target), (auxiliary, replace(target, placed=False))):
        with pytest.raises(UserError, match=r"has no place in space, so nothing can be moved onto it"):
            register_rigid(moving, still)
