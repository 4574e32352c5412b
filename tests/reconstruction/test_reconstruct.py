"""One scan in, one scan out: in the same place, on the same scale, with a record that suffices to make it again."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict

import nibabel as nib
import numpy as np
import pytest
import torch

import fsmnet
from fsmnet.checkpoint import load_model, read_checkpoint, save_checkpoint
from fsmnet.cli import main
from fsmnet.data.formats import read_volume
from fsmnet.errors import UserError
from fsmnet.files import sha256
from fsmnet.inference.precision import Choice
from fsmnet.inference.slices import reconstruct_slices
from fsmnet.metrics import volume_metrics
from fsmnet.options import plain_config
from fsmnet.physics.fourier import fft2c, ifft2c
from fsmnet.physics.masks import MaskRecipe, load_mask, make_mask, save_mask, seed_from_name
from fsmnet.protocols.float import FLOAT
from fsmnet.reconstruction.reconstruct import reconstruct
from fsmnet.training.options import TrainConfig
from fsmnet.transforms import NormalisationRecipe

SHAPE = (44, 37, 6)  # odd columns
EMPTY = (0, 4)
OBLIQUE = np.array(
    [[-0.9, 0.12, 0.3, 40.0], [0.1, 1.1, -0.2, -31.0], [-0.15, 0.25, 2.9, 7.5], [0, 0, 0, 1]]
)  # flipped, rotated, sheared a little


@pytest.fixture
def scan(tmp_path, smooth):
    """Target and auxiliary with empty slices and much in the header; and a checkpoint."""
    paths = {}
    for seed, contrast in enumerate(("target", "auxiliary")):
        data = smooth(seed, SHAPE, 0, 3000)
        data[:6] = data[:, :4] = 0
        data[..., EMPTY] = 0
        image = nib.Nifti1Image(data.astype(np.int16), OBLIQUE)
        image.header.set_xyzt_units("mm", "sec")
        image.set_qform(OBLIQUE, code=1, strip_shears=True)
        image.set_sform(OBLIQUE, code=4)
        image.header["cal_max"] = 1234
        paths[contrast] = tmp_path / f"{contrast}.nii.gz"
        nib.save(image, paths[contrast])
    return paths


@pytest.fixture
def checkpoint(checkpoint_file, tmp_path):
    return checkpoint_file(tmp_path / "best.safetensors")


@pytest.fixture
def go(scan, checkpoint, tmp_path):
    """Function (name of the output, **options) -> result."""

    def run(out="out/result.nii.gz", **options):
        defaults = {**scan, "checkpoint": checkpoint, "device": "cpu", "precision": "float32", "dtype": "float32"}
        return reconstruct(out=tmp_path / out, **{**defaults, **options})

    return run


def pixels(path):
    return np.asarray(nib.load(path).dataobj)


def sidecar(path):
    return json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())


def test_geometry_is_the_input_s(go, scan):
    result = go(dtype="source")
    before, after = nib.load(scan["target"]), nib.load(result.out)
    assert after.shape == SHAPE
    assert np.array_equal(after.affine, before.affine)
    assert np.allclose(after.affine, OBLIQUE, atol=1e-5)
    for form in ("get_qform", "get_sform"):
        (one, code), (other, other_code) = getattr(before, form)(coded=True), getattr(after, form)(coded=True)
        assert code == other_code
        assert np.array_equal(one, other)
    assert (int(after.header["qform_code"]), int(after.header["sform_code"])) == (1, 4)
    assert after.header.get_zooms() == before.header.get_zooms()
    assert after.header.get_xyzt_units() == ("mm", "sec")
    assert nib.aff2axcodes(after.affine) == nib.aff2axcodes(before.affine) == ("L", "A", "S")
    assert after.get_data_dtype() == np.int16
    assert (float(after.header["cal_max"]), after.dataobj.slope, after.dataobj.inter) == (0, 1, 0)
    voxels = result.sidecar["Voxels"]
    assert (voxels["Type"], voxels["Slope"], voxels["Intercept"]) == ("int16", 1, 0)
    assert voxels["Rounding"] <= 0.25 * voxels["Noise"]
    assert np.abs(np.moveaxis(result.image, 0, 2) - after.get_fdata()).max() <= 0.5
    floats = go("float.nii.gz")
    assert floats.sidecar["Voxels"] == {"Type": "float32"}
    assert result.out.stat().st_size < 0.5 * floats.out.stat().st_size
    assert "not for clinical use" in after.header["descrip"].item().decode()


def test_intensities_and_empty_slices(go, scan, checkpoint):
    """The same by the pieces, on the input's scale."""
    result = go(mask_seed=5, acceleration=3, center_fraction=0.1, mask_kind="equispaced", data_consistency="off")
    image, reference = pixels(result.out), pixels(scan["target"]).astype(np.float32)
    assert np.all(image[..., EMPTY] == 0)
    assert np.all(image >= 0)
    keep = [k for k in range(SHAPE[2]) if k not in EMPTY]
    assert result.sidecar["SlicesReconstructed"] == len(keep)
    scaled, helper = (torch.from_numpy(np.moveaxis(pixels(scan[c]), 2, 0)[keep].astype(np.float32)) for c in scan)
    scaled, helper = scaled / scaled.max(), helper / helper.max()
    mask = make_mask("equispaced", SHAPE[1], 3, 0.1, 5)
    assert np.array_equal(mask.columns, result.mask.columns)
    filled = FLOAT.zero_fill(scaled, torch.from_numpy(mask.columns))
    expected = reconstruct_slices(load_model(checkpoint), filled, helper, FLOAT.normalisation).clamp_min(0)
    np.testing.assert_allclose(np.moveaxis(image, 2, 0)[keep], expected * reference.max(), rtol=1e-4, atol=0.01)
    assert np.array_equal(np.moveaxis(image, 2, 0), result.image)

    # Random weights, yet the values are those of the input and not of [0, 1] or of 8 bits.
    assert 0.2 < image[..., keep].mean() / reference[..., keep].mean() < 5
    metrics = result.sidecar["Metrics"]["network"]
    expected_metrics = volume_metrics(scaled.numpy(), expected.numpy())._asdict()
    assert {name: metrics[name] for name in expected_metrics} == pytest.approx(expected_metrics)


