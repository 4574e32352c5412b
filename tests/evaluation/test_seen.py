"""No score on what a network was trained on without a word; what its training kept for testing is scored by default."""

from __future__ import annotations

import csv
import json

import pytest
import torch

from fsmnet.benchmark.options import BenchmarkConfig
from fsmnet.benchmark.quality import quality_against_time
from fsmnet.checkpoint import Header, read_checkpoint, save_checkpoint
from fsmnet.evaluation.evaluate import evaluate
from fsmnet.evaluation.options import EvaluateConfig
from fsmnet.models import create_model, recipe_of
from fsmnet.reconstruction.reconstruct import reconstruct
from fsmnet.training.options import TrainConfig
from fsmnet.training.run import train


@pytest.fixture(scope="module")
def run(heads, tmp_path_factory):
    """A training that keeps a patient for testing and one for the choice of its checkpoint."""
    return train(
        TrainConfig(
            data=heads, out=tmp_path_factory.mktemp("seen") / "run", protocol="float", model="mdunet", batch=1,
            model_options={"features": 4, "levels": 2}, iterations=1, validation_fraction=0.25, test_fraction=0.25,
            device="cpu",
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def split(run):
    return read_checkpoint(run.best)[1].split


def scored(run, data, out, **options):
    evaluate(EvaluateConfig(models=["zero_filling", str(run.best)], data=data, out=out, protocol="float", **options))
    with (out / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads((out / "summary.json").read_text())


def test_test_patients_are_scored_by_default(run, split, heads, tmp_path, caplog):
    rows, summary = scored(run, heads, tmp_path)
    assert {row["case"] for row in rows} == set(split["test"])
    assert [row["seen"] for row in rows] == ["", "test"]
    assert summary[0]["seen_in_training"] is None
    assert summary[1]["seen_in_training"] == {"train": [], "validation": []}
    assert "too good" not in caplog.text


def test_training_patients_are_named(run, split, heads, tmp_path, caplog):
    cases = split["train"] + split["validation"]
    rows, summary = scored(run, heads, tmp_path, cases=cases)
    assert [row["seen"] for row in rows if row["model"] != "zero_filling"] == ["train", "train", "validation"]
    assert summary[1]["seen_in_training"] == {"train": split["train"], "validation": split["validation"]}
    assert f"was trained on 2 of the 3 cases scored here: {'; '.join(split['train'])};" in caplog.text
    assert "had its checkpoint chosen on 1 of the 3 cases" in caplog.text


def renamed(heads, case, folder, name):
    """A copy of a case under another name, its axes and its file's form changed."""
    import nibabel as nib

    (folder / name).mkdir(parents=True)
    for contrast in ("t1", "t2"):
        image = nib.load(heads / case / f"{case}_{contrast}.nii.gz")
        nib.save(
            nib.Nifti1Image(image.get_fdata().astype("float32"), image.affine), folder / name / f"{name}_{contrast}.nii"
        )
    return folder


def test_a_renamed_training_patient_is_known_by_its_voxels(run, split, heads, tmp_path, caplog):
    case = split["train"][0]
    data = renamed(heads, case, tmp_path / "data", "somebody")
    rows, summary = scored(run, data, tmp_path / "scores")
    assert [row["seen"] for row in rows] == ["", "train"]
    assert summary[1]["seen_in_training"]["train"] == [f"somebody ({case}, whose voxels these are)"]
    caplog.clear()
    files = [data / "somebody" / f"somebody_{contrast}.nii" for contrast in ("t2", "t1")]
    result = reconstruct(*files, tmp_path / "out.nii.gz", checkpoint=run.best, acceleration=4)
    assert result.sidecar["SeenInTraining"] == {"side": "train", "case": case, "by": "content"}
    assert f"was trained on {case}, whose voxels these are; its scores here are too good" in caplog.text


def test_reconstruct_knows_a_training_patient_by_name_and_others_not(run, split, heads, tmp_path, caplog):
    for case, seen in ((split["validation"][0], "validation"), (split["test"][0], "test")):
        caplog.clear()
        files = [heads / case / f"{case}_{contrast}.nii.gz" for contrast in ("t2", "t1")]
        result = reconstruct(*files, tmp_path / case / "out.nii.gz", checkpoint=run.best, acceleration=4)
        assert result.sidecar["SeenInTraining"] == {"side": seen, "case": case, "by": "name"}
        assert ("too good" in caplog.text) == (seen == "validation")


def test_what_initial_weights_were_trained_on_is_not_forgotten(run, split, heads, tmp_path, caplog):
    case = split["train"][0]
    cases = {"train": split["test"], "test": [case]}
    (tmp_path / "split.json").write_text(json.dumps(cases))
    again = train(
        TrainConfig(
            data=heads, out=tmp_path / "run", protocol="float", model="mdunet", iterations=1, batch=1,
            model_options={"features": 4, "levels": 2}, init=run.best, split=tmp_path / "split.json", device="cpu",
        )
    )  # fmt: skip
    assert f"patient {case} has cases on two sides" in caplog.text
    assert read_checkpoint(again.best)[1].split["before"] == split["train"]
    rows, _ = scored(again, heads, tmp_path / "scores", cases=[case])
    assert rows[1]["seen"] == "train"


def test_a_benchmark_says_it_too(brats_folder, tmp_path, caplog):
    network = create_model("fsmnet", features=8, blocks=1)
    file = tmp_path / "best.safetensors"
    save_checkpoint(file, network.state_dict(), Header(recipe_of(network), split={"train": ["case-1"]}))
    config = BenchmarkConfig(data=brats_folder, case="case-1", models=[str(file)])
    result = quality_against_time(config, "float32", torch.device("cpu"))
    assert {row["seen"] for row in result["models"]} == {"train"}
    assert "was trained on case-1" in caplog.text
