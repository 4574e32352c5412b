"""Every command that a GPU can be given, on one: it ends well, and its results are the processor's.

Two precisions are compared. In float32, with TensorFloat-32 switched off, both devices round alike and differ in the
order of their sums alone: a tensor of the wrong device, a transform along the wrong axis or a batch in the wrong order
shows. As users run it, a GPU takes bfloat16 (8 bits) for the network, and PyTorch's convolutions in TensorFloat-32 (11
bits) where float32 is asked for: the result may differ by that much and no more.

``FSMNET_TEST_DEVICE=cpu`` runs these tests without a GPU, to see that they are right.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch.export.passes import move_to_device_pass

import fsmnet.cli.demo
from fsmnet.checkpoint import Header, load_model, save_checkpoint
from fsmnet.cli import main
from fsmnet.data.pairing.tables import COLUMNS
from fsmnet.models import create_model, recipe_of
from fsmnet.physics.fourier import fft2c
from fsmnet.physics.masks import make_mask
from synthetic_coils import synthetic

DEVICE = os.environ.get("FSMNET_TEST_DEVICE", "cuda")
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="no CUDA device here"),
]

SLICES, HEIGHT, WIDTH, COILS = 3, 40, 48, 4
LINES = make_mask("random", WIDTH, 2, 0.2, 4).columns
PARTIAL = np.arange(WIDTH) >= WIDTH // 2 - 12

# Shares of the image's maximum. Sums in another order change it by 3e-7 on a processor (--no-optimise); cuDNN may take
# Winograd's convolutions, which lose up to two digits (Lavin and Gray, CVPR 2016).
SUMS = 5e-5
# bfloat16 rounds each feature map by 2^-9 = 2e-3, eight steps one after the other; of the worst of some thousand pixels
# that is 3e-3 on a processor, which sums in another order than a GPU.
HALF = 1e-2
STORED = 1 / 250  # of a map's maximum: the steps in which it is written


# -- what is made ------------------------------------------------------------------------------------------------------


def heads_of(patient: int) -> tuple[np.ndarray, np.ndarray]:
    """T2 and T1 of an ellipse's layers, ``(H, W, S)`` float32; another texture in each slice and patient."""
    y, x = np.meshgrid(np.linspace(-1, 1, HEIGHT), np.linspace(-1, 1, WIDTH), indexing="ij")
    target, auxiliary = [], []
    for number in range(SLICES):
        rng = np.random.default_rng([patient, number])
        size, at = 0.75 + 0.05 * rng.random(2), 0.3 * (rng.random((3, 2)) - 0.5)
        head = (y / size[0]) ** 2 + (x / size[1]) ** 2 < 1
        brain = (y / size[0] / 0.85) ** 2 + (x / size[1] / 0.85) ** 2 < 1
        waves = 0.1 * np.cos(20 * x + patient) * np.cos(17 * y + number)
        spots = [((y - a) / 0.15) ** 2 + ((x - b) / 0.1) ** 2 < 1 for a, b in at]
        noise = 0.01 * np.abs(rng.standard_normal((2, HEIGHT, WIDTH)))
        target.append(0.4 * head + brain * (0.2 + waves) + 0.4 * spots[0] + 0.2 * spots[1] + noise[0])
        auxiliary.append(0.9 * head - brain * (0.3 + waves) - 0.2 * spots[0] + 0.15 * spots[2] + noise[1])
    scans = [1000 * np.clip(np.stack(one, -1), 0, None).astype(np.float32) for one in (target, auxiliary)]
    return scans[0], scans[1]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folder of four patients, named as BraTS names them, 1.5 x 1.5 x 5 mm."""
    root = tmp_path_factory.mktemp("gpu") / "data"
    for patient in range(4):
        folder = root / f"case-{patient}"
        folder.mkdir(parents=True)
        for contrast, array in zip(("t2", "t1"), heads_of(patient), strict=True):
            file = nib.Nifti1Image(array, np.diag([1.5, 1.5, 5, 1]))
            nib.save(file, folder / f"case-{patient}_{contrast}.nii.gz")
    return root


@pytest.fixture
def pair(data):
    """Target and auxiliary, as words of a command."""
    return [str(data / "case-0" / f"case-0_{contrast}.nii.gz") for contrast in ("t2", "t1")]


def measured(folder: Path, coils: int, lines: np.ndarray) -> str:
    """K-space of the first patient with a smooth phase and noise, as a file; lines that are not measured are zero."""
    image = np.moveaxis(heads_of(0)[0], 2, 0) / 1000
    phase, maps = synthetic(HEIGHT, WIDTH, max(coils, 2))
    seen = torch.from_numpy(image)[:, None] * torch.polar(torch.ones_like(phase.real), phase.angle())
    kspace = fft2c(seen if coils == 1 else seen * maps)
    noise = torch.randn(kspace.shape, dtype=kspace.dtype, generator=torch.Generator().manual_seed(3))
    path = folder / f"kspace_{coils}.npy"
    np.save(path, ((kspace + 0.005 * noise) * torch.from_numpy(lines)).numpy().astype(np.complex64))
    return str(path)


@pytest.fixture
def exact():
    """Convolutions and products of float32 in float32."""
    before = tensor_float()
    tensor_float((False, False))
    yield
    tensor_float(before)


def tensor_float(allowed: tuple[bool, bool] | None = None) -> tuple[bool, bool]:
    """Whether convolutions and products may take it; in the older of PyTorch's two ways, of which it warns since 2.9.

    With the newer one (``conv.fp32_precision``) ``torch.export``, which asks in the older, ends in an error about both.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Please use the new API settings to control TF32")
        if allowed is not None:
            torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = allowed
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


