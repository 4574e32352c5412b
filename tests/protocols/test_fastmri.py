"""The knee from files to figures: pairs, training, both ways to score, submissions, and a move to another folder."""

from __future__ import annotations

import csv
import json
import logging
import shutil

import h5py
import numpy as np
import pytest
import yaml
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from fastmri_tree import centred, ifft2c, knee, write_knees, write_volume
from fsmnet.checkpoint import open_model
from fsmnet.cli import main
from fsmnet.data.options import PairOptions
from fsmnet.errors import UserError
from fsmnet.evaluation.evaluate import evaluate
from fsmnet.evaluation.options import CompareConfig, EvaluateConfig
from fsmnet.evaluation.scores import summary_lines
from fsmnet.physics.masks import load_mask
from fsmnet.protocols import get_protocol
from fsmnet.protocols.cases import thinned
from fsmnet.protocols.fastmri import FASTMRI
from fsmnet.training.options import TrainConfig
from fsmnet.training.run import train

SMALL = {"size": 40, "slices": 3, "rows": 64, "columns": 48, "recon": 40, "noise": 0.003}
TINY = {"model": "mdunet", "model_options": {"features": 8, "levels": 3}, "threads": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def knees(tmp_path_factory):
    """A folder ``knee`` as NYU ships it, five pairs for training and two for validation; ``pairs.csv`` beside it."""
    root = tmp_path_factory.mktemp("data")
    names = write_knees(root / "knee", range(5), **SMALL)
    names += write_knees(root / "knee", [5, 6], folder="singlecoil_val", **SMALL)
    (root / "pairs.csv").write_text("".join(f"{pd},{fs},0.4\n" for pd, fs in names))
    return root


@pytest.fixture
def options(knees):
    return {"data": knees / "knee", "pairs": knees / "pairs.csv", "protocol": "fastmri"}


@pytest.fixture(scope="module")
def run(knees, tmp_path_factory):
    """A training of a few seconds."""
    config = TrainConfig(
        data=knees / "knee", pairs=knees / "pairs.csv", protocol="fastmri",
        out=tmp_path_factory.mktemp("run") / "quick", iterations=60, batch=2, learning_rate=1e-2, schedule="cosine",
        validation_fraction=0.2, validate_every=20, clip_norm=1.0, frequency_weight=0.0, **TINY,
    )  # fmt: skip
    return train(config), config


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_training_beats_zero_filling_and_scores_follow_by_hand(run, options, tmp_path):
    result, config = run
    assert result.finished
    split = json.loads((config.out / "split.json").read_text())
    assert [len(split[part]) for part in ("train", "validation", "test")] == [4, 1, 2]
    out = tmp_path / "scores"
    models = ["zero_filling", str(result.best)]
    summary = evaluate(
        EvaluateConfig(
            **options, models=models, split=config.out / "split.json", out=out, submission=tmp_path / "sent", threads=1
        )
    )
    psnr = {row["model"]: row["psnr_mean"] for row in summary}
    assert psnr[models[1]] > psnr["zero_filling"] + 1
    volumes, slices = table(out / "metrics.csv"), table(out / "metrics_slices.csv")
    assert [row["case"] for row in volumes] == [case for case in split["test"] for _ in models]
    assert {row["slice"] for row in volumes} == {""}
    assert [row["slice"] for row in slices[:3]] == ["0", "1", "2"]
    for row in volumes + slices:
        name = "zero_filling" if row["model"] == "zero_filling" else "quick"
        with h5py.File(tmp_path / "sent" / name / f"{row['case']}.h5", locking=False) as file:
            image = file["reconstruction"][()]
        with h5py.File(options["data"] / "singlecoil_val" / f"{row['case']}.h5", locking=False) as file:
            reference = file["reconstruction_esc"][()]
            kspace = file["kspace"][()]
        mask = load_mask(out / "masks" / f"{row['case']}.npz").columns
        if name == "zero_filling":
            np.testing.assert_allclose(image, centred(np.abs(ifft2c(kspace * mask)), 40, 40), rtol=1e-3, atol=1e-8)
        if row["slice"]:
            image, reference = (volume[int(row["slice"])][None] for volume in (image, reference))
        top = reference.max()
        ssim = np.mean([structural_similarity(g, p, data_range=top) for g, p in zip(reference, image, strict=True)])
        assert float(row["psnr"]) == pytest.approx(peak_signal_noise_ratio(reference, image, data_range=top))
        assert float(row["ssim"]) == pytest.approx(ssim)
        assert float(row["nmse"]) == pytest.approx(((reference - image) ** 2).sum() / (reference**2).sum(), rel=1e-4)
    mean = np.mean([float(row["psnr"]) for row in slices if row["model"] == models[1]])
    assert summary[1]["slices"]["psnr_mean"] == pytest.approx(mean)
    assert summary[1]["slices"]["n"] == 6
    assert summary[1]["acquisitions"].keys() == {"CORPDFS_FBK"}
    assert (out / "picture.png").stat().st_size > 1000
    assert json.loads((out / "summary.json").read_text()) == summary


def test_moved_files_have_the_same_masks_and_scores(knees, options, tmp_path):
    moved = tmp_path / "another" / "place"
    shutil.copytree(options["data"], moved)
    tables = []
    for data, out in ((options["data"], tmp_path / "here"), (moved, tmp_path / "there")):
        evaluate(EvaluateConfig(**options | {"data": data}, models=["zero_filling"], out=out, acceleration=8))
        tables.append((out / "metrics.csv").read_text())
    assert tables[0] == tables[1]
    masks = sorted((tmp_path / "here" / "masks").iterdir())
    assert len(masks) == 7
    for mask in masks:
        other = load_mask(tmp_path / "there" / "masks" / mask.name)
        np.testing.assert_array_equal(load_mask(mask).columns, other.columns)
        assert (other.kind, other.acceleration, other.center_fraction) == ("random", 8, 0.04)


def test_measured_lines_are_put_back(run, options, tmp_path):
    result, config = run
    common = {**options, "models": ["zero_filling", str(result.best)], "split": config.out / "split.json", "threads": 1}
    off, hard = (
        evaluate(EvaluateConfig(**common, out=tmp_path / kind, data_consistency=kind)) for kind in ("off", "hard")
    )
    assert hard[0] == off[0]  # zero-filling
    assert hard[1]["nmse_mean"] < off[1]["nmse_mean"]


def test_a_stopped_training_goes_on_with_the_same_samples(options, tmp_path):
    common = {**options, "batch": 2, "validation_fraction": 0, "mixed_accelerations": [4, 8], **TINY}
    whole = train(TrainConfig(**common, out=tmp_path / "whole", iterations=4))
    train(TrainConfig(**common, out=tmp_path / "parts", iterations=2))
    parts = train(TrainConfig(**common, out=tmp_path / "parts", iterations=4, resume=True))
    assert whole.last.read_bytes()[-4000:] == parts.last.read_bytes()[-4000:]


def test_the_breakdown_by_acquisition(knees, options, tmp_path):
    """A list that accelerates PD in one pair and the fat-suppressed volume in another."""
    lines = (knees / "pairs.csv").read_text().splitlines()[:2]
    first = lines[0].split(",")
    (tmp_path / "mixed.csv").write_text(f"{first[1]},{first[0]}\n{lines[1]}\n")
    options = {**options, "pairs": tmp_path / "mixed.csv"}
    summary = evaluate(EvaluateConfig(**options, models=["zero_filling"], out=tmp_path / "scores"))
    kinds = summary[0]["acquisitions"]
    assert {kind: entry["n"] for kind, entry in kinds.items()} == {"CORPDFS_FBK": 1, "CORPD_FBK": 1}
    assert summary[0]["psnr_mean"] == pytest.approx(np.mean([entry["psnr_mean"] for entry in kinds.values()]))
    lines = summary_lines(summary)
    assert [line.split()[0] for line in lines] == ["model", "zero_filling", "CORPDFS_FBK", "CORPD_FBK"]


def test_the_commands(knees, tmp_path, capsys, caplog):
    out = tmp_path / "pairs.csv"
    data = ["--data", str(knees / "knee")]
    assert main(["pair", *data, "--layout", "fastmri", "--out", str(out)]) == 0
    rows = list(csv.reader(out.read_text().splitlines()))
    wanted = list(csv.reader((knees / "pairs.csv").read_text().splitlines()))
    assert sorted((row[0] + ".h5", row[1] + ".h5") for row in rows) == sorted((row[0], row[1]) for row in wanted)
    assert {row[4] for row in rows} == {"singlecoil_train", "singlecoil_val"}
    assert f"{out}: 7 pairs" in capsys.readouterr().out
    assert (tmp_path / "fastmri_index.json").exists()
    out.write_text(out.read_text() + "\n")
    assert main(["pair", *data, "--layout", "fastmri", "--out", str(out)]) == 2
    assert f"{out}: exists with other rows; pass --overwrite" in capsys.readouterr().err
    assert main(["pair", *data, "--out", str(tmp_path / "x.csv")]) == 2
    assert "fastMRI's volumes need --layout fastmri" in capsys.readouterr().err
    assert main(["evaluate", "--models", "zero_filling", *data, "--out", str(tmp_path / "x")]) == 2
    assert "fastMRI's volumes need --protocol fastmri" in capsys.readouterr().err
    arguments = ["evaluate", "--models", "zero_filling", *data, "--protocol", "fastmri", "--pairs", str(out)]
    assert main([*arguments, "--out", str(tmp_path / "scores")]) == 0
    assert "protocol fastmri, 4x requested, 3.20x to 6.00x (not all alike) achieved" in capsys.readouterr().out
    assert main(["pair", *data, "--layout", "fastmri", "--target", "AXT2", "--out", str(tmp_path / "x.csv")]) == 2
    assert "holds no AXT2 volume of a single coil; there are CORPDFS_FBK, CORPD_FBK" in capsys.readouterr().err


def test_several_coils(tmp_path):
    small = {**SMALL, "coils": 3, "slices": 2}
    names = write_knees(tmp_path / "brain", [0, 1], folder="multicoil_train", **small)
    (tmp_path / "pairs.csv").write_text("".join(f"{pd},{fs}\n" for pd, fs in names))
    options = {"data": tmp_path / "brain", "pairs": tmp_path / "pairs.csv", "protocol": "fastmri"}
    with pytest.raises(UserError, match="holds no single-coil volume; see --coils"):
        FASTMRI.find_cases(PairOptions(**options), tmp_path / "scores")
    summary = evaluate(EvaluateConfig(**options, coils="multi", models=["zero_filling"], out=tmp_path / "scores"))
    assert summary[0]["n"] == 2
    assert (tmp_path / "scores" / "masks").is_dir()
    assert 15 < summary[0]["psnr_mean"] < 40


@pytest.mark.parametrize("workers", [0, 1])
def test_a_slice_that_cannot_be_read_is_told_in_one_sentence(knees, options, workers, tmp_path):
    shutil.copytree(options["data"], tmp_path / "knee")
    path = sorted((tmp_path / "knee" / "singlecoil_train").iterdir())[1]
    with h5py.File(path, "a", locking=False) as file:
        file["kspace"][:] = np.nan
    options = {**options, "data": tmp_path / "knee", "cases": [path.stem], "workers": workers}
    with pytest.raises(
        UserError, match=rf"^{path}: kspace of slice \d has NaN or infinite values; copy the file again$"
    ):
        train(TrainConfig(**options, out=tmp_path / "run", batch=1, validation_fraction=0, **TINY))


def test_files_without_reference_are_refused_before_anything_is_computed(tmp_path):
    mask = np.arange(48) % 4 == 0
    for name, acquisition in (("file1.h5", "CORPD_FBK"), ("file2.h5", "CORPDFS_FBK")):
        images = knee(0, acquisition, 40, 3)
        sides = {"rows": 64, "columns": 48, "recon": 40}
        write_volume(tmp_path / "singlecoil_test" / name, images, acquisition=acquisition, mask=mask, **sides)
    (tmp_path / "pairs.csv").write_text("file1,file2,0.4\n")
    with pytest.raises(UserError, match=r"file2\.h5: has no reconstruction_esc or reconstruction_rss, as test files"):
        FASTMRI.find_cases(PairOptions(data=tmp_path, pairs=tmp_path / "pairs.csv", protocol="fastmri"), tmp_path)


def test_models_of_one_run_do_not_share_a_submission(run, options, tmp_path):
    result, config = run
    models = ["zero_filling", str(result.best), str(result.last)]
    names = {"models": models, "split": config.out / "split.json", "threads": 1}
    evaluate(EvaluateConfig(**options, **names, out=tmp_path / "scores", submission=tmp_path / "sent"))
    assert {folder.name for folder in (tmp_path / "sent").iterdir()} == {"zero_filling", "quick_best", "quick_last"}


def test_an_empty_slice_and_a_shorter_auxiliary(knees, options, tmp_path, caplog):
    """The volume is scored all the same; a slice without a reference has no score of its own."""
    shutil.copytree(options["data"], tmp_path / "knee")
    pd, fs = (knees / "pairs.csv").read_text().split(",")[:2]
    folder = tmp_path / "knee" / "singlecoil_train"
    with h5py.File(folder / fs, "a", locking=False) as file:
        file["reconstruction_esc"][0] = 0
    with h5py.File(folder / pd, "a", locking=False) as file:
        for name in ("kspace", "reconstruction_esc"):
            shorter = file[name][:2]
            del file[name]
            file[name] = shorter
    config = {"models": ["zero_filling"], "cases": [fs.removesuffix(".h5")], "submission": tmp_path / "sent"}
    options = {**options, "data": tmp_path / "knee"}
    with caplog.at_level(logging.WARNING):
        (summary,) = evaluate(EvaluateConfig(**options, **config, out=tmp_path / "scores", threads=1))
    assert (summary["n"], summary["slices"]["n"]) == (1, 1)
    assert [row["slice"] for row in table(tmp_path / "scores" / "metrics_slices.csv")] == ["1"]
    assert "the submission has 2 of 3 slices, as many as the auxiliary" in caplog.text


def test_a_network_of_mixed_accelerations_knows_them_all(options, tmp_path, caplog):
    common = {**options, "batch": 1, "iterations": 1, "validation_fraction": 0, **TINY}
    trained = train(TrainConfig(**common, mixed_accelerations=[4, 8], out=tmp_path / "mixed"))
    for acceleration, warnings in ((4, 0), (8, 0), (6, 1)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            config = EvaluateConfig(**options, models=[], out=tmp_path, acceleration=acceleration)
            recipe = FASTMRI.mask_recipe(config)
            open_model(str(trained.last), recipe)
        assert caplog.text.count("was trained for other masks") == warnings


def test_validation_slices_are_not_the_outermost():
    assert thinned(36, 2, ends=False) == [9, 27]
    assert thinned(5, 1, ends=False) == [2]
    assert thinned(3, 3, ends=False) == thinned(3, None, ends=False) == [0, 1, 2]
    assert thinned(9, 3) == [0, 4, 8]


def test_what_the_options_must_say(options, tmp_path):
    with pytest.raises(UserError, match=r"needs a list of pairs, .* give it with --pairs"):
        FASTMRI.find_cases(PairOptions(**options | {"pairs": None}), tmp_path)
    with pytest.raises(UserError, match=r"pairs.csv: no pair for case file9; there are file\d+"):
        FASTMRI.find_cases(PairOptions(**options), tmp_path, ["file9"])
    with pytest.raises(UserError, match="leave --submission out or choose --protocol fastmri"):
        evaluate(EvaluateConfig(data=options["data"], models=["zero_filling"], out=tmp_path / "s", submission=tmp_path))


def test_options_that_a_protocol_does_not_read(options, tmp_path):
    for name, changes in {
        "pairs": {"protocol": "complex"},
        "coils": {"protocol": "float", "pairs": None, "coils": "multi"},
        "noise": {"noise": 0.02},
        "simulated-coils": {"simulated_coils": 4},
    }.items():
        with pytest.raises(UserError, match=rf"^--{name} is read in protocol \w+ only, not in \w+; leave it out"):
            evaluate(EvaluateConfig(models=["zero_filling"], out=tmp_path / "s", **{**options, **changes}))


def conventions(kspace):
    """k-space of other conventions, by what the message must say of it."""
    whole = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=(-2, -1))), axes=(-2, -1))
    yield "apply numpy.fft.fftshift to axis -1", np.fft.ifftshift(kspace, axes=-1)
    yield "apply numpy.fft.fftshift to axis -2", np.fft.ifftshift(kspace, axes=-2)
    yield "apply numpy.fft.fftshift to the last two axes", np.fft.ifftshift(kspace, axes=(-2, -1))
    yield "rolled by half the field of view along rows and columns", np.fft.fftshift(np.fft.fft2(whole), axes=(-2, -1))


