"""Coils combined, and the equations of SENSE solved: on synthetic coils, and on a measured slice of eight coils."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fsmnet.errors import UserError
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.coils import combine, conjugate_gradients, root_sum_of_squares
from fsmnet.physics.espirit import estimate_maps
from fsmnet.physics.fourier import fft2c, ifft2c
from golden import SHARED
from synthetic_coils import columns_of, error, random_complex, some_columns, synthetic

SLICE = SHARED / "data" / "multicoil" / "brain_8coil_kspace.npy"
needs_slice = pytest.mark.skipif(not SLICE.exists(), reason="the 8-coil slice (../shared/data/multicoil) is not here")


def test_combinations_of_coil_images():
    image, maps = synthetic(20, 17)
    images = maps * image
    torch.testing.assert_close(combine(images, maps), image)
    torch.testing.assert_close(root_sum_of_squares(images), image.abs())


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 9), st.integers(2, 9), st.integers(0, 2**32 - 1), st.sampled_from([0.05, 1.0]))
def test_conjugate_gradients_reach_the_normal_equation(height, width, seed, regularisation):
    mask, maps = some_columns(seed, width), random_complex(seed, 3, height, width)
    y, x0 = random_complex(seed + 1, 3, height, width), random_complex(seed + 2, height, width)
    acquisition = Acquisition.from_kspace(y, mask, maps)
    x = acquisition.sense(200, regularisation, x0)
    left = acquisition.adjoint(acquisition.forward(x)) + regularisation * x
    torch.testing.assert_close(left, acquisition.zero_filled + regularisation * x0, atol=1e-7, rtol=0)


def test_fully_sampled_coils_are_solved_in_one_step_and_stay_there():
    image, maps = synthetic(24, 21)
    acquisition = Acquisition.simulate(image, torch.ones(21, dtype=torch.bool), maps)
    for iterations in (1, 2, 30):
        torch.testing.assert_close(acquisition.sense(iterations), image, atol=1e-5, rtol=0)
    assert torch.equal(acquisition.sense(0, start=image), image)


def test_many_steps_after_the_solution_do_no_harm():
    image, maps = synthetic(24, 20)
    # One coil: half of k-space is unknown, and A^H A has eigenvalues 0 and 1 only.
    acquisition = Acquisition.simulate(image, torch.arange(20) < 12, maps[:1] / maps[:1].abs())
    once = acquisition.sense(1, start=1.1 * image)
    for iterations in (2, 50):
        torch.testing.assert_close(acquisition.sense(iterations, start=1.1 * image), once, atol=1e-5, rtol=0)


def test_empty_kspace_gives_an_empty_image_and_not_nan():
    _, maps = synthetic(24, 21)
    acquisition = Acquisition.from_kspace(torch.zeros_like(maps), torch.ones(21, dtype=torch.bool), maps)
    assert not acquisition.sense(5).any()


def test_pixels_without_maps_keep_the_start():
    image, maps = synthetic(24, 21)
    maps[:, :4] = 0
    acquisition = Acquisition.simulate(image, torch.arange(21) % 2 == 0, maps)
    assert (acquisition.sense(10, start=torch.full_like(image, 2))[:4] == 2).all()


def test_what_does_not_fit_is_refused_in_words():
    image = torch.zeros(30, 30, dtype=torch.complex64)
    with pytest.raises(UserError, match=r"axes \(..., coils, H, W\)"):
        root_sum_of_squares(image)
    with pytest.raises(UserError, match="the start has shape"):
        conjugate_gradients(lambda x: x, image, image[:5], 1)
    with pytest.raises(UserError, match="maps of shape"):
        combine(image[None], image)


@pytest.fixture(scope="module")
def measured() -> Tensor:
    """The slice's k-space ``(8, 230, 180)``: 12% of the points, dense in a 24 x 24 centre, zeros elsewhere."""
    return torch.from_numpy(np.load(SLICE))


@needs_slice
def test_conjugate_gradients_beat_zero_filling_on_the_slice_as_it_is(measured):
    mask = columns_of(0, 180)
    kspace = measured * mask
    acquisition = Acquisition.from_kspace(kspace, mask, estimate_maps(kspace))
    reference = acquisition.combined(ifft2c(measured)).abs()
    zero_filled = error(acquisition.zero_filled.abs(), reference)
    assert zero_filled < error(root_sum_of_squares(ifft2c(kspace)), reference)
    assert error(acquisition.sense(20, 0.01).abs(), reference) < 0.5 * zero_filled


@needs_slice
def test_measured_points_that_were_held_out_are_predicted(measured):
    """Points instead of lines: the same equations with a transform in two dimensions."""
    points = (measured != 0).any(0)
    centre = torch.zeros_like(points)
    centre[103:127, 78:102] = True
    held_out = points & ~centre & (torch.rand(points.shape, generator=torch.Generator().manual_seed(0)) < 0.2)
    kept = points & ~held_out
    maps = estimate_maps(measured, kept)

    def normal(x: Tensor) -> Tensor:
        return combine(ifft2c(kept * fft2c(maps * x)), maps)

    zero_filled = combine(ifft2c(measured * kept), maps)
    image = conjugate_gradients(normal, zero_filled, torch.zeros_like(zero_filled), 20, 0.01)
    truth = measured * held_out
    assert error(held_out * fft2c(maps * image), truth) < 0.2
    assert error(held_out * fft2c(maps * zero_filled), truth) > 0.4


@needs_slice
def test_hard_consistency_of_the_slice_is_exact_in_coil_space(measured):
    mask = columns_of(0, 180)
    kspace = measured * mask
    acquisition = Acquisition.from_kspace(kspace, mask, estimate_maps(kspace))
    image = acquisition.sense(10, 0.01)
    images = acquisition.replaced(image)
    assert acquisition.coil_residual(images) < 1e-6
    assert acquisition.residual(acquisition.combined(images)) < acquisition.residual(image)
