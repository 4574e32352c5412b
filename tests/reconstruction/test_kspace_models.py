"""Reconstruct with a network that takes what was measured: images and k-space, one coil or several, or a refusal."""

from __future__ import annotations

import json
from typing import ClassVar

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

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


def test_weighing_is_for_networks_that_take_images(unrolled, scans, tmp_path):
    _, auxiliary, image = scans
    kspace = save(tmp_path / "kspace.npy", fft2c(image)[:, None] * COLUMNS)
    with pytest.raises(UserError, match="has the measured lines inside; weighed is for networks that take images"):
        reconstruct(
            None, auxiliary, tmp_path / "x.nii.gz", kspace=kspace, checkpoint=unrolled, data_consistency="weighed"
        )
    assert not (tmp_path / "x.nii.gz").exists()


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
