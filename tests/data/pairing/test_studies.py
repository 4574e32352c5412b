"""Pairs of DICOM series: contrasts are guessed, studies are kept apart, and every refusal has its numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom")
pytest.importorskip("SimpleITK")

from dicom_study import Plan, write
from fsmnet.cli import main
from fsmnet.data.formats.dicom import choose_series, list_series, read_series, write_series
from fsmnet.data.formats.dicom.checks import checked
from fsmnet.data.formats.dicom.contrast import guess_contrast
from fsmnet.data.formats.dicom.geometry import affine
from fsmnet.data.pairing.names import Pair
from fsmnet.data.pairing.propose import propose_pairs
from fsmnet.data.pairing.tables import Row, read_table, write_table
from fsmnet.errors import UserError

T2, T1 = Plan(3, "T2 tse tra"), Plan(4, "T1 fl3d", seed=1)


def put(**values):
    """A change that sets these elements in every slice."""

    def change(k, d):
        for keyword, value in values.items():
            setattr(d, keyword, value)

    return change


def only(root: Path, target: str = "t2", auxiliary: str = "t1", **options: bool) -> Row:
    [row] = propose_pairs(root, target, auxiliary, **options)
    return row


@pytest.fixture
def study(tmp_path) -> Path:
    """Two series of one study in one folder; 14 x 18 x 5 voxels each."""
    write(tmp_path / "study", T2, prefix="A")
    write(tmp_path / "study", T1, prefix="B")
    return tmp_path / "study"


@pytest.mark.parametrize(
    ("description", "contrast"),
    [
        *(("T1", "t1"), ("t1_mprage_sag_p2_iso", "t1"), ("Ax T1 FLAIR", "t1"), ("3D SPGR", "t1"), ("AX BRAVO", "t1")),
        *(("T1w post Gd", "t1ce"), ("t1_se_tra_KM", "t1ce"), ("SAG T1 +C", "t1ce"), ("T1 pre contrast", "t1")),
        *(("T2 tse tra", "t2"), ("pd+t2_tse", "t2"), ("AX_T2", "t2"), ("t2w fat sat", "t2"), ("T2 TIRM tra", "flair")),
        *(("T2 FLAIR", "flair"), ("t2_tirm_tra_dark-fluid", "flair"), ("PD tse", "pd"), ("proton density", "pd")),
        *(("T2* gre", ""), ("t2_star", ""), ("T1 map", ""), ("T2 localizer", ""), ("DWI b1000", ""), ("CT10", "")),
    ],
)
def test_contrasts_by_description(description, contrast):
    assert guess_contrast(description) == contrast


@pytest.mark.parametrize(
    ("times", "contrast"),
    [
        *(((12, 550, None), "t1"), ((90, 4000, 0), "t2"), ((110, 9000, 2500), "flair"), ((15, 3000, None), "pd")),
        *(((3, 2000, 900), ""), ((None, 500, None), ""), ((90, None, None), ""), ((50, 1500, None), "")),
    ],
)
def test_contrasts_by_times_where_the_description_is_silent(times, contrast):
    assert guess_contrast("tra 3 mm", *times) == contrast
    assert guess_contrast("T2 tra", *times) == "t2"


def test_contrast_agents_in_the_header():
    assert guess_contrast("T1 tra", agent="Gadovist") == "t1ce"
    assert guess_contrast("T1 tra", agent="none") == "t1"
    assert guess_contrast("T1 pre", agent="Gadovist") == "t1"
    assert guess_contrast("T2 tra", agent="Gadovist") == "t2"


@pytest.mark.parametrize("shape", [(5, 18, 14), (1, 18, 14)])
def test_the_place_by_the_headers_is_that_of_the_series_read(tmp_path, shape):
    write(tmp_path, Plan(shape=shape, step=-3.3))
    [series] = list_series(tmp_path)
    np.testing.assert_allclose(affine(checked(series)), read_series(series).affine, atol=1e-6)


def test_a_study_is_a_case_and_its_series_are_named(study, tmp_path):
    assert only(study) == Row("study", study, study, True, "", (14, 18, 5), (14, 18, 5), "3", "4")
    assert only(tmp_path, "T2", "fl3d") == only(study)
    write_table(propose_pairs(tmp_path, "t2", "t1"), tmp_path / "pairs.csv")
    assert (tmp_path / "pairs.csv").read_text().splitlines() == [
        "case,target,auxiliary,target_series,auxiliary_series,status,reason",
        "study,study,study,3,4,accepted,",
    ]
    [pair] = read_table(tmp_path / "pairs.csv")
    assert pair == Pair("study", study, study, "3", "4")
    assert read_series(pair.target, pair.target_series).series == "series 3 'T2 tse tra'"


def test_pixels_are_not_read(study, monkeypatch):
    def refuse(*_):
        raise AssertionError("pixels were read")

    monkeypatch.setattr("fsmnet.data.formats.dicom.pixels._read_pixels", refuse)
    assert only(study).accepted


def test_studies_of_several_folders_and_of_one(tmp_path):
    for folder, study, patient in (("p1/a", "1.2.1", "P1"), ("p1/b", "1.2.2", "P1"), ("p2", "1.2.3", "P2")):
        for plan, prefix in ((T2, "A"), (T1, "B")):
            change = put(StudyInstanceUID=study, PatientID=patient, SeriesInstanceUID=f"{study}.{plan.number}")
            write(tmp_path / folder / prefix, plan, change)
            write(tmp_path / "flat", plan, change, prefix=f"{prefix}{study}-") if patient == "P1" else None
    rows = propose_pairs(tmp_path / "p1", "t2", "t1")
    assert [(row.case, row.target, row.target_series, row.accepted) for row in rows] == [
        (name, tmp_path / "p1" / name, "3", True) for name in "ab"
    ]
    assert [row.case for row in propose_pairs(tmp_path / "p2", "t2", "t1")] == ["p2"]
    rows = propose_pairs(tmp_path / "flat", "t2", "t1")
    assert [(row.case, row.target, row.target_series) for row in rows] == [
        (f"flat_{study}", tmp_path / "flat", f"{study}.3") for study in ("1.2.1", "1.2.2")
    ]
    for row in rows:  # the table's name finds the series
        assert choose_series(list_series(row.target), row.target_series).study_uid == row.case[5:]


def test_folders_of_like_names_stay_two_cases(tmp_path):
    for folder, study in (("a/b", "1.2.1"), ("a_b", "1.2.2")):
        for plan, prefix in ((T2, "A"), (T1, "B")):
            change = put(StudyInstanceUID=study, SeriesInstanceUID=f"{study}.{plan.number}")
            write(tmp_path / folder, plan, change, prefix=prefix)
    assert [row.case for row in propose_pairs(tmp_path, "t2", "t1")] == ["a_b_1.2.1", "a_b_1.2.2"]


def test_only_results(study, tmp_path):
    write_series(read_series(study, 3).data, study, tmp_path / "derived", which=3)
    with pytest.raises(UserError, match=r"no DICOM series is t2 or t1 .*; there are none"):
        propose_pairs(tmp_path / "derived", "t2", "t1")


def test_different_grids(tmp_path):
    write(tmp_path, T2, prefix="A")
    write(tmp_path, Plan(4, "T1 fl3d", (6, 18, 14)), prefix="B")
    name = tmp_path.name
    words = (
        f"{name}, series 3 'T2 tse tra' is 14 x 18 x 5, {name}, series 4 'T1 fl3d' is 14 x 18 x 6; bring the auxiliary "
        "onto the target's grid with --resample or --register rigid"
    )
    assert (only(tmp_path).accepted, only(tmp_path).reason) == (False, words)
    assert (only(tmp_path, same_grid=False).accepted, only(tmp_path, same_grid=False).reason) == (True, words)


def test_the_same_size_in_another_place(tmp_path):
    write(tmp_path, T2, prefix="A")
    write(tmp_path, Plan(4, "T1", origin=(-71.25, 33.5, 14.125), seed=1), prefix="B")
    assert "have the same size but lie up to 2 mm apart; bring" in only(tmp_path).reason


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put(PatientID="P-18"), "series 3 'T2 tse tra' and series 4 'T1 fl3d' have different PatientIDs in one study"),
        (put(FrameOfReferenceUID="1.2.3"), "series 3 .* and series 4 .* have different frames of reference"),
        (
            lambda k, d: k != 2,
            "series 4 'T1 fl3d' .*: about 1 slice missing: the usual step is 3.300 mm, but it is 6.6",
        ),
        (put(ImageType=["ORIGINAL", "PRIMARY", "P"]), "series 4 .* a phase image; give the magnitude series"),
    ],
)
def test_series_that_make_no_pair(tmp_path, change, words):
    write(tmp_path, T2, prefix="A")
    write(tmp_path, T1, change, prefix="B")
    row = only(tmp_path)
    assert not row.accepted
    with pytest.raises(UserError, match=words):
        raise UserError(row.reason)
    assert only(tmp_path, same_grid=False).accepted == ("frames of reference" in words)


def test_another_study_of_the_patient_is_no_substitute(tmp_path):
    write(tmp_path / "a", T2)
    write(tmp_path / "b", T1, put(StudyInstanceUID="1.2.3"))
    write(tmp_path / "c", Plan(5, "T1"), put(StudyInstanceUID="1.2.4", PatientID="P-18"))
    assert [row.reason for row in propose_pairs(tmp_path, "t2", "t1")] == [
        "no t1 among its 1 series; that of b is another study of this patient",
        "no t2 among its 1 series; that of a is another study of this patient",
        "no t2 among its 1 series",
    ]


def test_several_candidates_and_unusable_ones(study):
    write(study, Plan(5, "T2 broken"), lambda k, d: k != 2, prefix="C")
    assert only(study).target_series == "3"  # the other could not be read
    write(study, Plan(6, "T2 haste"), prefix="D")
    assert only(study).reason == (
        "2 candidates for t2: series 3 'T2 tse tra', series 6 'T2 haste'; give a longer part of one's description"
    )
    assert only(study, "haste").target_series == "6"
    assert only(study, "T2 TSE tra").target_series == "3"
    assert only(study, "haste", "T2 HASTE").reason == "target and auxiliary are both series 6 'T2 haste'"


def test_results_are_no_candidates(study):
    write_series(read_series(study, 3).data, study, study / "derived", which=3)
    assert only(study).target_series == "3"


def test_one_number_for_two_series(study):
    again = Plan(4, "scout", (3, 8, 8))
    write(study, again, prefix="C")
    assert only(study).auxiliary_series == T1.series_uid


def test_neither_contrast(study):
    with pytest.raises(
        UserError, match="no DICOM series is flair or pd by its description or times; there are series 3"
    ):
        propose_pairs(study, "flair", "pd")
    (study / "x.nii.gz").touch()
    with pytest.raises(UserError, match="looked for files that match these"):
        propose_pairs(study, "{case}_a.nii", "{case}_b.nii")


def test_command_line(study, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["pair", "study", "--target", "T2", "--auxiliary", "T1"]) == 0
    assert "accepted  study\npairs.csv: 1 of 1 pairs can be used" in capsys.readouterr().out
    assert read_table(Path("pairs.csv")) == [Pair("study", Path("study"), Path("study"), "3", "4")]
