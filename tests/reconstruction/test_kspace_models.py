"""Reconstruct with a network that takes what was measured: images and k-space, one coil or several, or a refusal."""

from __future__ import annotations

import json
from typing import ClassVar

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

import fsmnet
from fastmri_tree import fft2c, write_volume
from fsmnet import register_model
from fsmnet.checkpoint import Header, load_model, save_checkpoint, shipped_checkpoint
from fsmnet.cli import main
from fsmnet.errors import UserError
from fsmnet.models import MODELS, create_model, recipe_of
from fsmnet.physics.masks import make_mask
from fsmnet.reconstruction.reconstruct import reconstruct

SLICES, HEIGHT, WIDTH = 3, 36, 40
COLUMNS = make_mask("random", WIDTH, 3, 0.2, 4).columns


class Remembering(nn.Module):
    """A k-space model from outside: the zero-filled image; it remembers what it was given."""

    takes = "acquisition"
    seen: ClassVar[list[tuple]] = []

    def forward(self, acquisition, auxiliary):
        self.seen.append((acquisition, auxiliary))
        return acquisition.zero_filled[:, None]


@pytest.fixture
def remembering(monkeypatch, tmp_path):
    """Checkpoint of :class:`Remembering`, which is registered for this test."""
    monkeypatch.setattr(MODELS, "_registered", dict(MODELS._registered))
    register_model("remembering", Remembering)
    monkeypatch.setattr(Remembering, "seen", [])
    path = tmp_path / "remembering.safetensors"
    model = create_model("remembering")
    save_checkpoint(path, {"nothing": torch.zeros(1)}, Header(recipe_of(model)))
    monkeypatch.setattr("fsmnet.checkpoint.load_weights", lambda model, state, source: None)
    return path


class Believing(Remembering):
    """Adds what the auxiliary shows, whoever's it is."""

    def forward(self, acquisition, auxiliary):
        image = super().forward(acquisition, auxiliary)
        return image if auxiliary is None else image + 0.3 * auxiliary


@pytest.fixture
def unrolled(tmp_path):
    """Checkpoint of a small unrolled network, its weights in half precision."""
    torch.manual_seed(0)
    model = create_model("fsmnet_unrolled", steps=2, widths=[8, 8, 8])
    for step in model.steps:
        nn.init.normal_(step.leave.weight, std=0.05)  # zero in a fresh one
    state = {name: value.half() for name, value in model.state_dict().items()}
    save_checkpoint(tmp_path / "unrolled.safetensors", state, Header(recipe_of(model)))
    return tmp_path / "unrolled.safetensors"


@pytest.fixture
def scans(tmp_path, smooth):
    """Target and auxiliary as files, and the target with a smooth phase, ``(S, H, W)``."""
    arrays = [smooth(seed, (SLICES, HEIGHT, WIDTH), 0, 3000) for seed in (0, 1)]
    for name, array in zip(("target", "auxiliary"), arrays, strict=True):
        nib.save(nib.Nifti1Image(np.moveaxis(array, 0, 2), np.eye(4)), tmp_path / f"{name}.nii.gz")
    y, x = np.meshgrid(np.linspace(-1, 1, HEIGHT), np.linspace(-1, 1, WIDTH), indexing="ij")
    return tmp_path / "target.nii.gz", tmp_path / "auxiliary.nii.gz", arrays[0] * np.exp(1j * (1 + y - 2 * x * y))


def save(path, array):
    np.save(path, array.astype(np.complex64))
    return path


@pytest.mark.parametrize("keep", [False, True])
def test_an_auxiliary_that_the_lines_speak_against_is_left_out(remembering, scans, tmp_path, caplog, keep):
    register_model("remembering", Believing)
    target, auxiliary, _ = scans
    options = {"checkpoint": remembering, "acceleration": 3, "device": "cpu", "precision": "float32"}
    result = reconstruct(target, auxiliary, tmp_path / "out.nii.gz", keep_auxiliary=keep, **options)
    trial = result.sidecar["AuxiliaryTrial"]
    _, used = Believing.seen[-1]
    assert ("the auxiliary is left out" in caplog.text) is not keep
    if keep:
        assert trial is None
        assert used is not None
    else:
        assert trial["Used"] is False
        assert trial["ConfirmedByLinesKeptBack"] < 0.5
        assert used is None


