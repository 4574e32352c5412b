"""fsmnet compare on the phantom: all methods, small; then interrupted and resumed."""

from __future__ import annotations

import csv
import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from fsmnet.cli import main
from fsmnet.errors import UserError
from fsmnet.evaluation.compare import compare
from fsmnet.evaluation.evaluate import evaluate
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


CLASSICS = {"preset": None, "methods": {"Zero": {"model": "zero_filling"}}, "reference": "Zero"}


def split_file(path, **sides):
    path.write_text(json.dumps({"train": [], "validation": [], **sides}))
    return path


def names(heads):
    return sorted(folder.name for folder in heads.iterdir())


def test_a_start_that_failed_binds_nothing(heads, tmp_path):
    one, two, three = names(heads)[:3]
    options = {**CLASSICS, "split": split_file(tmp_path / "split.json", train=[one], test=["gone"])}
    with pytest.raises(UserError, match="no pair for case gone"):
        compare(config(heads, tmp_path / "out", **options))
    split_file(options["split"], train=[one], test=[two])
    compare(config(heads, tmp_path / "out", **options))
    assert json.loads((tmp_path / "out" / "split.json").read_text())["test"] == [two]
    split_file(options["split"], train=[one], test=[three])
    with pytest.raises(UserError, match=rf"split.json: is another split .*: case {two} was in test, is in no list"):
        compare(config(heads, tmp_path / "out", **options))
    with pytest.raises(UserError, match="give --cases or --split, not both"):
        compare(config(heads, tmp_path / "new", **options, cases=[one]))


def test_nothing_of_a_finished_comparison_is_changed_silently(heads, tmp_path):
    options = {**CLASSICS, "split": split_file(tmp_path / "split.json", train=names(heads)[:1], test=names(heads)[1:2])}
    compare(config(heads, tmp_path / "out", **options))
    changed = {**options, "methods": {"Zero": {"model": "pocs"}}}
    with pytest.raises(UserError, match=r"method .Zero. was finished with the options .*zero_filling.*another name"):
        compare(config(heads, tmp_path / "out", **changed))
    other = tmp_path / "data"
    shutil.copytree(heads, other)
    scan = next((other / names(heads)[1]).glob("*t2*"))
    image = nib.load(scan)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[::-1] * 0.9, image.affine), scan)
    more = {**options, "methods": {**options["methods"], "POCS": {"model": "pocs"}}}
    with pytest.raises(UserError, match="not the voxels that zero was scored on"):
        compare(config(other, tmp_path / "out", **more))
    lines = compare(config(heads, tmp_path / "out", **more))
    assert [line.n for line in lines] == [1, 1]


def test_a_split_file_may_name_patients(heads, tmp_path):
    data = tmp_path / "data"
    for new, old in zip(("P-1-s1", "P-1-s2", "P-2-s1"), names(heads), strict=False):
        for file in (heads / old).iterdir():
            target = data / new / file.name.replace(old, new)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    options = {**CLASSICS, "split": split_file(tmp_path / "split.json", train=["P-2"], test=["P-1"])}
    lines = compare(config(data, tmp_path / "out", **options))
    assert (lines[0].n, lines[0].patients) == (2, 1)
    split = json.loads((tmp_path / "out" / "split.json").read_text())
    assert (split["train"], split["test"]) == (["P-2-s1"], ["P-1-s1", "P-1-s2"])
    summary = evaluate(data=data, models=["zero_filling"], out=tmp_path / "e", split=options["split"])
    assert summary[0]["n"] == 2
    assert evaluate(data=data, models=["zero_filling"], out=tmp_path / "e", cases=["P-2"])[0]["n"] == 1
    split_file(options["split"], train=["P-1-s1"], test=["P-1"])
    with pytest.raises(UserError, match="case P-1-s1 is on two sides, by its own name and by its patient's, P-1"):
        compare(config(data, tmp_path / "two", **options))
