"""fastMRI files: what their headers say, slices that are copies, and one sentence for every broken file."""

from __future__ import annotations

import multiprocessing
import os

import h5py
import numpy as np
import pytest

from fastmri_tree import PIXEL, knee, write_volume
from fsmnet.data.formats import fastmri
from fsmnet.data.formats.fastmri import FastMRIFile, read_fastmri, write_submission
from fsmnet.errors import UserError
from full_disk import full_disk

SMALL = {"rows": 40, "columns": 30, "recon": 24}


@pytest.fixture
def images():
    return knee(0, "CORPD_FBK", 24, 3)


@pytest.fixture
def small(tmp_path, images):
    return write_volume(tmp_path / "file1000001.h5", images, **SMALL)


def test_a_volume_in_full_size(tmp_path):
    path = write_volume(
        tmp_path / "file1000323.h5", knee(0, "CORPDFS_FBK", 96, 2), acquisition="CORPDFS_FBK", skipped=3, seed=5
    )
    file = read_fastmri(path)
    assert (file.path, file.name, file.folder) == (path, "file1000323.h5", tmp_path.name)
    assert (file.acquisition, file.patient) == ("CORPDFS_FBK", f"{5:064x}")
    assert (file.shape, file.slices, file.columns, file.multicoil) == ((2, 640, 368), 2, 368, False)
    assert (file.encoded, file.recon, file.target_size, file.image_size) == ((640, 368), *[(320, 320)] * 3)
    assert file.voxel == pytest.approx((PIXEL, PIXEL, 3.0))
    assert (file.lines, file.mask, file.reconstruction) == ((3, 365), None, "reconstruction_esc")
    with h5py.File(path) as raw:
        assert file.maximum == pytest.approx(raw["reconstruction_esc"][()].max())
        assert file.norm == pytest.approx(np.linalg.norm(raw["reconstruction_esc"][()]))
        kspace, target = file.kspace(1), file.target(1)
        assert kspace.dtype == np.complex64
        assert target.dtype == np.float32
        np.testing.assert_array_equal(kspace, raw["kspace"][1])
        np.testing.assert_array_equal(target, raw["reconstruction_esc"][1])
    assert not kspace[:, :3].any()
    assert kspace[:, 3].all()


def test_slices_are_copies(small):
    file = read_fastmri(small)
    first = file.kspace(0)
    first[:] = 0
    assert file.kspace(0).any()


def test_several_coils(tmp_path, images):
    file = read_fastmri(write_volume(tmp_path / "brain.h5", images, coils=4, acquisition="AXT2", **SMALL))
    assert (file.shape, file.multicoil, file.reconstruction) == ((3, 4, 40, 30), True, "reconstruction_rss")
    assert file.kspace(2).shape == (4, 40, 30)


def test_a_test_file_has_a_mask_and_no_target(tmp_path, images):
    mask = np.arange(30) % 3 == 0
    file = read_fastmri(write_volume(tmp_path / "test.h5", images, mask=mask, **SMALL))
    np.testing.assert_array_equal(file.mask, mask)
    assert (file.reconstruction, file.target_size, file.maximum, file.image_size) == (None, None, None, (24, 24))
    with pytest.raises(UserError, match=r"test\.h5: has no reconstruction_esc or reconstruction_rss, as test files"):
        file.target(0)


def test_an_image_smaller_than_the_crop_is_what_there_is(tmp_path, images):
    file = read_fastmri(write_volume(tmp_path / "narrow.h5", images[:, :, :18], rows=40, columns=18, recon=24))
    assert file.image_size == (24, 18)


def test_a_header_without_limits_or_field_of_view(small):
    with h5py.File(small, "a") as file:
        text = file["ismrmrd_header"][()].decode()
        for gone in ("encodingLimits", "reconSpace/fieldOfView_mm"):
            text = text.replace(gone.rpartition("/")[2], "other")
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = text.encode()
    file = read_fastmri(small)
    assert (file.voxel, file.lines) == (None, (0, 30))


def rewrite(path, name, data=None):
    with h5py.File(path, "a") as file:
        del file[name]
        if data is not None:
            file[name] = data


def attribute(path, name, value):
    with h5py.File(path, "a") as file:
        file.attrs[name] = value


