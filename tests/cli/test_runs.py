"""Runs are listed and rehearsed without touching them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fsmnet.cli.parser import main
from fsmnet.inference.alone import only_one

TINY = ["--device", "cpu", "--protocol", "float", "--model", "mdunet", "--model-options", "{features: 4, levels: 2}"]
TINY += ["--batch", "1", "--log-every", "1", "--no-pictures"]


def files_below(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def listed(folder: Path, capsys) -> dict[str, dict]:
    assert main(["runs", str(folder), "--json"]) == 0
    return {run["name"]: run for run in json.loads(capsys.readouterr().out)}


def test_what_how_far_how_good(heads, tmp_path, capsys):
    root = tmp_path / "runs"
    words = ["train", str(heads), *TINY, "-o", str(root / "one"), "--iterations", "2", "--validation-fraction", "0.25"]
    assert main(words) == 0
    capsys.readouterr()
    before = files_below(root)
    one = listed(root, capsys)["one"]
    assert (one["state"], one["model"], one["step"], one["share"], one["best_step"]) == ("finished", "mdunet", 2, 1, 2)
    assert one["best_psnr"] > 5

    config = (root / "one" / "config.yaml").read_text()
    (root / "one" / "config.yaml").write_text(config.replace("iterations: 2", "iterations: 8"))
    assert listed(root, capsys)["one"]["state"] == "stopped"
    with only_one(root / "one", []):
        one = listed(root, capsys)["one"]
        assert main(["runs", str(root)]) == 0
    assert (one["state"], one["share"]) == ("running", 0.25)
    assert "on" in one["by"]
    assert one["seconds_left"] > 0
    assert "mdunet  running         2   25%" in capsys.readouterr().out
    (root / "one" / "config.yaml").write_text(config)
    assert files_below(root) == before


def test_folders_without_runs(tmp_path, capsys, caplog):
    assert main(["runs", str(tmp_path)]) == 0
    assert "no run in it" in capsys.readouterr().out
    (tmp_path / "config.yaml").write_text("data: [")
    (tmp_path / "split.json").touch()
    assert main(["runs", str(tmp_path)]) == 0
    assert f"{tmp_path / 'config.yaml'}: not the configuration of a run" in caplog.text
    assert main(["runs", str(tmp_path / "nowhere")]) == 2


def test_a_rehearsal_leaves_nothing(heads, tmp_path, capsys):
    before = files_below(heads)
    words = ["train", str(heads), *TINY, "-o", str(tmp_path / "run"), "--iterations", "5", "--dry-run"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "slices:  15 of 64 x 64; a batch: [1, 1, 64, 64]" in text
    assert "budget:  ends after 5 steps, about " in text
    assert "cases:   3 for train, 1 for validation, 0 for test" in text
    assert main([*words, "--validation-fraction", "0.25", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [len(names) for names in found["cases"].values()] == [3, 1, 0]
    assert found["loss"] > 0
    assert (found["ends_by"], found["steps"]) == ("steps", 5)
    assert found["seconds"] == pytest.approx(5 * found["seconds_a_step"])
    assert main([*words, "--iterations", "100000", "--minutes", "0.5"]) == 0
    assert re.search(r"budget:  ends after 30 s, about \d+ steps? at that pace\n", capsys.readouterr().out)
    assert list(tmp_path.iterdir()) == []
    assert files_below(heads) == before


def test_a_rehearsal_refuses_what_the_run_would(heads, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "resume.pt").touch()
    words = ["train", str(heads), *TINY, "-o", str(tmp_path / "run"), "--dry-run"]
    assert main(words) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert main(["train", str(heads), "-o", str(tmp_path / "other"), "--json"]) == 2


@pytest.mark.parametrize("flag", ["--iteration", "--dry"])
def test_no_beginning_stands_for_an_option(flag, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["train", str(tmp_path), "-o", str(tmp_path / "run"), flag, "3"])
    assert "unknown option" in capsys.readouterr().err
