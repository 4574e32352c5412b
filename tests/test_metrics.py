"""PSNR, SSIM and NMSE against values computed by hand and from their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio, structural_similarity

from fsmnet.errors import UserError
from fsmnet.metrics import VolumeScores, masked_metrics, nmse, slice_metrics, volume_metrics


def grey(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def real(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def ssim_of_one_window(a: np.ndarray, b: np.ndarray, data_range: float) -> float:
    """SSIM of a 7 x 7 image, which holds one window (Wang et al. 2004), with sample covariances."""
    x, y = a.astype(float).ravel(), b.astype(float).ravel()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    (vx, vxy), (_, vy) = np.cov(x, y)
    mx, my = x.mean(), y.mean()
    return (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))


def test_a_slice_by_hand():
    reference = np.full((7, 7), 100, dtype=np.uint8)
    image = reference.copy()
    image[0, 0] = 93  # squared error 49, mean 1
    metrics = slice_metrics(reference, image)
    assert metrics.psnr == pytest.approx(20 * math.log10(255))  # 48.13 dB
    assert metrics.nmse == pytest.approx(49 / (49 * 100**2))
    assert metrics.ssim == pytest.approx(ssim_of_one_window(reference, image, 255))


def test_a_slice_of_the_other_sign_does_not_wrap_around():
    # 8-bit differences must not overflow: 5 - 250 is -245.
    metrics = slice_metrics(np.full((7, 7), 5, dtype=np.uint8), np.full((7, 7), 250, dtype=np.uint8))
    assert metrics.psnr == pytest.approx(20 * math.log10(255 / 245))
    assert metrics.nmse == pytest.approx((245 / 5) ** 2)


def test_ssim_of_a_slice_is_scikit_images_with_its_defaults():
    reference, image = grey(0, 30, 25), grey(1, 30, 25)
    assert slice_metrics(reference, image).ssim == structural_similarity(reference, image)
    windows = [
        ssim_of_one_window(reference[i : i + 7, j : j + 7], image[i : i + 7, j : j + 7], 255)
        for i in range(24)
        for j in range(19)
    ]
    assert slice_metrics(reference, image).ssim == pytest.approx(np.mean(windows))


def test_a_volume_by_hand():
    reference = np.zeros((2, 7, 7), dtype=np.float32)
    reference[0, 3, 3] = 4  # data range 4 for both slices
    reference[1, 3, 3] = 2
    image = reference.copy()
    image[1, 0, 0] = 1.4  # squared error 1.96 in 98 voxels: mean 0.02
    metrics = volume_metrics(reference, image)
    assert metrics.psnr == pytest.approx(10 * math.log10(16 / 0.02))  # 29.03 dB
    assert metrics.nmse == pytest.approx(1.96 / 20)
    assert metrics.ssim == pytest.approx((1 + ssim_of_one_window(reference[1], image[1], 4)) / 2)


def test_ssim_of_a_volume_has_one_data_range_for_all_slices():
    reference, image = real(0, 3, 12, 15), real(1, 3, 12, 15)
    reference[0] *= 10
    slices = [structural_similarity(reference[s], image[s], data_range=reference.max()) for s in range(3)]
    assert volume_metrics(reference, image).ssim == pytest.approx(np.mean(slices))


def head(seed: int, *shape: int) -> np.ndarray:
    """Smooth within, zero around: what volumes look like, and where variances cancel."""
    image = gaussian_filter(real(seed, *shape), (0, 3, 3))
    image[:, :12] = image[:, :, -9:] = 0
    return image / image.max()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("noise", [1e-3, 0.03, 1.0])
def test_a_volume_is_scored_as_by_scikit_image(dtype, noise):
    reference = 3 * head(0, 4, 61, 50).astype(dtype)
    image = np.maximum(reference + noise * (real(1, 4, 61, 50) - 0.5), 0).astype(dtype)
    largest = float(reference.max())
    slices = [structural_similarity(x, y, data_range=largest) for x, y in zip(reference, image, strict=True)]
    metrics = volume_metrics(reference, image)
    assert metrics.ssim == pytest.approx(np.mean(slices), rel=0, abs=1e-6 if dtype == np.float32 else 1e-12)
    assert metrics.psnr == pytest.approx(peak_signal_noise_ratio(reference, image, data_range=largest), rel=1e-6)
    assert metrics.nmse == pytest.approx(normalized_root_mse(reference, image) ** 2, rel=1e-5)


def test_slices_may_come_one_after_the_other():
    reference, image = real(0, 5, 12, 15), real(1, 5, 12, 15)
    scores = VolumeScores(reference)
    for part in (slice(0, 2), slice(2, 3), slice(3, 9)):
        scores.add(part, image[part])
    assert scores.metrics() == volume_metrics(reference, image)


def test_scale_changes_no_metric_of_a_volume():
    reference, image = real(0, 3, 12, 15), real(1, 3, 12, 15)
    assert volume_metrics(reference, image) == pytest.approx(volume_metrics(1024 * reference, 1024 * image))


def test_identical_images_are_perfect():
    assert slice_metrics(grey(0, 9, 9), grey(0, 9, 9)) == (math.inf, 1, 0)
    assert volume_metrics(real(0, 2, 9, 9), real(0, 2, 9, 9)) == (math.inf, 1, 0)


def test_nmse_of_zeros_is_one():
    assert nmse(grey(0, 9, 9), np.zeros((9, 9), dtype=np.uint8)) == 1
    assert nmse(np.full(3, 2.0), np.full(3, 1.0)) == 0.25


NAN, INFINITE = real(0, 2, 9, 9), real(0, 2, 9, 9)
NAN[1, 2, 3], INFINITE[0, 0, 0] = np.nan, np.inf


@pytest.mark.parametrize(
    ("metric", "reference", "image", "sentence"),
    [
        (slice_metrics, grey(0, 9, 9), grey(0, 9, 8), r"two arrays of 2 axes and one size, not \(9, 9\) and \(9, 8\)"),
        (slice_metrics, grey(0, 2, 9, 9), grey(0, 2, 9, 9), "two arrays of 2 axes"),
        (volume_metrics, real(0, 9, 9), real(0, 9, 9), "two arrays of 3 axes"),
        (slice_metrics, grey(0, 9, 9), real(0, 9, 9), "scored as uint8, not uint8 and float32"),
        (slice_metrics, real(0, 9, 9), grey(0, 9, 9), "scored as uint8, not float32 and uint8"),
        (volume_metrics, real(0, 2, 9, 9), NAN, "has NaN or infinite values; the network diverged"),
        (volume_metrics, real(0, 2, 9, 9), INFINITE, "has NaN or infinite values"),
        (volume_metrics, NAN, real(0, 2, 9, 9), "the reference has NaN or infinite values"),
        (volume_metrics, np.zeros((2, 9, 9)), real(0, 2, 9, 9), "the reference is zero everywhere"),
        (slice_metrics, np.zeros((9, 9), dtype=np.uint8), grey(0, 9, 9), "the reference is zero everywhere"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_words(metric, reference, image, sentence):
    with pytest.raises(UserError, match=sentence):
        metric(reference, image)


def test_scores_inside_a_mask_are_those_of_its_voxels():
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(0)
    reference, image = rng.random((2, 3, 30, 32)).astype(np.float32)
    mask = np.zeros(reference.shape, dtype=bool)
    mask[:2, 8:20, 5:25] = True
    inside = masked_metrics(reference, image, mask, 2.0)
    g, p = reference[mask].astype(np.float64), image[mask].astype(np.float64)
    assert inside.psnr == pytest.approx(10 * np.log10(4 / np.mean((g - p) ** 2)))
    assert inside.nmse == pytest.approx(np.sum((g - p) ** 2) / np.sum(g**2))
    maps = [structural_similarity(reference[i], image[i], data_range=2.0, full=True)[1][mask[i]] for i in range(2)]
    assert inside.ssim == pytest.approx(np.mean(maps), abs=1e-5)
    assert all(np.isnan(masked_metrics(reference, image, np.zeros_like(mask), 1.0)))


def test_slices_that_do_not_count_are_left_out():
    rng = np.random.default_rng(1)
    reference, image = rng.random((2, 4, 16, 16)).astype(np.float32)
    scores = VolumeScores(reference, 1.0, counted=np.array([True, False, True, False]))
    scores.add(slice(0, 3), image[:3])
    scores.add(slice(3, 6), image[3:])
    assert scores.metrics() == pytest.approx(volume_metrics(reference[::2], image[::2], 1.0))
