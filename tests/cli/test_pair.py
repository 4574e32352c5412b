"""``fsmnet pair``: what is printed, what is kept, and the exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsmnet.cli import main
from fsmnet.data.pairing.tables import read_table


def test_command_line(brats_folder, tmp_path, capsys):
    table = tmp_path / "pairs.csv"
    assert main(["pair", "--data", str(brats_folder), "--out", str(table)]) == 0
    assert f"{table}: 3 of 3 pairs can be used" in capsys.readouterr().out
    assert [pair.case for pair in read_table(table)] == ["case-1", "case-2", "case-3"]
    command = ["pair", str(brats_folder), "--out", str(table), "--auxiliary", "pd"]
    assert main(command) == 2
    assert f"{table}: exists with other rows; pass --overwrite to replace it" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 3
    assert "rejected  case-1" in capsys.readouterr().out
    assert main(command) == 3  # the same rows again


def test_the_folder_may_stand_behind_the_command(brats_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["pair", str(brats_folder), "--auxiliary", "flair"]) == 0
    assert read_table(Path("pairs.csv"))[0].auxiliary.name == "case-1_flair.nii.gz"
    assert main(["pair", "--out", "other.csv", str(brats_folder)]) == 0
    for command in (["pair"], ["pair", str(brats_folder), "--out", "pairs.csv", "word"]):
        with pytest.raises(SystemExit) as error:
            main(command)
        assert error.value.code == 2
    with pytest.raises(SystemExit):
        main(["models", "word"])
    assert "'word' belongs to no option" in capsys.readouterr().err
