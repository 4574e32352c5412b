"""Coil maps, the SENSE operator and its inverse: on synthetic coils, and on a measured slice of eight coils."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsmnet.errors import UserError
from fsmnet.physics import coils
from fsmnet.physics.coils import (
    adjoint,
    cg_sense,
    combine,
    forward,
    multi_coil_data_consistency,
    replace_measured,
    root_sum_of_squares,
)
from fsmnet.physics.espirit import estimate_maps
from fsmnet.physics.fourier import data_consistency, fft2c, ifft2c, residual
from golden import SHARED
from synthetic_coils import columns_of, error, inner, random_complex, some_columns, synthetic

SLICE = SHARED / "data" / "multicoil" / "brain_8coil_kspace.npy"
needs_slice = pytest.mark.skipif(not SLICE.exists(), reason="the 8-coil slice (../shared/data/multicoil) is not here")

sizes = st.integers(1, 16)
seeds = st.integers(0, 2**32 - 1)


@given(sizes, sizes, st.integers(1, 4), seeds)
def test_adjoint_is_the_adjoint(height, width, count, seed):
    mask, maps = some_columns(seed, width), random_complex(seed, count, height, width)
    x, y = random_complex(seed + 1, height, width), random_complex(seed + 2, count, height, width)
    assert inner(forward(x, maps, mask), y) == pytest.approx(inner(x, adjoint(y, maps, mask)), abs=1e-8)


def test_operator_is_its_definition_coil_by_coil():
    mask, maps, x = some_columns(0, 9), random_complex(1, 3, 8, 9), random_complex(2, 8, 9)
    y = forward(x, maps, mask)
    for number in range(3):
        torch.testing.assert_close(y[number], fft2c(maps[number] * x) * mask)
    torch.testing.assert_close(adjoint(y, maps, mask), sum(m.conj() * ifft2c(k) for m, k in zip(maps, y, strict=True)))


def test_combinations_of_coil_images():
    image, maps = synthetic(20, 17)
    images = maps * image
    torch.testing.assert_close(combine(images, maps), image)
    torch.testing.assert_close(root_sum_of_squares(images), image.abs())


def test_batch_with_a_mask_for_each_image():
    maps, x = random_complex(0, 3, 2, 6, 10), random_complex(1, 3, 6, 10)
    masks = torch.stack([some_columns(seed, 10) for seed in range(3)])[:, None]
    y = forward(x, maps, masks)
    solved = cg_sense(y, masks, maps, 5, 0.1, x)
    images = replace_measured(x, y, masks, maps)[1]
    left = coils.residual(2 * x, y, masks, maps)
    assert left.tolist() == pytest.approx([1, 1, 1])
    for n in range(3):
        torch.testing.assert_close(y[n], forward(x[n], maps[n], masks[n]))
        torch.testing.assert_close(solved[n], cg_sense(y[n], masks[n], maps[n], 5, 0.1, x[n]))
        torch.testing.assert_close(images[n], replace_measured(x[n], y[n], masks[n], maps[n])[1])


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 9), st.integers(2, 9), seeds, st.sampled_from([0.05, 1.0]))
def test_conjugate_gradients_reach_the_normal_equation(height, width, seed, regularisation):
    mask, maps = some_columns(seed, width), random_complex(seed, 3, height, width)
    y, x0 = random_complex(seed + 1, 3, height, width), random_complex(seed + 2, height, width)
    x = cg_sense(y, mask, maps, 200, regularisation, x0)
    left = adjoint(forward(x, maps, mask), maps, mask) + regularisation * x
    torch.testing.assert_close(left, adjoint(y, maps, mask) + regularisation * x0, atol=1e-7, rtol=0)


def test_fully_sampled_coils_are_solved_in_one_step_and_stay_there():
    image, maps = synthetic(24, 21)
    full = torch.ones(21, dtype=torch.bool)
    kspace = forward(image, maps, full)
    for iterations in (1, 2, 30):
        torch.testing.assert_close(cg_sense(kspace, full, maps, iterations), image, atol=1e-5, rtol=0)
    assert torch.equal(cg_sense(kspace, full, maps, 0, start=image), image)


def test_many_steps_after_the_solution_do_no_harm():
    image, maps = synthetic(24, 20)
    mask = torch.arange(20) < 12
    one = maps[:1] / maps[:1].abs()  # one coil: half of k-space is unknown, and A^H A has eigenvalues 0 and 1 only
    kspace = forward(image, one, mask)
    for iterations in (1, 2, 50):
        x = cg_sense(kspace, mask, one, iterations, start=1.1 * image)
        torch.testing.assert_close(x, cg_sense(kspace, mask, one, 1, start=1.1 * image), atol=1e-5, rtol=0)


def test_empty_kspace_gives_an_empty_image_and_not_nan():
    _, maps = synthetic(24, 21)
    assert not cg_sense(torch.zeros_like(maps), torch.ones(21, dtype=torch.bool), maps, 5).any()


def test_pixels_without_maps_keep_the_start():
    image, maps = synthetic(24, 21)
    maps[:, :4] = 0
    mask = torch.arange(21) % 2 == 0
    x = cg_sense(forward(image, maps, mask), mask, maps, 10, start=torch.full_like(image, 2))
    assert (x[:4] == 2).all()


def test_under_sampled_noiseless_coils_give_the_image_back():
    image, maps = synthetic(48, 40, 8)
    mask = (torch.arange(40) % 2 == 0) | ((torch.arange(40) - 20).abs() < 3)
    kspace = forward(image, maps, mask)
    assert error(adjoint(kspace, maps, mask), image) > 0.05
    assert error(cg_sense(kspace, mask, maps, 60), image) < 1e-4


def test_multi_coil_consistency_of_one_coil_is_the_single_coil_form():
    image, truth, mask = random_complex(0, 6, 9), random_complex(1, 6, 9), some_columns(2, 9)
    one = torch.ones(1, 6, 9, dtype=torch.complex128)
    y = fft2c(truth)
    for weight in (None, 0, 0.3, 5.0):
        expected = data_consistency(image, y, mask, weight)
        torch.testing.assert_close(multi_coil_data_consistency(image, y[None], mask, one, weight, 5), expected)
    torch.testing.assert_close(replace_measured(image, y[None], mask, one)[0], data_consistency(image, y, mask))


def test_multi_coil_consistency_goes_from_nothing_to_least_squares():
    image, maps = synthetic(32, 27)
    mask = columns_of(1, 27)
    kspace = forward(image, maps, mask)
    start = image + 0.1 * random_complex(0, 32, 27).to(torch.complex64)
    torch.testing.assert_close(
        multi_coil_data_consistency(start, kspace, mask, maps, 1e-6), start, atol=1e-5, rtol=1e-5
    )
    left = [
        float(coils.residual(multi_coil_data_consistency(start, kspace, mask, maps, weight, 40), kspace, mask, maps))
        for weight in (0, 0.1, 1, 10, 1e3, None)
    ]
    assert left == sorted(left, reverse=True)
    assert left[-1] < 0.01 * left[0]
    infinite = multi_coil_data_consistency(start, kspace, mask, maps, float("inf"))
    assert torch.equal(infinite, multi_coil_data_consistency(start, kspace, mask, maps))


def test_hard_consistency_of_coils_leaves_a_residual_of_rounding():
    image, maps = synthetic(32, 27)
    mask = columns_of(1, 27)
    kspace = (fft2c(maps * image) + 0.05 * random_complex(0, 6, 32, 27).to(torch.complex64)) * mask
    start = 0.8 * image
    combined, images = replace_measured(start, kspace, mask, maps)
    assert (residual(maps * start, kspace, mask) > 0.1).all()
    assert (residual(images, kspace, mask) < 1e-6).all()
    torch.testing.assert_close(combine(images, maps), combined)
    assert coils.residual(combined, kspace, mask, maps) < coils.residual(start, kspace, mask, maps)
    exact = forward(image, maps, mask)
    full = torch.ones(27, dtype=torch.bool)
    torch.testing.assert_close(replace_measured(start, fft2c(maps * image), full, maps)[0], image, atol=1e-5, rtol=0)
    torch.testing.assert_close(replace_measured(image, exact, mask, maps)[0], image, atol=1e-5, rtol=0)


def test_gradients_go_through_the_conjugate_gradients():
    mask, maps, y = some_columns(1, 5), random_complex(1, 2, 4, 5), random_complex(2, 2, 4, 5)
    start = random_complex(3, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: multi_coil_data_consistency(x, y, mask, maps, 2.0, 3), start)


COILS = torch.zeros(2, 30, 30, dtype=torch.complex64)
IMAGE = torch.zeros(30, 30, dtype=torch.complex64)
ALL = torch.ones(30, dtype=torch.bool)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: root_sum_of_squares(IMAGE), "axes \\(..., coils, H, W\\)"),
        (lambda: adjoint(COILS.real, COILS, ALL), "must be complex"),
        (lambda: adjoint(COILS, COILS[:1], ALL), "maps of shape"),
        (lambda: adjoint(COILS, IMAGE, ALL), "maps of shape"),
        (lambda: forward(IMAGE, IMAGE, ALL), "maps of shape"),
        (lambda: forward(IMAGE[:5], COILS, ALL), "maps of shape"),
        (lambda: forward(IMAGE, COILS, ALL[:5]), "mask of shape"),
        (lambda: cg_sense(COILS, ALL, COILS, -1), "-1 steps"),
        (lambda: cg_sense(COILS, ALL, COILS, regularisation=-1), "regularisation -1"),
        (lambda: cg_sense(COILS, ALL, COILS, start=IMAGE[:5]), "the start has shape"),
        (lambda: multi_coil_data_consistency(IMAGE, COILS, ALL, COILS, -2), "0 or more, not -2"),
        (lambda: replace_measured(IMAGE, COILS[:1], ALL, COILS), "the measured one is"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(call, message):
    with pytest.raises(UserError, match=message):
        call()


@pytest.fixture(scope="module")
def measured() -> torch.Tensor:
    """The slice's k-space ``(8, 230, 180)``: 12% of the points, dense in a 24 x 24 centre, zeros elsewhere."""
    return torch.from_numpy(np.load(SLICE))


