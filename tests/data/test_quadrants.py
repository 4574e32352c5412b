"""An image whose quadrants are exchanged is told from one in place; one in place is left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fsmnet.data.quadrants import exchanged, require_in_place, rolled
from fsmnet.data.volume import Volume
from fsmnet.errors import UserError
from fsmnet.physics.masks import make_mask

SHAPE = (3, 96, 80)


def head(contrast: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Ellipses of another brightness in each contrast."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[1:]), indexing="ij")
    data = np.zeros(shape, np.float32)
    for number, (radius, up, right) in enumerate([(0.75, 0, 0), (0.3, 0.2, 0.25), (0.25, -0.2, -0.3), (0.2, 0.4, 0)]):
        brightness = np.random.default_rng([contrast, number]).uniform(0.3, 1)
        data[:, (y - up) ** 2 + ((x - right) * 1.2) ** 2 < radius**2] = brightness
    return data


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("shape", [SHAPE, (1, 95, 81)])
def test_rolled_by_half(axes, shape):
    target, auxiliary = head(1, shape), head(2, shape)
    rolled = np.roll(target, [shape[axis + 1] // 2 for axis in axes], [axis + 1 for axis in axes])
    assert exchanged(rolled, auxiliary) == axes
    assert exchanged(auxiliary, rolled) == axes


@pytest.mark.parametrize("acceleration", [4, 8])
def test_of_kspace_without_the_shift_under_sampled(acceleration):
    mask = make_mask("random", 80, acceleration, 0.32 / acceleration, 1).columns
    kspace = np.fft.fftshift(np.fft.fft2(head(1)), axes=(-2, -1)) * mask
    image = np.abs(np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=(-2, -1))), axes=(-2, -1)))
    assert exchanged(image.astype(np.float32), head(2)) == (0, 1)


@pytest.mark.parametrize("shift", [0, 8, 16, 24])
def test_in_place_or_moved_nothing_is_told(shift):
    target = np.roll(head(1), (shift, -shift), (1, 2))
    assert exchanged(target, head(2)) == ()
    assert exchanged(head(2), target) == ()


def test_nothing_alike_or_nothing_at_all():
    noise = np.random.default_rng(0).uniform(size=(2, *SHAPE)).astype(np.float32)
    assert exchanged(noise[0], noise[1]) == ()
    assert exchanged(head(1), np.zeros(SHAPE, np.float32)) == ()


def volume(data: np.ndarray, name: str) -> Volume:
    return Volume(data, np.eye(4), Path(name))


def test_cause_and_remedy():
    target, auxiliary = head(1), volume(head(2), "t1.npz")
    whole, rows = (volume(np.roll(target, by, (1, 2)), "k.npz") for by in ((48, 40), (48, 0)))
    message = r"k.npz: the image fits t1.npz when rolled by half the field of view along rows and columns: the k-space "
    with pytest.raises(UserError, match=message + r"was made without ifftshift of .* by \(-1\)\^\(row \+ col"):
        require_in_place(whole, auxiliary, kspace=True)
    with pytest.raises(UserError, match=r"along rows: .* multiply it by \(-1\)\^\(row\)"):
        require_in_place(rows, auxiliary, kspace=True)
    with pytest.raises(UserError, match=r"along columns: .* multiply it by \(-1\)\^\(column\)"):
        require_in_place(rows, auxiliary, kspace=True, turned=True)
    with pytest.raises(UserError, match=r"k.npz: fits t1.npz when .*; apply numpy.fft.fftshift to it"):
        require_in_place(whole, auxiliary, kspace=False)
    with pytest.raises(UserError, match=r"t1.npz: fits k.npz when rolled by half its field of view along rows and col"):
        require_in_place(volume(target, "k.npz"), volume(np.roll(head(2), (48, 40), (1, 2)), "t1.npz"), kspace=True)
    require_in_place(volume(target, "k.npz"), auxiliary, kspace=True)


def test_contrasts_with_little_in_common_in_a_tight_field_of_view():
    """The rolled image fits a little as it lies too, by 0.2 or 0.3 less."""
    target, auxiliary = (head(contrast, (3, 120, 100))[:, 8:112, 8:92] for contrast in (4, 1))
    auxiliary = np.where(auxiliary > 0, 1.05 * auxiliary.max() - auxiliary, 0).astype(np.float32)
    assert exchanged(target, auxiliary) == ()
    assert exchanged(np.roll(target, target.shape[1] // 2, 1), auxiliary) == (0,)


def test_a_patch_of_a_few_pixels_says_nothing():
    image = np.zeros((1, 6, 6), np.float32)
    image[:, :3] = 1
    assert exchanged(image, np.roll(image, 3, 1)) == ()
    large = image.repeat(2, 1).repeat(2, 2)
    assert rolled(large, np.roll(large, 6, 1)) == (0,)
