"""The Fourier transforms against their matrices, and the protocol of BraTS."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsmnet.physics.fourier import brats_undersample, fft1c, fft2c, ifft1c, ifft2c

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


@pytest.mark.parametrize("shape", [(6, 8), (5, 7), (6, 7), (1, 4)])
def test_zero_frequency_is_in_the_middle(shape):
    kspace = fft2c(torch.full(shape, 3.0))
    expected = torch.zeros(shape, dtype=torch.complex64)
    expected[shape[0] // 2, shape[1] // 2] = 3 * np.sqrt(shape[0] * shape[1])
    torch.testing.assert_close(kspace, expected, atol=1e-5, rtol=0)


def test_precision_follows_the_image():
    assert fft2c(torch.ones(4, 4)).dtype == torch.complex64
    assert fft2c(torch.ones(4, 4, dtype=torch.float64)).dtype == torch.complex128
    assert brats_undersample(torch.ones(4, 4), torch.ones(4, dtype=torch.bool)).dtype == torch.float32


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
    torch.testing.assert_close(brats_undersample(image, mask), ifft2c(fft2c(image) * mask).abs())


@given(sizes, sizes, seeds)
def test_transform_along_one_axis_is_its_matrix_and_comes_back(height, width, seed):
    image = complex_image(seed, 2, height, width)
    np.testing.assert_allclose(fft1c(image).numpy(), image.numpy() @ centred_dft(width).T, atol=1e-10)
    torch.testing.assert_close(fft1c(fft1c(image), -2), fft2c(image))
    torch.testing.assert_close(ifft1c(ifft1c(fft2c(image), -2)), image)
    other = complex_image(seed + 1, 2, height, width)
    assert inner(fft1c(image), other) == pytest.approx(inner(image, ifft1c(other)), abs=1e-9)
