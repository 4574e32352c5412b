"""A DICOM study on two grids through ``pair``, ``reconstruct`` and back to DICOM: every voxel within 1e-3 mm.

pydicom writes the study and the result; SimpleITK, another library, reads the result.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
sitk = pytest.importorskip("SimpleITK")

from dicom_study import OBLIQUE, TILT, Plan, write  # noqa: E402
from fsmnet.cli import main  # noqa: E402
from fsmnet.data.formats.dicom import list_series  # noqa: E402
from fsmnet.data.pairing.tables import read_table  # noqa: E402

# Two oblique grids, turned against each other, of which the auxiliary's covers the target's.
TARGET = Plan(3, "T2 tse tra", (4, 40, 36), (0.7, 1.1), 3.3, OBLIQUE, (-20.0, -15.0, 4.0), seed=1)
AUXILIARY = Plan(7, "T1 fl3d", (14, 44, 40), (1.3, 1.5), 2.0, TILT, (-36.0, -28.0, -6.0), 1.0, 0.0, seed=2)


@pytest.fixture(scope="module")
def result(tmp_path_factory, checkpoint_file) -> tuple[Path, Path]:
    """The study's folder, and that of the series reconstructed through a table."""
    root = tmp_path_factory.mktemp("dicom")
    write(root / "exams" / "exam", TARGET, prefix="A")
    write(root / "exams" / "exam", AUXILIARY, prefix="B")
    checkpoint, table = checkpoint_file(root / "best.safetensors"), root / "pairs.csv"
    assert main(["pair", str(root / "exams"), "--out", str(table)]) == 3  # on different grids
    assert main(["pair", str(root / "exams"), "--out", str(table), "--resample", "--overwrite"]) == 0
    [pair] = read_table(table)
    assert (pair.case, pair.target_series, pair.auxiliary_series) == ("exam", "3", "7")
    options = ["--checkpoint", str(checkpoint), "--resample", "--device", "cpu"]
    assert main(["reconstruct", "--pairs", str(table), "--out", str(root / "results"), *options]) == 0
    return root / "exams" / "exam", root / "results" / "exam"


def headers(folder: Path, number: int) -> list[pydicom.Dataset]:
    """The files of a series in the order of their slices."""
    found = [pydicom.dcmread(path) for path in folder.iterdir()]
    return sorted((d for d in found if d.SeriesNumber == number), key=lambda d: d.InstanceNumber)


def test_another_library_finds_every_voxel_where_it_was(result):
    study, folder = result
    [uid] = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid))
    image = reader.Execute()
    slices, rows, columns = TARGET.shape
    assert image.GetSize() == (columns, rows, slices)
    k, i, j = np.meshgrid(*map(np.arange, TARGET.shape), indexing="ij")
    linear = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    places = np.stack([j, i, k], axis=-1) @ linear.T + image.GetOrigin()
    for source, found in zip(headers(study, TARGET.number), places, strict=True):  # by the standard, C.7.6.2.1-1
        along_row, along_column = np.reshape(np.array(source.ImageOrientationPatient, float), (2, 3))
        between_rows, between_columns = map(float, source.PixelSpacing)
        x, y = np.arange(columns)[:, None] * between_columns, np.arange(rows)[:, None, None] * between_rows
        expected = np.array(source.ImagePositionPatient, float) + along_row * x + along_column * y
        assert np.abs(found - expected).max() < 1e-3
    # and in it, what lies there: noise, which a flip or an exchange of axes would leave without any relation
    values = sitk.GetArrayFromImage(image)
    related = [np.corrcoef(values.ravel(), x.ravel())[0, 1] for x in (TARGET.values(), TARGET.values()[:, ::-1])]
    assert related[0] > 0.3
    assert abs(related[1]) < 0.1


def test_it_is_a_derived_series_of_the_same_study(result):
    study, folder = result
    uids = set()
    pairs = list(zip(headers(study, TARGET.number), headers(folder, TARGET.number + 1000), strict=True))
    for before, after in pairs:
        uids |= {before.SOPInstanceUID, after.SOPInstanceUID}
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName"):
            assert after[keyword].value == before[keyword].value
        assert after.SeriesInstanceUID != before.SeriesInstanceUID
        assert list(after.ImageType)[:2] == ["DERIVED", "SECONDARY"]
        assert after.SeriesDescription == "T2 tse tra - research reconstruction, not for clinical use"
        for part in ("not for clinical use", "FSMNet", "best.safetensors", "Source series 3 'T2 tse tra'"):
            assert part in after.DerivationDescription
        assert "not for clinical use" in after.ImageComments
        assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert len(uids) == 2 * TARGET.shape[0]
    assert len({after.SeriesInstanceUID for _, after in pairs}) == 1


def test_its_record_names_both_series(result):
    study, folder = result
    record = json.loads(folder.with_name("exam.json").read_text())
    assert "not for clinical use" in record["Description"]
    series = list_series(study)
    assert [source["series"] for source in record["Sources"]] == list(map(str, series))
    assert [source["shape"] for source in record["Sources"]] == [[36, 40, 4], [40, 44, 14]]
    assert all(len(source["sha256"]) == 64 for source in record["Sources"])
    assert folder.with_name("exam_mask.npz").exists()


def test_a_result_in_the_study_is_no_candidate(result, tmp_path):
    study, folder = result
    for path in folder.iterdir():
        (study / f"derived-{path.name}").write_bytes(path.read_bytes())
    assert main(["pair", str(study), "--out", str(tmp_path / "pairs.csv"), "--resample"]) == 0
    assert read_table(tmp_path / "pairs.csv")[0].target_series == "3"