# -- how two results are compared --------------------------------------------------------------------------------------


def on_both(words: list[str], folder: Path, name: str) -> list[Path]:
    """The results of a command on the GPU and on the processor."""
    outs = []
    for place, device in (("there", DEVICE), ("here", "cpu")):
        (folder / place).mkdir()
        outs.append(folder / place / name)
        assert main([*words, "--device", device, "-o", str(outs[-1])]) == 0
    return outs


def voxels(path: Path) -> np.ndarray:
    image = np.asarray(nib.load(path).dataobj, dtype=np.float64)
    assert np.isfinite(image).all()
    return image


def assert_close(one: np.ndarray, other: np.ndarray, allowed: float) -> None:
    """Nowhere further apart than this share of the maximum."""
    assert np.abs(one - other).max() <= allowed * np.abs(other).max()


def beside(out: Path, what: str) -> Path:
    return out.with_name(out.name.replace(".nii.gz", what))


def record_of(out: Path) -> dict:
    return json.loads(beside(out, ".json").read_text())


def assert_same_reconstruction(outs: list[Path], maps: tuple[str, ...], allowed: float = SUMS) -> None:
    """Image, maps and verdict of two reconstructions."""
    there, here = outs
    image = voxels(here)
    assert image.max() > 0
    assert_close(voxels(there), image, allowed)
    for name in maps:
        one, other = (voxels(beside(out, f"_{name}.nii.gz")) for out in outs)
        # Differences of images, as wrong as these; what the error map divides them by, and the lost share of a small
        # structure, are about a tenth of the image.
        unit = other.max() if name == "loss" else image.max()
        assert np.abs(one - other).max() <= 10 * allowed * unit + STORED * other.max()
    one, other = (record_of(out)["Check"] for out in outs)
    assert one["Verdict"]["Kind"] == other["Verdict"]["Kind"]
    shares = [check["HoldOut"]["Explained"] for check in (one, other)]
    assert shares[0] == pytest.approx(shares[1], abs=max(2e-4, 2 * allowed))  # written with four digits


FLOAT = ("--precision", "float32")
MAPS = ("error", "influence", "loss")
ALONE = ("error", "loss")  # without an auxiliary


# -- reconstruct -------------------------------------------------------------------------------------------------------


def test_a_pair_with_all_maps_and_the_report(pair, tmp_path, exact):
    report = ["--report"] if importlib.util.find_spec("nilearn") else []
    words = ["reconstruct", *pair, "--acceleration", "4", *FLOAT, *report]
    outs = on_both(words, tmp_path, "out.nii.gz")
    assert_same_reconstruction(outs, MAPS)
    for out in outs:
        assert beside(out, "_picture.png").is_file()
        assert beside(out, "_report.html").is_file() == bool(report)


def test_one_coil_s_kspace(pair, tmp_path, exact):
    words = ["reconstruct", "--kspace", measured(tmp_path, 1, LINES), "--auxiliary", pair[1], *FLOAT]
    assert_same_reconstruction(on_both(words, tmp_path, "out.nii.gz"), MAPS)


def test_several_coils_kspace(pair, tmp_path, exact):
    words = ["reconstruct", "--kspace", measured(tmp_path, COILS, LINES), "--auxiliary", pair[1], *FLOAT]
    outs = on_both(words, tmp_path, "out.nii.gz")
    assert_same_reconstruction(outs, MAPS)
    assert "SENSE" in record_of(outs[0])["Check"]["HoldOut"]["Explained"]