ENDLESS = b"<a><encoding><encodedSpace><matrixSize><x>1e999</x><y>8</y></matrixSize></encodedSpace></encoding></a>"


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda p: p.unlink(), "no such file"),
        (lambda p: p.write_bytes(b"not HDF5"), "cut short, damaged or not an HDF5 file"),
        (lambda p: p.write_bytes(p.read_bytes()[:-5000]), "cut short, damaged or not an HDF5 file"),
        (lambda p: rewrite(p, "kspace"), "has no dataset 'kspace'"),
        (lambda p: rewrite(p, "kspace", np.zeros((3, 40, 30))), "kspace is float64 of shape"),
        (lambda p: rewrite(p, "kspace", np.zeros((40, 30), complex)), r"of shape \(40, 30\)"),
        (lambda p: rewrite(p, "reconstruction_esc", np.zeros((2, 24, 24))), "must have the same slices"),
        (lambda p: rewrite(p, "ismrmrd_header"), "has no dataset 'ismrmrd_header'"),
        (lambda p: rewrite(p, "ismrmrd_header", b"<a>"), "ismrmrd_header is no XML"),
        (lambda p: rewrite(p, "ismrmrd_header", b"<a/>"), "has no encoding/encodedSpace/matrixSize"),
        (lambda p: rewrite(p, "ismrmrd_header", ENDLESS), "cannot convert float infinity"),
        (lambda p: attribute(p, "max", np.ones(2)), "cut short, damaged or not an HDF5 file"),
        (lambda p: attribute(p, "norm", h5py.Empty("f")), "cut short, damaged or not an HDF5 file"),
    ],
)
def test_a_broken_file_is_told_in_one_sentence(small, break_it, message):
    break_it(small)
    with pytest.raises(UserError, match=f"file1000001.h5: .*{message}"):
        read_fastmri(small)


def test_a_header_with_words_for_numbers(small):
    with h5py.File(small) as file:
        text = file["ismrmrd_header"][()].replace(b"<x>40</x>", b"<x>many</x>")
    rewrite(small, "ismrmrd_header", text)
    with pytest.raises(UserError, match="says 'many' for encoding/encodedSpace/matrixSize/x"):
        read_fastmri(small)


def test_a_mask_of_another_length(tmp_path, images):
    path = write_volume(tmp_path / "test.h5", images, mask=np.ones(30, bool), **SMALL)
    rewrite(path, "mask", np.ones(20, bool))
    with pytest.raises(UserError, match=r"mask has shape \(20,\), its kspace 30 columns"):
        read_fastmri(path)


def test_a_slice_that_is_not_there(small):
    with pytest.raises(UserError, match="has no slice 3; slices are 0 to 2"):
        read_fastmri(small).kspace(3)


@pytest.mark.parametrize(("name", "read"), [("kspace", FastMRIFile.kspace), ("reconstruction_esc", FastMRIFile.target)])
def test_values_that_are_none_are_told(small, name, read):
    with h5py.File(small, "a") as file:
        file[name][1, 3, 4] = np.nan
    file = read_fastmri(small)
    read(file, 0)
    with pytest.raises(UserError, match=f"file1000001.h5: {name} of slice 1 has NaN or infinite values; copy the file"):
        read(file, 1)


def test_a_file_that_vanishes_is_told(small):
    file = read_fastmri(small)
    small.unlink()
    with pytest.raises(UserError, match=r"kspace of slice 0 cannot be read .*copy the file again"):
        file.kspace(0)


def test_a_file_that_was_replaced_is_opened_again(small, images):
    before = read_fastmri(small).kspace(0)
    os.utime(write_volume(small.with_suffix(".new"), images[::-1], **SMALL), ns=(1, 1))
    small.with_suffix(".new").replace(small)
    assert not np.array_equal(read_fastmri(small).kspace(0), before)


def test_a_process_opens_each_file_once(small):
    file = read_fastmri(small)
    fastmri._opened.cache_clear()
    for index in (0, 1, 2):
        file.kspace(index)
        file.target(index)
    assert fastmri._opened.cache_info().misses == 1


def opened_in_worker(file):
    before = fastmri._opened.cache_info().misses
    kspace = file.kspace(1)
    return fastmri._opened.cache_info().misses - before, kspace


def test_a_forked_worker_opens_the_file_for_itself(small):
    file = read_fastmri(small)
    here = file.kspace(1)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        opened, there = pool.apply(opened_in_worker, (file,))
    assert opened == 1
    np.testing.assert_array_equal(there, here)


# --- submissions -----------------------------------------------------------------------------------------------------


def test_a_submission_is_what_fastmri_reads(tmp_path):
    images = np.random.default_rng(0).random((3, 8, 9))
    write_submission(images, tmp_path / "out" / "file1.h5")
    with h5py.File(tmp_path / "out" / "file1.h5") as file:
        assert list(file) == ["reconstruction"]
        assert file["reconstruction"].dtype == np.float32
        np.testing.assert_array_equal(file["reconstruction"][()], images.astype(np.float32))


@pytest.mark.parametrize(
    ("images", "name", "message"),
    [
        (np.ones((2, 8, 8)), "x.nii", "end the name in .h5"),
        (np.ones((8, 8)), "x.h5", r"stack of slices \(S, H, W\), not \(8, 8\)"),
        (np.full((1, 8, 8), np.nan), "x.h5", "NaN or infinite"),
    ],
)
def test_a_submission_that_makes_no_sense(tmp_path, images, name, message):
    with pytest.raises(UserError, match=message):
        write_submission(images, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_submission_on_a_full_disk(tmp_path):
    message = r"file1\.h5: cannot be written \(file too large\); free space or"
    with full_disk(30_000), pytest.raises(UserError, match=message):
        write_submission(np.random.default_rng(0).random((3, 64, 64)), tmp_path / "file1.h5")
    assert list(tmp_path.iterdir()) == []
