"""Measured k-space in, an image out: the same as from a simulation, with the measured lines kept, or a refusal."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import torch

from fastmri_tree import fft2c, ifft2c
from fastmri_tree import write_volume as write_fastmri
from fsmnet.cli import main
from fsmnet.data.formats import read_kspace
from fsmnet.data.formats.fastmri import read_fastmri
from fsmnet.data.formats.raw import KSpace
from fsmnet.errors import UserError
from fsmnet.files import sha256
from fsmnet.metrics import volume_metrics
from fsmnet.physics.coils import root_sum_of_squares
from fsmnet.physics.espirit import estimate_maps
from fsmnet.physics.masks import MaskRecipe, load_mask, make_mask, save_mask
from fsmnet.protocols.fastmri_slices import consistent_slice
from fsmnet.reconstruction.inputs import window
from fsmnet.reconstruction.measured import coil_maps, of_image, of_kspace
from fsmnet.reconstruction.options import ReconstructConfig
from fsmnet.reconstruction.reconstruct import reconstruct
from fsmnet.transforms import center_fit

SLICES, HEIGHT, WIDTH = 3, 44, 40
AFFINE = np.array([[-0.9, 0.12, 0.3, 40.0], [0.1, 1.1, -0.2, -31.0], [-0.15, 0.25, 2.9, 7.5], [0, 0, 0, 1]])
MASK = make_mask("random", WIDTH, 3, 0.2, 4)
COLUMNS = MASK.columns


def coil_images(image: np.ndarray, count: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Images of coils on a ring, ``(S, C, H, W)``, and their maps of unit energy, ``(C, H, W)``."""
    y, x = np.meshgrid(np.linspace(-1, 1, image.shape[-2]), np.linspace(-1, 1, image.shape[-1]), indexing="ij")
    angles = 2 * np.pi * np.arange(count)[:, None, None] / count
    maps = np.exp(-((y - np.sin(angles)) ** 2 + (x - np.cos(angles)) ** 2) / 2 + 1j * (angles + 0.5 * x * y))
    maps /= np.sqrt(np.square(np.abs(maps)).sum(0))
    return image[:, None] * maps, maps


@pytest.fixture
def magnitude(smooth):
    """A target without phase, ``(S, H, W)``, with an empty slice and border."""
    data = smooth(0, (SLICES, HEIGHT, WIDTH), 0, 3000)
    data[:, :5] = data[:, :, :4] = data[1] = 0
    return data


@pytest.fixture
def image(magnitude):
    """The target with a smooth phase."""
    y, x = np.meshgrid(np.linspace(-1, 1, HEIGHT), np.linspace(-1, 1, WIDTH), indexing="ij")
    return magnitude * np.exp(1j * (1 + y - 2 * x * y))


