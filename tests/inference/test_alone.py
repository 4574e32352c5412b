"""Two commands never write one folder at once, and what a dead one left is no hindrance."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from fsmnet.cli import main
from fsmnet.data.pairing.tables import COLUMNS
from fsmnet.errors import UserError
from fsmnet.inference.alone import alone, only_one
from full_disk import full_disk

LOCK = ".fsmnet.lock"
HOLD = """
import sys
from pathlib import Path
from fsmnet.inference.alone import only_one
with only_one(Path(sys.argv[1]), ()):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the folder ``out`` until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "out"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_is_refused_in_words_until_the_first_is_done(tmp_path, holder):
    out = tmp_path / "out"
    with (
        pytest.raises(UserError, match=rf"out: process {holder.pid} on {socket.gethostname()} \(since .*\) is writing"),
        only_one(out, ()),
    ):
        pass
    holder.communicate(b"")
    with only_one(out, ()):
        assert json.loads((out / LOCK).read_text())["pid"] == os.getpid()
    assert not out.exists()  # nothing was put into it


def test_a_full_disk_leaves_no_lock_that_nobody_holds(tmp_path):
    message = r"\.fsmnet\.lock: cannot be written \(file too large\); free space or"
    with full_disk(0), pytest.raises(UserError, match=message), only_one(tmp_path / "out", ()):
        pass
    assert not (tmp_path / "out").exists()
    with only_one(tmp_path / "out", ()):
        pass


def test_what_a_killed_one_left_is_told_and_removed(tmp_path, holder, caplog):
    out = tmp_path / "out"
    for name in (".part-abcdefgh-log.csv", ".part-abcdefgh-other.csv"):
        (out / name).touch()
    with pytest.raises(UserError), only_one(out, ("log.csv",)):
        pass
    assert (out / ".part-abcdefgh-log.csv").exists()  # of a living one
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with only_one(out, ("log.csv",)):
        assert sorted(path.name for path in out.iterdir()) == [LOCK, ".part-abcdefgh-other.csv"]
    assert f"was left by process {holder.pid} on" in caplog.text
    assert "taken over" in caplog.text


def test_a_number_that_another_process_has_now(tmp_path):
    own = psutil.Process()
    lock = {"pid": own.pid, "host": socket.gethostname(), "since": "then", "started": own.create_time() - 100}
    (tmp_path / LOCK).write_text(json.dumps(lock))
    with only_one(tmp_path, ()):
        pass
    assert not (tmp_path / LOCK).exists()


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"pid": 1, "host": "elsewhere", "started": 1.0, "since": "then"}'])
def test_what_cannot_be_known_is_left_to_the_user(tmp_path, said):
    (tmp_path / LOCK).write_text(said)
    with pytest.raises(UserError, match=r"if it no longer runs, remove .*\.fsmnet\.lock"), only_one(tmp_path, ()):
        pass
    assert (tmp_path / LOCK).read_text() == said


def test_folders_made_for_nothing_go_again(tmp_path):
    with pytest.raises(ValueError, match="mistake"), only_one(tmp_path / "a" / "b", ()):
        raise ValueError("mistake")
    assert list(tmp_path.iterdir()) == []


def test_of_several_processes_the_first_holds_it(tmp_path, monkeypatch):
    @dataclass
    class Config:
        out: Path

    @alone((), together=True)
    def held(config: Config) -> bool:
        return (config.out / LOCK).exists()

    @alone(())
    def of_one(config: Config) -> bool:
        return held(config)

    assert held(Config(tmp_path))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert not held(Config(tmp_path))
    with pytest.raises(UserError, match="only the first one can write here; leave the launcher out"):
        of_one(Config(tmp_path))
    monkeypatch.setenv("RANK", "0")
    assert held(Config(tmp_path))


def test_work_that_writes_some_of_the_same_files(tmp_path):
    with only_one(tmp_path, (), "list", beside=("one.nii", "two.nii")):
        with only_one(tmp_path, (), "three.nii"):
            pass
        with (
            pytest.raises(UserError, match=rf"process {os.getpid()} on .* is writing here"),
            only_one(tmp_path, (), "one.nii", beside=("list",)),
        ):
            pass
    with (
        only_one(tmp_path, (), "one.nii", beside=("list",)),
        pytest.raises(UserError, match=r"if it no longer runs, remove .*\.one\.nii\.lock"),
        only_one(tmp_path, (), "list", beside=("one.nii", "two.nii")),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("held", "command"),
    {
        "t2.nii": "reconstruct --target data/t2.nii --auxiliary data/t1.nii --out out/t2.nii",
        "exams.csv": "reconstruct --target data/t2.nii --auxiliary data/t1.nii --out out/t2.nii",
        "case.nii.gz": "reconstruct --pairs pairs.csv --out out",
        "quick.onnx": "export --out out/quick.onnx",
        "own.safetensors": "calibrate data --out out/own.safetensors",
        "demo": "demo --out out",
    }.items(),
)
def test_single_files_are_held_too(tmp_path, write_nifti, smooth, capsys, monkeypatch, held, command):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("t1", "t2")):
        write_nifti(tmp_path / "data" / f"{name}.nii", smooth(seed, (32, 32, 3)))
    (tmp_path / "pairs.csv").write_text(f"{','.join(COLUMNS)}\ncase,data/t2.nii,data/t1.nii,accepted,\n")
    with only_one(tmp_path / "out", (), held):
        assert main(command.split()) == 2
        assert [path.name for path in (tmp_path / "out").iterdir()] == [f".{held}.lock"]
    assert f"out: process {os.getpid()} on" in capsys.readouterr().err


def test_commands_hold_their_folders(tmp_path, holder, brats_folder, capsys):
    words = ["--data", str(brats_folder), "--out", str(tmp_path / "out")]
    for command in (
        ["evaluate", "--models", "zero_filling"],
        ["train", "--config", "quick"],
        ["compare", "--methods", "{U-Net: {model: mdunet}}", "--reference", "U-Net", "--iterations", "1"],
    ):
        assert main([*command, *words]) == 2
        assert f"process {holder.pid} on" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == [LOCK]


ENDLESS = """
import sys, time
import fsmnet.evaluation.case
from fsmnet.cli import main
def score(self, task):
    print("scoring", file=sys.stderr, flush=True)
    while True:
        time.sleep(0.1)
fsmnet.evaluation.case.Scorer.score = score
sys.exit(main(sys.argv[1:]))
"""


def test_sigterm_releases_it_and_is_answered_in_words(tmp_path, write_nifti, smooth):
    """While a case is scored that never ends."""
    for seed, name in enumerate(("t1", "t2")):
        write_nifti(tmp_path / "data" / "c0" / f"c0_{name}.nii", smooth(seed, (64, 64, 20)))
    words = ["evaluate", "--models", "zero_filling", "--protocol", "float", "--data", "data", "--out", "out"]
    process = subprocess.Popen([sys.executable, "-c", ENDLESS, *words], cwd=tmp_path, stderr=subprocess.PIPE)
    assert process.stderr.readline() == b"scoring\n"
    assert (tmp_path / "out" / LOCK).exists()
    process.terminate()
    _, said = process.communicate()
    assert process.returncode == 130
    assert b"fsmnet evaluate: interrupted" in said
    assert not (tmp_path / "out" / LOCK).exists()
