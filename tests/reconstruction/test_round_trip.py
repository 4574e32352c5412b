"""Whatever goes in: geometry, orientation and form come back through ``reconstruct``, and the type of whole numbers."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest

from fsmnet import reconstruct
from fsmnet.errors import UserError

SHAPE = (20, 24, 2)  # as in the file: rows, columns, slices
TURN = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]])
TILT = np.array([[1, 0, 0], [0, np.cos(0.2), -np.sin(0.2)], [0, np.sin(0.2), np.cos(0.2)]])
OBLIQUE = nib.affines.from_matvec(TURN @ TILT @ np.diag([0.9, 1.1, 3]), [80, -70.5, 12])
AFFINES = {
    "identity": np.eye(4),
    "flipped once": np.diag([-1.0, 1.0, 2.0, 1.0]),
    "flipped thrice": np.diag([-1.0, -1.5, -2.0, 1.0]),
    "sagittal": np.array([[0, 0, 2.0, -9], [-1, 0, 0, 8], [0, 1.2, 0, -7], [0, 0, 0, 1]]),
    "oblique": OBLIQUE,
    "oblique, flipped": OBLIQUE @ np.diag([1, -1, 1, 1]),
    "sheared": OBLIQUE @ np.array([[1, 0.1, 0, 0], [0, 1, 0.2, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
}
TYPES = {  # type in the file, slope, intercept
    "uint8": (np.uint8, None, None),
    "int16 with slope": (np.int16, 0.37, 12.5),
    "uint16": (np.uint16, None, None),
    "float64": (np.float64, None, None),
}


@pytest.fixture
def go(tmp_path, checkpoint_file):
    """Function (target, auxiliary, name of the result, **options) -> result; 1.5x, so that it resembles the target."""
    checkpoint = checkpoint_file(tmp_path / "best.safetensors")

    def run(target: Path, auxiliary: Path, out: str, **options):
        defaults = {"checkpoint": checkpoint, "device": "cpu", "acceleration": 1.5, "center_fraction": 0.3}
        return reconstruct(target, auxiliary, tmp_path / out, **{**defaults, **options})

    return run


def save(path: Path, array: np.ndarray, affine: np.ndarray, slope: float | None = None, inter: float | None = None):
    image = nib.Nifti1Image(array, affine)
    if slope is not None:
        image.header.set_slope_inter(slope, inter)
    nib.save(image, path)
    return path


def similar(a: np.ndarray, b: np.ndarray) -> bool:
    """Of the same voxels in the same order."""
    return np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.9


CASES = [
    *((name, "int16 with slope", "columns") for name in AFFINES),
    *(("oblique, flipped", kind, "rows") for kind in TYPES),
    ("sagittal", "uint8", "rows"),
]


@pytest.mark.parametrize(("name", "kind", "phase_encode"), CASES)
def test_nifti(go, tmp_path, smooth, name, kind, phase_encode):
    dtype, slope, inter = TYPES[kind]
    arrays = [smooth(seed, SHAPE, 20, 250).astype(dtype) for seed in (0, 1)]
    files = [
        save(tmp_path / f"{n}.nii.gz", array, AFFINES[name], slope, inter)
        for n, array in zip(("t2", "t1"), arrays, strict=True)
    ]
    result = go(*files, "result.nii.gz", phase_encode=phase_encode)
    before, after = nib.load(files[0]), nib.load(result.out)
    assert after.shape == SHAPE
    assert np.array_equal(after.affine, before.affine)
    assert nib.aff2axcodes(after.affine) == nib.aff2axcodes(AFFINES[name])
    for key in ("pixdim", "qform_code", "sform_code", "quatern_b", "srow_x", "srow_y", "srow_z", "xyzt_units"):
        assert np.array_equal(after.header[key], before.header[key]), key
    voxels = result.sidecar["Voxels"]
    assert after.get_data_dtype().name == voxels["Type"]
    assert voxels["Type"] in (("float32",) if np.dtype(dtype).kind == "f" else (np.dtype(dtype).name, "int16"))
    assert (after.dataobj.slope, after.dataobj.inter) == (voxels.get("Slope", 1), voxels.get("Intercept", 0))
    values = before.get_fdata()  # slope and intercept applied
    assert similar(after.get_fdata(), values)
    assert 0.8 < after.get_fdata().mean() / values.mean() < 1.2
    assert "not for clinical use" in after.header["descrip"].item().decode()
    lines = SHAPE[0] if phase_encode == "rows" else SHAPE[1]
    assert result.sidecar["Mask"]["of"] == lines


def test_the_axis_said_is_the_one_under_sampled(go, tmp_path, smooth):
    """Lines that were left out are missing along that axis of the file and along no other."""
    files = [save(tmp_path / f"{n}.nii.gz", smooth(seed, (24, 24, 1)), OBLIQUE) for seed, n in enumerate(("t2", "t1"))]
    plain, exchanged = (go(*files, f"{axis}.nii.gz", phase_encode=axis) for axis in ("columns", "rows"))
    assert np.array_equal(plain.mask.columns, exchanged.mask.columns)
    turned = [
        save(tmp_path / f"{n}_turned.nii.gz", nib.load(f).get_fdata().swapaxes(0, 1), OBLIQUE[:, [1, 0, 2, 3]])
        for n, f in zip(("t2", "t1"), files, strict=True)
    ]
    again = go(*turned, "turned.nii.gz", mask=tmp_path / "rows_mask.npz", acceleration=None, center_fraction=None)
    first, second = nib.load(tmp_path / "rows.nii.gz").get_fdata(), nib.load(again.out).get_fdata()
    np.testing.assert_allclose(first, second.swapaxes(0, 1), atol=1e-3)
    assert np.abs(first - nib.load(plain.out).get_fdata()).max() > 1


@pytest.mark.parametrize(("axis", "square"), [("columns", False), ("rows", True)])
def test_arrays(go, tmp_path, smooth, axis, square):
    shape = (2, 24, 24) if square else (2, 20, 24)
    target = smooth(0, shape)
    np.save(tmp_path / "t2.npy", target)
    np.savez(tmp_path / "t1.npz", image=smooth(1, shape).astype(np.uint16))
    for out in ("result.npy", "result_z.npz", "result_n.nii.gz"):
        result = go(tmp_path / "t2.npy", tmp_path / "t1.npz", out, phase_encode=axis)
        assert result.out.with_name(f"{out.split('.')[0]}_mask.npz").is_file()
        record = json.loads(result.out.with_name(f"{out.split('.')[0]}.json").read_text())
        assert "not for clinical use" in record["Description"]
    image, entries = np.load(tmp_path / "result.npy"), np.load(tmp_path / "result_z.npz")
    assert (image.dtype, image.shape) == (np.float32, shape)
    assert similar(image, target)
    assert np.array_equal(entries["image"], image)
    assert "not for clinical use" in entries["description"].item()
    assert "affine" not in entries
    assert np.array_equal(np.moveaxis(np.asarray(nib.load(tmp_path / "result_n.nii.gz").dataobj), 2, 0), image)


def test_an_affine_beside_an_array_comes_back(go, tmp_path, smooth):
    for seed, name in enumerate(("t2", "t1")):
        np.savez(tmp_path / f"{name}.npz", image=smooth(seed, (2, 20, 24)), affine=OBLIQUE)
    go(tmp_path / "t2.npz", tmp_path / "t1.npz", "a.npz")
    go(tmp_path / "t2.npz", tmp_path / "t1.npz", "a.nii.gz", overwrite=True)
    assert np.array_equal(np.load(tmp_path / "a.npz")["affine"], OBLIQUE)
    np.testing.assert_allclose(nib.load(tmp_path / "a.nii.gz").affine, OBLIQUE, atol=1e-5)


def test_fastmri_images(go, tmp_path, smooth, caplog):
    target = smooth(0, (2, 20, 24), 0, 1e-4)
    for seed, name in enumerate(("t2", "t1")):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["reconstruction_esc"] = smooth(seed, (2, 20, 24), 0, 1e-4)
    result = go(tmp_path / "t2.h5", tmp_path / "t1.h5", "a.nii.gz")
    assert similar(np.moveaxis(nib.load(result.out).get_fdata(), 2, 0), target)
    assert "has no place in space, nor has what is made of it" in caplog.text
    submission = go(tmp_path / "t2.h5", tmp_path / "t1.h5", "b.h5")
    with h5py.File(submission.out) as file:
        assert np.array_equal(file["reconstruction"], submission.image)


def test_four_axes_are_refused_with_advice(go, tmp_path, smooth):
    time = save(tmp_path / "4d.nii.gz", smooth(0, (*SHAPE, 3)), OBLIQUE)
    one = save(tmp_path / "3d.nii.gz", smooth(0, SHAPE), OBLIQUE)
    for pair in ((time, one), (one, time)):
        with pytest.raises(UserError, match=r"4d\.nii\.gz: has 4 axes .*; give one 3-D volume \(a time point or echo"):
            go(*pair, "result.nii.gz")


def test_one_slice_on_another_grid(go, tmp_path, smooth):
    target = save(tmp_path / "t2.nii.gz", smooth(0, (20, 24, 1)), np.diag([1.0, 1.0, 4.0, 1.0]))
    auxiliary = save(tmp_path / "t1.nii.gz", smooth(1, (22, 26, 3)), np.diag([1.0, 1.0, 4.0, 1.0]))
    result = go(target, auxiliary, "a.nii.gz", resample=True)
    assert result.sidecar["Registration"]["Kind"].startswith("none; resampled")
    assert nib.load(result.out).shape == (20, 24, 1)