def test_a_network_is_adapted_to_the_scan_s_own_lines(unrolled, scans, tmp_path, checkpoint_file, caplog):
    target, _, _ = scans
    options = {"acceleration": 2, "center_fraction": 0.1, "mask_kind": "random", "device": "cpu", "adapt": True}
    with caplog.at_level("INFO", "fsmnet"):
        record = reconstruct(target, None, tmp_path / "out.nii.gz", checkpoint=unrolled, **options).sidecar
    adapted = record["Adapted"]
    assert 0 <= adapted["Steps"] <= adapted["StepsTried"]
    assert adapted["HeldOutExplained"]["after"] >= adapted["HeldOutExplained"]["before"]
    assert "target.nii.gz: adapted to its own lines" in caplog.text
    image_network = checkpoint_file(tmp_path / "best.safetensors")
    with pytest.raises(UserError, match="adapt is for networks that take k-space; leave it out"):
        reconstruct(target, scans[1], tmp_path / "two.nii.gz", checkpoint=image_network, **options)


def test_half_precision_weights_become_single(unrolled):
    model = load_model(unrolled)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_an_image_is_simulated_and_its_lines_are_put_back(unrolled, scans, tmp_path):
    target, auxiliary, _ = scans
    result = reconstruct(target, auxiliary, tmp_path / "out.nii.gz", checkpoint=unrolled, acceleration=3, device="cpu")
    record = result.sidecar
    assert list(record["Metrics"]) == ["zero_filling", "network", "consistent"]
    assert record["DataConsistency"]["ResidualAfter"] < 1e-5
    assert record["Model"]["name"] == "fsmnet_unrolled"
    assert result.complex_image is None
    assert (result.image >= 0).all()


@pytest.mark.parametrize("coils", [1, 4])
def test_measured_lines_reach_the_network(remembering, scans, tmp_path, coils):
    _, auxiliary, image = scans
    maps = np.ones((1, coils, HEIGHT, WIDTH), dtype=complex) / np.sqrt(coils)
    kspace = save(tmp_path / "kspace.npy", fft2c(image[:, None] * maps) * COLUMNS)
    given = {} if coils == 1 else {"maps": save(tmp_path / "maps.npy", maps)}
    options = {"checkpoint": remembering, "device": "cpu", "noise": 6.0, "precision": "float32", **given}
    options["keep_auxiliary"] = True  # no passes of a trial
    result = reconstruct(None, auxiliary, tmp_path / "out.nii.gz", kspace=kspace, **options)
    [(first, other), *more] = Remembering.seen
    assert len(more) == SLICES - 1
    assert first.lines.shape == (1, coils, HEIGHT, WIDTH)
    assert (first.maps is None) == (coils == 1)
    assert first.noise == pytest.approx(6.0 / result.sidecar["Sources"][0]["maximum"])
    assert not first.real
    assert other.shape == (1, 1, HEIGHT, WIDTH)
    assert other.max() <= 1
    # The zero-filled image is what this model gives, and nothing is put on top of it.
    consistency = result.sidecar["DataConsistency"]
    assert (consistency["Kind"], consistency["ResidualAfter"] < 1e-5) == ("inside the network", True)
    np.testing.assert_allclose(fft2c(result.complex_image)[..., COLUMNS], fft2c(image)[..., COLUMNS], atol=3)


def test_only_the_rows_of_the_image_and_all_columns(remembering, scans, tmp_path):
    """An oversampled readout: the network sees the rows of the image, and the auxiliary among all columns."""
    image = np.abs(scans[2])[:, :32, :32]
    write_volume(tmp_path / "knee.h5", image, rows=64, columns=WIDTH, recon=32, mask=COLUMNS)
    write_volume(tmp_path / "other.h5", image[:, ::-1], rows=64, columns=WIDTH, recon=32)
    options = {"kspace": tmp_path / "knee.h5", "checkpoint": remembering, "device": "cpu"}
    for auxiliary in (None, tmp_path / "other.h5"):
        result = reconstruct(None, auxiliary, tmp_path / "out.nii.gz", overwrite=True, **options)
        acquisition, other = Remembering.seen[-1]
        assert acquisition.shape == (1, 32, WIDTH)
        assert result.image.shape == image.shape
        assert (other is None) == (auxiliary is None)
    assert other.shape == (1, 1, 32, WIDTH)
    assert other[..., :4].max() == other[..., -4:].max() == 0 < other[..., 4:8].max()


@pytest.mark.parametrize("choice", ["hard", "soft"])
def test_lines_are_put_back_on_request(unrolled, scans, tmp_path, choice):
    _, auxiliary, image = scans
    kspace = save(tmp_path / "kspace.npy", fft2c(image)[:, None] * COLUMNS)
    weight = {"noise_weight": 4.0} if choice == "soft" else {}
    options = {"checkpoint": unrolled, "device": "cpu", "precision": "float32"}
    plain = reconstruct(None, auxiliary, tmp_path / "plain.nii.gz", kspace=kspace, **options)
    drawn = reconstruct(
        None, auxiliary, tmp_path / "drawn.nii.gz", kspace=kspace, data_consistency=choice, **weight, **options
    )
    before, after = (drawn.sidecar["DataConsistency"][f"Residual{when}"] for when in ("Before", "After"))
    assert before == pytest.approx(plain.sidecar["DataConsistency"]["ResidualAfter"], rel=1e-4)
    assert after < (1e-5 if choice == "hard" else 0.3 * before)


