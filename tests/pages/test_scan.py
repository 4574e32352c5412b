"""What the page shows of a reconstruction: the volumes that it was made from, found again, and small enough."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from fsmnet.errors import UserError
from fsmnet.pages.scan import Layer, Shown, shown
from fsmnet.pages.volumes import BRIGHTER, packed
from fsmnet.physics.acquisition import undersample, zero_fill
from fsmnet.physics.masks import load_mask
from fsmnet.reconstruction.inputs import MAPS, read_record, sidecar_path


def by_key(found):
    return {layer.key: layer for layer in found.layers}


def test_layers_are_what_the_network_got_and_gave(scan):
    import torch

    found = shown(scan)
    layers = by_key(found)
    plain = ["reconstruction", "zero_filled", "reference", "true_error", "auxiliary"]
    assert [key for key in layers if key not in MAPS] == plain
    assert found.notes == []
    result = np.asarray(nib.load(scan).dataobj).transpose(2, 0, 1)
    target = np.asarray(nib.load(scan.with_name("t2.nii.gz")).dataobj, np.float32).transpose(2, 0, 1)
    assert np.array_equal(layers["reconstruction"].data, result)
    assert np.allclose(layers["reference"].data, target, rtol=1e-6)
    assert np.allclose(layers["true_error"].data, abs(result - target), atol=1e-2)
    columns = torch.from_numpy(load_mask(scan.with_name("result_mask.npz")).columns)
    zero_filled = zero_fill(undersample(torch.from_numpy(target), columns)).numpy()
    assert np.allclose(layers["zero_filled"].data, zero_filled, atol=1e-2)
    assert layers["reconstruction"].title == "FSMNet, 8 features"
    assert layers["auxiliary"].title == "T1 (auxiliary)"
    assert layers["reconstruction"].top == layers["zero_filled"].top == layers["reference"].top


@pytest.fixture
def copy(scan, tmp_path):
    """The result alone, without the scans that it was made from."""
    for name in ("result.nii.gz", "result.json", "result_mask.npz", "result_influence.nii.gz"):
        if scan.with_name(name).exists():
            shutil.copy(scan.with_name(name), tmp_path / name)
    return tmp_path / "result.nii.gz"


def test_scans_are_found_in_the_folder_named(scan, copy):
    assert "reference" not in by_key(shown(copy))
    assert shown(copy).notes == ["t2.nii.gz was not found, so it is not shown; give its folder with --sources"]
    assert "reference" in by_key(shown(copy, scan.parent))


def test_a_scan_of_the_same_name_with_other_content_is_not_taken(scan, copy):
    shutil.copy(scan.with_name("t1.nii.gz"), copy.with_name("t2.nii.gz"))
    shutil.copy(scan.with_name("t1.nii.gz"), copy.with_name("t1.nii.gz"))
    assert "reference" not in by_key(shown(copy))


def test_without_a_record_there_is_nothing_to_show(scan, tmp_path):
    shutil.copy(scan, tmp_path / "alone.nii.gz")
    with pytest.raises(UserError, match=r"has no record alone\.json; give an image that 'fsmnet reconstruct' wrote"):
        shown(tmp_path / "alone.nii.gz")


@pytest.fixture
def made(scan):
    """A volume of 40 x 30 x 6 voxels with a bright one in a corner of its content, in an oblique place."""
    data = np.zeros((6, 40, 30), np.float32)
    data[1:5, 8:32, 6:24] = np.random.default_rng(0).uniform(100, 200, (4, 24, 18))
    data[1, 8, 6] = 250
    affine = np.array([[-0.9, 0.1, 0.2, 40], [0.1, 1.1, -0.2, -31], [-0.1, 0.2, 2.9, 7], [0, 0, 0, 1]])
    layer = Layer("reconstruction", "it", data, 200.0)
    return Shown(scan, read_record(sidecar_path(scan)), [layer], affine, True, [])


def decoded(text):
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def test_a_volume_is_cut_and_stays_in_its_place(made):
    found = packed(made, 10_000_000)
    image = decoded(found.volumes["reconstruction"])
    assert image.shape == (32, 26, 4)
    assert found.scan["first"] == 1
    assert found.note == ""
    values = image.get_fdata()
    assert values.max() == pytest.approx(250, abs=BRIGHTER * 200 / 255)
    place = nib.affines.apply_affine(image.affine, np.unravel_index(values.argmax(), values.shape))
    assert np.allclose(place, nib.affines.apply_affine(made.affine, (8, 6, 1)), atol=1e-4)


def test_a_volume_that_is_too_large_is_reduced_and_says_so(made):
    big = replace(made.layers[0], data=np.repeat(np.repeat(made.layers[0].data, 6, 1), 6, 2))
    affine = made.affine @ np.diag([1 / 6, 1 / 6, 1, 1])
    affine[:3, 3] = made.affine[:3, :3] @ [-2.5 / 6, -2.5 / 6, 0] + made.affine[:3, 3]
    large = replace(made, layers=[big], affine=affine)
    whole = packed(large, 10_000_000)
    most = len(whole.volumes["reconstruction"]) - 1
    half = packed(large, most)
    assert len(half.volumes["reconstruction"]) <= most
    assert half.note.startswith("in this page slices have 1/")
    places = []
    for one in (whole, half):
        image = decoded(one.volumes["reconstruction"])
        values = image.get_fdata()
        bright = np.argwhere(values > 235).mean(0)
        places.append(nib.affines.apply_affine(image.affine, bright))
    assert np.allclose(*places, atol=0.5)


@pytest.mark.parametrize(
    ("axes", "axis", "backwards"),
    [("RAS", 2, False), ("LPI", 2, True), ("LIP", 1, True), ("PSR", 0, False)],
)
def test_the_viewer_is_told_which_way_slices_run(made, axes, axis, backwards):
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for index, letter in enumerate(axes):
        affine["LRPAIS".index(letter) // 2, index] = 1 if letter in "RAS" else -1
    told = packed(replace(made, affine=affine), 10_000_000).scan
    assert (told["axis"], told["backwards"]) == (axis, backwards)
    json.dumps(told)