def test_the_record_suffices_to_make_it_again(go, scan, checkpoint):
    result = go(mask_kind="magic", acceleration=3)
    record = sidecar(result.out)
    assert record == json.loads(json.dumps(result.sidecar))
    assert [source["sha256"] for source in record["Sources"]] == [sha256(scan[contrast]) for contrast in scan]
    assert [source["shape"] for source in record["Sources"]] == [list(SHAPE)] * 2
    assert record["Model"]["sha256"] == sha256(checkpoint)
    assert record["Output"] == {"file": result.out.name, "sha256": sha256(result.out)}
    assert (record["Model"]["name"], record["Model"]["options"]["features"]) == ("fsmnet", 8)
    assert record["Mask"]["kind"] == "magic"
    assert (record["Mask"]["requested_acceleration"], record["Mask"]["of"]) == (3, SHAPE[1])
    assert record["Mask"]["achieved_acceleration"] == pytest.approx(SHAPE[1] / len(record["Mask"]["columns"]))
    assert record["Simulation"].startswith("retrospective")
    assert set(record["Versions"]) >= {"fsmnet", "torch", "numpy", "python"}

    mask = result.out.with_name(record["Mask"]["file"])
    assert np.flatnonzero(load_mask(mask).columns).tolist() == record["Mask"]["columns"]
    again = reconstruct(
        scan["target"].with_name(record["Sources"][0]["file"]),
        scan["auxiliary"].with_name(record["Sources"][1]["file"]),
        result.out.with_name("again.nii.gz"),
        checkpoint=checkpoint.with_name(record["Model"]["file"]),
        mask=mask,
        device="cpu",
        precision=record["Precision"],
        dtype=record["Options"]["dtype"],
    )
    assert np.array_equal(pixels(again.out), pixels(result.out))
    assert again.out.read_bytes()[-8:] == result.out.read_bytes()[-8:]  # gzip's check sum and size