@pytest.mark.parametrize("coils", [1, COILS])
def test_partial_fourier_without_auxiliary(tmp_path, exact, coils):
    words = ["reconstruct", "--kspace", measured(tmp_path, coils, PARTIAL), *FLOAT]
    assert_same_reconstruction(on_both(words, tmp_path, "out.nii.gz"), ALONE)


@pytest.mark.parametrize("coils", [1, COILS])
def test_adapted_to_the_scan(tmp_path, exact, coils):
    """24 steps of Adam, which divides a gradient by its own size: small ones, and with them signs, are rounding's."""
    words = ["reconstruct", "--kspace", measured(tmp_path, coils, LINES), "--adapt", *FLOAT, "--no-trust-maps"]
    outs = on_both(words, tmp_path, "out.nii.gz")
    there, here = (record_of(out)["Adapted"] for out in outs)
    assert there["StepsTried"] == here["StepsTried"]
    for when in ("before", "after"):
        assert there["HeldOutExplained"][when] == pytest.approx(here["HeldOutExplained"][when], abs=5e-3)
    assert_close(voxels(outs[0]), voxels(outs[1]), 2e-2)


@pytest.mark.parametrize("choice", ["hard", "weighed", "soft"])
@pytest.mark.parametrize("coils", [1, COILS])
def test_a_network_for_images_and_measured_lines(pair, tmp_path, exact, choice, coils):
    weight = ["--noise-weight", "4"] if choice == "soft" else []
    words = ["reconstruct", "--kspace", measured(tmp_path, coils, LINES), "--auxiliary", pair[1], *FLOAT]
    words += ["--checkpoint", "shipped-image", "--data-consistency", choice, *weight, "--no-trust-maps"]
    assert_same_image_by_psnr(on_both(words, tmp_path, "out.nii.gz"))


def test_a_degraded_image(pair, tmp_path, exact):
    words = ["reconstruct", *pair, "--target-is", "zero-filled", *FLOAT]
    assert_same_image_by_psnr(on_both(words, tmp_path, "out.nii.gz"))


def assert_same_image_by_psnr(outs: list[Path], least: float = 50) -> None:
    """FSMNet takes the angle of a spectrum, which rounding carries from pi to -pi at a frequency: see test_speed.py."""
    there, here = (voxels(out) for out in outs)
    error = float(np.square(there - here).mean())
    assert error <= here.max() ** 2 * 10 ** (-least / 10)


def test_pocs(pair, tmp_path):
    words = ["reconstruct", *pair, "--acceleration", "3", "--checkpoint", "pocs"]
    assert_same_reconstruction(on_both(words, tmp_path, "out.nii.gz"), ())


def test_pocs_of_a_complex_image(tmp_path):
    words = ["reconstruct", "--kspace", measured(tmp_path, 1, PARTIAL), "--checkpoint", "pocs"]
    assert_same_reconstruction(on_both(words, tmp_path, "out.nii.gz"), ())


def test_as_users_run_it(pair, tmp_path):
    """``auto`` is the GPU, in bfloat16 if it has it in hardware; the processor is told float32."""
    place = tmp_path / "auto"
    place.mkdir()
    words = ["reconstruct", *pair, "--acceleration", "4"]
    device = "auto" if DEVICE == "cuda" else DEVICE
    assert main([*words, "--device", device, "-o", str(place / "out.nii.gz")]) == 0
    assert main([*words, "--device", "cpu", *FLOAT, "-o", str(tmp_path / "out.nii.gz")]) == 0
    record = record_of(place / "out.nii.gz")
    if DEVICE == "cuda":
        assert DEVICE in json.dumps(record)
    assert_same_reconstruction([place / "out.nii.gz", tmp_path / "out.nii.gz"], (), HALF)


def test_tensor_float_is_as_good_as_it_says(pair, tmp_path):
    """float32 as PyTorch's convolutions take it: 2^-11 for each feature map, a quarter of bfloat16's."""
    words = ["reconstruct", *pair, "--acceleration", "4", *FLOAT, "--check", "off"]
    outs = on_both(words, tmp_path, "out.nii.gz")
    assert_close(voxels(outs[0]), voxels(outs[1]), HALF / 4)


