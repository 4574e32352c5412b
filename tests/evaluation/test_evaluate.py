"""Scores: the right figures in the right columns, for several models on the same slices with the same masks."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
import torch
from matplotlib.image import imread

import golden
from fsmnet.checkpoint import Header, load_model, save_checkpoint, shipped_checkpoint
from fsmnet.cli import main
from fsmnet.data.pairing.names import Pair, load_pair
from fsmnet.errors import UserError
from fsmnet.evaluation.case import Scorer, lines_put_back
from fsmnet.evaluation.evaluate import evaluate
from fsmnet.evaluation.options import EvaluateConfig
from fsmnet.evaluation.picture import load_shown
from fsmnet.evaluation.scores import METRICS_COLUMNS, summary_lines
from fsmnet.evaluation.show import FILES as PICTURES
from fsmnet.inference.slices import reconstruct_slices
from fsmnet.models import MODELS, create_model, recipe_of, register_model
from fsmnet.physics.fourier import fft1c
from fsmnet.physics.masks import load_mask, make_mask, seed_from_name
from fsmnet.protocols import protocol_of
from fsmnet.protocols.brats import brats_mask
from fsmnet.protocols.float import FLOAT
from fsmnet.reconstruction.reconstruct import reconstruct
from fsmnet.transforms import to_unit

SUMMARY_KEYS = [
    *("model", "data", "acceleration", "protocol", "n"),
    *("psnr_mean", "psnr_std", "ssim_mean", "ssim_std", "nmse_mean"),
    *("head_psnr_mean", "head_psnr_std", "head_ssim_mean", "head_ssim_std", "head_nmse_mean"),
    *("patients", "psnr_patient_mean", "psnr_interval", "ssim_patient_mean", "ssim_interval"),
    *("achieved_acceleration", "slices_scored", "seen_in_training", "caveat", "title", "seconds"),
    "without_auxiliary",
]
NUMBERS = ("psnr", "ssim", "nmse")


@pytest.fixture
def checkpoint(checkpoint_file, tmp_path):
    return checkpoint_file(tmp_path / "run" / "best.safetensors")


@pytest.fixture
def configure(heads, tmp_path):
    """Function (models, **options) -> an evaluation of seconds, in the float protocol."""

    def make(models, **options) -> EvaluateConfig:
        defaults = {"data": heads, "out": tmp_path / "scores", "protocol": "float", "device": "cpu"}
        return EvaluateConfig(models=[str(model) for model in models], **{**defaults, **options})

    return make


def read_metrics(out):
    with (out / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_summary_follows_from_rows(out, models):
    rows, summary = read_metrics(out), json.loads((out / "summary.json").read_text())
    assert [entry["model"] for entry in summary] == models
    for entry in summary:
        weights = [] if entry["model"] in MODELS else ["made_for", "doubts"]
        assert list(entry) == [*SUMMARY_KEYS, *weights, "contents"]
        own = [row for row in rows if row["model"] == entry["model"]]
        assert entry["n"] == len(own) > 0
        for name in NUMBERS:
            values = np.array([float(row[name]) for row in own])
            assert entry[f"{name}_mean"] == pytest.approx(values.mean(), rel=1e-9)
            if name != "nmse":
                assert entry[f"{name}_std"] == pytest.approx(values.std(), rel=1e-5, abs=1e-9)


def test_float_protocol_scores_volumes(configure, checkpoint, heads):
    config = configure(["zero_filling", checkpoint], cases=["phantom-0001", "phantom-0000"])
    summary = evaluate(config)
    assert summary == json.loads((config.out / "summary.json").read_text())
    rows = read_metrics(config.out)
    assert list(rows[0]) == METRICS_COLUMNS
    assert [
        *("model", "case", "patient", "slice", "slices", "acceleration", "achieved", "protocol"),
        *("psnr", "ssim", "nmse", "head_psnr", "head_ssim", "head_nmse", "seen"),
    ] == METRICS_COLUMNS
    # The order of --cases; a row per volume, without a slice number.
    order = [(case, model) for case in ("phantom-0001", "phantom-0000") for model in config.models]
    assert [(row["case"], row["model"]) for row in rows] == order
    assert {(row["slice"], row["acceleration"], row["protocol"]) for row in rows} == {("", "4", "float")}
    assert_summary_follows_from_rows(config.out, config.models)
    assert summary[0]["data"] == heads.name
    assert summary[0]["acceleration"] == 4
    assert summary[0]["protocol"] == "float"

    # The same by the pieces.
    folder = heads / "phantom-0000"
    pair = Pair("phantom-0000", folder / "phantom-0000_t2.nii.gz", folder / "phantom-0000_t1.nii.gz")
    slices = FLOAT.prepare(*load_pair(pair.target, pair.auxiliary))
    mask = make_mask("random", 64, 4, 0.08, seed_from_name(pair.target))
    filled = FLOAT.zero_fill(slices.target, torch.from_numpy(mask.columns))
    by_hand = {
        "zero_filling": filled,
        str(checkpoint): reconstruct_slices(load_model(checkpoint), filled, slices.auxiliary, FLOAT.normalisation),
    }
    for row in rows[2:]:
        expected = FLOAT.score(slices.target, by_hand[row["model"]])[0]
        assert [float(row[name]) for name in NUMBERS] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("protocol", ["float", "complex", "brats"])
def test_networks_for_kspace_are_scored_wherever_lines_are_known(
    configure, checkpoint_file, heads, brats_folder, tmp_path, protocol
):
    """A fresh unrolled network changes nothing: its image is the zero-filled one, of which the magnitude is scored."""
    unrolled = checkpoint_file(tmp_path / "unrolled.safetensors", "fsmnet_unrolled", steps=1, widths=[8, 8, 8])
    data, case = (brats_folder, "case-1") if protocol == "brats" else (heads, "phantom-0000")
    config = configure(["zero_filling", unrolled], data=data, protocol=protocol, cases=[case])
    zero_filling, network = evaluate(config)
    assert network["psnr_mean"] == pytest.approx(zero_filling["psnr_mean"], abs=0.05)
    assert network["model"] == str(unrolled)


class Believing(torch.nn.Module):
    """A k-space network that adds what the auxiliary shows, whoever's it is."""

    takes = "acquisition"

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, acquisition, auxiliary):
        image = acquisition.zero_filled[:, None]
        return image if auxiliary is None else image + self.gain * auxiliary