def test_seconds_are_told_by_stage(go, monkeypatch):
    """By a clock that only moves in four calls, so that nothing depends on how busy the machine is."""
    from fsmnet.data.scan import read_scan
    from fsmnet.reconstruction.measured import of_image

    now, lock = 0.0, threading.Lock()

    def lasting(work, seconds):
        def last(*arguments, **options):
            nonlocal now
            with lock:
                now += seconds
            return work(*arguments, **options)

        return last

    monkeypatch.setattr("time.perf_counter", lambda: now)
    monkeypatch.setattr("fsmnet.reconstruction.inputs.read_scan", lasting(read_scan, 1))  # twice
    monkeypatch.setattr("fsmnet.reconstruction.stages.load_model", lasting(load_model, 10))
    monkeypatch.setattr("fsmnet.reconstruction.stages.of_image", lasting(of_image, 100))
    monkeypatch.setattr("fsmnet.reconstruction.inputs.similarity_in_place", lasting(lambda *_: 0.25, 1000))
    record = go().sidecar
    assert record["Registration"]["Similarity"] == 0.25
    seconds = record["Seconds"]
    assert list(seconds) == ["read", "load", "prepare", "network", "consistency", "check", "write"]
    assert (seconds["read"] % 10, seconds["load"] // 10) == (2, 1)  # both at once or not
    assert seconds["prepare"] % 1000 == 100
    # The similarity is worked out beside everything from the first slices on.
    assert seconds["prepare"] + seconds["network"] + seconds["consistency"] + seconds["write"] == 1100


def test_what_fails_beside_the_network_is_raised(go, monkeypatch, tmp_path):
    def broken(*_):
        raise UserError("no similarity today")

    monkeypatch.setattr("fsmnet.reconstruction.inputs.similarity_in_place", broken)
    with pytest.raises(UserError, match="no similarity today"):
        go()
    assert not (tmp_path / "out").exists()


def test_masks_follow_the_network_unless_told_otherwise(go, checkpoint_file, tmp_path, heads, caplog):
    training = plain_config(
        TrainConfig(data=heads, out=tmp_path, protocol="brats", acceleration=6, mask_kind="equispaced", mask_seed=3)
    )
    trained = checkpoint_file(tmp_path / "trained.safetensors", training=training)
    result = go(checkpoint=trained)
    expected = make_mask("equispaced", SHAPE[1], 6, 0.32 / 6, 3)
    assert np.array_equal(result.mask.columns, expected.columns)
    assert "trained for" not in caplog.text
    result = go("other.nii.gz", checkpoint=trained, acceleration=4)
    assert np.array_equal(result.mask.columns, make_mask("random", SHAPE[1], 4, 0.10, 1337).columns)
    assert "the network was trained for 6x equispaced, not 4x random" in caplog.messages
    # A checkpoint that does not say: fastMRI's mask from the file's name.
    result = go("third.nii.gz")
    expected = make_mask("random", SHAPE[1], 4, 0.08, seed_from_name("target.nii.gz"))
    assert np.array_equal(result.mask.columns, expected.columns)


def test_masks_of_a_network_of_mixed_accelerations(go, checkpoint_file, tmp_path, heads, caplog):
    mixed = {"mixed_accelerations": [4, 6], "mixed_center_fractions": [0.1, 0.07], "mask_seed": "name"}
    training = plain_config(TrainConfig(data=heads, out=tmp_path, protocol="brats", **mixed))
    result = go(checkpoint=checkpoint_file(tmp_path / "trained.safetensors", training=training), acceleration=6)
    expected = make_mask("random", SHAPE[1], 6, 0.07, seed_from_name("target.nii.gz"))
    assert np.array_equal(result.mask.columns, expected.columns)
    assert "trained for" not in caplog.text


def test_a_target_that_is_zero_filled_already(go, scan, tmp_path, checkpoint):
    first = go(mask_seed=1, data_consistency="off")
    data = pixels(scan["target"]).astype(np.float32)
    columns = torch.from_numpy(first.mask.columns)
    filled = np.moveaxis(FLOAT.zero_fill(torch.from_numpy(np.moveaxis(data, 2, 0)), columns).numpy(), 0, 2)
    degraded = tmp_path / "degraded.nii.gz"
    nib.save(nib.Nifti1Image(filled, OBLIQUE), degraded)
    result = go("second.nii.gz", target=degraded, target_is="zero-filled")
    assert result.mask is None
    assert (result.sidecar["Mask"], result.sidecar["Metrics"]) == (None, None)
    assert result.sidecar["Simulation"].startswith("none")
    assert not list(tmp_path.glob("second_mask*"))
    keep = [k for k in range(SHAPE[2]) if k not in EMPTY]
    close = np.abs(pixels(result.out) - pixels(first.out))[..., keep]
    assert close.max() < 1e-3 * data.max()


def test_replaced_results_leave_no_old_mask(go):
    mask = go().out.with_name("result_mask.npz")
    assert mask.exists()
    go(target_is="zero-filled", overwrite=True)
    assert not mask.exists()


def test_resample(go, scan, tmp_path, smooth):
    coarse = tmp_path / "coarse.nii.gz"
    affine = OBLIQUE @ np.diag([2.0, 2.0, 1.0, 1.0])
    nib.save(nib.Nifti1Image(smooth(4, (22, 19, 6)), affine), coarse)
    with pytest.raises(UserError, match=r"target\.nii\.gz is 44 x 37 x 6, .* is 22 x 19 x 6; pass --resample"):
        go(auxiliary=coarse)
    assert not (tmp_path / "out").exists()
    result = go(auxiliary=coarse, resample=True)
    assert nib.load(result.out).shape == SHAPE
    assert np.array_equal(nib.load(result.out).affine, nib.load(scan["target"]).affine)


def test_repairs_are_counted(go, scan, tmp_path, caplog):
    data = pixels(scan["target"]).astype(np.float32)
    data[10, 10:13, 2] = (np.nan, np.inf, -np.inf)
    data[12, 10:15, 2] = -3
    repaired = tmp_path / "repaired.nii.gz"
    nib.save(nib.Nifti1Image(data, OBLIQUE), repaired)
    sources = go(target=repaired).sidecar["Sources"]
    counts = [(s["voxels_nan_set_to_zero"], s["voxels_negative_set_to_zero"]) for s in sources]
    assert counts == [(3, 5), (0, 0)]
    assert f"{repaired}: 3 NaN or infinite and 5 negative voxels of {data.size} set to 0" in caplog.text


@pytest.mark.parametrize("existing", ["result.nii.gz", "result.json", "result_mask.npz", "result_picture.png"])
def test_nothing_is_replaced_unasked(go, tmp_path, existing):
    path = tmp_path / "out" / existing
    path.parent.mkdir()
    path.write_text("precious")
    with pytest.raises(UserError, match=f"{existing}: exists already"):
        go()
    assert path.read_text() == "precious"
    assert list(path.parent.iterdir()) == [path]
    if existing == "result.json":  # no record of ours: it stays
        with pytest.raises(UserError, match="is no record of this program"):
            go(overwrite=True)
        path.unlink()
    go(overwrite=True)
    assert sorted(p.name for p in path.parent.iterdir()) == [
        *("result.json", "result.nii.gz", "result_mask.npz", "result_picture.png")
    ]


@pytest.mark.parametrize("which", ["target", "auxiliary"])
def test_inputs_are_never_replaced(go, scan, tmp_path, which):
    before = scan[which].read_bytes()
    link = tmp_path / "link.nii.gz"
    link.symlink_to(scan[which])
    for out in (scan[which].name, link.name):
        with pytest.raises(UserError, match=rf"{out}: is one of the inputs; choose another --out"):
            go(out, overwrite=True)
    assert scan[which].read_bytes() == before


def test_one_file_is_no_pair(go, scan, tmp_path):
    link = tmp_path / "link.nii.gz"
    link.symlink_to(scan["target"])
    with pytest.raises(UserError, match=r"is both target and auxiliary; give two contrasts of one exam"):
        go(auxiliary=link)


def test_inputs_are_not_replaced_by_what_comes_beside_the_result(go, scan, tmp_path):
    (tmp_path / "out").mkdir()
    auxiliary = (tmp_path / "out" / "result_mask.npz").resolve()
    np.savez(auxiliary, image=np.moveaxis(np.asarray(nib.load(scan["auxiliary"]).dataobj), 2, 0))
    before = auxiliary.read_bytes()
    with pytest.raises(UserError, match=r"result_mask\.npz: is one of the inputs; choose another --out"):
        go(auxiliary=auxiliary, overwrite=True)
    assert auxiliary.read_bytes() == before


def test_python_is_the_command(scan, checkpoint, tmp_path):
    mask = tmp_path / "mask.npy"
    save_mask(make_mask("random", SHAPE[1], 4, 0.08, 9), mask)
    made = {"checkpoint": checkpoint, "mask": str(mask), "batch": 2, "device": "cpu"}
    result = fsmnet.reconstruct(**scan, **made, out=tmp_path / "result.nii.gz")
    out = tmp_path / "command.nii.gz"
    files = ["--target", str(scan["target"]), "--auxiliary", str(scan["auxiliary"]), "--out", str(out)]
    options = ["--checkpoint", str(checkpoint), "--mask", str(mask), "--batch", "2", "--device", "cpu"]
    assert main(["reconstruct", *files, *options]) == 0
    assert np.array_equal(pixels(out), pixels(result.out))
    first, second = sidecar(out), sidecar(result.out)
    for record in (first, second):
        record["Options"].pop("out")
        record.pop("Seconds")
        record["Mask"].pop("file")
        record["Output"].pop("file")
        for made in record["Maps"].values():
            made.pop("file")
    assert first == second


@pytest.mark.parametrize("shape", [(17, 23, 2), (64, 31, 1)])
def test_odd_and_small_sizes(go, tmp_path, write_nifti, smooth, shape):
    files = {name: write_nifti(tmp_path / f"{name}-small.nii", smooth(i, shape)) for i, name in enumerate("ab")}
    result = go("small.nii", target=files["a"], auxiliary=files["b"])
    assert nib.load(result.out).shape == shape
    assert np.isfinite(pixels(result.out)).all()


def test_bfloat16(go):
    full, half = go("full.nii.gz").image, go("half.nii.gz", precision="bfloat16").image
    assert not np.array_equal(full, half)
    assert np.abs(full - half).max() < 0.05 * full.max()


@pytest.mark.parametrize("best", ["float32", "bfloat16"])
def test_the_record_says_which_precision_the_processor_got(go, monkeypatch, best):
    choice = Choice(best, "timed")
    monkeypatch.setattr("fsmnet.inference.precision.FasterPrecision._timed", lambda *_: choice)
    monkeypatch.setattr("fsmnet.inference.precision.in_hardware", lambda _: True)
    record = go(precision="auto").sidecar
    assert (record["Precision"], record["PrecisionWhy"]) == choice
    assert go(precision="auto", optimise=False, overwrite=True).sidecar["Precision"] == "float32"


REFUSED = {
    "option": ({"bach": 2}, r"unknown option 'bach' \(did you mean batch\?\)"),
    "target_is": ({"target_is": "half"}, "target_is takes full or zero-filled, not 'half'"),
    "precision": ({"precision": "int8"}, "precision takes auto, float32 or bfloat16, not 'int8'"),
    "batch": ({"batch": 0}, "batch must be at least 1, not 0"),
    "acceleration 1": ({"acceleration": 1.0}, "acceleration must be more than 1, not 1"),
    "acceleration": ({"acceleration": 40.0}, "acceleration 40 is impossible with 37 columns"),
    "name": ({"out": "result.png"}, r"result\.png: the result is written as NIfTI; end the name in \.nii\.gz"),
    "degraded": (
        {"target_is": "zero-filled", "acceleration": 4.0},
        "a zero-filled target is taken as it is; leave the mask and acceleration options out",
    ),
    "nothing measured": (
        {"target_is": "zero-filled", "data_consistency": "hard"},
        "a zero-filled target comes without its k-space, so no measured line can be put back",
    ),
    "weighed": ({"data_consistency": "weighed"}, "weighed reckons with a scanner's noise and phase; give --kspace"),
    "two masks": ({"mask": "m.npy", "mask_seed": 3}, "give a mask file or the options to draw one, not both"),
    "mask": ({"mask": "nowhere.npy"}, r"nowhere\.npy: no such mask file"),
    "kind": ({"mask_kind": "spiral"}, "unknown mask kind 'spiral'; choose one of random, equispaced, .*"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_options(go, tmp_path, name):
    options, message = REFUSED[name]
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message):
        go(**options)
    assert sorted(tmp_path.rglob("*")) == before


def test_no_weights(go, monkeypatch):
    monkeypatch.setattr("fsmnet.checkpoint.shipped_checkpoint", lambda name: None)
    with pytest.raises(UserError, match="this build carries no weights; give a checkpoint"):
        go(checkpoint=None)


def test_shipped_weights(go, monkeypatch, checkpoint):
    monkeypatch.setattr("fsmnet.checkpoint.shipped_checkpoint", lambda name: checkpoint)
    assert go(checkpoint=None).sidecar["Model"]["file"] == checkpoint.name


def test_measured_lines_are_put_back(go, scan):
    consistent, network = go().sidecar, go(overwrite=True, data_consistency="off").sidecar
    assert network["DataConsistency"] is None
    before, after = (consistent["DataConsistency"][f"Residual{when}"] for when in ("Before", "After"))
    assert after < 1e-5 < before
    assert set(consistent["Metrics"]) == {"zero_filling", "network", "consistent"}
    assert consistent["Metrics"]["consistent"]["psnr"] > consistent["Metrics"]["network"]["psnr"]
    assert network["Metrics"]["network"] == consistent["Metrics"]["network"]


def test_an_auxiliary_that_moved_is_registered(go, heads, tmp_path):
    pytest.importorskip("SimpleITK")
    case = sorted(heads.iterdir())[0]
    target = case / f"{case.name}_t2.nii.gz"
    image = nib.load(case / f"{case.name}_t1.nii.gz")
    moved = image.affine.copy()
    moved[0, 3] += 6  # mm: the same head, lying elsewhere
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), moved), tmp_path / "moved.nii.gz")
    result = go(target=target, auxiliary=tmp_path / "moved.nii.gz", register="rigid")
    record = result.sidecar["Registration"]
    assert record["SimilarityAfter"] > record["SimilarityBefore"]
    assert record["ShiftMillimetres"] == pytest.approx(6, abs=1)
    assert go("plain.nii.gz").sidecar["Registration"]["Kind"] == "none; the grids agree"


