"""What a run learns from: its split and slices."""

from __future__ import annotations

import json

import pytest

from fsmnet.errors import UserError
from fsmnet.training.run import train


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


def test_slices_of_different_sizes_need_batches_of_one(configure, brats_folder, write_nifti, smooth):
    for contrast, seed in (("t1", 1), ("t2", 2)):
        write_nifti(brats_folder / "case-2" / f"case-2_{contrast}.nii.gz", smooth(seed, (40, 48, 4)))
    options = {"data": brats_folder, "iterations": 1}
    with pytest.raises(UserError, match=r"different sizes \(40 x 48, 84 x 80\) cannot share a batch; set batch to 1"):
        train(configure(batch=2, **options))
    assert train(configure("one", batch=1, **options)).progress.step == 1
