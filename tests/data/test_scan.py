"""DICOM through reconstruction and back: same place, right phase-encode axis."""

from __future__ import annotations

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("SimpleITK")

from dicom_study import Plan, write  # noqa: E402
from fsmnet import reconstruct  # noqa: E402
from fsmnet.data.dicom import list_series, read_series  # noqa: E402
from fsmnet.data.pairs import grid_difference  # noqa: E402
from fsmnet.data.scan import read_scan, turn  # noqa: E402
from fsmnet.errors import UserError  # noqa: E402

SHAPE = (3, 40, 32)  # slices, rows, columns


@pytest.fixture
def study(tmp_path):
    """Two oblique series of one exam on one grid; the T1 was phase-encoded along the other axis."""

    def along_the_row(_, dataset):
        dataset.InPlanePhaseEncodingDirection = "ROW"

    write(tmp_path / "study", Plan(number=3, description="T2 tse", shape=SHAPE, seed=1), prefix="A")
    write(tmp_path / "study", Plan(number=4, description="T1 se", shape=SHAPE, seed=2), along_the_row, prefix="B")
    return tmp_path / "study"


def test_the_phase_encode_axis_is_last(study):
    along_columns, along_rows = read_scan(study, "T2"), read_scan(study, "T1")
    assert (along_columns.turned, along_rows.turned) == (False, True)
    assert along_columns.volume.data.shape == (3, 32, 40)  # W: over the rows
    assert along_rows.volume.data.shape == (3, 40, 32)  # W: over the columns
    # Turned twice it is what was read, in the same place.
    original = read_series(study, "T1")
    assert not grid_difference(turn(along_rows.volume), original)
    assert np.array_equal(turn(along_rows.volume).data, original.data)


@pytest.mark.parametrize(("target", "auxiliary"), [("T2", "T1"), ("T1", "T2")])
def test_dicom_in_and_out(study, tmp_path, checkpoint_file, target, auxiliary):
    out = tmp_path / "result"
    options = {"checkpoint": checkpoint_file(tmp_path / "best.safetensors"), "device": "cpu"}
    series = {"target_series": target, "auxiliary_series": auxiliary}
    result = reconstruct(study, study, out, **series, **options)
    [written] = list_series(out)
    again, source = read_series(written), read_series(study, target)
    assert not grid_difference(again, source)  # every voxel within 1e-3 mm
    assert again.data.shape == source.data.shape
    expected = result.image.transpose(0, 2, 1) if target == "T1" else result.image
    assert np.abs(again.data - expected).max() < expected.max() / 30_000
    assert written.study_uid == list_series(study)[0].study_uid
    assert (tmp_path / "result_mask.npz").exists()
    assert target in result.sidecar["Sources"][0]["series"]
    with pytest.raises(UserError, match="not an empty folder"):
        reconstruct(study, study, out, overwrite=True, **series, **options)
    reconstruct(study, study, tmp_path / "as_nifti.nii.gz", **series, **options)


def test_series_are_chosen_only_in_folders(tmp_path, write_nifti):
    path = write_nifti(tmp_path / "x.nii.gz", np.ones((8, 8, 2), np.float32))
    with pytest.raises(UserError, match="only a DICOM folder has series"):
        read_scan(path, "T2")
