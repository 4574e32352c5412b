"""What files, sidecars, records and the user say of a contrast."""

from __future__ import annotations

import json
from types import SimpleNamespace

import h5py
import pytest

from fsmnet.data.contrast import contrast_of, spoken, told_contrast


@pytest.mark.parametrize(
    ("name", "contrast"),
    [
        ("t2", "t2"),
        ("T2w", "t2"),
        ("BraTS-GLI-00001-000-t2f", "flair"),
        ("BraTS-GLI-00001-000-t1n", "t1"),
        ("BraTS-GLI-00001-000-t1c", "t1ce"),
        ("TCGA-FG-6692_t1ce", "t1ce"),
        ("UPENN-GBM-00001_11_T1GD", "t1ce"),
        ("patient1_FLAIR", "flair"),
        ("sub-01_ses-1_space-T1w_T2w", "t2"),
        ("sub-01_ce-gadolinium_T1w", "t1ce"),
        ("sub-01_FLAIR", "flair"),
        ("ax_T2_FLAIR", "flair"),
        ("t1_post", "t1ce"),
        ("t1_pre_contrast", "t1"),
        ("3DFLAIR", "flair"),
        ("AXT2", "t2"),
        ("AXT1POST", "t1ce"),
        ("CORPD_FBK", "pd"),
        ("{case}/anat/{case}_T2w.nii.gz", "t2"),
        ("PD-001_visit_T2", "t2"),  # the study's name, then the contrast
        ("adc", "adc"),
        ("T1_to_T2", ""),  # two, and neither is said to be it
        ("flair_in_t1_space", ""),
        ("T2D-0012_scan", ""),
        ("scan", ""),
    ],
)
def test_names(name, contrast):
    assert contrast_of(name) == contrast


@pytest.fixture
def file(tmp_path):
    def make(name="scan.nii.gz", **sidecar):
        path = tmp_path / name
        path.write_bytes(b"")
        if sidecar:
            path.with_name(name.split(".")[0] + ".json").write_text(json.dumps(sidecar))
        return path

    return make


def test_sidecars_and_records(file):
    flair = {"EchoTime": 0.12, "RepetitionTime": 9.0, "InversionTime": 2.5, "ScanningSequence": "SE\\IR"}
    assert told_contrast(file("a.nii.gz", **flair)).name == "flair"
    assert told_contrast(file("b.nii.gz", SeriesDescription="Ax T2 FSE")).name == "t2"
    # A gradient echo with the times of a T1-weighted spin echo may be anything, with an inversion it is MP-RAGE.
    echo = {"EchoTime": 0.003, "RepetitionTime": 0.02, "ScanningSequence": "GR"}
    assert told_contrast(file("c.nii.gz", **echo)).name == ""
    assert told_contrast(file("d.nii.gz", **echo | {"RepetitionTime": 2.3, "InversionTime": 0.9})).name == "t1"
    record = told_contrast(file("e.nii.gz", Suitability={"Target": "t2"}))
    assert (record.name, record.source) == ("t2", "by its record e.json")
    for strange in ({"EchoTime": "long"}, {"Suitability": {"Target": None}}, {"SeriesDescription": 7}):
        assert told_contrast(file("f.nii.gz", **strange)).name == ""
    (file("g.nii.gz").with_name("g.json")).write_text("[1")
    assert told_contrast(file("g.nii.gz")).name == ""


def test_the_attribute_of_fastmri(tmp_path):
    for value, name in (("AXFLAIR", "flair"), ("CORPDFS_FBK", "corpdfs_fbk"), ("unknown", "")):
        with h5py.File(tmp_path / "file.h5", "w") as content:
            content.attrs["acquisition"] = value
        assert told_contrast(tmp_path / "file.h5").name == name
    (tmp_path / "file.h5").write_bytes(b"no HDF5")
    assert told_contrast(tmp_path / "file.h5").name == ""


def test_the_user_is_believed_first_and_contradictions_are_told(file, tmp_path):
    said = told_contrast(file("x_t1.nii.gz"), "FLAIR", "by --target-contrast")
    assert (said.name, said.source, said.against) == ("flair", "by --target-contrast", "T1 by its name")
    assert told_contrast(file("x_t1.nii.gz")).against == ""
    series = SimpleNamespace(contrast="t2", description="tra T2")
    said = told_contrast(tmp_path, None, "", series)
    assert (said.name, said.source) == ("t2", "by its description 'tra T2' or its times")
    # Where nothing else says it, a folder that is called like a contrast.
    (tmp_path / "T2").mkdir()
    assert told_contrast(tmp_path / "T2" / "image.nii.gz").name == "t2"
    assert told_contrast(tmp_path / "image.nii.gz").name == ""


def test_messages_write_contrasts_as_people_do():
    assert [spoken(name) for name in ("t1ce", "flair", "adc")] == ["T1ce", "FLAIR", "ADC"]