@pytest.mark.parametrize("keep", [False, True])
def test_an_auxiliary_that_the_lines_speak_against_is_left_out_and_told(
    configure, monkeypatch, heads, tmp_path, caplog, keep
):
    monkeypatch.setattr(MODELS, "_registered", dict(MODELS._registered))
    register_model("believing", Believing)
    weights = tmp_path / "believing.safetensors"
    model = create_model("believing")
    save_checkpoint(weights, model.state_dict(), Header(recipe_of(model)))
    config = configure(["zero_filling", weights], protocol="complex", cases=["phantom-0000"], keep_auxiliary=keep)
    filled, network = evaluate(config)
    assert network["without_auxiliary"] == ([] if keep else ["phantom-0000"])
    assert filled["without_auxiliary"] == []
    equal = network["psnr_mean"] == pytest.approx(filled["psnr_mean"], abs=1e-3)
    assert equal is not keep
    assert ("phantom-0000, the auxiliary is left out" in caplog.text) is not keep
    printed = [line for line in summary_lines([filled, network]) if "did without the auxiliary" in line]
    assert printed == ([] if keep else [f"{weights} did without the auxiliary in 1 case: phantom-0000"])


def test_reconstruct_scores_the_same_slices_as_evaluate(heads, configure, tmp_path, write_nifti):
    """Slices that show little count in neither, and their maximum is the volume's in both."""
    import nibabel as nib

    folder = tmp_path / "data" / "X"
    for contrast in ("t1", "t2"):
        image = nib.load(heads / "phantom-0000" / f"phantom-0000_{contrast}.nii.gz")
        array = np.concatenate([image.get_fdata(), np.zeros((64, 64, 2))], axis=2)
        array[20:24, 20:24, 5] = 1.5 * array.max()  # 16 of 4096 pixels, the brightest of the volume
        write_nifti(folder / f"X_{contrast}.nii.gz", array.astype(np.float32), image.affine)
    config = configure(["zero_filling"], data=folder.parent)
    evaluate(config)
    [row] = read_metrics(config.out)
    files = [folder / f"X_{contrast}.nii.gz" for contrast in ("t2", "t1")]
    result = reconstruct(*files, tmp_path / "out.nii.gz", mask=config.out / "masks" / "X.npz", device="cpu")
    assert row["slices"] == "5" == str(result.sidecar["Scored"]["slices"])
    assert result.sidecar["SlicesReconstructed"] == 6
    for name, value in result.sidecar["Metrics"]["zero_filling"].items():
        assert float(row[name]) == pytest.approx(value, rel=1e-5)


