"""The Fourier transforms against their matrices, under-sampling, and putting measured lines back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsmnet.errors import UserError
from fsmnet.physics.fourier import (
    brats_undersample,
    data_consistency,
    fft1c,
    fft2c,
    ifft1c,
    ifft2c,
    residual,
    undersample,
    with_phase,
    zero_fill,
)

sizes = st.integers(1, 24)
seeds = st.integers(0, 2**32 - 1)


def complex_image(seed: int, *shape: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))


def some_columns(seed: int, width: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(width) < 0.4)


def centred_dft(n: int) -> np.ndarray:
    """Matrix of the orthonormal transform with both origins at index n // 2."""
    index = np.arange(n) - n // 2
    return np.exp(-2j * np.pi * np.outer(index, index) / n) / np.sqrt(n)


def inner(a: torch.Tensor, b: torch.Tensor) -> complex:
    return complex((a.conj() * b).sum())


@given(sizes, sizes, seeds)
def test_transform_is_the_centred_orthonormal_matrix(height, width, seed):
    image = complex_image(seed, height, width)
    expected = centred_dft(height) @ image.numpy() @ centred_dft(width).T
    np.testing.assert_allclose(fft2c(image).numpy(), expected, atol=1e-10)


@given(sizes, sizes, seeds)
def test_transform_keeps_energy_and_comes_back(height, width, seed):
    image = complex_image(seed, 2, height, width)
    kspace = fft2c(image)
    assert inner(kspace, kspace) == pytest.approx(inner(image, image))
    torch.testing.assert_close(ifft2c(kspace), image)
    torch.testing.assert_close(fft2c(ifft2c(image)), image)


@given(sizes, sizes, seeds)
def test_adjoint_of_undersampling_is_the_inverse_of_masked_kspace(height, width, seed):
    mask = some_columns(seed, width)
    image, kspace = complex_image(seed, height, width), complex_image(seed + 1, height, width)
    assert inner(undersample(image, mask), kspace) == pytest.approx(inner(image, ifft2c(kspace * mask)), abs=1e-9)


