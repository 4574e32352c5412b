"""What a run learns from: its split and slices."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fsmnet.errors import UserError
from fsmnet.training.run import train
from training_run import assert_same_weights


def test_a_split_is_used_again(configure, tmp_path):
    first = configure("first", validation_fraction=0.25, test_fraction=0.25, split_seed=5, iterations=1)
    train(first)
    saved = (first.out / "split.json").read_text()
    second = configure("second", split=first.out / "split.json", iterations=1)
    train(second)
    assert (second.out / "split.json").read_text() == saved

    file = tmp_path / "other.json"
    file.write_text(json.dumps({"train": ["phantom-0000", "nobody"], "validation": [], "test": []}))
    with pytest.raises(UserError, match="the split names cases that are not there: nobody"):
        train(configure("third", split=file))
    file.write_text(json.dumps({"train": [], "validation": ["phantom-0000"], "test": []}))
    with pytest.raises(UserError, match="no case to train on"):
        train(configure("third", split=file))


def test_slices_of_several_sizes_go_into_batches_of_one_size(configure, brats_folder, write_nifti, smooth, caplog):
    for contrast, seed in (("t1", 1), ("t2", 2)):
        write_nifti(brats_folder / "case-2" / f"case-2_{contrast}.nii.gz", smooth(seed, (40, 48, 4)))
    options = {"data": brats_folder, "batch": 2, "iterations": 6}
    with caplog.at_level("INFO", "fsmnet"):
        whole = train(configure(**options))
    assert "slices of 2 sizes: each batch of 2 is of one of them" in caplog.messages
    assert whole.progress.step == 6
    first = configure("stopped", **options | {"iterations": 4})
    train(first)
    train(replace(first, iterations=6, resume=True))
    assert_same_weights(whole.last, first.out / "last.safetensors")


def test_a_training_says_that_nothing_is_kept_for_testing(configure, caplog):
    with caplog.at_level("INFO", "fsmnet"):
        train(configure("without", iterations=1))
        assert "no test cases (--test-fraction 0.25 would keep" in caplog.text
        caplog.clear()
        train(configure("with", iterations=1, test_fraction=0.25))
    assert "no test cases" not in caplog.text
