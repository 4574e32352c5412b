"""The demonstration from beginning to end, on a few slices and a few steps."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from matplotlib.image import imread

import fsmnet.cli.demo
from fsmnet.checkpoint import read_checkpoint
from fsmnet.cli import main
from fsmnet.cli.demo import demo
from fsmnet.cli.options import DemoConfig
from fsmnet.data.phantom import write_subjects
from fsmnet.errors import UserError


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Two slices, and two steps of a smaller network instead of minutes."""
    monkeypatch.setattr(fsmnet.cli.demo, "SLICES", 2)
    train = fsmnet.cli.demo.train

    def few_steps(config):
        tiny = {"model": "mdunet", "model_options": {"features": 4, "levels": 2}}
        return train(replace(config, **tiny, iterations=2, minutes=None, schedule="constant"))

    monkeypatch.setattr(fsmnet.cli.demo, "train", few_steps)


def assert_complete(out, model):
    """What every demonstration leaves."""
    summary = json.loads((out / "summary.json").read_text())
    assert [row["model"] for row in summary] == ["zero_filling", model]
    assert {row["n"] for row in summary} == {2}
    assert min(imread(out / "picture.png").shape[:2]) > 300
    scan = nib.load(out / "heads" / "phantom-0000" / "phantom-0000_t2.nii.gz")
    result = nib.load(out / "phantom-0000_t2_reconstructed.nii.gz")
    assert result.shape == scan.shape == (240, 240, 2)
    assert np.array_equal(result.affine, scan.affine)
    record = json.loads((out / "phantom-0000_t2_reconstructed.json").read_text())
    assert record["Mask"]["requested_acceleration"] == summary[0]["acceleration"]
    assert record["Check"]["Verdict"]["Kind"]


def test_training_a_network_of_its_own(tmp_path, capsys):
    out = tmp_path / "demo"
    arguments = ["demo", "--train", "--out", str(out), "--subjects", "1", "--device", "cpu", "--minutes", "1"]
    assert main(arguments) == 0
    best = out / "training" / "best.safetensors"
    assert_complete(out, str(best))
    header = read_checkpoint(best)[1]
    assert header.split["train"] == ["phantom-0001"]  # never the one that is shown
    assert header.metrics == {"step": 2}
    printed = capsys.readouterr().out
    assert "phantom-0000, 4x, protocol brats:" in printed
    assert f"picture: {out / 'picture.png'}" in printed
    assert (out / "report.html").stat().st_size > 100_000

    # Again into the same folder: heads and training are kept, the rest is made anew.
    before = {path: path.stat().st_mtime_ns for path in (out / "heads").rglob("*.nii.gz")}
    (out / "picture.png").unlink()
    assert main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "heads").rglob("*.nii.gz")} == before
    assert_complete(out, str(best))

    assert main([*arguments, "--acceleration", "8"]) == 2
    assert "acceleration was 4, is 8; use its config.yaml or another --out" in capsys.readouterr().err


def test_with_the_shipped_network(tmp_path, monkeypatch, checkpoint_file, caplog):
    """Which is told by its name, however long it takes, and not by the place of the package."""
    shipped = checkpoint_file(tmp_path / "package" / "shipped.safetensors")
    monkeypatch.setattr("fsmnet.checkpoint.shipped_checkpoint", lambda name: shipped)
    monkeypatch.setattr(fsmnet.cli.demo, "train", None)
    monkeypatch.setattr("fsmnet.inference.slices.WORTH_TELLING", 0.0)
    monkeypatch.setattr("fsmnet.inference.slices.choose_batch", lambda *_: 1)
    with caplog.at_level("INFO"):
        out = demo(DemoConfig(out=tmp_path / "demo", device="cpu", acceleration=8))
    assert any(message.startswith("phantom-0000, shipped: about ") for message in caplog.messages)
    assert str(shipped.parent) not in caplog.text + (out / "summary.json").read_text()
    assert_complete(out, "shipped")
    assert [path.name for path in (out / "heads").iterdir()] == ["phantom-0000"]
    assert not (out / "training").exists()


def test_interrupted_training(tmp_path, monkeypatch):
    class Interrupted:
        finished = False

    monkeypatch.setattr(fsmnet.cli.demo, "train", lambda config: Interrupted)
    monkeypatch.setattr(fsmnet.cli.demo, "write_subjects", lambda folder, seeds, slices: None)
    arguments = ["demo", "--train", "--out", str(tmp_path / "demo"), "--device", "cpu"]
    assert main(arguments) == 130


REFUSED = {
    "subjects": (0, "subjects must be at least 1"),
    "minutes": (0.0, "subjects must be at least 1 and minutes more than 0"),
    "seed": (-1, "seed must be at least 0, not -1"),
    "acceleration": (0.5, "acceleration 0.5 is impossible with 240 columns"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_options(tmp_path, name):
    value, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        demo(DemoConfig(out=tmp_path / "demo", **{name: value}))
    assert not (tmp_path / "demo").exists()


def test_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    small = lambda folder, seeds, slices: write_subjects(folder, seeds, size=64, slices=1, voxel=3.0)  # noqa: E731
    monkeypatch.setattr(fsmnet.cli.demo, "write_subjects", small)
    with pytest.raises(UserError, match=r"cannot make this output folder \(not a directory\); choose"):
        demo(DemoConfig(out=tmp_path / "file" / "demo", subjects=1))