@pytest.mark.parametrize("shape", [(6, 8), (5, 7), (6, 7), (1, 4)])
def test_zero_frequency_is_in_the_middle(shape):
    kspace = fft2c(torch.full(shape, 3.0))
    expected = torch.zeros(shape, dtype=torch.complex64)
    expected[shape[0] // 2, shape[1] // 2] = 3 * np.sqrt(shape[0] * shape[1])
    torch.testing.assert_close(kspace, expected, atol=1e-5, rtol=0)


def test_precision_follows_the_image():
    assert fft2c(torch.ones(4, 4)).dtype == torch.complex64
    assert fft2c(torch.ones(4, 4, dtype=torch.float64)).dtype == torch.complex128
    assert zero_fill(fft2c(torch.ones(4, 4))).dtype == torch.float32
    assert brats_undersample(torch.ones(4, 4), torch.ones(4, dtype=torch.bool)).dtype == torch.float32


def test_undersampling_keeps_the_acquired_columns_only():
    image, mask = complex_image(0, 2, 6, 10), some_columns(1, 10)
    kspace = undersample(image, mask)
    assert torch.equal(kspace[..., mask], fft2c(image)[..., mask])
    assert not kspace[..., ~mask].any()
    assert torch.equal(undersample(image, mask[None, None]), kspace)


def test_each_image_of_a_batch_may_have_its_own_mask():
    image = complex_image(0, 3, 6, 10)
    masks = torch.stack([some_columns(seed, 10) for seed in range(3)])
    together = undersample(image, masks[:, None])
    for number in range(3):
        assert torch.equal(together[number], undersample(image[number], masks[number]))


@given(sizes, sizes, seeds)
def test_full_kspace_gives_the_magnitude_back(height, width, seed):
    image = complex_image(seed, height, width)
    torch.testing.assert_close(zero_fill(fft2c(image)), image.abs())


@given(sizes, sizes, seeds)
def test_brats_transform_is_its_formula(height, width, seed):
    image, mask = complex_image(seed, height, width).real, some_columns(seed, width)
    kspace = np.fft.fftshift(np.fft.fft2(image.numpy(), norm="ortho")) * mask.numpy()
    expected = np.abs(np.fft.ifft2(np.fft.ifftshift(kspace), norm="ortho"))
    np.testing.assert_allclose(brats_undersample(image, mask).numpy(), expected, atol=1e-12)


@given(sizes, sizes, seeds)
def test_brats_transform_gives_the_same_magnitude_as_the_centred_one(height, width, seed):
    # A shift of the image is a linear phase in k-space, which a mask of whole columns leaves alone; also at odd sizes.
    image, mask = complex_image(seed, height, width).real, some_columns(seed, width)
    torch.testing.assert_close(brats_undersample(image, mask), zero_fill(undersample(image, mask)))


@given(sizes, sizes, seeds)
def test_hard_consistency_replaces_the_measured_lines_only(height, width, seed):
    image, truth, mask = (
        complex_image(seed, height, width),
        complex_image(seed + 1, height, width),
        some_columns(3, width),
    )
    spectrum = fft2c(data_consistency(image, fft2c(truth), mask))  # values off the mask are ignored
    torch.testing.assert_close(spectrum[..., mask], fft2c(truth)[..., mask])
    torch.testing.assert_close(spectrum[..., ~mask], fft2c(image)[..., ~mask])


@pytest.mark.parametrize("shape", [(32, 40), (31, 45)])
def test_hard_consistency_leaves_a_residual_of_rounding_in_float32(shape):
    image, truth = complex_image(0, 2, *shape).to(torch.complex64), complex_image(1, 2, *shape).to(torch.complex64)
    mask = some_columns(2, shape[1])
    measured = undersample(truth, mask)
    consistent = data_consistency(image, measured, mask)
    assert consistent.dtype == torch.complex64
    before, after = residual(image, measured, mask), residual(consistent, measured, mask)
    assert before.shape == (2,)
    assert (before > 1).all()
    assert (after < 1e-6).all()


def test_soft_consistency_is_its_formula_and_minimises_its_energy():
    image, measured, mask = complex_image(0, 5, 7), complex_image(1, 5, 7), some_columns(2, 7)
    soft = data_consistency(image, measured, mask, weight=0.7)
    spectrum = fft2c(image)
    torch.testing.assert_close(fft2c(soft)[..., mask], ((spectrum + 0.7 * measured) / 1.7)[..., mask])
    torch.testing.assert_close(fft2c(soft)[..., ~mask], spectrum[..., ~mask])

    def energy(x: torch.Tensor) -> float:
        return float(
            (x - image).abs().square().sum() + 0.7 * (undersample(x, mask) - measured * mask).abs().square().sum()
        )

    assert all(energy(soft) < energy(soft + 1e-3 * complex_image(seed, 5, 7)) for seed in range(10))


def test_soft_consistency_goes_from_nothing_to_hard():
    image, measured, mask = complex_image(0, 6, 9), complex_image(1, 6, 9), some_columns(2, 9)
    hard = data_consistency(image, measured, mask)
    torch.testing.assert_close(data_consistency(image, measured, mask, weight=0), image)
    torch.testing.assert_close(data_consistency(image, measured, mask, weight=1e-9), image, atol=1e-7, rtol=0)
    torch.testing.assert_close(data_consistency(image, measured, mask, weight=1e9), hard, atol=1e-7, rtol=0)
    assert torch.equal(data_consistency(image, measured, mask, weight=float("inf")), hard)


def test_each_image_of_a_batch_is_made_consistent_by_its_own_mask():
    image, measured = complex_image(0, 3, 6, 10), complex_image(1, 3, 6, 10)
    masks = torch.stack([some_columns(seed, 10) for seed in range(3)])
    together = data_consistency(image, measured, masks[:, None])
    for number in range(3):
        assert torch.equal(together[number], data_consistency(image[number], measured[number], masks[number]))


def test_magnitude_gets_the_phase_of_the_zero_filled_image():
    truth, mask = complex_image(0, 8, 9), some_columns(1, 9)
    measured = undersample(truth, mask)
    magnitude = complex_image(2, 8, 9).abs()
    image = with_phase(magnitude, measured)
    torch.testing.assert_close(image.abs(), magnitude)
    torch.testing.assert_close(image.angle(), ifft2c(measured).angle())
    torch.testing.assert_close(data_consistency(magnitude, measured, mask), data_consistency(image, measured, mask))
    assert residual(data_consistency(magnitude, measured, mask), measured, mask) < 1e-12
    torch.testing.assert_close(with_phase(zero_fill(measured), measured), ifft2c(measured))
    assert torch.equal(with_phase(magnitude, torch.zeros_like(measured)), magnitude.to(torch.complex128))


def test_true_magnitude_with_full_kspace_comes_back_whole():
    truth = complex_image(0, 7, 8)
    full = torch.ones(8, dtype=torch.bool)
    torch.testing.assert_close(data_consistency(truth.abs(), fft2c(truth), full), truth)


def test_half_precision_is_raised_before_the_transform():
    image, measured, mask = torch.rand(6, 8).half(), complex_image(1, 6, 8).to(torch.complex64), some_columns(2, 8)
    result = data_consistency(image, measured, mask)
    assert result.dtype == torch.complex64
    torch.testing.assert_close(result, data_consistency(image.float(), measured, mask))


def test_consistency_lets_gradients_through():
    image = complex_image(0, 4, 6).requires_grad_()
    mask = torch.tensor([True, False, True, False, False, True])
    measured = complex_image(1, 4, 6)
    assert torch.autograd.gradcheck(lambda x: data_consistency(x, measured, mask), image)
    assert torch.autograd.gradcheck(lambda x: data_consistency(x, measured, mask, 2.0), image)


def test_residual_of_nothing_is_zero():
    empty = torch.zeros(4, 6, dtype=torch.complex64)
    assert residual(empty, empty, torch.ones(6, dtype=torch.bool)) == 0


@pytest.mark.parametrize(
    ("image", "measured", "mask", "weight", "message"),
    [
        (torch.zeros(4, 6), torch.zeros(4, 5) * 1j, torch.ones(6), None, "must agree"),
        (torch.zeros(4, 6), torch.zeros(4, 6), torch.ones(6), None, "must be complex"),
        (torch.zeros(4, 6), torch.zeros(4, 6) * 1j, torch.ones(4), None, "mask of shape"),
        (torch.zeros(4, 6), torch.zeros(4, 6) * 1j, torch.ones(2, 1, 6), None, "mask of shape"),
        (torch.zeros(6), torch.zeros(6) * 1j, torch.ones(6), None, "mask of shape"),
        (torch.zeros(4, 6), torch.zeros(4, 6) * 1j, torch.tensor(True), None, "mask of shape"),
        (torch.zeros(4, 6), torch.zeros(4, 6) * 1j, torch.ones(6), -1.0, "0 or more, not -1"),
        (torch.zeros(4, 6), torch.zeros(4, 6) * 1j, torch.ones(6), float("nan"), "0 or more, not nan"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(image, measured, mask, weight, message):
    with pytest.raises(UserError, match=message):
        data_consistency(image, measured, mask, weight)


def test_complex_image_is_refused_where_a_magnitude_is_asked_for():
    with pytest.raises(UserError, match="has a phase already"):
        with_phase(complex_image(0, 4, 4), complex_image(1, 4, 4))


@given(sizes, sizes, seeds)
def test_transform_along_one_axis_is_its_matrix_and_comes_back(height, width, seed):
    image = complex_image(seed, 2, height, width)
    np.testing.assert_allclose(fft1c(image).numpy(), image.numpy() @ centred_dft(width).T, atol=1e-10)
    torch.testing.assert_close(fft1c(fft1c(image), -2), fft2c(image))
    torch.testing.assert_close(ifft1c(ifft1c(fft2c(image), -2)), image)
    other = complex_image(seed + 1, 2, height, width)
    assert inner(fft1c(image), other) == pytest.approx(inner(image, ifft1c(other)), abs=1e-9)
