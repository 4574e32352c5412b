"""Every layout is found, and every file that is left out is accounted for."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fsmnet.data.pairing.names import Pair, find_pairs
from fsmnet.data.pairing.propose import propose_pairs
from fsmnet.data.pairing.tables import Row
from fsmnet.errors import UserError

SHAPE = (6, 7, 4)


@pytest.fixture
def make(tmp_path, write_nifti):
    """Function (names) -> root; small volumes on one grid."""

    def write(*names: str) -> Path:
        for number, name in enumerate(names, 1):
            write_nifti(tmp_path / name, np.full(SHAPE, number, np.int16))
        return tmp_path

    return write


def told(rows: list[Row], root: Path) -> list[tuple[str, str | None, str | None, bool, str]]:
    return [
        (
            row.case,
            row.target and row.target.relative_to(root).as_posix(),
            row.auxiliary and row.auxiliary.relative_to(root).as_posix(),
            row.accepted,
            row.reason,
        )
        for row in rows
    ]


def only(root: Path, target: str = "t2", auxiliary: str = "t1", **options: bool) -> Row:
    [row] = propose_pairs(root, target, auxiliary, **options)
    return row


# --- layouts ---------------------------------------------------------------------------------------------------------


def test_brats_of_both_namings(make):
    root = make(
        "HGG/B_2/B_2_t1.nii.gz",
        "HGG/B_2/B_2_t2.nii.gz",
        "2023/A-1/A-1-t1n.nii.gz",
        "2023/A-1/A-1-t2w.nii.gz",
        "2023/A-1/A-1-seg.nii.gz",
    )
    rows = propose_pairs(root, "t2", "t1")
    assert told(rows, root) == [
        ("A-1", "2023/A-1/A-1-t2w.nii.gz", "2023/A-1/A-1-t1n.nii.gz", True, ""),
        ("B_2", "HGG/B_2/B_2_t2.nii.gz", "HGG/B_2/B_2_t1.nii.gz", True, ""),
    ]
    assert [(row.target_shape, row.auxiliary_shape) for row in rows] == [(SHAPE, SHAPE)] * 2
    assert [Pair(row.case, row.target, row.auxiliary) for row in rows] == find_pairs(root, "t2", "t1")


@pytest.mark.parametrize(("target", "auxiliary"), [("t2", "t1"), ("T2w", "T1w"), ("t2W", "T1")])
def test_bids_with_and_without_sessions(make, target, auxiliary):
    root = make(
        *(f"sub-01/anat/sub-01_{kind}.nii.gz" for kind in ("T1w", "T2w", "FLAIR")),
        *(f"sub-02/ses-{n}/anat/sub-02_ses-{n}_{kind}.nii.gz" for n in "ab" for kind in ("T1w", "acq-tse_T2w")),
        "sub-01/func/sub-01_task-rest_bold.nii.gz",
        "derivatives/sub-01/anat/sub-01_T2w.nii.gz",
    )
    (root / "sub-01" / "anat" / "sub-01_T2w.json").touch()
    assert told(propose_pairs(root, target, auxiliary), root) == [
        ("sub-01", "sub-01/anat/sub-01_T2w.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz", True, ""),
        *(
            (
                f"sub-02_ses-{n}",
                f"sub-02/ses-{n}/anat/sub-02_ses-{n}_acq-tse_T2w.nii.gz",
                f"sub-02/ses-{n}/anat/sub-02_ses-{n}_T1w.nii.gz",
                True,
                "",
            )
            for n in "ab"
        ),
    ]


def test_bids_names_the_contrast_agent_as_an_entity(make):
    root = make(*(f"sub-1/anat/sub-1_{name}.nii" for name in ("T1w", "ce-gad_T1w", "T2w", "FLAIR")))
    for auxiliary, name in (("t1", "T1w"), ("t1ce", "ce-gad_T1w"), ("flair", "FLAIR")):
        row = only(root, "t2", auxiliary)
        assert row.accepted
        assert row.auxiliary == root / f"sub-1/anat/sub-1_{name}.nii"
    assert "2 candidates for T1w" in only(root, "t2", "T1w").reason


def test_patterns(make):
    root = make("x.1_T2.nii.gz", "x.1_T1.nii.gz", "deep/y_T2.nii.gz", "deep/y_T1.nii.gz")
    assert [(r.case, r.accepted) for r in propose_pairs(root, "**/{case}_T2.nii.gz", "**/{case}_T1.nii.gz")] == [
        ("x.1", True),
        ("y", True),
    ]
    assert only(root, "{case}_T2.nii.gz", "{case}_T1.nii.gz").case == "x.1"


# --- reasons ---------------------------------------------------------------------------------------------------------


def test_a_missing_contrast(make):
    root = make("A/A_t2.nii.gz", "B/B_t1.nii.gz")
    assert told(propose_pairs(root, "t2", "t1"), root) == [
        ("A", "A/A_t2.nii.gz", None, False, "no t1 of this case"),
        ("B", None, "B/B_t1.nii.gz", False, "no t2 of this case"),
    ]


def test_another_session_is_no_substitute(make):
    root = make("sub-1/ses-1/anat/sub-1_ses-1_T1w.nii.gz", "sub-1/ses-2/anat/sub-1_ses-2_T2w.nii.gz")
    assert [row.reason for row in propose_pairs(root, "t2", "t1")] == [
        "no t2 of this case; that of sub-1_ses-2 is another session's",
        "no t1 of this case; that of sub-1_ses-1 is another session's",
    ]


def test_several_candidates(make):
    root = make("a/A/A_t1.nii.gz", "a/A/A_t2.nii.gz", "b/A/A_t2.nii.gz", "c/A/A_t2.nii", "B/B_t1.nii.gz", "B/B_t2.nii")
    ambiguous, good = propose_pairs(root, "t2", "t1")
    assert ambiguous.target is None
    assert ambiguous.reason == (
        "3 candidates for t2: a/A/A_t2.nii.gz, b/A/A_t2.nii.gz, c/A/A_t2.nii; "
        "keep one, or narrow it down with a pattern"
    )
    assert good.accepted


def test_several_runs_in_bids(make):
    root = make(*(f"sub-1/anat/sub-1_{name}.nii.gz" for name in ("T1w", "run-1_T2w", "run-2_T2w")))
    row = only(root)
    assert not row.accepted
    assert row.reason.startswith("2 candidates for t2: sub-1/anat/sub-1_run-1_T2w.nii.gz, sub-1/anat/sub-1_run-2_T2w")
    assert only(root, "{case}/anat/{case}_run-1_T2w.nii.gz", "{case}/anat/{case}_T1w.nii.gz").accepted


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"A/A_t2\.nii: not a NIfTI image"),
        (b"no image" * 100, r"A/A_t2\.nii: not a NIfTI image; give a .nii or .nii.gz file, or copy it again"),
    ],
)
def test_an_unreadable_file(make, content, words):
    root = make("A/A_t1.nii.gz")
    (root / "A" / "A_t2.nii").write_bytes(content)
    row = only(root)
    assert row.target == root / "A" / "A_t2.nii"
    assert (row.accepted, row.target_shape, row.auxiliary_shape) == (False, None, SHAPE)
    with pytest.raises(UserError, match=words):
        raise UserError(row.reason)


def test_a_damaged_compressed_file(make):
    root = make("A/A_t1.nii.gz", "A/A_t2.nii.gz")
    path = root / "A" / "A_t2.nii.gz"
    path.write_bytes(path.read_bytes()[:20])
    assert only(root).reason.startswith("A/A_t2.nii.gz: not a NIfTI image; ")


def test_four_axes_and_complex_values(make, write_nifti):
    root = make("A/A_t1.nii.gz", "B/B_t1.nii.gz", "C/C_t1.nii.gz")
    write_nifti(root / "A" / "A_t2.nii.gz", np.ones((*SHAPE, 2), np.int16))
    write_nifti(root / "B" / "B_t2.nii.gz", np.ones(SHAPE, np.complex64))
    write_nifti(root / "C" / "C_t2.nii.gz", np.ones((*SHAPE, 1), np.int16))
    assert [row.reason for row in propose_pairs(root, "t2", "t1")] == [
        "A/A_t2.nii.gz: has 4 axes (6, 7, 4, 2); give one 3-D volume (a time point or echo saved on its own)",
        "B/B_t2.nii.gz: holds complex64 values; give a real magnitude image",
        "",
    ]


def test_another_image_format(make):
    root = make("A/A_t1.nii.gz")
    nib.save(nib.MGHImage(np.ones(SHAPE, np.float32), np.eye(4)), root / "a.mgz")
    (root / "A" / "A_t2.nii").write_bytes((root / "a.mgz").read_bytes())
    assert only(root).reason.startswith("A/A_t2.nii: ")


def test_different_grids(make, write_nifti):
    root = make("A/A_t1.nii.gz", "B/B_t1.nii.gz")
    write_nifti(root / "A" / "A_t2.nii.gz", np.ones((6, 7, 5), np.int16))
    write_nifti(root / "B" / "B_t2.nii.gz", np.ones(SHAPE, np.int16), np.diag([1, 1, 2.5, 1]))
    remedy = "; bring the auxiliary onto the target's grid with --resample or --register rigid"
    reasons = [
        f"A/A_t2.nii.gz is 6 x 7 x 5, A/A_t1.nii.gz is 6 x 7 x 4{remedy}",
        f"B/B_t2.nii.gz and B/B_t1.nii.gz have the same size but lie up to 6 mm apart{remedy}",
    ]
    rows = propose_pairs(root, "t2", "t1")
    assert [(row.accepted, row.reason) for row in rows] == [(False, reason) for reason in reasons]
    assert (rows[0].target_shape, rows[0].auxiliary_shape) == ((6, 7, 5), SHAPE)
    rows = propose_pairs(root, "t2", "t1", same_grid=False)
    assert [(row.accepted, row.reason) for row in rows] == [(True, reason) for reason in reasons]


def test_another_subjects_file(make):
    root = make("sub-1/anat/sub-1_T1w.nii.gz", "sub-1/anat/sub-2_T2w.nii.gz")
    make("sub-3/ses-1/anat/sub-3_ses-1_T1w.nii.gz", "sub-3/ses-1/anat/sub-3_ses-2_T2w.nii.gz")
    assert [row.reason for row in propose_pairs(root, "t2", "t1")] == [
        f"{name}: lies in the folder of {part}, which its name does not say; move or rename it"
        for name, part in (
            ("sub-1/anat/sub-2_T2w.nii.gz", "sub-1"),
            ("sub-3/ses-1/anat/sub-3_ses-2_T2w.nii.gz", "ses-1"),
        )
    ]


def test_one_file_for_both_and_two_problems_at_once(make):
    root = make("A_T2.nii", "B.nii")
    assert only(root, "{case}_T2.nii", "{case}_*.nii").reason == "target and auxiliary are one file, A_T2.nii"
    (root / "C").mkdir()
    for name in ("C_t1.nii", "C_t2.nii"):
        (root / "C" / name).write_bytes(b"no image" * 100)
    assert only(root).reason == (
        "C/C_t2.nii: not a NIfTI image; give a .nii or .nii.gz file, or copy it again; "
        "C/C_t1.nii: not a NIfTI image; give a .nii or .nii.gz file, or copy it again"
    )


def test_no_voxel_is_read(make, monkeypatch):
    root = make("A/A_t1.nii.gz", "A/A_t2.nii.gz")

    def refuse(*_, **__):
        raise AssertionError("voxels were read")

    monkeypatch.setattr(nib.arrayproxy.ArrayProxy, "__array__", refuse)
    monkeypatch.setattr(nib.arrayproxy.ArrayProxy, "__getitem__", refuse)
    assert only(root).accepted


def test_what_cannot_be_looked_for_is_refused_in_words(make):
    root = make("A/A_flair.nii.gz")
    for arguments, words in [
        ((root / "gone", "t2", "t1"), "gone: no such folder; give the folder that holds the cases"),
        ((root, "t2", "{case}_t1.nii"), "give target and auxiliary both as contrast names or both as patterns"),
        ((root, "t2", "T2"), "target and auxiliary are both t2; name two contrasts"),
        (
            (root, "t2", "t1"),
            r"neither t2 nor t1 is there \(looked for DICOM series and BraTS or BIDS files of these\)",
        ),
        ((root, "{case}_a.nii", "{case}_b.nii"), r"neither .* is there \(looked for files that match these\)"),
        ((root, "/x/{case}_a.nii", "/x/{case}_b.nii"), f"starts with /; write it relative to the folder {root}"),
    ]:
        with pytest.raises(UserError, match=words):
            propose_pairs(*arguments)


def test_arrays_and_fastmri_files_by_pattern(tmp_path, smooth):
    h5py = pytest.importorskip("h5py")
    for case in "ab":
        np.savez(tmp_path / f"{case}_T1.npz", image=smooth(0, (4, 6, 7)))
        with h5py.File(tmp_path / f"{case}_T2.h5", "w") as file:
            file["reconstruction_rss"] = smooth(1, (4, 6, 7 if case == "a" else 8))
    good, other = propose_pairs(tmp_path, "{case}_T2.h5", "{case}_T1.npz")
    assert (good.accepted, good.target_shape) == (True, (6, 7, 4))
    assert other.reason.startswith("b_T2.h5 is 6 x 8 x 4, b_T1.npz is 6 x 7 x 4; ")
