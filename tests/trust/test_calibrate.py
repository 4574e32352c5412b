"""``fsmnet calibrate``: what it leaves in a copy of the checkpoint, and what a reconstruction then says."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import fsmnet
from fsmnet.checkpoint import read_checkpoint
from fsmnet.cli import main
from fsmnet.data.formats import read_volume
from fsmnet.errors import UserError
from fsmnet.trust.calibrate import calibrate
from fsmnet.trust.conformal import calibration_of
from fsmnet.trust.words import in_words


@pytest.fixture(scope="module")
def calibrated(heads, checkpoint_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrated")
    original = checkpoint_file(folder / "best.safetensors")
    out = folder / "copy.safetensors"
    options = ["--accelerations", "2", "3", "--slices=3", "--rate=0.75", "--threads=1"]
    assert main(["calibrate", f"--checkpoint={original}", f"--data={heads}", *options, f"--out={out}"]) == 0
    return original, out


def test_the_copy_has_the_same_weights_and_knows_the_scans(calibrated):
    original, out = calibrated
    before, after = load_file(original), load_file(out)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    trust = read_checkpoint(out)[1].trust
    found = calibration_of(trust["calibration"])
    assert (found.rate, found.patients, found.accelerations) == (0.75, 4, (2, 3))
    assert sorted(found.data) == [f"phantom-000{seed}" for seed in range(4)]
    assert all(factor > 0 for factor in found.factors)
    assert trust["familiar"]["scans"] == 8
    assert set(trust["familiar"]["explained"]) == {"2", "3"}
    assert read_checkpoint(original)[1].trust == {}


def test_a_calibrated_map_is_a_bound_and_an_uncalibrated_one_says_so(calibrated, heads, tmp_path):
    original, copy = calibrated
    scan = heads / "phantom-0000" / "phantom-0000"
    common = {"target": f"{scan}_t2.nii.gz", "auxiliary": f"{scan}_t1.nii.gz", "acceleration": 2, "device": "cpu"}
    plain = fsmnet.reconstruct(**common, checkpoint=original, out=tmp_path / "plain.nii.gz")
    bound = fsmnet.reconstruct(**common, checkpoint=copy, out=tmp_path / "bound.nii.gz")
    told, checked = plain.sidecar["Maps"]["error"], plain.sidecar["Check"]
    assert "no bound" in told["says"]
    assert checked["Error"]["Calibrated"] is False
    assert "expected error" in in_words(checked)
    assert checked["Verdict"]["ComparedWithScans"] == 0
    assert "75% of patients" in bound.sidecar["Maps"]["error"]["says"]
    assert "error below a bound that is" in in_words(bound.sidecar["Check"])
    assert bound.sidecar["Check"]["Verdict"]["ComparedWithScans"] == 8
    assert bound.sidecar["Check"]["HoldOut"]["OfKnownScans"] is not None
    assert np.array_equal(plain.image, bound.image)
    expected, raised = (read_volume(tmp_path / f"{name}_error.nii.gz").data for name in ("plain", "bound"))
    factors = calibration_of(read_checkpoint(copy)[1].trust["calibration"]).factors
    steps = [nib.load(tmp_path / f"{name}_error.nii.gz").dataobj.slope for name in ("plain", "bound")]
    near = [np.abs(raised - factor * expected) <= 0.5 * (steps[1] + factor * steps[0]) + 1e-4 for factor in factors]
    assert np.any(near, axis=0).all()
    assert raised.sum() > expected.sum()
    far = fsmnet.reconstruct(**common | {"acceleration": 5}, checkpoint=copy, out=tmp_path / "far.nii.gz")
    other = fsmnet.reconstruct(**common, checkpoint=copy, data_consistency="off", out=tmp_path / "off.nii.gz")
    assert (
        "no bound: the checkpoint is calibrated for the default data consistency"
        in other.sidecar["Maps"]["error"]["says"]
    )
    assert "calibrated for 2 to 3x only" in far.sidecar["Maps"]["error"]["says"]


def test_too_few_patients_are_told_before_anything_is_computed(calibrated, heads, tmp_path):
    original, _ = calibrated
    out = tmp_path / "copy.safetensors"
    with pytest.raises(UserError, match="4 patients promise at most 80%, and 90% needs 9"):
        calibrate(checkpoint=str(original), data=heads, out=out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate": 1.0}, "between 0 and 1"),
        ({"out": "copy.pt"}, "ends in .safetensors"),
        ({"slices": 0}, "slices must be at least 1"),
        ({"protocol": "fastmri"}, "fastmri"),
        ({"accelerations": [20.0], "slices": 1}, "at 20x: .* too few to keep some back; lower --accelerations"),
    ],
)
def test_options_that_cannot_be(calibrated, heads, tmp_path, options, words):
    given = {"checkpoint": str(calibrated[0]), "data": heads, "out": tmp_path / "copy.safetensors", "rate": 0.5}
    with pytest.raises(UserError, match=words):
        calibrate(**given | options)


def test_the_original_is_never_replaced(calibrated, heads):
    original, copy = calibrated
    for out, overwrite in ((original, True), (copy, False)):
        with pytest.raises(UserError, match="exists already"):
            calibrate(checkpoint=str(original), data=heads, out=out, rate=0.5, overwrite=overwrite)
