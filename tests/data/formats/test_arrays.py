"""NumPy files in and out: the array as it is, its place if the file tells it, and wrong files are refused in words."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fsmnet.data.formats import read_volume, volume_stem, write_volume
from fsmnet.data.formats.arrays import write_array
from fsmnet.data.pairing.names import load_pair
from fsmnet.data.volume import Volume
from fsmnet.errors import UserError

SHAPE = (4, 6, 7)  # slices, rows, columns
OBLIQUE = np.array([[-0.9, 0.1, 0.3, 40.0], [0.1, 1.1, -0.2, -31.0], [-0.15, 0.25, 2.9, 7.5], [0, 0, 0, 1]])


@pytest.fixture
def array(smooth):
    return smooth(0, SHAPE)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64, ">f4"])
def test_arrays_are_read_as_they_are(tmp_path, array, dtype):
    values = (array / 5).round().astype(dtype)
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "b.npz", anything=values)
    np.savez_compressed(tmp_path / "c.npz", image=values, other=np.ones(3), affine=OBLIQUE)
    for name in ("a.npy", "b.npz", "c.npz"):
        volume = read_volume(tmp_path / name)
        assert volume.data.dtype == np.float32
        assert volume.data.flags.c_contiguous
        assert np.array_equal(volume.data, values)
        assert volume.shape == (6, 7, 4)
        assert volume.placed == (name == "c.npz")
        assert np.array_equal(volume.affine, OBLIQUE if volume.placed else np.eye(4))
        assert volume.source == tmp_path / name


def test_an_array_in_fortran_order_and_nan(tmp_path, array):
    array[0, 0, :2], array[1, 1, 1] = np.nan, -4
    np.save(tmp_path / "a.npy", np.asfortranarray(array))
    volume = read_volume(tmp_path / "a.npy")
    assert (volume.n_nan, volume.n_negative) == (2, 1)
    assert volume.repairs() == f"{tmp_path / 'a.npy'}: 2 NaN or infinite and 1 negative voxels of 168 set to 0"
    assert np.array_equal(volume.data[2:], array[2:])


def test_a_nifti_as_npz_is_in_the_same_place(tmp_path, write_nifti, array):
    nifti = write_nifti(tmp_path / "a.nii.gz", np.moveaxis(array, 0, 2), OBLIQUE)
    image = nib.load(nifti)
    np.savez(tmp_path / "a.npz", image=np.moveaxis(np.asarray(image.dataobj), 2, 0), affine=image.affine)
    one, same = read_volume(nifti), read_volume(tmp_path / "a.npz")
    assert np.array_equal(one.data, same.data)
    assert np.array_equal(one.affine, same.affine)
    np.savez(tmp_path / "b.npz", image=array.max() + 1 - array, affine=image.affine)
    one, other = load_pair(nifti, tmp_path / "b.npz")
    assert np.array_equal(one.affine, other.affine)


@pytest.mark.parametrize("placed", [True, False])
def test_round_trip(tmp_path, array, placed):
    volume = Volume(array, OBLIQUE if placed else np.eye(4), Path("made"), placed=placed)
    for name in ("new/result.npy", "new/result.npz"):
        write_array(2 * array.astype(np.float64), volume, tmp_path / name, "made by a test")
        again = read_volume(tmp_path / name)
        assert np.array_equal(again.data, 2 * array)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["result.npy", "result.npz"]
    assert np.load(tmp_path / "new" / "result.npy").dtype == np.float32
    assert (again.placed, np.array_equal(again.affine, volume.affine)) == (placed, True)
    with np.load(tmp_path / "new" / "result.npz") as entries:
        assert entries["description"].item() == "made by a test"
        assert ("affine" in entries) == placed


def test_a_nifti_of_an_array_without_place_is_told(tmp_path, array, caplog):
    np.save(tmp_path / "a.npy", array)
    volume = read_volume(tmp_path / "a.npy")
    write_volume(volume.data, volume, tmp_path / "a.nii.gz")
    assert caplog.messages == [f"{tmp_path / 'a.npy'}: has no place in space, nor has what is made of it"]
    header = nib.load(tmp_path / "a.nii.gz").header
    assert (int(header["sform_code"]), int(header["qform_code"]), header.get_zooms()) == (0, 0, (1, 1, 1))
    assert not read_volume(tmp_path / "a.nii.gz").placed


def test_an_array_beside_a_scan_is_taken_to_lie_on_its_grid(tmp_path, write_nifti, array, caplog):
    nifti = write_nifti(tmp_path / "t1.nii.gz", np.moveaxis(array, 0, 2), OBLIQUE)
    np.save(tmp_path / "t2.npy", array.max() + 1 - array)
    for pair in ((tmp_path / "t2.npy", nifti), (nifti, tmp_path / "t2.npy")):
        caplog.clear()
        load_pair(*pair)
        assert caplog.messages == [f"{tmp_path / 't2.npy'}: has no place in space; taken to lie on the grid of {nifti}"]
    caplog.clear()
    np.save(tmp_path / "t1.npy", array + 1)
    load_pair(tmp_path / "t2.npy", tmp_path / "t1.npy")
    assert not caplog.messages
    np.save(tmp_path / "small.npy", array[1:])
    with pytest.raises(UserError, match=r"small\.npy is 6 x 7 x 3, .* is 6 x 7 x 4; give them on one grid"):
        load_pair(tmp_path / "small.npy", nifti)
    with pytest.raises(UserError, match=r"small\.npy: has no place in space, so nothing can be moved onto it"):
        load_pair(tmp_path / "small.npy", nifti, resample=True)


REFUSED = {
    "complex": ({"image": np.ones(SHAPE, np.complex64)}, "holds complex64 values; .* k-space with --kspace instead"),
    "text": ({"image": np.array([[["a"]]])}, "holds <U1 values; give a real magnitude image"),
    "bool": ({"image": np.ones(SHAPE, bool)}, "holds bool values"),
    "flat": ({"image": np.ones((6, 7))}, r"has 2 axes \(6, 7\); give one volume \(slices, rows, columns\)"),
    "4-D": ({"image": np.ones((2, *SHAPE))}, r"has 4 axes \(2, 4, 6, 7\); give one volume"),
    "empty": ({"image": np.ones((0, 6, 7))}, r"has 3 axes \(0, 6, 7\)"),
    "constant": ({"image": np.ones(SHAPE)}, "every voxel is 1; a constant volume"),
    "nothing": ({}, "it holds no array"),
    "several": ({"a": np.ones(SHAPE), "b": np.ones(SHAPE)}, "holds a, b; name the image 'image'"),
    "affine": ({"image": np.ones(SHAPE), "affine": np.eye(3)}, r"its affine is no \(4, 4\) matrix of finite numbers"),
    "nan": ({"image": np.ones(SHAPE), "affine": np.full((4, 4), np.nan)}, "no .* matrix of finite numbers"),
    "thin": ({"image": np.ones(SHAPE), "affine": np.diag([1, 1, 0, 1])}, "its affine gives a voxel without volume"),
    "row": ({"image": np.ones(SHAPE), "affine": OBLIQUE.T}, "has a last row that is not 0 0 0 1"),
    "pickled": ({"image": np.array([None])}, r"damaged or not a NumPy file of numbers \(Object arrays cannot be"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_volume_is_refused_in_words(tmp_path, name):
    entries, words = REFUSED[name]
    np.savez(tmp_path / "a.npz", **entries)
    with pytest.raises(UserError, match=words) as error:
        read_volume(tmp_path / "a.npz")
    assert str(error.value).startswith(f"{tmp_path / 'a.npz'}: ")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_damaged_files_are_refused_in_words(tmp_path, array, name):
    path = tmp_path / name
    np.save(path, array) if name == "a.npy" else np.savez_compressed(path, array)
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 0xFF
    contents = [b"", b"no array" * 40, whole[:40], whole[: len(whole) // 2], whole[:-1]]
    for content in [*contents, bytes(broken)] if name == "a.npz" else contents:
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"damaged or not a NumPy file"):
            read_volume(path)
    with pytest.raises(UserError, match="no such file"):
        read_volume(tmp_path / f"gone_{name}")


def test_stems():
    assert [volume_stem(Path(name)) for name in ("x/a.npy", "a.npz", "a.npz.nii")] == ["a", "a", "a.npz"]
