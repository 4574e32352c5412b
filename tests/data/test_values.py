"""What a volume's values are: padding, spikes, normalised or impossible values are told as what they are."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fsmnet.data.values import magnitudes
from fsmnet.errors import UserError


@pytest.fixture
def head():
    """A bright ball with noise in the air around, ``(6, 40, 40)``."""
    rng = np.random.default_rng(0)
    _, y, x = np.mgrid[:6, -20:20, -20:20]
    inside = (x / 15) ** 2 + (y / 13) ** 2 < 1
    return np.where(inside, rng.uniform(300, 1000, x.shape), rng.uniform(0, 20, x.shape)).astype(np.float32)


def test_magnitudes_are_taken_as_they_are(head):
    for array in (head, head.astype(np.float64), head.astype(np.int16), (head / 4).astype(np.uint8)):
        values = magnitudes(array, "t2")
        assert values.data.dtype == np.float32
        assert np.array_equal(values.data, array)
        assert (values.n_nan, values.n_negative, values.doubts) == (0, 0, ())


def test_few_small_negative_values_of_interpolation_are_only_counted(head):
    head[:, :4] = np.random.default_rng(1).normal(0, 3, head[:, :4].shape)  # ringing in the air
    values = magnitudes(head, "t2")
    assert values.n_negative == np.count_nonzero(head < 0) > 400
    assert values.doubts == ()
    assert np.array_equal(values.data, np.maximum(head, 0))


@pytest.mark.parametrize(
    "change",
    {
        "brain to zero mean": lambda a: np.where(a > 100, (a - a[a > 100].mean()) / a[a > 100].std(), 0),
        "volume to zero mean": lambda a: (a - a.mean()) / a.std(),
        "air flat, volume to zero mean": lambda a: (np.where(a > 100, a, 0) - np.where(a > 100, a, 0).mean()) / a.std(),
        "from -1 to 1": lambda a: 2 * a / a.max() - 1,
        "phase": lambda a: np.random.default_rng(1).uniform(-np.pi, np.pi, a.shape),
        "scaled phase": lambda a: np.random.default_rng(1).integers(-4096, 4095, a.shape).astype(np.int16),
        "CT": lambda a: np.where(a > 100, a / 20, a - 1000),
    }.values(),
)
def test_values_that_are_no_magnitudes_are_refused(head, change):
    with pytest.raises(UserError) as error:
        magnitudes(change(head), "t2.nii.gz")
    if "no voxel is above 0" not in str(error.value):
        assert re.match(
            r"t2\.nii\.gz: \d+ of 9600 voxels are negative, down to -\S+ \(the largest is", str(error.value)
        )
        assert "give the magnitudes as the scanner made them" in str(error.value)


def test_values_out_of_range_are_refused_with_the_true_cause(head):
    for array, sentence in (
        (head - 5000, "no voxel is above 0 (they reach from -5"),
        (head.astype(np.float64) * 1e300, "1e+303, too large for single precision; divide all by one number"),
        (head.astype(np.float64) * 1e-300, "1e-297, too small for single precision; multiply all by one number"),
        (np.where(head > 900, 1e300, 0), "too large for single precision"),
        (np.full_like(head, np.inf), "every voxel is NaN or infinite"),
        (np.full_like(head, 0), "every voxel is 0; a constant volume cannot be reconstructed"),
    ):
        with pytest.raises(UserError, match=re.escape(sentence)):
            magnitudes(array, "t2")


@pytest.mark.parametrize("padding", [-32768, -2000, -1])
def test_negative_padding_is_told_and_set_to_0(head, padding):
    padded = head.copy()
    padded[:, :, :3] = padding
    values = magnitudes(padded, "t2")
    assert values.doubts == (f"t2: 720 voxels are {padding}, which is padding: set to 0",)
    assert not values.data[:, :, :3].any()
    assert np.array_equal(values.data[:, :, 3:], head[:, :, 3:])


@pytest.mark.parametrize("padding", [4095, 32767])
def test_padding_above_the_image_is_told(head, padding):
    for place in (np.s_[:, :, :3], np.s_[:, [0, -1]]):
        padded = head.copy()
        padded[place] = padding
        (doubt,) = magnitudes(padded, "t2").doubts
        assert f"voxels, at the corners too, are {padding} and no other comes near: padding" in doubt


def test_spikes_that_set_the_scale_are_told(head):
    head[3, 4, 5] = 30000
    (doubt,) = magnitudes(head, "t2").doubts
    assert doubt == (
        "t2: 1 of its voxels, the brightest at (4, 5, 3), are up to 30 times as bright as tissue and set the scale "
        "of the image; set such spikes to 0"
    )
    head[3, 4, 5] = 4000  # a bright vessel
    assert magnitudes(head, "t2").doubts == ()


def test_saturation_and_flat_regions_are_no_padding(head):
    assert magnitudes(np.minimum(head, 700), "t2").doubts == ()
    assert magnitudes(np.where(head > 100, 1.5, 0.0), "phantom").doubts == ()


def doubt(array):
    [told] = magnitudes(array, "t2").doubts
    return told


def test_values_whose_squares_single_precision_does_not_hold(head):
    for factor, word in ((1e30, "large"), (1e-30, "small")):
        with pytest.raises(UserError, match=f"too {word} for single precision"):
            magnitudes(head * np.float32(factor), "t2")


def test_the_true_cause_of_negative_values(head):
    head[:, :3] = -5  # ringing, negated with the rest
    with pytest.raises(UserError, match="negated, or a constant was subtracted"):
        magnitudes(-head, "t2")
    head[0] = -700.0
    with pytest.raises(UserError, match=r"zero mean, .*, or 1600 voxels of padding, which must be 0"):
        magnitudes(head - 300, "t2")


def test_air_that_is_the_brightest(head):
    assert "the air must be dark" in doubt(head.max() - head)
    assert "the air must be dark" in doubt(np.where(head < 20, head.max() * np.float32(1.01), head))


def test_masks_and_phases_are_no_scans(head):
    assert "holds 2 different values only: a mask" in doubt((head > 100).astype(np.uint8))
    phase = np.random.default_rng(2).integers(0, 4096, head.shape)
    assert "as a phase image has" in doubt(np.where(head > 100, head, phase).astype(np.uint16))
