"""The public functions as a user calls them: names as text or path, arrays or tensors, wrong ones in a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch.utils.data import DataLoader

import fsmnet


@pytest.fixture
def image(smooth):
    return smooth(0, (5, 32, 24))


@pytest.mark.parametrize("kind", [str, Path])
def test_volumes_and_masks_by_text_or_path(tmp_path, image, kind):
    volume = fsmnet.Volume(image, np.diag([1.0, 2, 3, 1]), Path("made"))
    fsmnet.write_volume(image, volume, kind(tmp_path / "a.nii.gz"))
    again = fsmnet.read_volume(kind(tmp_path / "a.nii.gz"))
    assert np.array_equal(again.data, np.maximum(image, 0))
    mask = fsmnet.make_mask("random", 24, 4, seed=1)
    assert mask.center_fraction == 0.08
    fsmnet.save_mask(mask, kind(tmp_path / "mask.npz"))
    assert np.array_equal(fsmnet.load_mask(kind(tmp_path / "mask.npz"), 24).columns, mask.columns)
    with pytest.raises(fsmnet.UserError, match=r"b.npy: slices of shape \(24, 32\) do not fit made of \(5, 32, 24\)"):
        fsmnet.write_volume(image[0].T, volume, kind(tmp_path / "b.npy"))


def test_a_scan_is_simulated_from_arrays_as_from_tensors(image):
    mask = fsmnet.make_mask("equispaced", 24, 3, seed=0)
    acquisition = fsmnet.undersample(image, mask)
    assert torch.equal(acquisition.lines, fsmnet.undersample(torch.as_tensor(image), mask.columns).lines)
    assert fsmnet.zero_fill(acquisition).shape == image.shape
    with pytest.raises(fsmnet.UserError, match=r"a mask of shape \(32,\) does not fit images of shape \(5, 32, 24\)"):
        fsmnet.undersample(image, np.ones(32, bool))


def test_metrics_are_scikit_images(image):
    other = image + np.float32(0.1) * np.cos(image * 9)
    scale = float(image.max())
    assert fsmnet.psnr(image, other) == pytest.approx(peak_signal_noise_ratio(image, other, data_range=scale))
    planes = [structural_similarity(x, y, data_range=scale) for x, y in zip(image, other, strict=True)]
    assert fsmnet.ssim(torch.as_tensor(image), torch.as_tensor(other)) == pytest.approx(np.mean(planes))
    assert fsmnet.ssim(image[0], other[0], 2.0) == structural_similarity(image[0], other[0], data_range=2.0)
    bytes_ = [(255 * x / scale).clip(0, 255).astype(np.uint8) for x in (image[1], other[1])]
    assert fsmnet.psnr(*bytes_) == peak_signal_noise_ratio(*bytes_)
    assert fsmnet.psnr(image, image) == np.inf
    assert fsmnet.nmse(image, 0 * image) == 1


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            np.ones((5, 32, 23)),
            r"the reference has shape \(5, 32, 24\), the image \(5, 32, 23\); they must",
        ),
        (np.ones((5, 32, 24), complex), "metrics compare real images, not float32 and complex128; take the magnitude"),
        (np.full((5, 32, 24), np.nan), "reference or image has NaN or infinite values"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_words(image, other, words):
    for metric in (fsmnet.psnr, fsmnet.ssim, fsmnet.nmse):
        with pytest.raises(fsmnet.UserError, match=words):
            metric(image, other)
        with pytest.raises(fsmnet.UserError, match="the reference is zero everywhere"):
            metric(0 * image, image)
    with pytest.raises(fsmnet.UserError, match=r"SSIM compares slices \(H, W\) or \(S, H, W\) of at least 7 x 7"):
        fsmnet.ssim(image[:, :6], image[:, :6])


def test_slices_come_in_a_plain_loader(brats_folder):
    slices = fsmnet.training_slices(str(brats_folder), protocol="float", acceleration=3, cases=None)
    batch = next(iter(DataLoader(slices, batch_size=3, shuffle=True)))
    assert [tuple(part.shape[:2]) for part in batch] == [(3, 1)] * 3
    with pytest.raises(fsmnet.UserError, match=r"unknown option 'accelaration' \(did you mean acceleration\?\)"):
        fsmnet.training_slices(brats_folder, accelaration=3)


def test_work_is_asked_for_by_name_or_by_a_configuration(brats_folder, tmp_path):
    from fsmnet.evaluation.options import EvaluateConfig

    options = {"models": ["zero_filling"], "data": str(brats_folder), "protocol": "float", "device": "cpu"}
    one = fsmnet.evaluate(out=str(tmp_path / "one"), **options)
    other = fsmnet.evaluate(EvaluateConfig(out=tmp_path / "other", **options))
    assert one == other
    with pytest.raises(fsmnet.UserError, match="evaluate: give a EvaluateConfig or options by name, not both"):
        fsmnet.evaluate(EvaluateConfig(out=tmp_path / "other", **options), models=[])
    for work in (fsmnet.train, fsmnet.evaluate, fsmnet.compare):
        with pytest.raises(fsmnet.UserError, match="unknown option 'featurs'"):
            work(featurs=3)
        with pytest.raises(fsmnet.UserError, match="missing"):
            work()
