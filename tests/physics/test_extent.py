"""Images that a scanner enlarged by zeros in k-space: told, with the acceleration over what was measured."""

from __future__ import annotations

import numpy as np
import pytest

from fsmnet.physics.extent import filled_columns, interpolated, true_acceleration


@pytest.fixture
def natural():
    """Function (width) -> images whose amplitude falls with frequency, as natural ones' does, in an ellipse."""

    def make(width, slices=3, height=64):
        rng = np.random.default_rng(3)
        y, x = np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij")
        spectrum = np.fft.fft2(rng.normal(size=(slices, height, width))) / (0.02 + np.hypot(y, x)) ** 1.3
        texture = np.fft.ifft2(spectrum).real
        v, u = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
        head = (u / 0.8) ** 2 + (v / 0.7) ** 2 < 1
        return np.where(head, 500 + 100 * texture / texture.std(), 0).clip(0)

    return make


def enlarged(images, kept, noise, phase):
    """The magnitude of what ``kept`` columns in the middle make of the images, rounded as it is stored."""
    width = images.shape[-1]
    rng = np.random.default_rng(0)
    turn = np.exp(1j * phase * np.sin(2 * np.pi * np.arange(width) / width + 1))
    k = np.fft.fftshift(np.fft.fft(images * turn, axis=-1, norm="ortho"), axes=-1)
    k += noise * (rng.normal(size=k.shape) + 1j * rng.normal(size=k.shape))
    inside = np.abs(np.arange(width) - width // 2 + 0.5) < kept / 2
    return np.round(np.abs(np.fft.ifft(np.fft.ifftshift(k * inside, axes=-1), axis=-1, norm="ortho")))


@pytest.mark.parametrize("width", [20, 64, 160, 240, 241])
def test_images_that_fill_their_kspace_are_left_alone(natural, width):
    images = natural(width)
    assert filled_columns(images) == width
    assert filled_columns(np.random.default_rng(0).uniform(0, 1, images.shape)) == width
    assert filled_columns(enlarged(images, width, 8, 0.8)) == width
    assert filled_columns(images / images.max() * 255 // 1) == width
    assert interpolated("t2", images, np.arange(width) % 4 == 0) == ""


@pytest.mark.parametrize("share", [0.5, 0.75])
@pytest.mark.parametrize(("noise", "phase"), [(0, 0.0), (0, 0.8), (5, 0.8)])
def test_an_empty_border_is_found(natural, share, noise, phase):
    images = enlarged(natural(240), round(240 * share), noise, phase)
    found = filled_columns(images)
    assert abs(found - 240 * share) <= 12
    assert filled_columns(images, told=round(240 * share)) == round(240 * share)
    assert filled_columns(images[:0]) == filled_columns(0 * images) == 240


def test_the_acceleration_over_acquired_lines(natural):
    columns = np.zeros(240, dtype=bool)
    columns[60:180:4] = columns[:60:2] = True
    assert true_acceleration(columns, 120) == (30, 4.0)
    images = enlarged(natural(240), 120, 0, 0)
    told = interpolated("t2.nii.gz", images, columns, told=120)
    assert told.startswith(
        "t2.nii.gz: k-space is empty beyond its middle 120 of 240 columns: the image was interpolated. "
    )
    assert "the mask keeps 30 of 120: it is 4.00x and not 4.00x" in told
    assert "the header tells of 180 phase-encode lines acquired, for 240" in interpolated(
        "t2", natural(240), columns, 180
    )
    assert interpolated("t2", natural(240), columns, 240) == interpolated("t2", natural(240), columns, 300) == ""
