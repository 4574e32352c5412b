"""What a run keeps: interrupted and resumed is uninterrupted; what cannot be continued is told in words."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fsmnet.errors import UserError
from fsmnet.options import dump_config
from fsmnet.training.run import train
from fsmnet.training.state import SEALED, read_state
from full_disk import full_disk
from training_run import FSMNET, UNET, assert_same_run, log_rows

VARIANTS = {
    "step schedule and validation": {**FSMNET, "decay_every": 2, "validation_fraction": 0.25, "validate_every": 3},
    "average and warm-up": {**FSMNET, "schedule": "constant", "warmup": 4, "ema": 0.9},
    "disk cache, workers and masks of their own": {**FSMNET, "cache": "disk", "workers": 2, "mask_seed": "name"},
    "dropout": {"model": "mdunet", "model_options": {"features": 4, "levels": 2, "dropout": 0.3}},
    "another average and momentum": {**UNET, "ema": 0.5, "optimizer": "sgd", "augment": False},
    "in parts, with less memory": {**FSMNET, "batch": 3, "accumulate": 2, "checkpointing": True, "ema": 0.9},
}


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")  # on a machine with one core
@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())
def test_three_steps_and_three_more_are_six(configure, options):
    straight = train(configure("straight", iterations=6, **options))
    train(configure("halves", iterations=3, **options))
    halves = train(configure("halves", iterations=6, resume=True, **options))
    assert straight.progress.step == halves.progress.step == 6
    assert straight.progress.best_psnr == halves.progress.best_psnr
    assert_same_run(straight.last.parent, halves.last.parent)
    steps = torch.load(halves.last.parent / "resume.pt", weights_only=True)["progress"]["step"]
    assert steps == 6


def test_resuming_what_is_finished_changes_nothing(configure):
    train(configure())
    before = load_file(configure().out / "last.safetensors")
    result = train(configure(resume=True))
    assert result.finished
    after = load_file(result.last)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_second_run_needs_another_folder_or_resume(configure):
    train(configure())
    with pytest.raises(UserError, match=r"already holds a run; pass --resume to go on with it, or choose"):
        train(configure())


def test_resume_without_a_run(configure):
    with pytest.raises(UserError, match=r"resume.pt: there is no run to resume; leave --resume out"):
        train(configure(resume=True))
    assert not configure().out.exists()


def test_resume_names_the_options_that_changed(configure):
    train(configure())
    with pytest.raises(UserError, match="not the run that was stopped") as caught:
        train(configure(resume=True, learning_rate=0.5, augment=False, iterations=9, workers=1))
    message = str(caught.value)
    assert "learning_rate was 0.0001, is 0.5" in message
    assert "augment was True, is False" in message
    assert "iterations" not in message
    assert "workers" not in message


def test_resume_of_a_run_from_before_there_was_what_there_is(configure, caplog):
    train(configure())
    file = configure().out / "resume.pt"
    state = torch.load(file, weights_only=True)
    saved = json.loads(state["config"])
    split = json.loads(state["split"])
    del saved["wrap_phase"], state["data"], split["contents"]
    torch.save({**state, "config": json.dumps(saved), "split": json.dumps(split)}, file)  # without a seal, too
    assert train(configure(resume=True, iterations=3)).progress.step == 3
    assert "does not say what the data were; they are taken to be the same" in caplog.text


@pytest.mark.parametrize("content", ["empty", "text", "cut short", "another file", "for another network"])
def test_damaged_resume_file(configure, content):
    train(configure())
    file = configure().out / "resume.pt"
    whole = file.read_bytes()
    if content == "another file":
        torch.save({"weights": torch.zeros(3)}, file)
    elif content == "for another network":
        state = torch.load(file, weights_only=True)
        torch.save({**state, "model": {"weight": torch.zeros(3)}}, file)
    else:
        file.write_bytes({"empty": b"", "text": b"hello\n", "cut short": whole[: len(whole) // 2]}[content])
    words = "does not fit this run" if content == "for another network" else "damaged, or no state of a run; put a copy"
    with pytest.raises(UserError, match=rf"resume\.pt: {words}.* --init .*last.safetensors") as caught:
        train(configure(resume=True))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seal", [True, False])
def test_a_flipped_bit_is_found(configure, seal):
    train(configure())
    config = configure(resume=True)
    file = config.out / "resume.pt"
    whole = file.read_bytes()
    whole = whole if seal else whole[:-SEALED]
    parts = read_state(config).parts
    chance, found = random.Random(0), 0
    for _ in range(60):
        place = chance.randrange(len(whole))
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << chance.randrange(8)]) + whole[place + 1 :])
        state = None
        with suppress(UserError):
            state = read_state(config)
        if state is None:
            found += 1
            continue
        # Within the mark of the seal, or within what no reader of a ZIP archive looks at.
        assert all(torch.equal(parts["model"][name], tensor) for name, tensor in state.parts["model"].items())
        assert str(parts) == str(state.parts)
    assert found >= (59 if seal else 40)


# -- the data ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_data_that_moved_are_the_same_and_changed_ones_are_named(configure, heads, tmp_path, cache):
    options = {"cache": cache, "validation_fraction": 0.25}
    data = Path(shutil.copytree(heads, tmp_path / "there"))
    train(configure(data=data, **options))
    moved = data.rename(tmp_path / "elsewhere")
    config = configure(data=moved, resume=True, iterations=3, **options)
    assert train(config).progress.step == 3
    split = json.loads((config.out / "split.json").read_text())
    before = (config.out / "resume.pt").read_bytes()
    for case, contrast in ((split["train"][1], "t1"), (split["validation"][0], "t2")):
        file = moved / case / f"{case}_{contrast}.nii.gz"
        kept = file.read_bytes()
        image = nib.load(file)
        voxels = np.asarray(image.dataobj).copy()
        voxels[32, 32, 2] += 1
        nib.save(nib.Nifti1Image(voxels, image.affine, image.header), file)
        with pytest.raises(UserError, match=f"elsewhere: case {case}: not the voxels that the run in .*run") as told:
            train(configure(data=moved, resume=True, iterations=4, **options))
        assert "give the same data, or choose another --out" in str(told.value)
        file.write_bytes(kept)
    assert (config.out / "resume.pt").read_bytes() == before


# -- kills -------------------------------------------------------------------------------------------------------------


SLOW = [pytest.param(place, marks=pytest.mark.slow) for place in ("weights", "behind")]


@pytest.mark.parametrize("place", ["log", "state", *SLOW])
def test_killed_while_it_saves(configure, monkeypatch, place):
    """Nothing is caught and nothing cleaned up, as far as files go: the process just ends there."""
    options = {"validation_fraction": 0.25, "validate_every": 2, "save_every": 2, "workers": 0}
    straight = train(configure("straight", iterations=6, **options))
    config = configure("killed", iterations=6, **options)
    file = Path(config.out.parent / "run.yaml")
    file.write_text(dump_config(config))
    code = KILLED.format(place=place)
    process = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert [path for path in config.out.iterdir() if path.name.startswith(".part-")] or place in ("log", "behind")
    resumed = train(configure("killed", iterations=6, resume=True, **options))
    assert_same_run(straight.last.parent, resumed.last.parent)
    assert [row["step"] for row in log_rows(config.out)] == ["1", "2", "3", "4", "5", "6"]
    assert not [path for path in config.out.iterdir() if path.name.startswith(".")]


# At the save of step 4: before the log is on the disk, half way through a file, or behind it all.
KILLED = """
import os, signal, sys
import fsmnet.files, fsmnet.training.run as run, fsmnet.training.log as log
from fsmnet.cli import main

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

