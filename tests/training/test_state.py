"""What a run keeps: interrupted and resumed is uninterrupted; what cannot be continued is told in words."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from fsmnet.errors import UserError
from fsmnet.training.run import train
from training_run import FSMNET, UNET, assert_same_run

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


def test_resume_of_a_run_from_before_an_option_existed(configure):
    train(configure())
    file = configure().out / "resume.pt"
    state = torch.load(file, weights_only=True)
    saved = json.loads(state["config"])
    del saved["wrap_phase"]
    torch.save({**state, "config": json.dumps(saved)}, file)
    assert train(configure(resume=True, iterations=3)).progress.step == 3


@pytest.mark.parametrize("content", ["empty", "text", "cut short", "another file"])
def test_damaged_resume_file(configure, content):
    train(configure())
    file = configure().out / "resume.pt"
    whole = file.read_bytes()
    if content == "another file":
        torch.save({"weights": torch.zeros(3)}, file)
    else:
        file.write_bytes({"empty": b"", "text": b"hello\n", "cut short": whole[: len(whole) // 2]}[content])
    with pytest.raises(UserError, match=r"resume\.pt: damaged, or no state of a training; start again"):
        train(configure(resume=True))


def test_full_disk_is_told_in_words(configure):
    resource = pytest.importorskip("resource")
    config = configure()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit, name in ((100_000, "last.safetensors"), (1_000_000, "resume.pt")):
        out = config.out / str(limit)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(UserError, match=rf"{name}: cannot be written \(.*ile too large.*\); free space"):
                train(configure(str(out), iterations=1, **FSMNET))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
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
