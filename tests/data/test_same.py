"""Target and auxiliary that are one scan are refused, however it is stored: the target would leak to the network."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pytest

from fsmnet import reconstruct
from fsmnet.cli import main
from fsmnet.data.pairing.names import load_pair
from fsmnet.data.pairing.propose import propose_pairs
from fsmnet.data.same import rearranged, same_files, same_scans, same_voxels
from fsmnet.errors import UserError

SHAPE = (24, 24, 4)


@pytest.fixture
def head(smooth):
    return np.round(smooth(0, SHAPE)).astype(np.float32)


def copies(folder, head, write_nifti):
    """The same scan in other files."""
    path = write_nifti(folder / "t2.nii.gz", head)
    shutil.copy(path, folder / "copy.nii.gz")
    write_nifti(folder / "unpacked.nii", head)
    write_nifti(folder / "integers.nii.gz", head.astype(np.int16))
    write_nifti(folder / "scaled.nii.gz", head * 0.37)
    write_nifti(folder / "bytes.nii.gz", np.round(head / head.max() * 255).astype(np.uint8))
    np.save(folder / "array.npy", np.moveaxis(head, 2, 0))
    return path, [other for other in sorted(folder.iterdir()) if other != path]


def test_copies_are_refused_wherever_two_are_read(tmp_path, write_nifti, head):
    path, others = copies(tmp_path, head, write_nifti)
    assert len(others) == 6
    for other in others:
        words = f"t2.nii.gz and .*{other.name} show the same voxels; give two contrasts of one exam"
        with pytest.raises(UserError, match=words):
            load_pair(path, other)
        with pytest.raises(UserError, match=words):
            reconstruct(path, other, tmp_path / "out" / "new.nii.gz")
    assert not (tmp_path / "out").exists()
    told = {"copy.nii.gz", "unpacked.nii", "integers.nii.gz", "scaled.nii.gz", "bytes.nii.gz"}
    assert {other.name for other in others if same_scans(path, other)} == told
    assert {other.name for other in others if same_files(path, other)} == {"copy.nii.gz", "unpacked.nii"}
    for name, turned in (
        ("flipped", head[::-1, :, ::-1]),
        ("axes", head.transpose(1, 0, 2)),
        ("half", head[:, ::-1] / 2),
    ):
        write_nifti(tmp_path / f"{name}.nii.gz", np.ascontiguousarray(turned))
        with pytest.raises(UserError, match="show the same voxels"):
            load_pair(path, tmp_path / f"{name}.nii.gz")
    moved = nib.Nifti1Image(head, np.diag([1, 1, 1, 1]) + np.eye(4, k=3) * 500)
    nib.save(moved, tmp_path / "moved.nii.gz")
    with pytest.raises(UserError, match="show the same voxels"):
        load_pair(path, tmp_path / "moved.nii.gz", resample=True)


def test_two_contrasts_of_one_head_are_two(tmp_path, write_nifti, head):
    other = np.where(head > head.mean(), head * 0.9, head)
    paths = [write_nifti(tmp_path / name, data) for name, data in (("t2.nii.gz", head), ("t1.nii.gz", other))]
    assert not same_voxels(head, other)
    assert not rearranged(head, other)
    inverted = np.where(head > 0, head.max() + head.min() - head, 0)  # another contrast in the same mask
    assert not rearranged(head, inverted)
    assert not same_files(*paths)
    assert not same_scans(*paths)
    load_pair(*paths)
    assert not same_voxels(head, head[:-1])
    assert not same_voxels(np.zeros_like(head), np.zeros_like(head))


@pytest.mark.parametrize("name", ["A_t1.nii.gz", "A_t1.nii"])
def test_every_command_refuses(tmp_path, write_nifti, head, capsys, name):
    data = tmp_path / "data"
    write_nifti(data / "A" / "A_t2.nii.gz", head)
    write_nifti(data / "A" / name, head * 0.37)
    [row] = propose_pairs(data, "t2", "t1")
    assert not row.accepted
    assert row.reason == f"A/A_t2.nii.gz and A/{name} show the same voxels; give two contrasts"
    shared = ["--data", str(data), "--protocol", "float", "--device", "cpu", "--out", str(tmp_path / "out")]
    for command in (["evaluate", "--models", "zero_filling"], ["train", "--epochs", "1", "--validation-fraction", "0"]):
        assert main([*command, *shared]) == 2
        assert "show the same voxels" in capsys.readouterr().err


def test_one_series_of_dicom(tmp_path):
    pytest.importorskip("SimpleITK")
    from dicom_study import Plan, write

    write(tmp_path / "study" / "a", Plan(3, "T2 tse", shape=(3, 20, 20)))
    study = tmp_path / "study"
    with pytest.raises(UserError, match="show the same voxels"):
        reconstruct(study, study, tmp_path / "new")
    write(study / "b", Plan(4, "T1 se", shape=(3, 20, 20)))  # the same pixels as a series of its own
    with pytest.raises(UserError, match="show the same voxels"):
        reconstruct(study, study, tmp_path / "new", target_series="3", auxiliary_series="4")
    [row] = propose_pairs(study, "t2", "t1")
    assert (row.accepted, row.reason) == (
        False,
        "series 3 'T2 tse' and series 4 'T1 se' show the same image; give two contrasts",
    )
