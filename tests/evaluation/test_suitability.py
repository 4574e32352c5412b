"""Networks are scored on what they were made for, or refused."""

from __future__ import annotations

import json

import pytest

from fsmnet.errors import UserError
from fsmnet.evaluation.evaluate import evaluate
from fsmnet.evaluation.options import EvaluateConfig
from fsmnet.export.export import export
from fsmnet.export.options import ExportConfig
from fsmnet.options import plain_config
from fsmnet.training.options import TrainConfig


@pytest.fixture
def network(checkpoint_file, brats_folder, tmp_path):
    training = plain_config(TrainConfig(data=brats_folder, out=tmp_path, target="t2", auxiliary="t1"))
    return checkpoint_file(tmp_path / "made_for_t2.safetensors", training=training)


@pytest.fixture
def score(network, brats_folder, tmp_path):
    def run(target, auxiliary, **options):
        files = {"data": brats_folder, "models": ["zero_filling", str(network)], "out": tmp_path / "scores"}
        return evaluate(EvaluateConfig(**files, target=target, auxiliary=auxiliary, cases=["case-1"], **options))

    return run


def test_another_contrast_is_refused(score, tmp_path, caplog):
    with pytest.raises(UserError, match=r"made_for_t2.* case-1, the target: is FLAIR \(by --target\), but .* --anyway"):
        score("flair", "t1")
    with pytest.raises(UserError, match="the wrong way round"):
        score("t1", "t2")
    assert not (tmp_path / "scores" / "summary.json").exists()
    score("flair", "t1", anyway=True)
    plain, network = json.loads((tmp_path / "scores" / "summary.json").read_text())
    assert "made_for" not in plain
    assert network["made_for"].startswith("T2 with T1, 4x random, protocol ")
    assert "is FLAIR (by --target)" in network["doubts"][0]
    assert network["doubts"][0] in caplog.text


def test_what_it_was_made_for_is_scored(score, caplog):
    _, network = score("t2", "t1")
    assert not any("made for" in doubt for doubt in network["doubts"])
    with pytest.raises(UserError, match="by --target-contrast"):
        score("t2", "t1", target_contrast="flair")


def test_export_compares_on_scans_of_its_kind(network, brats_folder, tmp_path):
    files = {name: brats_folder / "case-1" / f"case-1_{name}.nii.gz" for name in ("flair", "t1")}
    config = ExportConfig(out=tmp_path / "net.pt2", checkpoint=network, target=files["flair"], auxiliary=files["t1"])
    with pytest.raises(UserError, match=r"is FLAIR \(by its name\), but the network was made for T2 with T1"):
        export(config)
    assert not config.out.exists()
