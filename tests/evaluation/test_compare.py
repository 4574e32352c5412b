"""fsmnet compare on the phantom: all methods, small; then interrupted and resumed."""

from __future__ import annotations

import csv
import json

import pytest

from fsmnet.cli import main
from fsmnet.errors import UserError
from fsmnet.evaluation.compare import compare
from fsmnet.evaluation.options import CompareConfig
from fsmnet.evaluation.paper import PAPER, PRESETS

SMALL = {
    "MDUNet": {"model": "mdunet", "model_options": {"features": 4, "levels": 2}},
    "MINet": {"model": "minet", "model_options": {"features": 16, "groups": 1, "blocks": 1}, "auxiliary_weight": 0.7},
    "MCCA": {
        "model": "mcca",
        "model_options": {"channels": 32, "channel_mult": [1, 2]},
        "auxiliary_weight": 0.4,
        "kspace_weight": 0.01,
    },
    "SwinIR": {"model": "swinir", "model_options": {"embed_dim": 12, "depths": [1], "num_heads": [2]}},
    "MTrans": {"model": "mtrans", "model_options": {"hidden": 2}, "auxiliary_weight": 1.0},
    "DCAMSR": {"model": "dcamsr", "model_options": {"nf": 8, "n_blks": [1, 1, 1], "n_blks_dec": [1] * 6}},
    "FSMNet": {"model": "fsmnet", "model_options": {"features": 8, "blocks": 1}},
}
COMMON = {"batch": 1, "save_every": 1, "learning_rate": 1e-3, "augment": False, "decay_every": 100}


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    pytest.importorskip("nilearn")
    from fsmnet.data.phantom import write_subjects

    folder = tmp_path_factory.mktemp("heads")
    write_subjects(folder, range(5), size=64, slices=2, voxel=3.0)
    return folder


def config(heads, out, **changes):
    return CompareConfig(
        **{
            "data": heads,
            "out": out,
            "protocol": "float",
            "preset": "table1",
            "methods": SMALL,
            "training": COMMON,
            "iterations": 1,
            "test_fraction": 0.6,
            "validation_fraction": 0.0,
            "threads": 1,
            **changes,
        }
    )


def test_all_methods_end_to_end(heads, tmp_path):
    lines = compare(config(heads, tmp_path, paper=True))
    assert [line.method for line in lines] == list(PRESETS["table1"])
    with (tmp_path / "table.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert all(row["n"] == "3" and float(row["psnr_mean"]) > 0 for row in rows.values())
    assert rows["Zero-filling"]["steps"] == "0"
    assert rows["FSMNet"]["p"] == ""  # the reference itself
    assert rows["MDUNet"]["psnr_low"]
    for row in rows.values():  # mean and interval are of one quantity
        assert float(row["psnr_low"]) + float(row["psnr_high"]) == pytest.approx(2 * float(row["psnr_mean"]))
        assert float(row["head_psnr_mean"]) > 0
    assert all(float(rows[m]["p_holm"]) >= float(rows[m]["p"]) >= 0.25 for m in rows if rows[m]["p"])
    markdown = (tmp_path / "table.md").read_text()
    assert "over 3 patients (means of a patient's volumes)" in markdown
    assert "the smallest p that 3 patients allow is 0.25" in markdown
    assert (tmp_path / "table.tex").read_text().count(r"\\") == 10
    splits = {(tmp_path / name / "split.json").read_text() for name in ("mdunet", "fsmnet", "mtrans")}
    assert len(splits) == 1


def test_interrupted_and_resumed(heads, tmp_path, monkeypatch):
    methods = {"U-Net": SMALL["MDUNet"], "Net": SMALL["FSMNet"], "Zero": {"model": "zero_filling"}}
    options = {"preset": None, "methods": methods, "reference": "Zero", "iterations": 2}
    import fsmnet.evaluation.compare as module

    real, trained = module.train, []

    def stopped_at_the_second(training):
        trained.append(training.model)
        if training.model == "fsmnet":
            training.iterations = 1
            real(training)
            raise KeyboardInterrupt
        return real(training)

    monkeypatch.setattr(module, "train", stopped_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        compare(config(heads, tmp_path, **options))
    assert trained == ["mdunet", "fsmnet"]
    first = (tmp_path / "table.csv").read_text().splitlines()
    assert first[2] == "Net" + "," * 14  # not run: empty, not invented

    resumed = []
    monkeypatch.setattr(
        module, "train", lambda training: resumed.append((training.model, training.resume)) or real(training)
    )
    lines = compare(config(heads, tmp_path, **options))
    assert resumed == [("fsmnet", True)]
    assert [line.steps for line in lines] == [2, 2, 0]
    assert json.loads((tmp_path / "net" / "done.json").read_text())["steps"] == 2

    resumed.clear()
    compare(config(heads, tmp_path, **options))
    assert resumed == []
    with pytest.raises(UserError, match="holds another comparison: iterations was 2, is 3"):
        compare(config(heads, tmp_path, **{**options, "iterations": 3}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": None, "methods": {}}, "name the methods"),
        ({"reference": "nobody"}, "is not among the methods"),
        ({"minutes": 1.0}, "same budget"),
        ({"iterations": None}, "same budget"),
        ({"methods": {"Mine": {}}}, "needs a mapping with at least 'model'"),
        ({"methods": {"Mine": {"model": "fsmnet", "featurs": 3}}}, "unknown training option featurs"),
        ({"training": {"iterations": 3}}, "unknown training option iterations"),
        ({"methods": {"MDUNET": {"model": "mdunet"}}}, "share a folder"),
        ({"methods": {"Mine": {"model": "fsmnet", "bacth": 3}}}, r"option bacth \(did you mean batch\?\)"),
        (
            {"methods": {"Mine": {"model": "fsmnett"}}},
            "^Mine: unknown model 'fsmnett' .did you mean fsmnet.*; choose one of",
        ),
        ({"methods": {"Mine": {"model": "fsmnet", "batch": 0}}}, "^Mine: batch must be at least 1, not 0"),
        (
            {"methods": {"Mine": {"model": "fsmnet", "optimizer": "lion"}}},
            "^Mine: optimizer takes adamw, adam, rmsprop or sgd, not 'lion'$",
        ),
        (
            {"training": {"schedule": "cosin"}},
            r"^training: schedule takes constant, step or cosine, not 'cosin' \(did you mean cosine\?\)$",
        ),
        (
            {"methods": {"Mine": {"model": "fsmnet", "precision": "bf16"}}},
            "^Mine: precision takes float32 or bfloat16, not 'bf16'",
        ),
        ({"test_fraction": 0.0}, "no case for testing"),
    ],
)
def test_wrong_options_are_said_in_words(heads, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        compare(config(heads, tmp_path, **changes))


def test_the_presets_are_the_papers_rows():
    for preset, rows in (("table1", 8), ("table2", 4)):
        assert "POCS" in PRESETS[preset]
        assert len(PRESETS[preset]) == rows + 1
        assert set(PRESETS[preset]) - {"POCS"} <= set(PAPER["brats"])


def test_command_line(heads, tmp_path, capsys):
    code = main(
        [
            "compare", "--data", str(heads), "--out", str(tmp_path), "--protocol", "float", "--iterations", "1",
            "--methods", "{Zero: {model: zero_filling}}", "--reference", "Zero", "--test-fraction", "0.4",
        ]
    )  # fmt: skip
    assert code == 0
    assert "| Zero |" in capsys.readouterr().out