def test_kspace_in_another_order_is_refused(knees, options, tmp_path):
    fs = (knees / "pairs.csv").read_text().split(",")[1]
    with h5py.File(options["data"] / "singlecoil_train" / fs, "r", locking=False) as content:
        right = content["kspace"][:]
    for number, (words, kspace) in enumerate(conventions(right)):
        data = tmp_path / f"knee{number}"
        shutil.copytree(options["data"], data)
        with h5py.File(data / "singlecoil_train" / fs, "a", locking=False) as content:
            content["kspace"][:] = kspace
        config = {**options, "data": data, "cases": [fs.removesuffix(".h5")], "threads": 1}
        with pytest.raises(UserError, match=words):
            evaluate(EvaluateConfig(**config, models=["zero_filling"], out=tmp_path / f"scores{number}"))
    with pytest.raises(UserError, match="rolled by half"):
        train(TrainConfig(**config | TINY, out=tmp_path / "run", iterations=1, batch=1, validation_fraction=0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixed_accelerations": [4, 8], "mixed_center_fractions": [0.1]}, "has 1 values, mixed_accelerations 2"),
        ({"mixed_accelerations": [4, 8], "mask_seed": 1}, "set mask_seed to name"),
    ],
)
def test_mixed_accelerations_that_make_no_sense(options, changes, message, tmp_path):
    with pytest.raises(UserError, match=message):
        train(TrainConfig(**options, out=tmp_path / "run", **changes))