def test_brats_protocol_scores_slices(configure, checkpoint, brats_folder):
    config = configure(["zero_filling", checkpoint], data=brats_folder, protocol="brats", cases=["case-1"], batch=3)
    evaluate(config)
    rows = read_metrics(config.out)
    assert [(row["model"], row["slice"]) for row in rows] == [(m, str(n)) for m in config.models for n in range(4)]
    assert {row["protocol"] for row in rows} == {"brats"}
    assert_summary_follows_from_rows(config.out, config.models)
    assert np.array_equal(load_mask(config.out / "masks" / "case-1.npz").columns, brats_mask(4).columns)
    assert sorted(path.name for path in config.out.iterdir()) == [
        *("masks", "metrics.csv", "picture.npz", "picture.png", "picture_best.png", "picture_worst.png"),
        "summary.json",
    ]


def test_masks_are_saved_as_drawn(configure):
    config = configure(["zero_filling"], acceleration=3, mask_kind="magic", center_fraction=0.1)
    evaluate(config)
    masks = sorted((config.out / "masks").iterdir())
    assert [path.name for path in masks] == [f"phantom-000{i}.npz" for i in range(4)]
    for path in masks:
        mask, expected = load_mask(path), make_mask("magic", 64, 3, 0.1, seed_from_name(f"{path.stem}_t2.nii.gz"))
        assert np.array_equal(mask.columns, expected.columns)
        assert (mask.kind, mask.acceleration, mask.center_fraction) == ("magic", 3, 0.1)
    fixed = configure(["zero_filling"], mask_seed=7, out=config.out.with_name("fixed"))
    evaluate(fixed)
    expected = make_mask("random", 64, 4, 0.08, 7).columns
    assert all(np.array_equal(load_mask(p).columns, expected) for p in (fixed.out / "masks").iterdir())


@pytest.mark.parametrize("stop", [KeyboardInterrupt, UserError])
def test_one_that_is_stopped_leaves_the_folder_as_it_was(configure, monkeypatch, stop):
    score = Scorer.score

    def until_the_third(scorer, task):
        if task.number == 2:
            raise stop
        return score(scorer, task)

    monkeypatch.setattr(Scorer, "score", until_the_third)
    config = configure(["zero_filling"])
    with pytest.raises(stop):
        evaluate(config)
    assert not config.out.exists()
    with monkeypatch.context() as context:
        context.setattr(Scorer, "score", score)
        evaluate(configure(["zero_filling"], acceleration=2))
    (config.out / "notes.txt").touch()
    before = {path: path.stat().st_mtime_ns for path in config.out.rglob("*") if path.is_file()}
    assert len(before) == 4 + len(PICTURES) + 3
    with pytest.raises(stop):
        evaluate(config)
    assert {path: path.stat().st_mtime_ns for path in config.out.rglob("*") if path.is_file()} == before


def test_picture(configure, checkpoint):
    config = configure(["zero_filling", checkpoint], cases=["phantom-0002"])
    evaluate(config)
    picture = imread(config.out / "picture.png")
    assert picture.shape[0] > 300
    assert picture.shape[1] > 500
    assert picture[..., :3].std() > 0.05


def test_no_title_is_a_path_or_a_case(configure, checkpoint_file, tmp_path):
    files = [checkpoint_file(tmp_path / side / "run" / "best.safetensors", seed=i) for i, side in enumerate("ab")]
    config = configure([*files, "zero_filling"], cases=["phantom-0000"])
    summary = evaluate(config)
    shown = load_shown(config.out / "picture.npz")
    assert list(shown.images) == ["FSMNet, 8 features (1)", "FSMNet, 8 features (2)", "Zero-filled"]
    assert [row["title"] for row in summary] == list(shown.images) == list(shown.captions)
    assert all(caption.startswith("volume: ") for caption in shown.captions.values())
    assert shown.title == "case 1, slice 0, 4x, protocol float"
    assert shown.contrasts == ("T2", "T1")
    assert shown.columns.sum() == load_mask(config.out / "masks" / "phantom-0000.npz").columns.sum()


