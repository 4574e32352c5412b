"""k-space of every format comes back as it was written; what is no k-space is refused in words."""

from __future__ import annotations

import gc

import h5py
import numpy as np
import pytest

from fastmri_tree import write_volume as write_fastmri
from fsmnet.data.formats import read_kspace
from fsmnet.data.formats.raw import KSpace, read_maps, turned
from fsmnet.errors import UserError


def centred(seed: int, *shape: int) -> np.ndarray:
    """Random complex64 k-space that is strongest in the middle."""
    rng = np.random.default_rng(seed)
    data = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    data[..., shape[-2] // 2, shape[-1] // 2] = 100
    return data.astype(np.complex64)


@pytest.fixture
def saved(tmp_path):
    """Function (array, name) -> path."""

    def save(array, name="kspace.npy"):
        path = tmp_path / name
        np.save(path, array)
        return path

    return save


@pytest.mark.parametrize(("shape", "full"), [((9, 8), (1, 1, 9, 8)), ((3, 9, 8), (3, 1, 9, 8)), ((3, 2, 9, 8),) * 2])
def test_axes_of_arrays(saved, shape, full):
    array = centred(0, *shape)
    kspace = read_kspace(saved(array))
    assert kspace.data.dtype == np.complex64
    assert np.array_equal(kspace.data, array.reshape(full))
    assert (kspace.size, kspace.coils, kspace.affine, kspace.columns) == (shape[-2:], full[1], None, None)


def test_double_precision_and_fortran_order(saved):
    array = np.asfortranarray(centred(0, 3, 9, 8).astype(np.complex128))
    assert np.array_equal(read_kspace(saved(array)).data[:, 0], array.astype(np.complex64))


def test_npz_with_mask_and_maps(tmp_path):
    array, maps = centred(0, 2, 3, 9, 8), centred(1, 3, 9, 8)
    mask = np.arange(8) % 2 == 0
    path = tmp_path / "scan.npz"
    np.savez(path, kspace=array, mask=mask[None, :, None].astype(np.uint8), maps=maps, remark=np.array("phantom"))
    kspace = read_kspace(path)
    assert np.array_equal(kspace.data, array)
    assert np.array_equal(kspace.columns, mask)
    assert np.array_equal(kspace.maps, maps[None])
    assert np.array_equal(read_maps(path), maps[None])
    np.savez(path, anything=array)
    assert np.array_equal(read_kspace(path).data, array)


def test_rows_phase_encoded(saved, tmp_path):
    array = centred(0, 2, 3, 9, 8)
    path = tmp_path / "scan.npz"
    np.savez(path, kspace=array, maps=array)
    kspace = read_kspace(path, rows=True)
    assert kspace.data.shape == (2, 3, 8, 9)
    assert np.array_equal(kspace.data, array.swapaxes(2, 3))
    assert np.array_equal(kspace.maps, kspace.data)
    assert kspace.size == (8, 9)


def test_turned_twice_is_the_same():
    affine = np.arange(16.0).reshape(4, 4)
    kspace = KSpace(centred(0, 2, 1, 9, 8), None, (6, 5), affine=affine)
    once = turned(kspace)
    assert once.size == (5, 6)
    assert np.array_equal(once.affine[:, 0], affine[:, 1])
    again = turned(once)
    assert np.array_equal(again.data, kspace.data)
    assert np.array_equal(again.affine, affine)


REFUSED = {
    "real": (
        np.ones((4, 6, 6), np.float32),
        "holds float32 values; k-space is complex, and an image goes with --target",
    ),
    "axes": (
        np.ones((2, 2, 2, 6, 6), np.complex64),
        r"has the shape \(2, 2, 2, 6, 6\); k-space has axes \(H, W\), \(S",
    ),
    "nan": (np.full((6, 6), np.nan, np.complex64), "36 of 36 k-space values are NaN or infinite; export it again"),
    "huge": (
        np.full((6, 6), 1e30, np.complex64),
        "its largest value is 1e\\+30, too large for single precision; divide",
    ),
    "faint": (
        np.full((6, 6), 1e-30, np.complex64),
        "its largest value is 1e-30, too small for single precision; multiply",
    ),
    "zero": (np.zeros((6, 6), np.complex64), "every value of the k-space is 0; there is nothing to reconstruct"),
    "one axis": (
        np.fft.ifftshift(centred(0, 16, 16), axes=-1),
        r"strongest at row 8 and column 0 of 16 x 16, not in the middle; apply numpy.fft.fftshift to axis -1 before",
    ),
    "corner": (
        np.fft.ifftshift(centred(0, 16, 16)),
        r"strongest at row 0 and column 0 of 16 x 16, not in the middle; apply numpy.fft.fftshift",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_arrays(saved, name):
    array, message = REFUSED[name]
    with pytest.raises(UserError, match=rf"kspace\.npy: .*{message}"):
        read_kspace(saved(array))


def test_refused_files(tmp_path, saved):
    with pytest.raises(UserError, match=r"nowhere.npy: no such file; give k-space as .npy, .npz, .h5 or .mrd"):
        read_kspace(tmp_path / "nowhere.npy")
    other = tmp_path / "kspace.mat"
    other.write_bytes(b"x")
    with pytest.raises(UserError, match=r"kspace.mat: k-space is read from .npy, .npz, .h5 or .mrd files"):
        read_kspace(other)
    broken = tmp_path / "broken.npy"
    broken.write_bytes(saved(centred(0, 6, 6)).read_bytes()[:-20])
    with pytest.raises(UserError, match=r"broken.npy: damaged or not a NumPy file of numbers"):
        read_kspace(broken)
    several = tmp_path / "several.npz"
    np.savez(several, a=np.ones(3), b=np.ones(3))
    with pytest.raises(UserError, match=r"several.npz: holds a, b; name the one to read 'kspace'"):
        read_kspace(several)
    masked = tmp_path / "masked.npz"
    np.savez(masked, kspace=centred(0, 6, 6), mask=np.ones((6, 6)))
    with pytest.raises(UserError, match=r"its mask of shape \(6, 6\) is no row of 0 and 1"):
        read_kspace(masked)
    np.savez(masked, kspace=centred(0, 6, 6), maps=np.ones((6, 6)))
    with pytest.raises(UserError, match=r"holds float64 of shape \(6, 6\) as maps; coil sensitivities are complex"):
        read_kspace(masked)
    with pytest.raises(UserError, match=r"nowhere.npy: no such file; give coil sensitivities"):
        read_maps(tmp_path / "nowhere.npy")
    with pytest.raises(UserError, match="its maps hold NaN or infinite values"):
        read_maps(saved(np.full((2, 6, 6), np.inf, np.complex64)))


@pytest.mark.filterwarnings("error")
def test_a_damaged_archive_is_closed(tmp_path):
    path = tmp_path / "broken.npz"
    np.savez(path, kspace=np.ones((4, 4), complex))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"broken.npz: damaged or not a NumPy file of numbers"):
        read_kspace(path)
    gc.collect()  # a file left open would warn here


@pytest.mark.parametrize("coils", [0, 3])
def test_fastmri(tmp_path, smooth, coils):
    images = smooth(0, (2, 16, 16), 0)
    mask = np.arange(28) % 3 > 0
    path = write_fastmri(tmp_path / "scan.h5", images, rows=32, columns=28, recon=16, coils=coils, mask=mask)
    with h5py.File(path) as file:
        written = file["kspace"][()]
    kspace = read_kspace(path)
    assert np.array_equal(kspace.data, written if coils else written[:, None])
    assert np.array_equal(kspace.columns, mask)
    assert kspace.size == (16, 16)
    assert kspace.knows_axis
    with pytest.raises(UserError, match="the format says that columns are phase-encoded; leave --phase-encode out"):
        read_kspace(path, rows=True)


def test_hdf5_of_another_kind(tmp_path):
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["image"] = np.ones(3)
    with pytest.raises(
        UserError, match=r"other.h5: holds image; k-space is fastMRI's dataset 'kspace' or an ISMRMRD group"
    ):
        read_kspace(path)
    with h5py.File(path, "w") as file:
        for name in ("one", "two"):
            file[f"{name}/xml"] = file[f"{name}/data"] = np.ones(3)
    with pytest.raises(UserError, match="holds 2 ISMRMRD scans, one, two; save the one wanted alone"):
        read_kspace(path)
    path.write_bytes(b"no HDF5")
    with pytest.raises(UserError, match=r"other.h5: cut short, damaged or not an HDF5 file \("):
        read_kspace(path)
