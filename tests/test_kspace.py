"""The Fourier transforms against their matrices, and what under-sampling does to an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsmnet.kspace import brats_undersample, fft2c, ifft2c, undersample, zero_fill

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