place, save = "{place}", run._save

def saved(setup, progress, rows):
    if progress.step == 4:
        if place == "log":
            log.Log.keep = die
        elif place == "behind":
            save(setup, progress, rows)
            die()
        else:
            names = {{"weights": "last.safetensors", "state": "resume.pt"}}
            write = fsmnet.files.os.fsync
            def half(number):
                if names[place] in os.readlink(f"/proc/self/fd/{{number}}"):
                    os.ftruncate(number, 1000)
                    die()
                write(number)
            fsmnet.files.os.fsync = half
    save(setup, progress, rows)

run._save = saved
main(["train", "--config", sys.argv[1]])
"""


def test_full_disk_is_told_in_words(configure):
    config = configure()
    for limit, name in ((100_000, "last.safetensors"), (1_000_000, "resume.pt")):
        out = config.out / str(limit)
        message = rf"{name}: cannot be written \(.*ile too large.*\); free space"
        with full_disk(limit), pytest.raises(UserError, match=message):
            train(configure(str(out), iterations=1, **FSMNET))
        assert not (out / name).exists()
        assert not list(out.glob(".part-*"))


def test_resume_with_another_split_or_other_data_is_refused(configure, heads, tmp_path):
    names = sorted(folder.name for folder in heads.iterdir())
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": names[:1], "validation": [], "test": names[1:2]}))
    data = tmp_path / "data"
    shutil.copytree(heads, data)
    train(configure(split=split, data=data))
    train(configure(split=split, data=data, resume=True, iterations=3))
    split.write_text(json.dumps({"train": names[:2], "validation": []}))
    with pytest.raises(UserError, match=rf"split.json: is another split .*: case {names[1]} was in test, is in train"):
        train(configure(split=split, data=data, resume=True, iterations=4))
    split.write_text(json.dumps({"train": names[:1], "validation": [], "test": names[1:2]}))
    for file in (data / names[0]).iterdir():
        shutil.copy(heads / names[2] / file.name.replace(names[0], names[2]), file)
    with pytest.raises(UserError, match=rf"{names[0]}: not the voxels that the run in .* was begun with"):
        train(configure(split=split, data=data, resume=True, iterations=4))
