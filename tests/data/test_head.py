"""The head is found in noise, whatever is dark in it."""

from __future__ import annotations

import numpy as np

from fsmnet.data.head import head_mask


def ball(n=40, radius=12.0, slices=5):
    grid = np.mgrid[:n, :n] - n / 2
    return np.repeat(((grid**2).sum(0) < radius**2)[None], slices, 0)


def test_noise_of_the_air_is_not_the_head_and_dark_holes_are():
    inside = ball()
    rng = np.random.default_rng(0)
    image = np.where(inside, 100.0, 0) + np.abs(rng.normal(0, 2, inside.shape))
    image[:, 18:22, 18:22] = 1  # fluid in FLAIR
    image[2, 2:4, 2:4] = 60  # an artefact in the air
    assert np.array_equal(head_mask(image), inside)
    assert np.array_equal(head_mask((image * 2).astype(np.uint8)), inside)


def test_the_scale_does_not_matter_and_no_head_is_everything():
    image = ball().astype(np.float32)
    assert np.array_equal(head_mask(image / 7), head_mask(image * 1000))
    assert head_mask(np.zeros((2, 8, 8))).all()