@needs_slice
def test_conjugate_gradients_beat_zero_filling_on_the_slice_as_it_is(measured):
    mask = columns_of(0, 180)
    kspace = measured * mask
    maps = estimate_maps(kspace)
    reference = combine(ifft2c(measured), maps).abs()
    zero_filled = error(adjoint(kspace, maps, mask).abs(), reference)
    assert zero_filled < error(root_sum_of_squares(ifft2c(kspace)), reference)
    assert error(cg_sense(kspace, mask, maps, 20, 0.01).abs(), reference) < 0.5 * zero_filled


@needs_slice
def test_measured_points_that_were_held_out_are_predicted(measured):
    points = (measured != 0).any(0)
    centre = torch.zeros_like(points)
    centre[103:127, 78:102] = True
    held_out = points & ~centre & (torch.rand(points.shape, generator=torch.Generator().manual_seed(0)) < 0.2)
    kept = points & ~held_out
    maps = estimate_maps(measured, kept)
    image = cg_sense(measured, kept, maps, 20, 0.01)
    zero_filled = adjoint(measured, maps, kept)
    truth = measured * held_out
    assert error(forward(image, maps, held_out), truth) < 0.2
    assert error(forward(zero_filled, maps, held_out), truth) > 0.4


@needs_slice
def test_hard_consistency_of_the_slice_is_exact_in_coil_space(measured):
    mask = columns_of(0, 180)
    kspace = measured * mask
    maps = estimate_maps(kspace)
    image = cg_sense(kspace, mask, maps, 10, 0.01)
    combined, images = replace_measured(image, kspace, mask, maps)
    assert (residual(images, kspace, mask) < 1e-6).all()
    assert coils.residual(combined, kspace, mask, maps) < coils.residual(image, kspace, mask, maps)