class Blurring(Remembering):
    """Wrong as networks are, with a phase that is right: the truth, a little blurred, in the lines' unit."""

    truth: ClassVar[torch.Tensor]  # complex (H, W)

    def forward(self, acquisition, auxiliary):
        kernel = torch.tensor([0.1, 0.8, 0.1])[None, None, None]
        magnitude = nn.functional.conv2d(self.truth.abs()[None, None], kernel, padding=(0, 1))[0]
        image = torch.polar(magnitude, self.truth.angle()[None])
        lines = acquisition.forward(image)
        scale = (lines.conj() * acquisition.lines).real.sum() / lines.abs().square().sum()
        return scale * image[:, None]


@pytest.fixture
def noisy(scans, tmp_path, monkeypatch):
    """k-space with air about the head, of one coil or several with maps, half of its lines; and the truth."""
    _, _, image = scans
    truth = np.repeat(np.pad(image[:1], ((0, 0), (12, 12), (12, 12))), SLICES, 0)
    monkeypatch.setattr(Blurring, "truth", torch.from_numpy(truth[0].astype(np.complex64)), raising=False)
    columns = make_mask("random", truth.shape[-1], 2, 0.2, 4).columns

    def make(coils, noise=30.0):
        maps = np.ones((1, coils, *truth.shape[1:]), dtype=complex) / np.sqrt(coils)
        full = fft2c(truth[:, None] * maps)
        parts = np.random.default_rng(0).standard_normal((2, *full.shape)) * noise / np.sqrt(2)
        given = {} if coils == 1 else {"maps": save(tmp_path / f"maps_{coils}.npy", maps)}
        return {"kspace": save(tmp_path / f"noisy_{coils}.npy", (full + parts[0] + 1j * parts[1]) * columns), **given}

    return make, np.abs(truth)


@pytest.mark.parametrize("coils", [1, 4])
def test_a_network_with_its_own_phase_is_weighed(remembering, noisy, tmp_path, coils):
    """Nearer to the truth than the network, and than lines put back; the check, the maps and the record go with it."""
    register_model("remembering", Blurring)
    make, truth = noisy
    options = {"checkpoint": remembering, "device": "cpu", "precision": "float32", "check": 1, **make(coils)}
    made = {
        choice: fsmnet.reconstruct(None, None, tmp_path / f"{choice}.nii.gz", data_consistency=choice, **options)
        for choice in ("off", "hard", "weighed")
    }
    error = {choice: np.linalg.norm(one.image - truth) for choice, one in made.items()}
    assert error["weighed"] < 0.95 * min(error["off"], error["hard"])
    record = made["weighed"].sidecar
    found = record["DataConsistency"]
    assert found["Kind"].startswith("weighed")
    assert found["ConfirmedByLinesKeptBack"] > 0.6
    assert found["ErrorByLinesKeptBack"] > 0
    assert found["ResidualAfter"] < found["ResidualBefore"]
    assert found["Noise"] == pytest.approx(30 / record["Sources"][0]["maximum"], rel=0.2)
    explained = [one.sidecar["Check"]["HoldOut"]["Explained"]["network"] for one in made.values()]
    assert explained[2] > explained[0] + 0.001
    assert (tmp_path / "weighed_error.nii.gz").exists()


