"""With ``--anonymise`` nothing of who was scanned, where and when is in a DICOM result or its record."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")

from pydicom.uid import UID  # noqa: E402

from dicom_study import OBLIQUE, Plan, write  # noqa: E402 - needs pydicom
from fsmnet.cli import main  # noqa: E402
from fsmnet.data.formats.dicom import list_series, read_series  # noqa: E402
from fsmnet.data.formats.dicom.anonymous import KEPT  # noqa: E402
from planting import BIRTHDAY, SECRET, plant_dicom  # noqa: E402


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "study-of-somebody"
    series_t1 = Plan(number=5, description="T1 tse tra", seed=7, shape=(4, 36, 40), directions=OBLIQUE)
    series_t2 = Plan(number=3, shape=(4, 36, 40), directions=OBLIQUE)
    for plan in (series_t1, series_t2):
        write(folder, plan, lambda _, dataset: plant_dicom(dataset), prefix=f"IM{plan.number}_")
    return folder


def written(folder: Path) -> bytes:
    return b"".join(path.name.encode() + path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_nothing_of_a_person_is_left(study, tmp_path, checkpoint_file):
    uids = {str(value) for path in study.iterdir() for value in _uids(pydicom.dcmread(path))}
    words = ["--target", str(study), "--target-series", "3", "--auxiliary", str(study), "--auxiliary-series", "5"]
    words += [
        "--checkpoint",
        str(checkpoint_file(tmp_path / "best.safetensors")),
        "--device",
        "cpu",
        "--acceleration",
        "4",
    ]
    out = tmp_path / "out" / "new"
    assert main(["reconstruct", *words, "--anonymise", "--out", str(out)]) == 0
    everything = written(tmp_path / "out")
    assert [
        text for text in (SECRET, SECRET.upper(), BIRTHDAY, "study-of-somebody", *uids) if text.encode() in everything
    ] == []
    [series] = list_series(out)
    [source] = [one for one in list_series(study) if one.number == 3]
    volume, original = read_series(series), read_series(source)
    np.testing.assert_array_equal(volume.affine, original.affine)
    assert volume.shape == original.shape
    images = [pydicom.dcmread(path) for path in sorted(out.iterdir())]
    assert len({image.StudyInstanceUID for image in images}) == 1
    assert len({image.SOPInstanceUID for image in images}) == len(images)
    assert all(UID(value).is_valid for image in images for value in _uids(image))
    assert {image.PatientIdentityRemoved for image in images} == {"YES"}
    assert "not for clinical use" in images[0].SeriesDescription
    assert {element.keyword for element in images[0]} <= {*KEPT, *_EXPECTED}
    record = json.loads(out.with_name("new.json").read_text())
    assert [one["series"] for one in record["Sources"]] == [None, None]


_EXPECTED = {
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber"),
    *("ReferringPhysicianName", "StudyID", "Manufacturer", "PositionReferenceIndicator", "SOPInstanceUID"),
    *(
        "StudyInstanceUID",
        "FrameOfReferenceUID",
        "SeriesInstanceUID",
        "PatientIdentityRemoved",
        "DeidentificationMethod",
    ),
}


def _uids(dataset) -> set[str]:
    return {
        str(getattr(dataset, name))
        for name in ("StudyInstanceUID", "FrameOfReferenceUID", "SeriesInstanceUID", "SOPInstanceUID")
    }


def test_without_it_the_study_keeps_its_identity(study, tmp_path, checkpoint_file):
    words = ["--target", str(study), "--target-series", "3", "--auxiliary", str(study), "--auxiliary-series", "5"]
    words += [
        "--checkpoint",
        str(checkpoint_file(tmp_path / "best.safetensors")),
        "--device",
        "cpu",
        "--acceleration",
        "4",
    ]
    assert main(["reconstruct", *words, "--out", str(tmp_path / "out" / "new")]) == 0
    image = pydicom.dcmread(min((tmp_path / "out" / "new").iterdir()))
    assert image.PatientID == SECRET
    assert "PatientIdentityRemoved" not in image or image.PatientIdentityRemoved != "YES"
