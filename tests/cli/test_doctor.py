"""The doctor: everything is well here, and what is not well is said and counted."""

from __future__ import annotations

import json
import logging

import pytest
import torch

import fsmnet.cli.doctor
from fastmri_tree import write_knees
from fsmnet.cli import main
from fsmnet.cli.doctor import OPTIONAL, command, examine
from fsmnet.cli.options import DoctorConfig
from fsmnet.errors import UserError

NAMES = ["versions", "machine", *OPTIONAL, "fourier transform", "masks", "network", "shipped weights"]


@pytest.fixture
def states():
    """Function (checks) -> name of the check to its state."""
    return lambda checks: {check.name: check.state for check in checks}


def test_all_is_well(capsys):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0].split(maxsplit=1)[1] for line in lines] == NAMES
    assert {line.split()[0] for line in lines} <= {"ok", "missing"}
    assert f"torch {torch.__version__}" in lines[0]


def test_others_may_speak_afterwards():
    logging.getLogger("fsmnet").setLevel(logging.INFO)
    command(DoctorConfig())
    assert logging.getLogger("fsmnet").level == logging.INFO


def test_json(capsys):
    assert main(["doctor", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in document] == NAMES
    assert all(entry.keys() == {"name", "state", "detail"} for entry in document)


def test_optional_packages(monkeypatch, states):
    monkeypatch.setattr(fsmnet.cli.doctor.importlib.util, "find_spec", lambda name: None)
    checks = examine()
    assert states(checks)["nilearn"] == "missing"
    assert next(c for c in checks if c.name == "nilearn").detail.endswith("pip install 'fsmnet[report]'")


def test_wrong_transform(monkeypatch, capsys):
    monkeypatch.setattr(fsmnet.cli.doctor, "ifft2c", lambda x: 1.001 * fsmnet.physics.fourier.ifft2c(x))
    assert main(["doctor"]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("failed")]
    assert len(failed) == 1
    assert "fourier transform: there and back changes an image by 0.00" in failed[0]


def test_other_masks(monkeypatch, states):
    monkeypatch.setattr("fsmnet.protocols.brats.SEED", 1)
    assert states(examine())["masks"] == "failed"


def test_a_broken_installation_is_reported_not_raised(monkeypatch, capsys):
    def broken(*_, **__):
        raise RuntimeError("libgomp:\n cannot open shared object file")

    monkeypatch.setattr(fsmnet.cli.doctor, "create_model", broken)
    assert main(["doctor", "--json"]) == 1
    failed = [entry for entry in json.loads(capsys.readouterr().out) if entry["state"] == "failed"]
    assert [entry["name"] for entry in failed] == ["network"]
    assert failed[0]["detail"] == "RuntimeError: libgomp: cannot open shared object file"


def test_damaged_shipped_weights(monkeypatch, tmp_path, states):
    file = tmp_path / "shipped.safetensors"
    file.write_bytes(b"not weights")
    monkeypatch.setattr(fsmnet.cli.doctor, "shipped_checkpoint", lambda name: file)
    assert states(examine())["shipped weights"] == "failed"


def test_shipped_weights(monkeypatch, tmp_path, checkpoint_file):
    file = checkpoint_file(tmp_path / "shipped.safetensors")
    monkeypatch.setattr(fsmnet.cli.doctor, "shipped_checkpoint", lambda name: file)
    check = examine()[-1]
    assert (check.state, check.detail.split(", ", 1)[0]) == ("ok", "shipped.safetensors")


def test_data_folder(brats_folder, write_nifti, smooth, capsys):
    newer = brats_folder / "BraTS-GLI-00000-000"
    for contrast in ("t1n", "t2w"):
        write_nifti(newer / f"{newer.name}-{contrast}.nii.gz", smooth(1, (8, 8, 3)))
    assert main(["doctor", "--data", str(brats_folder)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"ok       data: {brats_folder}: 3 x flair, 3 x t1, 1 x t1n, 3 x t2, 1 x t2w"


def test_a_folder_of_fastmri(tmp_path, capsys):
    write_knees(tmp_path, [0], size=16, slices=2, rows=24, columns=20, recon=16)
    (tmp_path / "singlecoil_train" / "file1.h5").write_bytes(b"")
    assert main(["doctor", "--data", str(tmp_path)]) == 0
    shown = "1 x CORPDFS_FBK in singlecoil_train, 1 x CORPD_FBK in singlecoil_train, 1 x unusable"
    assert f"ok       data: {tmp_path}: {shown}" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["missing", "empty", "file"])
def test_useless_data_folder(tmp_path, what, capsys):
    folder = tmp_path / what
    if what == "empty":
        folder.mkdir()
    elif what == "file":
        folder.write_text("")
    assert main(["doctor", "--data", str(folder)]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    words = {"empty": "no file named <case>/<case>_<contrast>.nii.gz", "file": "is a file and no folder; give the"}
    assert last.startswith(f"failed   data: {folder}: {words.get(what, 'no such folder; give the folder')}")


def test_a_user_error_keeps_its_words(monkeypatch):
    def wrong():
        raise UserError("wrong in words")

    monkeypatch.setattr(fsmnet.cli.doctor, "_masks", wrong)
    assert next(c for c in examine() if c.name == "masks").detail == "wrong in words"
