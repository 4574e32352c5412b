"""Whose scan a case is: by conventions, by a pattern, by a table, by the file."""

from __future__ import annotations

import pytest

from fsmnet.data.options import PairOptions
from fsmnet.data.patients import patient_of, patients_of
from fsmnet.errors import UserError

SEVERAL = {
    "BraTS-GLI-00001": ["BraTS-GLI-00001-100", "BraTS-GLI-00001-101"],
    "BraTS-MET-00012": ["BraTS-MET-00012-000"],
    "sub-01": ["sub-01", "sub-01_ses-02", "sub-01_ses-pre", "sub-01/ses-1", "sub-01_ses-1_run-2"],
    "OMSL-01": ["OMSL-01-s1", "OMSL-01-s2", "OMSL-01_ses2", "OMSL-01-baseline", "OMSL-01_20190131"],
    "TCGA-FG-6692": ["TCGA-FG-6692", "TCGA-FG-6692-01A"],
    "UPENN-GBM-00002": ["UPENN-GBM-00002_11", "UPENN-GBM-00002_21"],
    "OAS30001": ["OAS30001_MR_d0129", "OAS30001_MR_d3132"],
    "Patient-007": ["Patient-007_week-012-1", "Patient-007_week-000"],
}
ALONE = [
    *("BraTS2021_00001", "BraTS20_Training_001", "OMS-07", "stroke-VRD", "case-1", "case-s1", "phantom-0003"),
    *("brain_scan_001", "IXI002-Guys-0828", "file1000001", "s1"),
]


@pytest.mark.parametrize(("patient", "case"), [(patient, case) for patient, cases in SEVERAL.items() for case in cases])
def test_names_of_several_examinations(patient, case):
    assert patient_of(case) == patient


@pytest.mark.parametrize("case", ALONE)
def test_names_without_a_time_point_are_the_patients(case):
    assert patient_of(case) == case


def options(tmp_path, **given):
    return PairOptions(data=tmp_path, **given)


def test_a_pattern_wins_over_everything(tmp_path):
    cases = ["A7x1", "A7x2", "B1x1"]
    for pattern in ("{patient}x*", "(.+)x", r"(?:)(?P<patient>[AB]\d)"):
        assert patients_of(cases, options(tmp_path, patient=pattern), {"A7x1": "other"}) == {
            "A7x1": "A7", "A7x2": "A7", "B1x1": "B1",
        }  # fmt: skip
    for pattern, message in (
        ("A{patient}x*", "case B1x1 is not of this form"),
        ("A*", "has no place for the patient"),
        ("(", r"no pattern \("),
    ):
        with pytest.raises(UserError, match=message):
            patients_of(cases, options(tmp_path, patient=pattern))


def test_a_column_of_a_table(tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_text("case,target,patient\na,t.nii,one\nb,u.nii,one\nc,v.nii,two\n")
    given = options(tmp_path, patient_table=table)
    assert patients_of(["a", "b", "c"], given) == {"a": "one", "b": "one", "c": "two"}
    with pytest.raises(UserError, match="has no patient for case d; add a line"):
        patients_of(["a", "d"], given)
    with pytest.raises(UserError, match="give --patient or --patient-table, not both"):
        patients_of(["a"], options(tmp_path, patient_table=table, patient="{patient}"))
    for text, message in (
        ("case,who\na,b\n", "its columns must be named case and patient"),
        ("case\tpatient\na\t1\na\t2\n", "case a has two patients, 1 and 2"),
    ):
        table.write_text(text)
        with pytest.raises(UserError, match=message):
            patients_of(["a"], given)
    with pytest.raises(UserError, match=r"gone\.csv: cannot be read"):
        patients_of(["a"], options(tmp_path, patient_table=tmp_path / "gone.csv"))


def test_what_the_files_say_wins_over_the_names(tmp_path):
    assert patients_of(["sub-1_ses-1", "sub-2_ses-1"], options(tmp_path), {"sub-1_ses-1": "x"}) == {
        "sub-1_ses-1": "x", "sub-2_ses-1": "sub-2",
    }  # fmt: skip
