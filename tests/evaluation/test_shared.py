"""Cases that several processes share: the scores and pictures of one."""

from __future__ import annotations

import json

import pytest

from fsmnet.errors import UserError
from fsmnet.evaluation.evaluate import evaluate
from fsmnet.evaluation.options import EvaluateConfig

TABLES = ("metrics.csv", "picture.png", "picture_worst.png", "picture_best.png")


def test_processes_score_what_one_scores(heads, checkpoint_file, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO", "fsmnet")
    checkpoint_file(tmp_path / "run" / "best.safetensors", "mdunet", features=4, levels=2)
    options = {
        "models": ["zero_filling", "run/best.safetensors"], "data": heads, "protocol": "float", "device": "cpu",
        "threads": 1, "cases": ["phantom-0002", "phantom-0000", "phantom-0001"],
    }  # fmt: skip
    one = evaluate(EvaluateConfig(out="one", **options))
    alone = [record.getMessage() for record in caplog.records]
    caplog.clear()
    two = evaluate(EvaluateConfig(out="two", processes=2, **options))
    for entry in (*one, *two):
        assert entry.pop("seconds") >= 0
    assert two == one
    for name in TABLES:
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    masks = [sorted(p.name for p in (tmp_path / out / "masks").iterdir()) for out in ("one", "two")]
    assert masks[0] == masks[1] == [f"phantom-000{n}.npz" for n in range(3)]
    assert sorted(record.getMessage() for record in caplog.records) == sorted(alone)
    assert json.loads((tmp_path / "two" / "summary.json").read_text())[1]["model"] == "run/best.safetensors"


def test_a_case_that_cannot_be_scored_ends_all(heads, tmp_path):
    options = {"models": ["zero_filling"], "data": heads, "protocol": "float", "device": "cpu", "threads": 1}
    with pytest.raises(UserError, match=r"slice 99 of \S+ has no content"):
        evaluate(EvaluateConfig(out=tmp_path / "out", processes=2, picture_slice=99, **options))
    assert not list((tmp_path / "out").rglob(".*"))
