"""A list of exams: what is bad is told, what is done stays, and a list that was killed goes on."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import fsmnet.reconstruction.exam
from exam_list import SHAPE
from fsmnet.cli import main
from fsmnet.errors import UserError
from fsmnet.files import PART, sha256
from fsmnet.physics.masks import make_mask, save_mask
from fsmnet.reconstruction.exams import run_list
from fsmnet.reconstruction.options import ReconstructConfig


def test_nine_results_and_three_reasons(place, capsys):
    exams = place(12)
    broken = exams.break_three()
    good = [case for case in exams.cases if case not in broken]
    assert main(exams.command()) == 3
    rows = exams.rows()
    assert list(rows) == exams.cases
    assert [case for case, row in rows.items() if row == ("done", "")] == good
    reasons = [rows[case][1] for case in broken]
    assert [rows[case][0] for case in broken] == ["failed"] * 3
    assert re.search(r"case-02_t2\.nii\.gz: cut short or damaged \(.*\); copy it again$", reasons[0])
    assert re.search(r"case-05_t2\.nii\.gz is 32 x 32 x 3, \S+case-05_t1\.nii\.gz is 32 x 30 x 3; pass", reasons[1])
    assert re.search(r"case-11_t1\.nii\.gz: no such file$", reasons[2])
    files = {f"{case}{ending}" for case in good for ending in (".nii.gz", ".json", "_mask.npz", "_picture.png")}
    assert {path.name for path in exams.out.iterdir()} == files | {"exams.csv"}
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in told[:-1]] == [[case, row[0]] for case, row in rows.items()]
    assert all(line.endswith(row[1]) for line, row in zip(told, rows.values(), strict=False))
    assert told[-1] == "12 exams: 9 done, 0 skipped, 3 failed"

    # Each is what the command makes of it alone.
    alone = exams.root / "alone.nii.gz"
    scans = [f"--{name}={exams.file('case-07', c)}" for name, c in (("target", "t2"), ("auxiliary", "t1"))]
    options = ["--checkpoint", str(exams.checkpoint), "--device", "cpu"]
    assert main(["reconstruct", *scans, *options, "--out", str(alone)]) == 0
    one, listed = (json.loads(path.read_text()) for path in (exams.root / "alone.json", exams.record("case-07")))
    assert one["Sources"] == listed["Sources"]
    assert one["Mask"]["columns"] == listed["Mask"]["columns"]
    assert one["Metrics"] == listed["Metrics"]
    np.testing.assert_array_equal(nib.load(alone).get_fdata(), nib.load(exams.out / "case-07.nii.gz").get_fdata())

    # Mended and started again: only these are done.
    before = exams.results()
    for seed, case in enumerate(broken):
        for offset, contrast in ((0, "t1"), (3, "t2")):
            exams.write(exams.file(case, contrast), exams.smooth(50 + offset + seed, SHAPE))
    assert main(exams.command()) == 0
    assert exams.rows() == {case: ("done" if case in broken else "skipped", "") for case in exams.cases}
    assert before.items() <= exams.results().items()


# The program, which dies as by ``kill -9`` as soon as the third exam's record has its name.
DIES = """
import os, signal, sys
from fsmnet.cli import main
replace, records = os.replace, []
def replace_and_die(source, target, **options):
    replace(source, target, **options)
    records.extend([target] if str(target).endswith(".json") else [])
    if len(records) >= 3:  # two threads may both have counted before either looks
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = replace_and_die
main(sys.argv[1:])
"""


def test_killed_and_started_again(place):
    exams = place(12, (96, 96, 6))
    exams.break_three()
    command = [sys.executable, "-c", DIES, *exams.command("--batch", "1")]
    process = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    assert process.returncode == -signal.SIGKILL
    complete = [path.stem for path in exams.out.glob("case-*.json")]
    assert 3 <= len(complete) < 9  # others may have been written meanwhile
    before = {name: file for name, file in exams.results().items() if re.split(r"[._]", name)[0] in complete}
    (exams.out / f"{PART}abcdefgh-case-08.nii.gz").write_bytes(b"half")
    (exams.out / f"{PART}abcdefgh-exams.csv").write_text("half")

    assert main(exams.command("--batch", "1")) == 3
    assert before.items() <= exams.results().items()  # neither done twice nor touched
    rows = exams.rows()
    assert {case for case, row in rows.items() if row == ("skipped", "")} == set(complete)
    assert [row[0] for row in rows.values()].count("failed") == 3
    assert not list(exams.out.glob(".*"))
    assert len(list(exams.out.glob("*.nii.gz"))) == len(list(exams.out.glob("case-*.json"))) == 9
    for path in exams.out.glob("case-*.json"):
        output = json.loads(path.read_text())["Output"]
        assert sha256(exams.out / output["file"]) == output["sha256"]
        assert np.isfinite(nib.load(exams.out / output["file"]).get_fdata()).all()


def test_a_result_without_its_record_is_done_again(place):
    exams = place(2)
    assert main(exams.command()) == 0
    exams.record("case-01").unlink()  # killed between the image and its record
    before = exams.results()
    assert main(exams.command()) == 0
    assert exams.rows()["case-01"] == ("done", "done again, since it has no record")
    assert exams.rows()["case-02"] == ("skipped", "")
    after = exams.results()
    assert after["case-01.nii.gz"][0] > before["case-01.nii.gz"][0]
    assert after["case-01.nii.gz"][1] == before["case-01.nii.gz"][1]


def test_a_record_that_is_none_is_done_again(place):
    exams = place(1)
    assert main(exams.command()) == 0
    for text in ("[]", '{"Sources": [], "Model": [], "Mask": null, "Options": {}}', '{"Sources": '):
        exams.record("case-01").write_text(text)
        assert main(exams.command()) == 0
        assert exams.rows()["case-01"] == ("done", "done again, since it has no record")


def test_what_is_skipped_is_verified(place, checkpoint_file, caplog):
    exams = place(1)
    image = exams.out / "case-01.nii.gz"

    def again(*options: str) -> tuple[str, str]:
        assert main(exams.command(*options)) == 0
        return exams.rows()["case-01"]

    assert again() == ("done", "")
    assert again("--batch", "1", "--workers", "3") == ("skipped", "")
    assert again("--check", "1") == ("done", "done again, since it was made without the hold-out check")
    told = ("--check", "1", "--target-contrast", "FLAIR")
    assert again(*told) == ("done", "done again, since its target counted as another contrast")
    assert again(*told) == ("skipped", "")
    assert again("--overwrite") == ("done", "")
    caplog.clear()
    image.write_bytes(image.read_bytes()[:-20])
    assert again() == ("done", "done again, since the image is not the one that was recorded")
    assert "case-01: a result is there, but the image is not the one that was recorded; done again" in caplog.messages
    image.unlink()
    assert again() == ("done", "done again, since the image is missing")
    assert again("--acceleration", "3") == ("done", "done again, since it was made with another acceleration")
    assert again() == ("done", "done again, since it was made with another acceleration")
    exams.out.joinpath("case-01_mask.npz").unlink()
    assert again() == ("done", "done again, since its mask is missing or another one")
    exams.write(exams.file("case-01", "t1"), exams.smooth(77, SHAPE))
    assert again() == ("done", "done again, since its inputs have changed")
    checkpoint_file(exams.checkpoint, "mdunet", seed=1, features=4, levels=2)
    assert again() == ("done", "done again, since it was made with other weights")
    mask = exams.root / "mask.npz"
    save_mask(make_mask("random", SHAPE[1], 4, 0.08, 9), mask)
    assert again("--mask", str(mask)) == ("done", "done again, since its mask is missing or another one")
    assert again("--mask", str(mask)) == ("skipped", "")
    save_mask(make_mask("random", SHAPE[1], 4, 0.08, 10), mask)
    assert again("--mask", str(mask)) == ("done", "done again, since its mask is missing or another one")
    exams.root.joinpath("data").rename(exams.root / "moved")
    exams.list([["case-01", "moved/case-01_t2.nii.gz", "moved/case-01_t1.nii.gz"]])
    assert again("--mask", str(mask)) == ("skipped", "")


def test_other_files_are_never_replaced(place):
    exams = place(3)
    exams.out.mkdir()
    exams.write(exams.out / "case-01.nii.gz", exams.smooth(5, SHAPE))
    exams.record("case-02").write_text('{"RepetitionTime": 2.0}')
    before = exams.results()
    assert main(exams.command()) == 3
    assert exams.statuses() == ["failed", "failed", "done"]
    reasons = [reason for _, reason in exams.rows().values()]
    ending = "exists already and is no result of this program; choose another --out"
    assert reasons[0].endswith(f"case-01.nii.gz: {ending}")
    assert reasons[1].endswith(f"case-02.json: {ending}")
    assert before.items() <= exams.results().items()
    # Inputs neither, whatever is asked for.
    exams.list([["case-01", "out/case-01.nii.gz", "data/case-01_t1.nii.gz"]])
    assert main(exams.command("--overwrite")) == 3
    assert exams.rows()["case-01"][1].endswith("case-01.nii.gz: is one of the inputs; choose another --out")
    assert before["case-01.nii.gz"] == exams.results()["case-01.nii.gz"]


def test_dicom_and_files_in_one_list(place):
    pytest.importorskip("SimpleITK")
    from dicom_study import Plan, write

    exams = place(1)
    study = exams.root / "study"
    for number, name in ((2, "T1 tse"), (3, "T2 tse")):
        write(study / name[:2], Plan(number, name, seed=number))
    exams.list([["case-01", "data/case-01_t2.nii.gz", "data/case-01_t1.nii.gz"], ["case-02", str(study), str(study)]])
    series = ("--target-series", "T2", "--auxiliary-series", "T1")
    assert main(exams.command(*series)) == 0
    folder = exams.out / "case-02"
    assert len(list(folder.glob("*.dcm"))) == 5
    assert json.loads(exams.record("case-02").read_text())["Output"] == {"file": "case-02", "sha256": sha256(folder)}
    assert main(exams.command(*series)) == 0
    assert exams.statuses() == ["skipped"] * 2
    exams.record("case-02").unlink()
    assert main(exams.command(*series)) == 0
    assert exams.rows()["case-02"] == ("done", "done again, since it has no record")
    assert sorted(path.name for path in folder.iterdir()) == [f"{k:04d}.dcm" for k in range(1, 6)]
    assert not list(exams.out.glob(".*"))
    # A folder with anything else in it stays.
    folder.joinpath("notes.txt").write_text("precious")
    exams.record("case-02").unlink()
    assert main(exams.command(*series, "--overwrite")) == 3
    assert exams.rows()["case-02"][1].endswith(
        "case-02: exists already and is no result of this program; choose another --out"
    )
    assert folder.joinpath("notes.txt").read_text() == "precious"


@pytest.mark.parametrize("which", ["target", "auxiliary"])
def test_one_thread_at_a_time_reads_dicom(tmp_path, which):
    """pydicom is kept quiet by settings that all threads share, whichever of the two scans is a folder."""
    files = {"target": tmp_path / "t2.nii", "auxiliary": tmp_path / "t1.nii", which: tmp_path}
    with fsmnet.reconstruction.exam._dicom(ReconstructConfig(out=tmp_path / "out.nii", **files)):
        assert fsmnet.reconstruction.exam._DICOM.locked()
    assert not fsmnet.reconstruction.exam._DICOM.locked()


# -- what stops the list ----------------------------------------------------------------------------------------------


def test_a_full_disk_stops_the_list(place, monkeypatch, capsys):
    exams = place(6)
    real = os.replace

    def full(source, target):
        if Path(target).name == "case-02.nii.gz":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    assert main(exams.command("--workers", "1")) == 2
    assert "case-02.nii.gz: cannot be written (no space left on device); free space" in capsys.readouterr().err
    assert exams.rows()["case-01"] == ("done", "")
    assert not {"case-02", "case-06"} & exams.rows().keys()
    assert not list(exams.out.glob(".*"))


@pytest.mark.parametrize("stage", ["read_inputs", "compute"])
def test_too_little_memory_fails_the_exam_alone(place, monkeypatch, stage):
    exams = place(3)
    real, seen = getattr(fsmnet.reconstruction.exam, stage), []

    def greedy(*arguments, **options):
        seen.append(arguments)
        if len(seen) == 1:
            raise MemoryError if stage == "read_inputs" else RuntimeError("CUDA out of memory")
        return real(*arguments, **options)

    monkeypatch.setattr(fsmnet.reconstruction.exam, stage, greedy)
    assert main(exams.command()) == 3
    assert sorted(exams.statuses()) == ["done", "done", "failed"]
    [why] = [reason for status, reason in exams.rows().values() if status == "failed"]
    assert why.startswith("there is not enough memory; lower --batch, or have fewer exams at once")


def test_ctrl_c_keeps_what_is_done(place, monkeypatch, capsys):
    exams = place(6)
    real, seen = fsmnet.reconstruction.exam.compute, []

    def interrupted(inputs, network, **options):
        seen.append(inputs)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(inputs, network, **options)

    monkeypatch.setattr(fsmnet.reconstruction.exam, "compute", interrupted)
    assert main(exams.command()) == 130
    assert capsys.readouterr().err.endswith("fsmnet reconstruct: interrupted\n")
    assert exams.rows() == {"case-01": ("done", ""), "case-02": ("done", "")}
    assert not list(exams.out.glob(".*"))
    monkeypatch.undo()
    assert main(exams.command()) == 0
    assert exams.statuses() == ["skipped"] * 2 + ["done"] * 4


def test_unexpected_errors_of_one_exam_are_told(place, monkeypatch):
    exams = place(2)
    real = fsmnet.reconstruction.exam.read_inputs

    def strange(config):
        if "case-01" in str(config.target):
            raise ValueError("no such thing\nas a slice")
        return real(config)

    monkeypatch.setattr(fsmnet.reconstruction.exam, "read_inputs", strange)
    assert main(exams.command()) == 3
    assert exams.rows() == {"case-01": ("failed", "ValueError: no such thing"), "case-02": ("done", "")}


REFUSED = {
    "both": ({"target": Path("a.nii")}, "a list names its own scans; give --pairs, or --target or --kspace with"),
    "k-space": ({"kspace": Path("a.h5")}, "a list names its own scans; give --pairs, or --target or --kspace with"),
    "out": ({"out": Path("result.nii.gz")}, r"result\.nii\.gz: a list goes into a folder; give its name with --out"),
    "workers": ({"workers": 0}, "workers must be at least 1, not 0"),
    "too many": ({"workers": 10**6}, "workers must be at most [0-9]+ on this machine"),
    "table": ({"pairs": Path("no.csv")}, r"no\.csv: no such pair table; make one with 'fsmnet pair'"),
    "weights": ({"checkpoint": Path("no.safetensors")}, r"no\.safetensors: no such checkpoint file"),
    "mask": ({"mask": Path("no.npz")}, r"no\.npz: no such mask file"),
    "acceleration": ({"acceleration": 1.0}, "acceleration must be more than 1, not 1"),
    "processes": ({"processes": 0}, "processes must be at least 1, not 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_concerns_the_whole_list(place, name):
    exams = place(1)
    options, message = REFUSED[name]
    given = {"pairs": exams.table, "out": exams.out, "checkpoint": exams.checkpoint, "device": "cpu"} | options
    with pytest.raises(UserError, match=message):
        run_list(ReconstructConfig(**({"target": None, "auxiliary": None} | given)))
    assert not exams.out.exists()


@pytest.mark.parametrize("option", [("--processes", "2"), ("--cluster", "local:2")])
def test_only_a_list_is_shared(place, capsys, option):
    exams = place(1)
    scans = ["--target", str(exams.file("case-01", "t2")), "--auxiliary", str(exams.file("case-01", "t1"))]
    assert main(["reconstruct", *scans, "--out", str(exams.out / "a.nii.gz"), *option]) == 2
    assert "--processes and --cluster share a list; give --pairs, or leave them out" in capsys.readouterr().err


def test_a_launcher_does_not_share_a_list(place, capsys, monkeypatch):
    exams = place(1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert main(exams.command()) == 2
    assert "leave the launcher out (a list is shared by --processes or --cluster)" in capsys.readouterr().err
    assert not exams.out.exists()


@pytest.mark.parametrize("case", ["../case", "a/b", ".hidden", "a:b"])
def test_cases_that_are_no_file_names(place, case, capsys):
    exams = place(1)
    exams.list([[case, "data/case-01_t2.nii.gz", "data/case-01_t1.nii.gz"]])
    assert main(exams.command()) == 2
    assert f"pairs.csv: case {case!r} cannot be a file's name" in capsys.readouterr().err
    assert not exams.out.exists()
