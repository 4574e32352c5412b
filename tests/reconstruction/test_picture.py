"""The picture beside a result: there by default, true, and without a name of a file or a person."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from fsmnet.pictures.panels import Picture
from fsmnet.reconstruction.reconstruct import reconstruct

SHAPE = (44, 36, 5)


@pytest.fixture
def go(tmp_path, smooth, checkpoint_file, monkeypatch):
    """Function (**options) -> the result and the picture drawn of it, None if none was."""
    paths, drawn = {}, []
    for seed, name in enumerate(("target", "auxiliary")):
        data = smooth(seed, SHAPE, 0, 3000)
        data[:6] = data[:, :4] = 0
        data[..., 3] *= 2
        paths[name] = tmp_path / f"Schmidt-Anna_{'t2' if name == 'target' else 't1'}.nii.gz"
        nib.save(nib.Nifti1Image(data.astype(np.int16), np.diag([-1.0, -1.0, 3.0, 1.0])), paths[name])
    save = Picture.save
    monkeypatch.setattr(Picture, "save", lambda self, path: (drawn.append(self), save(self, path)))
    defaults = {**paths, "checkpoint": checkpoint_file(tmp_path / "best.safetensors"), "device": "cpu"}

    def run(**options):
        drawn.clear()
        result = reconstruct(out=tmp_path / "out" / "r.nii.gz", **defaults | {"overwrite": True} | options)
        return result, (drawn or [None])[-1]

    return run


def panels(picture):
    return {panel.title: panel for row in picture.rows for panel in row if panel is not None}


def test_a_picture_is_left_by_default(go):
    result, picture = go()
    path = result.out.with_name("r_picture.png")
    with Image.open(path) as image:
        assert min(image.size) > 300
    found = panels(picture)
    method = "FSMNet, 8 features"
    errors = ["|error|, Zero-filled", f"|error|, {method}"]
    assert list(found) == ["Zero-filled", method, "T2, fully sampled", "T1 (auxiliary)", *errors]
    assert picture.title == "T2, axial slice 3 of 0 to 4"
    assert picture.columns.sum() == result.mask.columns.sum()
    slice_of_result = result.image[3]
    assert found[method].image.max() == slice_of_result.max()
    assert found[method].top == found["Zero-filled"].top < slice_of_result.max() * 1.5
    scores = result.sidecar["Metrics"]["consistent"]
    assert found[method].caption == f"volume: {scores['psnr']:.2f} dB, SSIM {scores['ssim']:.3f}"
    truth = found["T2, fully sampled"].image
    assert np.allclose(found[errors[1]].image, 100 * abs(found[method].image - truth) / truth.max(), atol=1e-3)
    texts = [picture.title, *picture.notes, *found, *(panel.caption for panel in found.values())]
    assert "Schmidt" not in "".join(texts)


def test_it_can_be_left_out_and_none_of_another_result_stays(go):
    path = go()[0].out.with_name("r_picture.png")
    assert path.exists()
    assert go(picture=False)[1] is None
    assert not path.exists()


def test_without_a_reference_no_error_is_shown(go):
    _, picture = go(target_is="zero-filled", anyway=True)
    assert list(panels(picture)) == ["T2 as given", "FSMNet, 8 features", "T1 (auxiliary)"]
    assert picture.columns is None