def test_mixed_accelerations_in_words():
    recipe = get_protocol("float").mask_recipe(TrainConfig(data="D", out="O"))
    assert recipe.mixing([4, 8]).mixed == ((4.0, 0.08), (8.0, 0.04))
    assert recipe.mixing(None) == recipe


def test_methods_are_compared_on_the_knee(options, tmp_path):
    from fsmnet.evaluation.compare import compare

    config = CompareConfig(
        **options, out=tmp_path / "table", iterations=1, reference="U-Net",
        methods={"Zero-filling": {"model": "zero_filling"}, "U-Net": {"model": "mdunet"}},
        training={"model_options": {"features": 4}, "batch": 1, "threads": 1}, validation_fraction=0.2, paper=True,
    )  # fmt: skip
    lines = compare(config)
    assert [line.n for line in lines] == [2, 2]
    assert "24.5 +- 1.37 / 0.442 +- 0.10" in (tmp_path / "table" / "table.md").read_text()
    assert yaml.safe_load((tmp_path / "table" / "compare.yaml").read_text())["pairs"] == str(options["pairs"])


@pytest.mark.parametrize("coils", ["single", "multi"])
def test_a_network_with_k_space_inside_is_trained_and_scored(knees, options, tmp_path, coils):
    """Its field of view is the scanner's; what is scored is the middle."""
    if coils == "multi":
        names = write_knees(tmp_path / "knee", [0, 1, 2], coils=3, folder="multicoil_train", **SMALL | {"slices": 2})
        (tmp_path / "pairs.csv").write_text("".join(f"{pd},{fs},0.4\n" for pd, fs in names))
        options = {"data": tmp_path / "knee", "pairs": tmp_path / "pairs.csv", "protocol": "fastmri", "coils": "multi"}
    config = TrainConfig(
        **options, out=tmp_path / "run", model="fsmnet_unrolled", model_options={"steps": 2, "widths": [8, 8, 8]},
        iterations=2, batch=2, strip=24, blank_auxiliary=0.2, validation_fraction=0.3, threads=1, device="cpu",
    )  # fmt: skip
    result = train(config)
    assert result.finished
    models = ["zero_filling", "pocs", str(result.best)]
    split = json.loads((config.out / "split.json").read_text())
    summary = evaluate(
        EvaluateConfig(**options, models=models, cases=split["validation"], out=tmp_path / "scores", threads=1)
    )
    scores = {row["model"]: row["psnr_mean"] for row in summary}
    # All but untrained, it is the measured lines and little else; those of several coils also tell what lies between.
    if coils == "single":
        assert scores[models[2]] == pytest.approx(scores["zero_filling"], abs=3)
    else:
        assert scores["zero_filling"] < scores[models[2]] < scores["pocs"]
