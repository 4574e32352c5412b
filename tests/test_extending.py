"""The example package of docs/extending.md, installed as one of its own, does what the page says by its commands."""

from __future__ import annotations

import importlib
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import pytest
import torch

import fsmnet
from fsmnet.cli import main
from fsmnet.data import formats
from fsmnet.models import MODELS
from fsmnet.physics.masks import MASK_KINDS
from test_docs import in_blocks

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "extending.md"
SHORT = {
    "train": ["--iterations", "2", "--threads", "1", "--model-options", "{features: 4, blocks: 1}"],
    "compare": ["--iterations", "2", "--threads", "1"],
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which pip has installed the example, without the network."""
    folder = tmp_path_factory.mktemp("own")
    source = shutil.copytree(ROOT / "examples" / "own_network", folder / "source")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    command = [*pip, "--disable-pip-version-check", "--target", str(folder / "site"), str(source)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return folder / "site"


@pytest.fixture
def place(site, tmp_path, heads, monkeypatch):
    """A folder with DATA and two scans, in a process that knows the package."""
    monkeypatch.syspath_prepend(str(site))
    for registry in (MODELS, MASK_KINDS, formats.FORMATS):
        monkeypatch.setattr(registry, "_installed", None)
        monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DATA").symlink_to(heads)
    for contrast in ("t1", "t2"):
        (scan,) = sorted(heads.glob(f"*/*_{contrast}.nii.gz"))[:1]
        (tmp_path / f"{contrast.upper()}.nii.gz").symlink_to(scan)
    yield tmp_path
    sys.modules.pop("own_network", None)
    importlib.invalidate_caches()


def page_commands() -> list[list[str]]:
    lines = [line for block in in_blocks(PAGE, "bash") for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line)[1:] for line in lines]


def test_the_package_is_small():
    assert len((ROOT / "examples" / "own_network" / "own_network.py").read_text().splitlines()) <= 40


def test_the_page_runs_as_written(place, capsys):
    commands = page_commands()
    assert {command[0] for command in commands} >= {"models", "train", "evaluate", "compare", "reconstruct", "export"}
    for command in commands:
        assert main([*command, *SHORT.get(command[0], [])]) == 0, f"{command}\n{capsys.readouterr().err}"
    assert "own_network" in capsys.readouterr().out

    rows = json.loads((place / "results" / "own" / "summary.json").read_text())
    assert [row["model"] for row in rows] == ["zero_filling", "runs/own/best.safetensors"]
    table = (place / "runs" / "comparison" / "table.md").read_text()
    assert all(name in table for name in ("Own", "U-Net", "FSMNet"))
    image, source = nib.load("T2_own.nii.gz"), nib.load("T2.nii.gz")
    assert image.shape == source.shape
    assert torch.export.load("own.pt2") is not None
    network = fsmnet.load_model("runs/own/best.safetensors")
    assert network.recipe == {
        "name": "own_network",
        "options": {"features": 4, "blocks": 1},
        "class": "own_network:OwnNetwork",
    }
    names = {"__name__": "page"}
    for block in in_blocks(PAGE, "python"):
        exec(compile(block, PAGE.name, "exec"), names)


def test_the_class_needs_no_entry_point(place):
    arguments = ["--data", "DATA", "--protocol", "float", "--out", "runs/plain", *SHORT["train"]]
    assert main(["train", "--model", "own_network:OwnNetwork", *arguments]) == 0
    assert fsmnet.load_model("runs/plain/last.safetensors").recipe["name"] == "own_network:OwnNetwork"


def test_another_process_knows_what_is_installed(site):
    code = "import fsmnet; print(fsmnet.list_models()[-1], type(fsmnet.create_model('own_network')).__module__)"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(site)!r}); {code}"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.stdout.split() == ["own_network", "own_network"], process.stderr