def test_what_lines_do_not_confirm_is_not_weighed(remembering, scans, noisy, tmp_path, caplog, monkeypatch):
    """The network stays as it is: where they speak against it, without air, with too few lines to keep some back."""
    register_model("remembering", Blurring)
    monkeypatch.setattr("fsmnet.inference.weighing.LEAST", 9.0)
    options = {"checkpoint": remembering, "device": "cpu", "precision": "float32", "overwrite": True}
    few = np.isin(np.arange(WIDTH) - WIDTH // 2, [-15, *range(-9, 9), 12])
    inputs = {
        "confirm only": noisy[0](1),
        "no rows with nothing but air": {"kspace": save(tmp_path / "full.npy", fft2c(scans[2] + 300) * COLUMNS)},
        "fewer than five lines": {"kspace": save(tmp_path / "few.npy", fft2c(scans[2])[:, None] * few)},
    }
    for why, given in inputs.items():
        if why != "confirm only":
            register_model("remembering", Remembering)
        plain, asked = (
            reconstruct(None, None, tmp_path / f"{c}.nii.gz", data_consistency=c, **given, **options)
            for c in ("off", "weighed")
        )
        assert np.array_equal(plain.image, asked.image)
        assert asked.sidecar["DataConsistency"]["Kind"] == "inside the network"
        assert why in caplog.text


def test_weighed_with_the_shipped_words(unrolled, noisy, scans, tmp_path, capsys):
    """The command line end to end, with a fit to the scan and partial Fourier; a target without phase is refused."""
    make, truth = noisy
    half = np.load(make(1)["kspace"]) * (np.arange(truth.shape[-1]) < 45)
    words = ["reconstruct", "--checkpoint", str(unrolled), "--device", "cpu", "--data-consistency", "weighed"]
    kspace = ["--kspace", str(save(tmp_path / "half.npy", half)), "--out", str(tmp_path / "out.nii.gz")]
    assert main([*words, *kspace, "--adapt", "--check", "off"]) == 0
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["DataConsistency"]["Kind"].startswith(("weighed", "inside"))
    assert record["Options"]["data_consistency"] == "weighed"
    assert main([*words, "--target", str(scans[0]), "--out", str(tmp_path / "x.nii.gz")]) == 2
    assert "weighed reckons with a scanner's noise and phase; give --kspace, or hard" in capsys.readouterr().err


def test_without_an_auxiliary(unrolled, scans, tmp_path, capsys):
    target, _, image = scans
    common = ["--checkpoint", str(unrolled), "--device", "cpu"]
    assert main(["reconstruct", "--target", str(target), *common, "--out", str(tmp_path / "image.nii.gz")]) == 0
    record = json.loads((tmp_path / "image.json").read_text())
    assert len(record["Sources"]) == 1
    assert record["Registration"] == {"Kind": "none; no auxiliary"}
    kspace = save(tmp_path / "kspace.npy", fft2c(image).swapaxes(-2, -1)[:, None] * COLUMNS[:, None])
    options = {"kspace": kspace, "checkpoint": unrolled, "device": "cpu", "phase_encode": "rows"}
    result = reconstruct(None, None, tmp_path / "turned.nii.gz", **options)
    assert result.image.shape == (SLICES, HEIGHT, WIDTH)
    assert nib.load(tmp_path / "turned.nii.gz").shape == (WIDTH, HEIGHT, SLICES)


def test_a_zero_filled_target_needs_a_network_for_images(unrolled, scans, tmp_path):
    target, auxiliary, _ = scans
    options = {"target_is": "zero-filled", "device": "cpu"}
    with pytest.raises(UserError, match=r"unrolled.safetensors: is a network for k-space, and a zero-filled target"):
        reconstruct(target, auxiliary, tmp_path / "out.nii.gz", checkpoint=unrolled, **options)
    with pytest.raises(UserError, match=r"--auxiliary is missing"):
        reconstruct(target, None, tmp_path / "out.nii.gz", **options)
    assert not (tmp_path / "out.nii.gz").exists()


needs_weights = pytest.mark.skipif(shipped_checkpoint() is None, reason="this build carries no weights")


@needs_weights
def test_the_default_is_the_shipped_network_for_the_scan(scans, tmp_path):
    target, auxiliary, _ = scans
    for kind, file in (("full", "fsmnet_unrolled"), ("zero-filled", "fsmnet_image")):
        options = {"target_is": kind, "device": "cpu", "overwrite": True}
        record = reconstruct(target, auxiliary, tmp_path / "out.nii.gz", **options).sidecar
        assert record["Model"]["file"].endswith(f"{file}.safetensors")


@needs_weights
def test_the_shipped_network_from_an_image_to_a_better_one(heads, tmp_path, caplog):
    """A head of the phantom, of 3 mm, whose contrasts it never saw: several dB better, with and without auxiliary."""
    case = sorted(heads.iterdir())[0]
    target, auxiliary = (case / f"{case.name}_{contrast}.nii.gz" for contrast in ("t2", "t1"))
    gains = []
    for number, other in enumerate((auxiliary, None)):
        options = {"acceleration": 3, "device": "cpu", "precision": "float32"}
        metrics = reconstruct(target, other, tmp_path / f"{number}.nii.gz", **options).sidecar["Metrics"]
        gains.append(metrics["consistent"]["psnr"] - metrics["zero_filling"]["psnr"])
    assert min(gains) > 2
    assert gains[0] > gains[1] + 0.5
    assert "trained for" not in caplog.text
    reconstruct(target, auxiliary, tmp_path / "far.nii.gz", acceleration=14, device="cpu")
    assert "the network was trained for 2 to 12x, not 14x" in caplog.text