def test_a_list(data, tmp_path, exact):
    """Two threads beside the one that computes."""
    table = tmp_path / "pairs.csv"
    with table.open("w", newline="") as file:
        names = [[f"case-{n}", *(data / f"case-{n}" / f"case-{n}_{c}.nii.gz" for c in ("t2", "t1"))] for n in range(3)]
        csv.writer(file).writerows([COLUMNS, *([*row, "accepted", ""] for row in names)])
    there, here = on_both(["reconstruct", "--pairs", str(table), "--check", "1", *FLOAT], tmp_path, "out")
    for number in range(3):
        found = [next(out.glob(f"case-{number}*.nii.gz")) for out in (there, here)]
        assert_close(*map(voxels, found), SUMS)


# -- evaluate, compare, benchmark, calibrate ---------------------------------------------------------------------------


@pytest.mark.parametrize("choice", ["off", "weighed", "hard"])
def test_scores_in_the_complex_protocol(data, tmp_path, exact, choice):
    models = ["zero_filling", "pocs", "shipped", "shipped-image"]
    if choice != "off":
        models = ["shipped-image"]
    words = ["evaluate", str(data), "--models", *models, "--protocol", "complex", "--data-consistency", choice]
    outs = on_both([*words, "--noise", "0.01", "--cases", "case-0", "case-1"], tmp_path, "scores")
    there, here = (json.loads((out / "summary.json").read_text()) for out in outs)
    assert len(there) == len(here) >= len(models)
    for one, other in zip(there, here, strict=True):
        assert one["model"] == other["model"]
        # An image 50 dB apart changes a PSNR of 30 dB by 0.9 dB at the worst, where its error points the same way; by
        # chance it points across, and then by 0.04.
        assert one["psnr_mean"] == pytest.approx(other["psnr_mean"], abs=0.05)
        assert one["ssim_mean"] == pytest.approx(other["ssim_mean"], abs=1e-3)


def test_scores_of_several_coils(data, tmp_path, exact):
    words = ["evaluate", str(data), "--models", "shipped", "pocs", "--protocol", "complex", "--simulated-coils", "3"]
    outs = on_both([*words, "--cases", "case-0"], tmp_path, "scores")
    there, here = (json.loads((out / "summary.json").read_text()) for out in outs)
    for one, other in zip(there, here, strict=True):
        assert one["psnr_mean"] == pytest.approx(other["psnr_mean"], abs=0.01)


SMALL_FSMNET = ["--model", "fsmnet", "--model-options", "{features: 8, blocks: 1}"]
FEW = ["--log-every", "1", "--no-pictures", "--validate-every", "2", "--save-every", "2", "--batch", "2"]
FEW += ["--minutes", "null", "--schedule", "constant", "--warmup", "0", "--workers", "0"]


