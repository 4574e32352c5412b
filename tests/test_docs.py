"""Every command and every Python example in the README and the docs runs as it stands there."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from fsmnet.cli import main
from fsmnet.physics.acquisition import undersample, zero_fill
from fsmnet.physics.masks import make_mask

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES.remove(ROOT / "docs" / "extending.md")  # whose package tests/test_extending.py installs first
# Appended to every training command: the same command, over in seconds.
SHORT = ["--iterations", "2", "--minutes", "5", "--model-options", "{features: 8, blocks: 1}", "--threads", "1"]


def in_blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    return [(page.name, block) for page in PAGES for block in in_blocks(page, language)]


def commands() -> list[tuple[str, list[str]]]:
    lines = [
        (page, line)
        for page, block in blocks("bash")
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("fsmnet ")
    ]
    return [(page, shlex.split(line, comments=True)[1:]) for page, line in lines]


@pytest.fixture(scope="module")
def examples_folder(tmp_path_factory):
    """A folder with what the examples mention: DATA, BIDS, KNEE, two scans, k-space, recipes, authors' weights."""
    pytest.importorskip("nilearn")
    from fsmnet.data.phantom import write_subjects
    from fsmnet.models import create_model
    from fsmnet.models.released_weights import export_released

    folder = tmp_path_factory.mktemp("examples_folder")
    options = {"slices": 2}
    for case in write_subjects(folder / "DATA", range(5), **options):
        for contrast in ("t1", "t2"):
            source = case / f"{case.name}_{contrast}.nii.gz"
            bids = folder / "BIDS" / case.name / "anat" / f"{case.name}_{contrast.upper()}w.nii.gz"
            bids.parent.mkdir(parents=True, exist_ok=True)
            bids.symlink_to(source)
            scan = folder / f"{contrast.upper()}.nii.gz"
            if not scan.exists():
                scan.symlink_to(source)
    pytest.importorskip("pydicom")
    pytest.importorskip("SimpleITK")
    from dicom_study import Plan, write

    for number, contrast in enumerate(("T1", "T2")):
        write(
            folder / "STUDY", Plan(number=number, description=contrast, shape=(2, 32, 24), seed=number), prefix=contrast
        )
    from fastmri_tree import write_knees, write_volume

    file = nib.load(folder / "T2.nii.gz")
    image = np.moveaxis(np.asarray(file.dataobj), 2, 0)
    rows, columns = image.shape[1:]
    mask = make_mask("random", columns, 4, 0.1, 1337).columns
    degraded = zero_fill(undersample(image.astype(np.float32), mask)).numpy()
    nib.save(nib.Nifti1Image(np.moveaxis(degraded, 0, 2), file.affine), folder / "T2_degraded.nii.gz")
    write_volume(folder / "scan.h5", image, rows=rows, columns=columns, recon=rows, mask=mask)

    knee = {"size": 32, "slices": 2, "rows": 48, "columns": 40, "recon": 32}
    write_knees(folder / "KNEE", range(3), **knee)
    write_knees(folder / "KNEE", [3], folder="singlecoil_val", **knee)
    export_released(create_model("fsmnet_released", features=8, blocks=1), folder / "best_checkpoint.pth")
    return folder


def test_there_are_examples():
    assert {command[0] for _, command in commands()} >= {"train", "evaluate", "reconstruct"}


def test_commands_run_as_written(examples_folder, monkeypatch, capsys):
    monkeypatch.chdir(examples_folder)
    for page, command in commands():
        extra = SHORT if command[0] == "train" else []
        assert main([*command, *extra]) == 0, f"{page}: fsmnet {' '.join(command)}\n{capsys.readouterr().err}"


def test_python_examples_run_as_written(examples_folder, monkeypatch):
    monkeypatch.chdir(examples_folder)
    if not Path("runs/quick/best.safetensors").exists():
        pytest.skip("the commands did not leave a checkpoint")
    import fsmnet

    names = {"fsmnet": fsmnet, "target": torch.zeros(1, 1, 24, 24), "auxiliary": torch.zeros(1, 1, 24, 24)}
    for page, block in blocks("python"):
        exec(compile(block, page, "exec"), names)


def test_what_the_interface_page_lists_is_there():
    """Names under ``:members:``, which Sphinx would only tell while building."""
    listed = re.findall(
        r"automodule:: (\S+)\n +:members: (.+)", (ROOT / "docs" / "api.rst").read_text(encoding="utf-8")
    )
    for module, names in listed:
        there = importlib.import_module(module)
        assert [name for name in names.split(", ") if not hasattr(there, name.strip())] == [], module
