"""A network for one task (T2 with T1, 4x random, skull-stripped) given other scans."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
import torch

from fsmnet.checkpoint import checkpoint_file, read_checkpoint, save_checkpoint
from fsmnet.cli.parser import main
from fsmnet.data.contrast import Contrast, ScanFacts
from fsmnet.data.phantom import make_subject
from fsmnet.errors import UserError
from fsmnet.physics.masks import MaskRecipe, load_mask
from fsmnet.protocols.float import FLOAT
from fsmnet.reconstruction.facts import PairFacts
from fsmnet.reconstruction.reconstruct import reconstruct as reconstruct_with
from fsmnet.reconstruction.suitability import _nothing_missing


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """The shipped network for images, as if it had been trained for one task."""
    state, header = read_checkpoint(checkpoint_file("shipped-image"))
    header.contrasts, header.heads, header.protocol = {"target": "t2", "auxiliary": "t1"}, "stripped", "brats"
    header.mask, header.split = asdict(MaskRecipe("random", 4.0, 0.1, 1337)), {"train": ["a", "b", "c", "d"]}
    header.trust = {}
    file = tmp_path_factory.mktemp("network") / "narrow.safetensors"
    save_checkpoint(file, state, header)
    return file


@pytest.fixture
def reconstruct(network):
    return partial(reconstruct_with, checkpoint=network)


@pytest.fixture(scope="module")
def head():
    return make_subject(2, size=96, slices=9, voxel=2)


@pytest.fixture
def scan(head, tmp_path, write_nifti):
    def write(contrast, name=None):
        return write_nifti(tmp_path / (name or f"head_{contrast}.nii.gz"), head.contrasts[contrast], head.affine)

    return write


def test_the_scan_it_was_made_for_passes_without_a_word(scan, tmp_path, caplog, reconstruct):
    caplog.set_level("INFO")
    result = reconstruct(scan("t2"), scan("t1"), tmp_path / "out.nii.gz")
    line = "T2 with T1, 4x random, skull-stripped heads, protocol brats, trained on 4 patients"
    assert f"network: {line}" in caplog.messages
    assert not warnings(caplog)
    record = result.sidecar["Suitability"]
    assert record["MadeFor"] == line
    assert record["TargetLooks"] == {"fluid": "bright", "head": "stripped"}
    assert (record["Target"], record["Auxiliary"], record["Doubts"]) == ("t2", "t1", [])
    # The record tells it of the result, whatever that is called.
    said = reconstruct(result.out, scan("t1"), tmp_path / "twice.nii.gz").sidecar["Suitability"]
    assert (said["Target"], said["TargetSaid"]) == ("t2", "by its record out.json")


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize(("target", "auxiliary"), [("flair", "t1"), ("t1", "t2"), ("t2", "flair")])
def test_other_contrasts_are_refused_and_nothing_is_written(scan, tmp_path, target, auxiliary, capsys, network):
    arguments = [
        "reconstruct",
        "--checkpoint",
        str(network),
        "--target",
        str(scan(target)),
        "--auxiliary",
        str(scan(auxiliary)),
    ]
    out = tmp_path / "out" / "image.nii.gz"
    assert main([*arguments, "--out", str(out)]) == 2
    assert "pass --anyway" in capsys.readouterr().err
    assert not out.parent.exists()
    assert main([*arguments, "--out", str(out), "--anyway"]) == 0
    assert json.loads((out.parent / "image.json").read_text())["Suitability"]["NotMadeForIt"]


def test_the_user_tells_what_no_name_tells(scan, tmp_path, caplog, reconstruct):
    target, auxiliary = scan("flair", "one.nii.gz"), scan("t1", "two.nii.gz")
    reconstruct(target, auxiliary, tmp_path / "out.nii.gz", auxiliary_contrast="t1")
    assert "one.nii.gz: its fluid is dark, as in T1, T1ce or FLAIR" in caplog.text
    with pytest.raises(UserError, match=r"is FLAIR \(by --target-contrast\)"):
        reconstruct(target, auxiliary, tmp_path / "other.nii.gz", target_contrast="FLAIR", auxiliary_contrast="T1")
    caplog.clear()
    t2 = scan("t2", "three.nii.gz")
    reconstruct(t2, auxiliary, tmp_path / "third.nii.gz", auxiliary_contrast="T1w")
    assert not warnings(caplog)


def test_another_acceleration_is_told(scan, tmp_path, caplog, reconstruct):
    result = reconstruct(scan("t2"), scan("t1"), tmp_path / "out.nii.gz", acceleration=8)
    doubt = "the network was trained for 4x random, not 8x equispaced_fraction"
    assert warnings(caplog) == result.sidecar["Suitability"]["Doubts"] == [doubt]


def test_zero_filled_is_what_lacks_lines(scan, tmp_path, head, write_nifti, caplog, reconstruct):
    with pytest.raises(UserError, match=r"is not zero-filled, no line .* leave --target-is out .*, or pass --anyway"):
        reconstruct(scan("t2"), scan("t1"), tmp_path / "out.nii.gz", target_is="zero-filled")
    made = reconstruct(scan("t2"), scan("t1"), tmp_path / "made.nii.gz")
    columns = load_mask(tmp_path / "made_mask.npz").columns
    image = torch.from_numpy(np.ascontiguousarray(head.contrasts["t2"].transpose(2, 0, 1)))
    filled = FLOAT.zero_fill(image, torch.from_numpy(columns)).numpy().transpose(1, 2, 0)
    degraded = write_nifti(tmp_path / "degraded_t2.nii.gz", filled, head.affine)
    caplog.clear()
    again = reconstruct(degraded, scan("t1"), tmp_path / "again.nii.gz", target_is="zero-filled")
    assert not warnings(caplog)
    assert again.sidecar["Suitability"]["TargetLooks"]["fluid"] == "bright"
    assert np.abs(again.image - made.image).max() < 0.2 * made.image.max()
    reconstruct(degraded, scan("t1"), tmp_path / "full.nii.gz")
    assert "lines of its k-space are missing already, along its columns" in caplog.text


@pytest.mark.parametrize(("turned", "remedy"), [(False, "rows"), (True, "columns")])
def test_the_other_axis_is_named(turned, remedy):
    scan = ScanFacts("scan.nii.gz", Contrast("t2"))
    [refusal] = _nothing_missing(PairFacts(scan, scan, across="missing", along="complete"), turned)
    assert refusal.endswith(f"along the phase-encode axis, but along the other; pass --phase-encode {remedy}")
    assert _nothing_missing(PairFacts(scan, scan, across="missing", along="unknown"), turned) == []
