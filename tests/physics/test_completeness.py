"""Lines that are missing from an image's k-space."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from fsmnet.physics.completeness import lines_of


def image(smooth=1.0):
    return np.abs(ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((12, 96, 80)), (0, smooth, smooth)))


def test_complete():
    assert lines_of(image()) == ("complete", "complete")


def test_missing_lines_are_told_for_the_axis_they_belong_to():
    spectrum = np.fft.fft(image(), axis=2)
    spectrum[..., 9:72:2] = 0
    assert lines_of(np.abs(np.fft.ifft(spectrum, axis=2)))[1] == "missing"
    assert lines_of(np.abs(np.fft.ifft(spectrum, axis=2)).swapaxes(1, 2))[0] == "missing"


def test_an_interpolated_image_is_not_called_one_with_missing_lines():
    spectrum = np.fft.fftshift(np.fft.fft2(image()), axes=(1, 2))
    finer = np.abs(np.fft.ifft2(np.fft.ifftshift(np.pad(spectrum, ((0, 0), (48, 48), (40, 40))), axes=(1, 2))))
    assert "missing" not in lines_of(finer)


def test_too_little_to_say():
    assert lines_of(np.zeros((3, 40, 40))) == lines_of(np.ones((3, 8, 8))) == ("unknown", "unknown")