def test_soft_consistency(go, scan):
    """Between the network's image and the measured lines, in the ratio of the weight."""
    hard, off = go().image, go(overwrite=True, data_consistency="off").image
    soft = go(overwrite=True, data_consistency="soft", noise_weight=3.0)
    record = soft.sidecar["DataConsistency"]
    assert record["Kind"] == "soft: measured lines with weight 3"
    assert record["ResidualAfter"] == pytest.approx(record["ResidualBefore"] / 4, rel=1e-3)
    positive = (hard > 0) & (off > 0) & (soft.image > 0)
    np.testing.assert_allclose(soft.image[positive], (0.75 * hard + 0.25 * off)[positive], rtol=1e-3, atol=1)
    with pytest.raises(UserError, match="a zero-filled target comes without its k-space"):
        go(overwrite=True, target_is="zero-filled", data_consistency="soft", noise_weight=3.0)


def test_images_are_normalised_as_in_the_training(go, scan, checkpoint, tmp_path):
    """A network of fastMRI's protocol: sample deviation, the auxiliary by what under-sampling leaves of it."""
    state, header = read_checkpoint(checkpoint)
    recipe, masks = NormalisationRecipe("sample", 6.0, 6.0, "undersampled"), MaskRecipe("random", 3.0, 0.1, "name")
    header.protocol, header.normalisation, header.mask = "fastmri", asdict(recipe), asdict(masks)
    knee = tmp_path / "knee.safetensors"
    save_checkpoint(knee, state, header)
    result = go(checkpoint=knee, data_consistency="off", optimise=False)
    assert "sample standard deviation" in result.sidecar["Normalisation"]
    assert "population" in go("other.nii.gz").sidecar["Normalisation"]

    number, images = 2, {}
    for name, path in scan.items():
        data = torch.from_numpy(read_volume(path).data)
        columns = torch.from_numpy(masks.draw(data.shape[-1], path.name).columns)
        full = (data / data.max())[number]
        images[name] = full, ifft2c(fft2c(full) * columns).abs()
    inputs = recipe.inputs(images["target"][1], images["auxiliary"][0], images["auxiliary"][1])
    with torch.inference_mode():
        image = load_model(knee)(inputs.target[None, None], inputs.auxiliary[None, None]).image[0, 0]
    expected = inputs.normalisation.undo(image).clamp_min(0) * float(read_volume(scan["target"]).data.max())
    np.testing.assert_allclose(result.image[number], expected, rtol=1e-4, atol=1e-4 * float(expected.max()))
