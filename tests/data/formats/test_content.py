"""Content that contradicts the ending of a name is read as what it is, or told as what it is."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest

from fsmnet.data.formats import read_kspace, read_volume
from fsmnet.data.formats.content import kind_of
from fsmnet.data.pairing.propose import propose_pairs
from fsmnet.errors import UserError

VOXELS = np.random.default_rng(1).integers(1, 100, (4, 9, 8)).astype(np.float32)


def nifti(path: Path, second: bool = False) -> Path:
    kind = nib.Nifti2Image if second else nib.Nifti1Image
    kind(np.moveaxis(VOXELS, 0, 2), np.diag([1, 2, 3, 1])).to_filename(path)
    return path


def numpy(path: Path, **arrays: np.ndarray) -> Path:
    with path.open("wb") as file:
        np.savez(file, **arrays) if arrays else np.save(file, VOXELS)
    return path


@pytest.mark.parametrize("second", [False, True])
def test_a_nifti_gzipped_against_its_name(tmp_path, caplog, second):
    plain = nifti(tmp_path / "x.nii", second)
    packed = nifti(tmp_path / "y.nii.gz", second)
    for right, wrong in ((plain, "plain.nii.gz"), (packed, "packed.nii"), (plain, "plain.h5"), (packed, "packed.npz")):
        path = shutil.copy(right, tmp_path / wrong)
        volume = read_volume(path)
        np.testing.assert_array_equal(volume.data, VOXELS)
        np.testing.assert_array_equal(volume.affine, np.diag([1, 2, 3, 1]))
        told = "is gzipped" if right == packed else "is not gzipped"
        assert f"{path}: {told}, which its name does not say; read by its content" in caplog.text
    caplog.clear()
    read_volume(plain)
    read_volume(packed)
    assert not caplog.records


def test_a_pair_of_them_is_accepted(tmp_path):
    nifti(tmp_path / "A_t1.nii")
    image = nib.Nifti1Image(np.moveaxis(VOXELS.max() + 1 - VOXELS, 0, 2), np.diag([1, 2, 3, 1]))
    image.to_filename(tmp_path / "other.nii")
    shutil.move(tmp_path / "other.nii", tmp_path / "A_t2.nii.gz")  # not gzipped
    [row] = propose_pairs(tmp_path, "{case}_t2.nii.gz", "{case}_t1.nii")
    assert row.accepted, row.reason


def test_a_cut_file_is_told_as_that(tmp_path):
    path = tmp_path / "cut.nii.gz"
    path.write_bytes(nifti(tmp_path / "x.nii").read_bytes()[:-500])
    with pytest.raises(UserError, match="cut short or damaged"):
        read_volume(path)
    path = tmp_path / "cut.nii"
    path.write_bytes(nifti(tmp_path / "x.nii.gz").read_bytes()[:-20])
    with pytest.raises(UserError, match="cut short or damaged"):
        read_volume(path)


def test_arrays_under_each_others_names(tmp_path):
    for path in (
        numpy(tmp_path / "a.npz"),
        numpy(tmp_path / "b.npy", image=VOXELS),
        numpy(tmp_path / "c.nii.gz", image=VOXELS),
        numpy(tmp_path / "d.h5"),
    ):
        np.testing.assert_array_equal(read_volume(path).data, VOXELS)
    kspace = np.zeros((2, 8, 8), np.complex64)
    kspace[:, 4, 4] = 1
    np.save(tmp_path / "k.npy", kspace)
    (tmp_path / "k.npy").rename(tmp_path / "k.h5")
    assert read_kspace(tmp_path / "k.h5").data.shape == (2, 1, 8, 8)


def test_hdf5_under_other_names(tmp_path):
    path = tmp_path / "x.npz"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["reconstruction_rss"] = VOXELS
    assert kind_of(path) == "hdf5"
    np.testing.assert_array_equal(read_volume(path).data, VOXELS)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\0" * 128 + b"DICM" + b"\0" * 300, "holds a DICOM file; give the folder that holds the files of the series"),
        (b"\x89PNG\r\n", "holds a picture"),
        (b"<!DOCTYPE html>", "holds a web page or XML; a login page may have been saved in the file's place"),
        (b"NRRD0004\n", "holds an NRRD image; convert it to .nii.gz"),
        (b"\0\5\x16\7\0\2", "holds macOS's notes on a file"),
        (gzip.compress(b"NRRD0004\n", mtime=0), "holds an NRRD image"),
    ],
)
@pytest.mark.parametrize("name", ["x.nii.gz", "x.nii", "x.h5", "x.npy", "x.dcm"])
def test_what_nothing_here_reads_is_named(tmp_path, content, words, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_volume(path)


def test_an_image_is_no_kspace(tmp_path):
    path = shutil.copy(nifti(tmp_path / "x.nii"), tmp_path / "x.h5")
    with pytest.raises(UserError, match=r"x\.h5: holds a nifti image and no k-space; give an image with --target"):
        read_kspace(path)