def test_the_worst_and_the_best_slice(configure, monkeypatch):
    drawn = {}
    monkeypatch.setattr("fsmnet.pictures.panels.Picture.save", lambda self, path: drawn.update({path.name: self.title}))
    config = configure(["zero_filling"], acceleration=4)
    evaluate(config)
    worst, best = (drawn[f"picture_{name}.png"] for name in ("worst", "best"))
    values = [float(re.search(r"([\d.]+) dB", title)[1]) for title in (worst, best)]
    assert values[0] < values[1]
    assert worst.startswith("Worst slice of Zero-filled, ")
    assert "phantom" not in "".join(drawn.values())


def test_picture_of_a_chosen_slice(configure):
    evaluate(configure(["zero_filling"], cases=["phantom-0000"], picture_slice=3))
    config = configure(["zero_filling"], picture_slice=9, out=configure([]).out.with_name("other"))
    with pytest.raises(UserError, match="slice 9 of phantom-0000 has no content; choose one of 0 to 4"):
        evaluate(config)
    assert not config.out.exists()


def test_test_cases_of_a_split(configure, tmp_path):
    file = tmp_path / "split.json"
    split = {"train": ["phantom-0000"], "validation": [], "test": ["phantom-0003", "phantom-0001"]}
    file.write_text(json.dumps(split))
    config = configure(["zero_filling"], split=file)
    evaluate(config)
    assert [row["case"] for row in read_metrics(config.out)] == split["test"]
    with pytest.raises(UserError, match="give --cases or --split, not both"):
        evaluate(configure(["zero_filling"], split=file, cases=["phantom-0000"]))
    file.write_text(json.dumps({**split, "test": []}))
    with pytest.raises(UserError, match=r"split\.json: the split keeps no case for testing; name some with --cases"):
        evaluate(configure(["zero_filling"], split=file))