def losses(out: Path) -> list[float]:
    with (out / "log.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


UNROLLED = ["--config", "unrolled", "--model-options", "{steps: 2, widths: [8, 8, 8]}", "--strip", "32"]
TRAININGS = {
    "quick": ["--config", "quick", *SMALL_FSMNET, "--protocol", "float"],
    "unrolled": UNROLLED,
    "coils": [*UNROLLED, "--simulated-coils", "3"],
}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_that_is_stopped_and_goes_on(data, tmp_path, exact, name):
    words = ["train", str(data), *TRAININGS[name], *FEW]
    outs = on_both([*words, "--iterations", "4"], tmp_path, "run")
    there, here = map(losses, outs)
    assert len(there) == 4
    # The first step is the same network's. Later ones follow Adam, to whom rounding's signs count as much as any.
    assert there[0] == pytest.approx(here[0], rel=1e-3)
    assert there == pytest.approx(here, rel=5e-2)
    part = tmp_path / "part"
    assert main([*words, "--device", DEVICE, "--iterations", "2", "-o", str(part)]) == 0
    assert main([*words, "--device", DEVICE, "--iterations", "4", "-o", str(part), "--resume"]) == 0
    # A GPU adds gradients in an order of its own each time.
    assert losses(part) == pytest.approx(there, rel=1e-3)
    header = load_model(part / "best.safetensors").header
    assert header.metrics["step"] >= 2


def test_a_training_in_bfloat16_with_recomputation(data, tmp_path):
    words = ["train", str(data), *TRAININGS["quick"], *FEW, "--iterations", "2", "--precision", "bfloat16"]
    words += ["--checkpointing", "--channels-last", "--accumulate", "2", "--ema", "0.9"]
    assert main([*words, "--device", DEVICE, "-o", str(tmp_path / "run")]) == 0
    assert np.isfinite(losses(tmp_path / "run")).all()


def test_methods_are_compared(data, tmp_path):
    methods = "{U-Net: {model: mdunet, model_options: {features: 4, levels: 2}}, "
    methods += "FSMNet: {model: fsmnet, model_options: {features: 8, blocks: 1}}}"
    training = "{batch: 1, augment: false, learning_rate: 0.001}"
    words = ["compare", str(data), "--methods", methods, "--training", training, "--iterations", "2"]
    words += ["--protocol", "float", "--device", DEVICE]
    assert main([*words, "-o", str(tmp_path / "table")]) == 0
    table = (tmp_path / "table" / "table.csv").read_text()
    assert "U-Net" in table
    assert "FSMNet" in table
    assert "nan" not in table


@pytest.mark.parametrize(("precision", "more"), [("float32", ["--steps", "--no-memory"]), ("auto", ["--memory"])])
def test_the_benchmark(capsys, precision, more):
    words = ["benchmark", "--model", "fsmnet", "--features", "8", "--size", "32", "--runs", "2", "--json"]
    words += [*more, "--training", "--training-batch", "2", "--precision", precision, "--device", DEVICE]
    assert main(words) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["device"].startswith(DEVICE)
    assert result["seconds_per_slice"] > 0
    assert result["psnr_between"] is None or result["psnr_between"] > 40


def test_calibration(data, tmp_path, exact):
    words = ["calibrate", str(data), "--accelerations", "3", "--slices", "2", "--rate", "0.75"]
    outs = on_both(words, tmp_path, "copy.safetensors")
    there, here = (load_model(out).header.trust["calibration"] for out in outs)
    assert there["factors"] == pytest.approx(here["factors"], rel=1e-2)


# -- demo, export ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_the_demonstration(tmp_path, monkeypatch, training):
    """Its heads are made here, for which nothing else need be installed."""
    if not importlib.util.find_spec("nilearn"):
        monkeypatch.setattr(fsmnet.cli.demo, "write_subjects", large_heads)
    monkeypatch.setattr(fsmnet.cli.demo, "SLICES", 2)
    report = "--report" if importlib.util.find_spec("nilearn") else "--no-report"
    words = ["demo", "--device", DEVICE, "--subjects", "1", "--minutes", "0.05", report, "-o", str(tmp_path / "demo")]
    assert main([*words, *(["--train"] if training else [])]) == 0
    rows = json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert len(rows) == 2
    assert (tmp_path / "demo" / "phantom-0000_t2_reconstructed.nii.gz").is_file()


def large_heads(root: Path, seeds, slices: int) -> None:
    """240 x 240 voxels, as the demonstration's."""
    for seed in seeds:
        folder = root / f"phantom-{seed:04d}"
        folder.mkdir(parents=True)
        for contrast, array in zip(("t2", "t1"), heads_of(seed), strict=True):
            large = np.zeros((240, 240, slices), np.int16)
            large[40:200, 24:216] = np.kron(array[..., :slices], np.ones((4, 4, 1)))
            nib.save(nib.Nifti1Image(large, np.eye(4)), folder / f"{folder.name}_{contrast}.nii.gz")


@pytest.mark.parametrize("name", ["fsmnet", "fsmnet_unrolled"])
def test_a_network_from_a_gpu_is_exported(tmp_path, exact, name):
    """Weights that were written from a GPU's memory; the file's graph can be brought to the GPU again."""
    torch.manual_seed(0)
    lines = name == "fsmnet_unrolled"
    network = load_model("shipped") if lines else create_model(name, features=8, blocks=1)
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, network.to(DEVICE).state_dict(), Header(recipe_of(network)))
    assert main(["export", str(path), "-o", str(tmp_path / "graph.pt2")]) == 0
    target, auxiliary = torch.rand(2, 1, 1, 32, 40)
    inputs = (target, auxiliary)
    if lines:
        inputs = (torch.rand(1, 2, 32, 40), torch.ones(1, 40), auxiliary, torch.tensor([-1.0]))
    here = torch.export.load(tmp_path / "graph.pt2")
    there = move_to_device_pass(torch.export.load(tmp_path / "graph.pt2"), DEVICE)
    with torch.no_grad():
        expected = here.module()(*inputs)
        image = there.module()(*(tensor.to(DEVICE) for tensor in inputs)).cpu()
    assert float((image - expected).square().mean()) <= 1e-5 * float(expected.abs().max()) ** 2


def test_the_doctor_names_the_gpu(capsys):
    assert main(["doctor", "--json"]) == 0
    said = capsys.readouterr().out
    if DEVICE == "cuda":
        assert torch.cuda.get_device_name(0) in said
