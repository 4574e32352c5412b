"""Names that the terminal cannot show, or that would steer it, stop no command."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from fsmnet.cli.parser import main
from fsmnet.cli.terminal import Telling, telling
from fsmnet.errors import warn_of_each

BARE = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def data(tmp_path, write_nifti):
    for name in ("患者一", "b\x1b[2J\u202e"):
        for contrast, seed in (("t1", 0), ("t2", 1)):
            voxels = np.random.default_rng(seed).integers(1, 100, (20, 16, 3)).astype(np.int16)
            write_nifti(tmp_path / "data" / name / f"{name}_{contrast}.nii.gz", voxels)
    return tmp_path / "data"


def fsmnet(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "fsmnet", *map(str, words)],
        capture_output=True,
        env=os.environ | environment,
        check=False,
    )


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "cp1252"}, BARE], ids=["windows", "bare"])
def test_a_name_that_cannot_be_shown(data, tmp_path, environment):
    table = tmp_path / "pairs.csv"
    done = fsmnet("pair", data, "--out", table, **environment)
    assert done.returncode == 0, done.stderr
    assert b"2 of 2 pairs" in done.stdout
    assert b"\x1b" not in done.stdout
    assert table.read_text(encoding="utf-8").count("患者一") == 5
    again = fsmnet("pair", data, "--out", table)  # the same rows in a locale of UTF-8, so nothing to overwrite
    assert again.returncode == 0, again.stderr
    assert r"b\x1b[2J\u202e" in again.stdout.decode()


def test_a_bare_locale_evaluates_with_the_same_masks(data, tmp_path):
    words = ("evaluate", "--models", "zero_filling", "--protocol", "float", "--data", data, "--out")
    for out, environment in (("bare", BARE), ("usual", {})):
        done = fsmnet(*words, tmp_path / out, **environment)
        assert done.returncode == 0, done.stderr
        assert b"\x1b" not in done.stdout + done.stderr
    bare, usual = (tmp_path / out for out in ("bare", "usual"))
    assert (bare / "metrics.csv").read_bytes() == (usual / "metrics.csv").read_bytes()
    summaries = [json.loads((out / "summary.json").read_text(encoding="utf-8")) for out in (bare, usual)]
    assert all(summary[0].pop("seconds") >= 0 for summary in summaries)
    assert summaries[0] == summaries[1]


def test_a_mistake_is_told_without_steering(tmp_path):
    done = fsmnet("pair", tmp_path / "\x1b[2Jgone", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert rb"\x1b[2Jgone: no such folder" in done.stderr


# -- how much is told, and where --------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [[], ["-q"], ["-v"]], ids=["usual", "quiet", "verbose"])
def test_how_much_is_told(tmp_path, flags):
    log = tmp_path / "logs" / "mask.log"
    done = fsmnet("mask", "-o", tmp_path / "\u202emask.npy", *flags, "--log", log)
    assert done.returncode == 0, done.stderr
    assert (b"columns" in done.stdout) == (flags != ["-q"])
    assert (b"fsmnet mask" in done.stderr) == (flags == ["-v"])
    kept = log.read_text(encoding="utf-8")
    assert re.match(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} DEBUG   fsmnet mask ", kept)
    assert "INFO" in kept
    assert "columns" in kept
    assert "\u202e" not in kept


def warnings_of_a_run(how: Telling, caplog) -> list[str]:
    """What is told by a run in which one warning repeats itself, and three scans give one of a kind."""
    caplog.clear()
    logger = logging.getLogger("fsmnet.test")
    with telling(how):
        for scan in ("a", "b", "a", "c"):
            logger.warning("the same")
            warn_of_each(logger, "%s: is odd", scan)
            logger.info("%s: an information comes each time", scan)
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_warning_is_told_once_of_each_kind_and_run(tmp_path, caplog):
    once = ["the same", "a: is odd", "left out: 2 more like this, which -v tells: a: is odd"]
    assert warnings_of_a_run(Telling(), caplog) == once
    assert caplog.text.count("an information") == 4
    assert warnings_of_a_run(Telling(log=str(tmp_path / "all.log")), caplog) == once  # in the next run again
    kept = (tmp_path / "all.log").read_text()
    assert [kept.count(words) for words in ("the same", "WARNING a: is odd", "b: is odd", "c: is odd")] == [4, 2, 1, 1]
    everything = warnings_of_a_run(Telling(verbose=True), caplog)
    assert everything == [
        "the same",
        "a: is odd",
        "the same",
        "b: is odd",
        "the same",
        "a: is odd",
        "the same",
        "c: is odd",
    ]


def test_the_log_has_the_error_and_goes_on(tmp_path, capsys):
    log = tmp_path / "all.log"
    for columns in ("x", "0", "240"):
        with suppress(SystemExit):
            main(["mask", "--columns", columns, "-o", str(tmp_path / "mask.npy"), "-q", "--log", str(log)])
    kept = log.read_text(encoding="utf-8")
    assert capsys.readouterr().out == ""
    assert kept.count("fsmnet mask: error:") == 1  # what is no command has no log yet
    assert kept.count("INFO") == 1


def test_a_log_that_cannot_be(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["mask", "-o", str(tmp_path / "mask.npy"), "--log", str(tmp_path / "file" / "log")]) == 2
    assert "choose another --log" in capsys.readouterr().err
    assert not (tmp_path / "mask.npy").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no file here that is always full")
def test_a_log_on_a_full_disk_is_told_once_and_the_work_goes_on(tmp_path):
    done = fsmnet("mask", "-o", tmp_path / "mask.npy", "--log", "/dev/full")
    assert done.returncode == 0
    assert done.stderr == b"/dev/full: cannot be written (no space left on device); from here on it keeps nothing\n"
    assert b"columns" in done.stdout
    assert (tmp_path / "mask.npy").exists()