@pytest.mark.parametrize("size", [(3, 4), (3, 5), (4, 4), (5, 7), (8, 8), (7, 8), (2, 1)])
@pytest.mark.parametrize("shape", [(8, 9), (9, 8), (8, 8), (9, 9)])
def test_the_middle_is_cut_out_as_fastmri_cuts_it(shape, size):
    image = np.arange(np.prod(shape)).reshape(shape)
    top, left = ((whole - part) // 2 for whole, part in zip(shape, size, strict=True))  # fastMRI's center_crop
    kspace = KSpace(np.zeros((1, 1, *shape), np.complex64), Path("k.npy"), size)
    np.testing.assert_array_equal(image[window(kspace)], image[top : top + size[0], left : left + size[1]])
    np.testing.assert_array_equal(image[window(kspace)], center_fit(torch.from_numpy(image), *size))


def test_maps_from_a_separate_calibration_scan(image):
    coils, maps = coil_images(image)
    kspace = fft2c(coils).astype(np.complex64)
    reference = 3j * kspace * (np.abs(np.arange(WIDTH) - WIDTH // 2) < 8)
    holes = kspace * (np.arange(WIDTH) % 4 == 0)
    read = KSpace(holes, Path("k.h5"), (HEIGHT, WIDTH), calibration=reference)
    found, words = coil_maps(read, ReconstructConfig(out=Path("o.nii")), [0, 2], iter([]), torch.zeros(WIDTH).bool())
    assert words.startswith("ESPIRiT from a separate calibration scan")
    alike = np.abs((found.numpy() * maps.conj()).sum(1))
    assert np.median(alike[(found != 0).any(1).numpy()]) > 0.99


@pytest.fixture
def auxiliary(tmp_path, smooth):
    data = np.moveaxis(smooth(1, (SLICES, HEIGHT, WIDTH)), 0, 2)
    path = tmp_path / "auxiliary.nii.gz"
    file = nib.Nifti1Image(data, AFFINE)
    file.header.set_xyzt_units("mm", "sec")
    nib.save(file, path)
    return path


@pytest.fixture
def go(tmp_path, auxiliary, checkpoint_file):
    """Function (k-space array or path, **options) -> result, through a file."""
    checkpoint = checkpoint_file(tmp_path / "best.safetensors")

    def run(kspace, out="result.nii.gz", **options):
        if isinstance(kspace, np.ndarray):
            np.save(tmp_path / "kspace.npy", kspace.astype(np.complex64))
            kspace = tmp_path / "kspace.npy"
        defaults = {"auxiliary": auxiliary, "checkpoint": checkpoint, "device": "cpu", "data_consistency": "hard"}
        return reconstruct(kspace=kspace, out=tmp_path / "out" / out, **{**defaults, **options})

    return run


def pixels(path) -> np.ndarray:
    """Slices first."""
    return np.moveaxis(np.asarray(nib.load(path).dataobj), 2, 0)


def test_without_phase_it_is_the_simulated_path(go, magnitude, auxiliary, tmp_path):
    """The network sees the same zero-filled image as from the magnitude itself."""
    target = tmp_path / "target.nii.gz"
    nib.save(nib.Nifti1Image(np.moveaxis(magnitude, 0, 2), AFFINE), target)
    save_mask(MASK, tmp_path / "mask.npz")
    # In bfloat16 the two would differ by more wherever their rounding falls on another number.
    options = {"mask": tmp_path / "mask.npz", "data_consistency": "off", "precision": "float32"}
    measured = go(fft2c(magnitude)[:, None], **options)
    checkpoint = tmp_path / "best.safetensors"
    simulated = reconstruct(
        target, auxiliary, tmp_path / "simulated.nii.gz", checkpoint=checkpoint, device="cpu", **options
    )
    np.testing.assert_allclose(measured.image, simulated.image, atol=2e-4 * magnitude.max())
    for name in ("zero_filling", "network"):
        scores = [result.sidecar["Metrics"][name] for result in (measured, simulated)]
        assert scores[0] == pytest.approx(scores[1], rel=1e-3)


def test_one_coil_keeps_what_was_measured(go, image, auxiliary):
    kspace = fft2c(image) * COLUMNS
    result = go(kspace)
    again = fft2c(result.complex_image)
    np.testing.assert_allclose(again[..., COLUMNS], kspace[..., COLUMNS], atol=2e-6 * np.abs(kspace).max())
    np.testing.assert_array_equal(pixels(result.out), result.image)
    np.testing.assert_allclose(np.abs(result.complex_image), result.image, rtol=1e-5)
    assert not result.image[1].any()
    # What was not measured is the network's, with the phase of the zero-filled image.
    network = go(kspace, "network.nii.gz", data_consistency="off")
    guess, filled = network.complex_image, ifft2c(kspace)
    defined = np.abs(filled) > 1e-3 * np.abs(filled).max()
    expected = network.image * np.exp(1j * np.angle(filled))
    np.testing.assert_allclose(guess[defined], expected[defined], atol=1e-3 * network.image.max())
    np.testing.assert_allclose(again[..., ~COLUMNS], fft2c(guess)[..., ~COLUMNS], atol=2e-5 * np.abs(kspace).max())

    record = json.loads((result.out.parent / "result.json").read_text())
    assert record == json.loads(json.dumps(result.sidecar))
    assert record["Simulation"] == "none; prospectively under-sampled k-space"
    assert (record["Mask"]["kind"], record["Mask"]["columns"]) == (
        "inferred from empty columns",
        np.flatnonzero(COLUMNS).tolist(),
    )
    assert np.array_equal(load_mask(result.out.parent / record["Mask"]["file"]).columns, COLUMNS)
    assert (record["Coils"]["Number"], record["Coils"]["Maps"]) == (1, "none; one coil of sensitivity 1")
    assert record["Metrics"] is None
    assert record["SlicesReconstructed"] == 2
    assert record["Sources"][0]["sha256"] == sha256(result.out.parent.parent / "kspace.npy")
    consistency = record["DataConsistency"]
    assert consistency["ResidualAfter"] < 1e-6 < consistency["ResidualBefore"]
    left = [np.linalg.norm((fft2c(guess) - kspace)[s] * COLUMNS) / np.linalg.norm(kspace[s]) for s in (0, 2)]
    assert consistency["ResidualBefore"] == pytest.approx(np.mean(left), rel=1e-3)


def test_soft_consistency_by_its_formula(go, image):
    kspace = fft2c(image) * COLUMNS
    network = go(kspace, data_consistency="off").complex_image
    soft = go(kspace, "soft.nii.gz", data_consistency="soft", noise_weight=3)
    spectrum = fft2c(network)
    expected = np.where(COLUMNS, (spectrum + 3 * kspace) / 4, spectrum)
    np.testing.assert_allclose(fft2c(soft.complex_image), expected, atol=1e-5 * np.abs(kspace).max())
    record = soft.sidecar["DataConsistency"]
    assert record["Kind"] == "soft: measured lines with weight 3"
    assert record["ResidualAfter"] == pytest.approx(record["ResidualBefore"] / 4, rel=1e-3)


@pytest.mark.parametrize("given", [False, True])
def test_several_coils(go, image, tmp_path, given):
    images, maps = coil_images(image)
    kspace = fft2c(images) * COLUMNS
    np.save(tmp_path / "maps.npy", 5 * maps.astype(np.complex64))
    result = go(kspace, maps=tmp_path / "maps.npy" if given else None)
    record = result.sidecar
    assert record["Coils"]["Number"] == 4
    assert record["Coils"]["Maps"].startswith("from maps.npy" if given else "ESPIRiT from the centre lin")
    consistency = record["DataConsistency"]
    assert consistency["ResidualAfter"] < 1e-6 < consistency["ResidualOfCombinedImage"] < consistency["ResidualBefore"]
    soft = go(kspace, "soft.nii.gz", data_consistency="soft", noise_weight=10).sidecar["DataConsistency"]
    assert soft["ResidualAfter"] < 0.5 * soft["ResidualBefore"]
    if given:  # to unit energy: the combined image has the target's intensities
        assert 0.5 < result.image.max() / np.abs(image).max() < 2


def test_several_coils_in_retrospect(go, image):
    """Scores against the fully sampled k-space, combined with maps from the centre of the mask's lines alone."""
    images, _ = coil_images(image)
    kspace = fft2c(images)
    result = go(kspace, acceleration=3, mask_kind="equispaced", center_fraction=0.2, mask_seed=2)
    record = result.sidecar
    columns = make_mask("equispaced", WIDTH, 3, 0.2, 2).columns
    assert np.array_equal(result.mask.columns, columns)
    assert record["Simulation"] == "retrospective, from measured k-space"
    lines = torch.from_numpy(columns)
    keep = [0, 2]
    full = torch.from_numpy(kspace[keep].astype(np.complex64))
    maps = torch.stack([estimate_maps(one * lines, lines) for one in full]).numpy()
    reference = np.abs((maps.conj() * ifft2c(kspace[keep])).sum(1)).astype(np.float32)
    filled = np.abs((maps.conj() * ifft2c(kspace[keep] * columns)).sum(1)).astype(np.float32)
    consistent = volume_metrics(reference, result.image[keep])._asdict()
    for name, values in (("zero_filling", volume_metrics(reference, filled)._asdict()), ("consistent", consistent)):
        assert {figure: record["Metrics"][name][figure] for figure in values} == pytest.approx(values, rel=1e-3)
    assert consistent["psnr"] > record["Metrics"]["zero_filling"]["psnr"]


def test_the_place_is_the_auxiliary_s(go, image, auxiliary, caplog):
    result = go(fft2c(image) * COLUMNS, complex=True)
    assert f"kspace.npy: has no place in space; taken to lie on the grid of {auxiliary}" in caplog.text
    source = nib.load(auxiliary)
    for path in (result.out, result.out.with_name("result_complex.nii.gz")):
        written = nib.load(path)
        assert written.shape == (HEIGHT, WIDTH, SLICES)
        np.testing.assert_array_equal(written.affine, source.affine)
        assert written.header.get_xyzt_units() == ("mm", "sec")
        assert written.header["descrip"].item().endswith(b"not for clinical use")
    assert nib.load(path).get_data_dtype() == np.complex64
    np.testing.assert_array_equal(pixels(path), result.complex_image)


def test_complex_arrays(go, image, auxiliary):
    result = go(fft2c(image) * COLUMNS, "result.npy", complex=True)
    np.testing.assert_array_equal(np.load(result.out), result.image)
    np.testing.assert_array_equal(np.load(result.out.with_name("result_complex.npy")), result.complex_image)
    result = go(fft2c(image) * COLUMNS, "result.npz", complex=True, overwrite=True)
    with np.load(result.out.with_name("result_complex.npz")) as file:
        np.testing.assert_array_equal(file["image"], result.complex_image)
        np.testing.assert_array_equal(file["affine"], nib.load(auxiliary).affine)
        assert str(file["description"]).endswith("not for clinical use")


def test_the_kspace_is_never_replaced(go, image, tmp_path):
    """Its name may be that of the complex image of a result."""
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "result_complex.npy"
    np.save(path, (fft2c(image) * COLUMNS).astype(np.complex64))
    before = path.read_bytes()
    for wanted in (True, False):
        with pytest.raises(UserError, match=r"result_complex\.npy: is one of the inputs; choose another --out"):
            go(path, "result.npy", complex=wanted, overwrite=True)
    assert path.read_bytes() == before


def test_complex_images_are_not_replaced_unasked(go, image):
    kspace = fft2c(image) * COLUMNS
    path = go(kspace, complex=True).out.with_name("result_complex.nii.gz")
    for name in ("result.nii.gz", "result.json", "result_mask.npz", "result_picture.png"):
        path.with_name(name).unlink()
    for wanted in (True, False):
        with pytest.raises(UserError, match=r"result_complex\.nii\.gz: exists already; pass --overwrite to replace it"):
            go(kspace, complex=wanted)
    go(kspace, overwrite=True)
    assert not path.exists()  # it was another result's


def test_rows_phase_encoded(go, image, auxiliary, tmp_path):
    """Everything turned, files and result alike."""
    plain = go(fft2c(image) * COLUMNS, complex=True)
    turned = tmp_path / "turned.nii.gz"
    data = np.asarray(nib.load(auxiliary).dataobj).swapaxes(0, 1)
    nib.save(nib.Nifti1Image(data, AFFINE[:, [1, 0, 2, 3]]), turned)
    kspace = (fft2c(image) * COLUMNS).swapaxes(-2, -1)
    result = go(kspace, "turned.nii.gz", auxiliary=turned, phase_encode="rows", complex=True)
    np.testing.assert_allclose(nib.load(result.out).affine, AFFINE[:, [1, 0, 2, 3]], atol=1e-6)
    tolerance = 1e-4 * plain.image.max()
    np.testing.assert_allclose(pixels(result.out), pixels(plain.out).swapaxes(1, 2), atol=tolerance)
    complex_path = result.out.with_name("turned_complex.nii.gz")
    np.testing.assert_allclose(pixels(complex_path), plain.complex_image.swapaxes(1, 2), atol=tolerance)
    with pytest.raises(UserError, match=r"\d+ of 40 rows are empty and no column is; pass --phase-encode rows"):
        go(kspace, "other.nii.gz", auxiliary=turned)


@pytest.mark.parametrize("coils", [0, 4])
def test_fastmri_is_cropped_after_the_lines_are_put_back(go, smooth, tmp_path, coils):
    """Two fastMRI files, the oversampled matrix larger than the image, some columns padded with zeros."""
    mask = make_mask("random", 48, 3, 0.25, 1).columns
    options = {"rows": 64, "columns": 48, "recon": 32, "coils": coils}
    kspace = write_fastmri(tmp_path / "pdfs.h5", smooth(3, (2, 32, 32), 0), mask=mask, skipped=3, seed=1, **options)
    helper = write_fastmri(tmp_path / "pd.h5", smooth(4, (2, 32, 32), 0), seed=2, **options)
    result = go(kspace, auxiliary=helper)
    assert pixels(result.out).shape == (2, 32, 32)
    inside = (np.arange(48) >= 3) & (np.arange(48) < 45)
    assert np.array_equal(result.mask.columns, mask & inside)
    assert result.mask.kind == "stated by the file"
    assert result.sidecar["Coils"]["Matrix"] == [64, 48]
    consistency = result.sidecar["DataConsistency"]
    assert consistency["ResidualAfter"] < 1e-5 < consistency["ResidualBefore"]
    submission = go(kspace, "submission.h5", auxiliary=helper)
    with h5py.File(submission.out) as file:
        assert file["reconstruction"].dtype == np.float32
        np.testing.assert_array_equal(file["reconstruction"], result.image)
        assert "not for clinical use" in file.attrs["description"]
    assert submission.sidecar["Output"]["sha256"] == sha256(submission.out)
    with pytest.raises(UserError, match="a submission holds magnitudes; leave --complex out"):
        go(kspace, "complex.h5", auxiliary=helper, complex=True)


def test_images_that_lie_otherwise_are_told(go, heads, caplog):
    """A transform without its first shift moves the image by half the field of view; the auxiliary shows it."""
    pytest.importorskip("SimpleITK")
    case = sorted(heads.iterdir())[0]
    target, auxiliary = (case / f"{case.name}_{contrast}.nii.gz" for contrast in ("t2", "t1"))
    image = np.moveaxis(np.asarray(nib.load(target).dataobj), 2, 0)
    columns = make_mask("random", 64, 3, 0.2, 4).columns
    for name, moved, warned in (("good", image, False), ("moved", np.roll(image, (20, 20), (1, 2)), True)):
        caplog.clear()
        go(fft2c(moved) * columns, f"{name}.nii.gz", auxiliary=auxiliary)
        assert ("little in common as they lie" in caplog.text) == warned, name
    with pytest.raises(UserError, match="the k-space was made without ifftshift of the image; multiply it by"):
        go(fft2c(np.roll(image, (32, 32), (1, 2))) * columns, "exchanged.nii.gz", auxiliary=auxiliary)


def test_ismrmrd_through_the_command(image, tmp_path, checkpoint_file, capsys):
    """With a place of its own, on which an auxiliary of another grid is resampled."""
    pytest.importorskip("ismrmrd")
    from ismrmrd_scan import Plan, write

    images, _ = coil_images(image[[0, 2]])
    kspace = write(tmp_path / "scan.mrd", Plan(fft2c(images) * COLUMNS, positions=[(10, 20, 5), (10, 20, 10)]))
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    affine[:3, 3] = (-60, -60, 5)
    data = np.random.default_rng(0).uniform(1, 2, (50, 50, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "auxiliary.nii.gz")
    out = tmp_path / "result.nii.gz"
    arguments = ["reconstruct", "--kspace", str(kspace), "--auxiliary", str(tmp_path / "auxiliary.nii.gz")]
    arguments += ["--mask", "auto", "--out", str(out), "--complex", "--device", "cpu", "--data-consistency", "hard"]
    arguments += ["--checkpoint", str(checkpoint_file(tmp_path / "best.safetensors"))]
    assert main(arguments) == 2
    assert "is 44 x 40 x 2, " in (refusal := capsys.readouterr().err)
    assert "pass --resample to bring the auxiliary onto the target's grid" in refusal
    assert main([*arguments, "--resample"]) == 0
    expected = np.diag([-1.0, -1.0, 5.0, 1.0])  # pixels of 1 mm, LPS to RAS; the centre is pixel (22, 20)
    expected[:3, 3] = (-10 + 22, -20 + 20, 5)
    np.testing.assert_allclose(nib.load(out).affine, expected)
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["Coils"]["Number"] == 4
    assert np.array_equal(load_mask(tmp_path / "result_mask.npz").columns, COLUMNS)
    assert record["DataConsistency"]["ResidualAfter"] < 1e-6
    assert pixels(tmp_path / "result_complex.nii.gz").dtype == np.complex64


def test_the_command_on_an_array(image, auxiliary, tmp_path, checkpoint_file, caplog):
    np.save(tmp_path / "kspace.npy", fft2c(image).astype(np.complex64))
    out, mask = tmp_path / "result.nii.gz", tmp_path / "mask.npy"
    save_mask(MASK, mask)
    files = ["--kspace", str(tmp_path / "kspace.npy"), "--auxiliary", str(auxiliary), "--out", str(out)]
    options = ["--mask", str(mask), "--checkpoint", str(checkpoint_file(tmp_path / "best.safetensors"))]
    assert main(["reconstruct", *files, *options, "--device", "cpu"]) == 0
    unused = f"{WIDTH - COLUMNS.sum()} of {WIDTH} measured columns lie outside the mask: not used"
    assert any(unused in message for message in caplog.messages)
    assert any(message.startswith("consistent") for message in caplog.messages)
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["Simulation"] == "retrospective, from measured k-space"


def test_a_mask_that_keeps_everything_is_none(go, image, tmp_path):
    save_mask(type(MASK)(np.ones(WIDTH, bool), "file"), tmp_path / "all.npy")
    kspace = fft2c(image)
    kspace[..., :2] = kspace[..., -1:] = 0  # padded as by a scanner: nothing to reconstruct either
    for full in (fft2c(image), kspace):
        with pytest.raises(
            UserError, match=r"give --acceleration for a retrospective experiment, or --mask FILE with f"
        ):
            go(full, mask=tmp_path / "all.npy")
    np.savez(tmp_path / "scan.npz", kspace=fft2c(image).astype(np.complex64), mask=np.ones(WIDTH))
    with pytest.raises(UserError, match=r"scan\.npz: is fully sampled"):
        go(tmp_path / "scan.npz")


def test_a_mask_beside_the_kspace_in_one_file(go, image, tmp_path):
    path = tmp_path / "scan.npz"
    fewer = COLUMNS & (np.arange(WIDTH) != np.flatnonzero(COLUMNS)[0])
    np.savez(path, kspace=(fft2c(image) * COLUMNS).astype(np.complex64), mask=fewer)
    result = go(path)
    assert np.array_equal(result.mask.columns, fewer)
    assert result.sidecar["Simulation"].startswith("retrospective")
    assert result.sidecar["Metrics"] is None  # there is no fully sampled reference
    np.savez(path, kspace=(fft2c(image) * COLUMNS).astype(np.complex64), mask=np.ones(WIDTH - 1))
    with pytest.raises(UserError, match=r"scan\.npz: its mask has 39 columns, its k-space 40"):
        go(path, "other.nii.gz")


REFUSED = {
    "fully sampled": (
        1,
        {},
        "is fully sampled, so there is nothing to reconstruct; give --acceleration for a",
    ),
    "under-sampled": (
        COLUMNS,
        {"acceleration": 4.0},
        r"kspace.npy: is under-sampled already \(\d+ of 40 columns\); leave --acceleration and the options of the mask",
    ),
    "two targets": (COLUMNS, {"target": "t2.nii.gz"}, "give --target, an image, or --kspace, not both"),
    "no auxiliary": (
        COLUMNS,
        {"auxiliary": None},
        "best.safetensors: this network needs --auxiliary, the fully sampled contrast; the shipped one does without",
    ),
    "moved no auxiliary": (
        COLUMNS,
        {"auxiliary": None, "resample": True},
        "--auxiliary is missing; give the fully sampled contrast",
    ),
    "noise": (COLUMNS, {"noise": -1.0}, "noise must be a finite number, 0 or more, not -1"),
    "noise in other units": (COLUMNS, {"noise": 1e6}, "--noise 1e.06 is more than the strongest value of the k-space"),
    "zero-filled": (COLUMNS, {"target_is": "zero-filled"}, "--target-is and --target-series describe an image"),
    "soft": (COLUMNS, {"data_consistency": "soft"}, "--data-consistency soft and --noise-weight belong together"),
    "hard and a weight": (COLUMNS, {"noise_weight": 2.0}, "--data-consistency soft and --noise-weight belong together"),
    "weight": (
        COLUMNS,
        {"data_consistency": "soft", "noise_weight": 0.0},
        "noise_weight must be a finite number above 0, not 0",
    ),
    "mask and acceleration": (
        COLUMNS,
        {"mask": "auto", "acceleration": 4.0},
        "give a mask file or the options",
    ),
    "phase axis": (COLUMNS, {"phase_encode": "up"}, "phase_encode takes rows, columns or null, not 'up'"),
    "list": (COLUMNS, {"pairs": "pairs.csv"}, "a list of exams names images; leave --kspace out, or --pairs"),
    "form": (COLUMNS, {"out": "result.png"}, r"result\.png: the result is written as NIfTI"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_options(go, image, tmp_path, name):
    columns, options, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        go(fft2c(image) * columns, **options)
    assert not (tmp_path / "out").exists()


def test_refused_masks_and_maps(go, image, tmp_path):
    kspace = fft2c(coil_images(image)[0]) * COLUMNS
    more = COLUMNS.copy()
    more[np.flatnonzero(~COLUMNS)[:3]] = True
    np.save(tmp_path / "mask.npy", more)
    with pytest.raises(UserError, match="the mask counts 3 columns as acquired that are empty in the k-space"):
        go(kspace, mask=tmp_path / "mask.npy")
    np.save(tmp_path / "mask.npy", COLUMNS[1:])
    with pytest.raises(UserError, match=r"mask.npy: the mask has 39 columns, the data 40"):
        go(kspace, mask=tmp_path / "mask.npy")
    np.save(tmp_path / "maps.npy", np.ones((3, HEIGHT, WIDTH), np.complex64))
    with pytest.raises(
        UserError, match=r"maps.npy: maps of shape \(1, 3, 44, 40\) do not fit k-space of shape \(3, 4,"
    ):
        go(kspace, maps=tmp_path / "maps.npy")
    thin = np.arange(WIDTH) % 2 == 0
    with pytest.raises(UserError, match=r"kspace.npy: the fully sampled centre .* is too small .*, with --maps"):
        go(fft2c(coil_images(image)[0]) * thin)


def test_coils_given_as_slices(go, image):
    images, _ = coil_images(image)
    message = r"three axes are read as 4 slices, but .*auxiliary.nii.gz has 3; if they are coils, save the array with"
    with pytest.raises(UserError, match=message):
        go(fft2c(images)[0] * COLUMNS)


def test_another_size_than_the_auxiliary_s(go, image):
    with pytest.raises(UserError, match=r"is 40 x 40 x 3, .*auxiliary\.nii\.gz is 44 x 40 x 3; give them on one grid"):
        go(fft2c(image[:, 2:-2]) * COLUMNS)
    with pytest.raises(UserError, match=r"kspace\.npy: has no place in space, so nothing can be moved onto it"):
        go(fft2c(image[:, 2:-2]) * COLUMNS, resample=True)


def test_options_that_need_kspace(go, auxiliary, tmp_path):
    for options, message in (
        ({"complex": True}, "--complex goes with k-space, and a magnitude image has none; give --kspace"),
        ({"maps": "maps.npy"}, "--maps goes with k-space"),
        ({"noise": 0.1}, "--noise goes with k-space"),
        ({"mask": "auto"}, "--mask auto infers the lines from k-space; give --kspace, or a mask file"),
    ):
        with pytest.raises(UserError, match=message):
            go(None, target=auxiliary, **options)
    with pytest.raises(UserError, match=r"TARGET \(or --kspace\) is missing; name the scan to reconstruct"):
        go(None)
    with pytest.raises(UserError, match="out is missing; name the result"):
        reconstruct(auxiliary, auxiliary)


SHAPES = [(1, 12, 20), (6, 17, 23), (5, 8, 31)]  # even and odd, more slices than are taken at a time


def target_and_image(shape):
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(shape, generator=generator)
    return target, (target + 0.1 * torch.randn(shape, generator=generator)).clamp_min(0)


@pytest.mark.parametrize("shape", SHAPES)
def test_zero_filled_images_are_those_of_two_dimensions(shape):
    target, _ = target_and_image(shape)
    mask = make_mask("random", shape[-1], 2, 0.2, 3)
    scan = of_image(target, mask)
    assert torch.equal(scan.reference, target)
    expected = torch.from_numpy(np.abs(ifft2c(fft2c(target.numpy()) * mask.columns)))
    torch.testing.assert_close(scan.zero_filled, expected, rtol=0, atol=1e-6, check_dtype=False)


@pytest.mark.parametrize("weight", ["hard", 3.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_consistency_is_that_of_two_dimensions(shape, weight):
    target, image = target_and_image(shape)
    mask = make_mask("random", shape[-1], 2, 0.2, 3)
    measured, spectrum = fft2c(target.numpy()), fft2c(image.numpy())
    drawn = measured if weight == "hard" else (spectrum + weight * measured) / (1 + weight)
    expected = ifft2c(np.where(mask.columns, drawn, spectrum))
    scan = of_image(target, mask)
    for number in range(len(target) // 2, len(target)):
        consistent, residuals = scan.put_back(image[number], number, weight)
        np.testing.assert_allclose(consistent.numpy(), expected[number].real, rtol=0, atol=1e-6)
        whole = np.linalg.norm((measured * mask.columns)[number])
        images = {"Before": image.numpy(), "After": expected, "OfRealPart": expected.real}
        left = {
            f"Residual{name}": np.linalg.norm(((fft2c(x) - measured) * mask.columns)[number]) / whole
            for name, x in images.items()
        }
        assert residuals == pytest.approx(left, rel=1e-4, abs=1e-6)
        assert (residuals["ResidualAfter"] < 1e-6) == (weight == "hard")
    assert scan.describe(weight)["Kind"].startswith("hard" if weight == "hard" else "soft")


def test_a_degraded_image_is_taken_as_it_is():
    target, _ = target_and_image((2, 8, 8))
    scan = of_image(target, None)
    assert scan.zero_filled is target
    assert (scan.mask, scan.reference, scan.acquisition) == (None, None, None)


def test_a_knee_of_several_coils_is_drawn_to_its_lines_as_evaluate_does(tmp_path, smooth):
    """The same coil images; ``evaluate`` takes their root of the sum of squares, ``reconstruct`` combines them."""
    options = {"rows": 64, "columns": 48, "recon": 32, "coils": 3}
    path = write_fastmri(tmp_path / "knee.h5", smooth(3, (2, 32, 32), 0), seed=1, **options)
    kspace, recipe = read_kspace(path), MaskRecipe("random", 3.0, 0.25, 1)
    config = ReconstructConfig(kspace=path, out=tmp_path / "out.nii.gz", acceleration=3)
    scan = of_kspace(kspace, config, recipe, torch.tensor([True, True]), 1.0)
    image = 1.1 * scan.zero_filled[1].abs()
    acquisition = scan.acquisition(1)
    coils = acquisition.consistent_coils(acquisition.embedded(image, *scan.place))
    assert acquisition.coil_residual(coils) < 1e-5
    combined, residuals = scan.put_back(image, 1, "hard")
    torch.testing.assert_close(combined, acquisition.combined(coils)[scan.place])
    assert residuals["ResidualAfter"] < 1e-5 < residuals["ResidualOfCombinedImage"] < residuals["ResidualBefore"]
    scored = consistent_slice(read_fastmri(path), 1, torch.from_numpy(scan.mask.columns), image)
    expected = root_sum_of_squares(coils)[scan.place]
    torch.testing.assert_close(scored, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))


def test_partial_fourier_is_reconstructed(go, image, tmp_path, caplog):
    """Lines on one side alone: told in the record; after a network for images both are weighed."""
    columns = np.arange(WIDTH) < 28
    kspace = fft2c(image) * columns
    with caplog.at_level("INFO", "fsmnet"):
        made = go(kspace, complex=True, phase_encode="columns", data_consistency="auto")
    told = "partial Fourier, lines from 20 before the centre to 7 behind it"
    assert f"{told}; the other side counts as missing" in caplog.text
    assert made.sidecar["Simulation"] == f"none; prospectively under-sampled k-space; {told}"
    record = made.sidecar["DataConsistency"]
    assert record["Kind"].startswith("weighed")
    assert record["ResidualAfter"] < record["ResidualBefore"]
    assert np.array_equal(load_mask(tmp_path / "out" / "result_mask.npz").columns, columns)
    with pytest.raises(UserError, match=r"is under-sampled already \(28 of 40 columns\)"):
        go(kspace, "again.nii.gz", acceleration=4.0)


@pytest.mark.parametrize("coils", [1, 4])
def test_pocs_completes_a_partial_fourier_scan(go, smooth, tmp_path, coils):
    """``--checkpoint pocs``: nearer to the truth than zero-filling; a k-space network sees missing lines alone."""
    height, width = HEIGHT, 96
    magnitude = smooth(0, (2, height, width), 0, 3000)
    magnitude[:, :5] = magnitude[:, :, :8] = 0
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    truth = magnitude * np.exp(1j * (1 + y - x * y))
    columns = np.arange(width) >= 28
    kspace = fft2c(truth if coils == 1 else coil_images(truth)[0]) * columns
    maps = {}
    if coils > 1:
        np.save(tmp_path / "maps.npy", coil_images(truth)[1][None].astype(np.complex64))
        maps = {"maps": tmp_path / "maps.npy"}
    result = go(kspace, auxiliary=None, checkpoint="pocs", data_consistency="auto", **maps)
    assert result.sidecar["Model"]["name"] == "pocs"
    assert result.sidecar["Simulation"].endswith("partial Fourier, lines from 20 before the centre to 47 behind it")
    zero_filled = np.abs(ifft2c(fft2c(truth) * columns))
    error = [np.linalg.norm(one - magnitude) for one in (result.image, zero_filled)]
    assert error[0] < 0.5 * error[1]