def test_diverged_weights_are_not_scored(configure, checkpoint_file, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    file = checkpoint_file(tmp_path / "nan.safetensors")
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    save_file({name: tensor * torch.nan for name, tensor in load_file(file).items()}, file, metadata)
    with pytest.raises(UserError, match=r"nan\.safetensors: gives NaN or infinite values"):
        evaluate(configure([file]))


def test_printed_table(configure, checkpoint, capsys):
    config = configure(["zero_filling", checkpoint])
    arguments = ["--data", str(config.data), "--out", str(config.out), "--protocol", "float", "--device", "cpu"]
    assert main(["evaluate", "--models", *config.models, *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "protocol float, 4x requested, 3.76x to 5.33x (not all alike) achieved, 20 slices of 4 patients; "
        "mean +- standard deviation over volumes"
    )
    summary = json.loads((config.out / "summary.json").read_text())
    for line, entry in zip(lines[2:4], summary, strict=True):
        assert line.split()[:2] == [entry["model"], "4"]
        assert f"{entry['psnr_mean']:.2f} +- {entry['psnr_std']:.2f}" in line
        assert f"{entry['ssim_mean']:.3f} +- {entry['ssim_std']:.3f}" in line
    assert lines[-1] == f"written to {config.out}: metrics.csv, summary.json, picture.png, masks"


REFUSED = {
    "a model's name": ("fsmnet", "fsmnet is a model without weights; give a checkpoint of it"),
    "neither": ("fsmnett", "fsmnett: neither a checkpoint file nor .*; models are zero_filling, pocs, mdunet"),
    "a folder": ("", r"is a folder; give a checkpoint in it, such as .*best\.safetensors"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_models(configure, tmp_path, what):
    model, message = REFUSED[what]
    with pytest.raises(UserError, match=message):
        evaluate(configure([model or tmp_path]))
    assert not configure([]).out.exists()


@pytest.mark.skipif(shipped_checkpoint() is None, reason="this build carries no weights")
def test_a_k_space_network_is_weighed_as_reconstruct_does_it(configure, tmp_path):
    """The command's scores are those of the image that ``reconstruct`` makes of the same lines."""
    options = {"protocol": "complex", "cases": ["phantom-0000"], "noise": 0.003, "keep_auxiliary": True}
    scores = {}
    for choice in ("off", "weighed"):
        config = configure(["shipped"], out=tmp_path / choice, data_consistency=choice, acceleration=2, **options)
        evaluate(config)
        scores[choice] = json.loads((config.out / "summary.json").read_text())[0]["psnr_mean"]
    assert scores["weighed"] > scores["off"] + 0.2
    protocol = protocol_of(config)
    case = protocol.accelerate(protocol.find_cases(config, config.out)[0], protocol.mask_recipe(config))
    np.save(tmp_path / "kspace.npy", fft1c(case.measured(slice(0, len(case.zero_filled))).lines, -2).numpy())
    np.save(tmp_path / "t1.npy", to_unit(case.slices.auxiliary).numpy())
    # The protocol tells its noise. By the file's name others of the lines are kept back: a little different error.
    given = {
        "noise": 0.003,
        "keep_auxiliary": True,
        "device": "cpu",
        "precision": "float32",
        "data_consistency": "weighed",
    }
    made = reconstruct(None, tmp_path / "t1.npy", tmp_path / "out.npy", kspace=tmp_path / "kspace.npy", **given)
    assert made.sidecar["DataConsistency"]["Kind"].startswith("weighed")
    [score] = protocol.score(case.slices.target, torch.from_numpy(made.image))
    assert score.psnr == pytest.approx(scores["weighed"], abs=0.1)
    with pytest.raises(UserError, match="weighed reckons with noise and a phase, which this protocol lacks"):
        evaluate(configure(["shipped"], out=tmp_path / "real", data_consistency="weighed", cases=["phantom-0000"]))


PUBLISHED = {
    4: {"TCGA-FG-6692": ("32.21", "0.92", "0.775", "0.016"), "TCGA-DU-7294": ("31.24", "1.01", "0.771", "0.017")},
    8: {"TCGA-FG-6692": ("28.64", "0.92", "0.687", "0.029"), "TCGA-DU-7294": ("27.71", "1.29", "0.694", "0.022")},
}


@pytest.mark.skipif(not (golden.SHARED / "data" / "volumes").is_dir(), reason="the scans (../shared/data) are not here")
@pytest.mark.parametrize("acceleration", [4, 8])
@pytest.mark.parametrize("case", ["TCGA-FG-6692", "TCGA-DU-7294"])
def test_zero_filling_of_real_scans(tmp_path, capsys, case, acceleration):
    data, out = golden.SHARED / "data" / "volumes", tmp_path / "scores"
    options = ["--cases", case, "--acceleration", str(acceleration), "--data", str(data), "--out", str(out)]
    options += ["--protocol", "brats"]
    assert main(["evaluate", "--models", "zero_filling", *options]) == 0
    psnr, psnr_std, ssim, ssim_std = PUBLISHED[acceleration][case]
    printed = capsys.readouterr().out.splitlines()[2].split()
    assert printed[2:8] == [psnr, "+-", psnr_std, ssim, "+-", ssim_std]


@pytest.mark.parametrize(
    ("protocol", "options"),
    [("float", {}), ("complex", {"noise": 0.0}), ("complex", {"noise": 0.0, "simulated_coils": 4})],
)
def test_lines_are_put_back_in_every_protocol(configure, heads, protocol, options):
    """The truth stays the truth; an empty image becomes the zero-filled one."""
    config = configure(["zero_filling"], protocol=protocol, **options)
    kind = protocol_of(config)
    case = kind.accelerate(kind.find_cases(config, config.out)[0], kind.mask_recipe(config))
    target = to_unit(case.slices.target)
    if protocol != "complex":  # where the phase is not known
        assert torch.allclose(lines_put_back(case, target), target, atol=1e-5)
    elif "simulated_coils" not in options:
        assert torch.allclose(lines_put_back(case, torch.zeros_like(target)), case.zero_filled, atol=1e-5)
    error = (lines_put_back(case, 0.5 * target) - target).square().mean()
    assert error < 0.5 * (0.5 * target).square().mean()
    if protocol != "complex":
        with pytest.raises(UserError, match="weighed reckons with noise and a phase, which this protocol lacks"):
            lines_put_back(case, target, "weighed")
    else:
        error = (lines_put_back(case, 0.5 * target, "weighed") - target).square().mean()
        assert error < 0.5 * (0.5 * target).square().mean()
