"""The measurement in one dimension against the physics in two, adjoints by dot tests, consistency, gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fsmnet.errors import UserError
from fsmnet.physics.acquisition import MOST_BELIEF, STEPS, Acquisition, undersample, with_phase, zero_fill
from fsmnet.physics.coils import combine, conjugate_gradients, root_sum_of_squares
from fsmnet.physics.espirit import estimate_maps
from fsmnet.physics.fourier import TINY, fft1c, fft2c, ifft2c
from synthetic_coils import columns_of, error, inner, random_complex, some_columns, synthetic

sizes = st.integers(1, 16)
seeds = st.integers(0, 2**32 - 1)
coils = st.integers(1, 4)


# The same in two dimensions, as it stood before lines were left out along one axis only.


def consistent_2d(image: Tensor, measured: Tensor, mask: Tensor, weight: float | None = None) -> Tensor:
    spectrum = fft2c(image)
    if weight is not None:
        measured = (spectrum + weight * measured) / (1 + weight)
    return ifft2c(torch.where(mask, measured, spectrum))


def residual_2d(image: Tensor, measured: Tensor, mask: Tensor) -> Tensor:
    norm = torch.linalg.matrix_norm
    return norm((fft2c(image) - measured) * mask) / norm(measured * mask).clamp_min(TINY)


def forward_2d(image: Tensor, maps: Tensor, mask: Tensor) -> Tensor:
    return fft2c(maps * image.unsqueeze(-3)) * mask


def adjoint_2d(kspace: Tensor, maps: Tensor, mask: Tensor) -> Tensor:
    return combine(ifft2c(kspace * mask), maps)


def sense_2d(kspace: Tensor, maps: Tensor, mask: Tensor, start: Tensor, steps: int, regularisation: float) -> Tensor:
    def normal(x: Tensor) -> Tensor:
        return adjoint_2d(forward_2d(x, maps, mask), maps, mask)

    return conjugate_gradients(normal, adjoint_2d(kspace, maps, mask), start, steps, regularisation)


def to_kspace(lines: Tensor) -> Tensor:
    return fft1c(lines, -2)


@given(sizes, sizes, coils, seeds, st.booleans())
def test_adjoint_is_the_adjoint(height, width, count, seed, alone):
    mask = some_columns(seed, width)
    x, y = random_complex(seed + 1, height, width), random_complex(seed + 2, count, height, width)
    maps = random_complex(seed, count, height, width)
    if alone:
        y, maps = y[:1], None
    acquisition = Acquisition.from_kspace(y, mask, maps)
    assert inner(acquisition.forward(x), y) == pytest.approx(inner(x, acquisition.adjoint(y)), abs=1e-8)


@given(sizes, sizes, coils, seeds)
def test_coil_images_are_the_adjoint_of_the_transform(height, width, count, seed):
    acquisition = Acquisition.from_kspace(random_complex(seed, count, height, width), some_columns(seed, width))
    x = random_complex(seed + 1, count, height, width)
    masked = fft1c(x) * acquisition.mask
    assert inner(masked, acquisition.lines) == pytest.approx(inner(x, acquisition.coil_images), abs=1e-8)


@given(sizes, sizes, coils, seeds)
def test_it_is_the_physics_of_two_dimensions(height, width, count, seed):
    mask, maps = some_columns(seed, width), random_complex(seed, 2, count, height, width)
    x = random_complex(seed + 1, 2, height, width)
    kspace = forward_2d(x, maps, mask)
    acquisition = Acquisition.simulate(x, mask, maps)
    torch.testing.assert_close(to_kspace(acquisition.lines), kspace)
    torch.testing.assert_close(Acquisition.from_kspace(kspace, mask, maps).lines, acquisition.lines)
    torch.testing.assert_close(acquisition.zero_filled, adjoint_2d(kspace, maps, mask))
    torch.testing.assert_close(acquisition.coil_images, ifft2c(kspace))
    torch.testing.assert_close(to_kspace(acquisition.forward(2 * x)), 2 * kspace)
    left = torch.linalg.vector_norm(forward_2d(3 * x, maps, mask) - kspace, dim=(-3, -2, -1))
    whole = torch.linalg.vector_norm(kspace, dim=(-3, -2, -1)).clamp_min(TINY)
    torch.testing.assert_close(acquisition.residual(3 * x), left / whole)


@given(sizes, sizes, seeds, st.sampled_from([None, 0.0, 0.3, 5.0]))
def test_consistency_of_one_coil_is_that_of_two_dimensions(height, width, seed, weight):
    mask = some_columns(seed, width)
    x, truth = random_complex(seed, 2, height, width), random_complex(seed + 1, 2, height, width)
    acquisition = Acquisition.simulate(truth, mask)
    result = acquisition.consistent(x, weight)
    torch.testing.assert_close(result, consistent_2d(x, fft2c(truth), mask, weight))
    torch.testing.assert_close(acquisition.residual(x), residual_2d(x, fft2c(truth), mask))
    if weight is None:
        assert (acquisition.residual(result) < 1e-12).all()


@settings(deadline=None, max_examples=25)
@given(st.integers(6, 12), st.integers(6, 12), seeds, st.sampled_from([None, 0.5]))
def test_consistency_of_several_coils_is_that_of_two_dimensions(height, width, seed, weight):
    mask = some_columns(seed, width)
    maps = random_complex(seed, 3, height, width)
    maps = maps / root_sum_of_squares(maps)
    kspace, x = random_complex(seed + 1, 3, height, width), random_complex(seed + 2, height, width)
    acquisition = Acquisition.from_kspace(kspace, mask, maps)
    expected = sense_2d(kspace, maps, mask, x, STEPS, 0 if weight is None else 1 / weight)
    if weight is None:
        images = ifft2c(torch.where(mask, kspace, fft2c(maps * expected)))
        torch.testing.assert_close(acquisition.consistent_coils(x), images)
        assert acquisition.coil_residual(images) < 1e-12
        expected = combine(images, maps)
    torch.testing.assert_close(acquisition.consistent(x, weight), expected)


@given(sizes, sizes, seeds, st.sampled_from([None, 2.0]))
def test_one_coil_is_several_with_a_map_of_ones(height, width, seed, weight):
    mask, truth = some_columns(seed, width), random_complex(seed, height, width)
    x = random_complex(seed + 1, height, width)
    alone = Acquisition.simulate(truth, mask)
    ones = Acquisition.simulate(truth, mask, torch.ones(1, height, width))
    torch.testing.assert_close(ones.lines, alone.lines)
    torch.testing.assert_close(ones.zero_filled, alone.zero_filled)
    torch.testing.assert_close(ones.consistent(x, weight), alone.consistent(x, weight))
    torch.testing.assert_close(ones.residual(x), alone.residual(x))


def test_weighted_consistency_minimises_its_energy():
    image, mask = random_complex(0, 5, 7), some_columns(2, 7)
    acquisition = Acquisition.from_kspace(random_complex(1, 1, 5, 7), mask)
    soft = acquisition.consistent(image, weight=0.7)

    def energy(x: Tensor) -> float:
        missed = acquisition.forward(x) - acquisition.lines
        return float((x - image).abs().square().sum() + 0.7 * missed.abs().square().sum())

    assert all(energy(soft) < energy(soft + 1e-3 * random_complex(seed, 5, 7)) for seed in range(10))


def test_weighted_consistency_goes_from_nothing_to_hard():
    image, mask = random_complex(0, 6, 9), some_columns(2, 9)
    acquisition = Acquisition.from_kspace(random_complex(1, 1, 6, 9), mask)
    hard = acquisition.consistent(image)
    torch.testing.assert_close(acquisition.consistent(image, 0), image)
    torch.testing.assert_close(acquisition.consistent(image, 1e-9), image, atol=1e-7, rtol=0)
    torch.testing.assert_close(acquisition.consistent(image, 1e9), hard, atol=1e-7, rtol=0)
    assert torch.equal(acquisition.consistent(image, float("inf")), hard)


def test_weighted_consistency_of_coils_goes_from_nothing_to_least_squares():
    image, maps = synthetic(32, 27)
    acquisition = Acquisition.simulate(image, columns_of(1, 27), maps)
    start = image + 0.1 * random_complex(0, 32, 27).to(torch.complex64)
    assert torch.equal(acquisition.consistent(start, 0), start)
    torch.testing.assert_close(acquisition.consistent(start, 1e-6), start, atol=1e-5, rtol=1e-5)
    weights = (0, 0.1, 1, 10, 1e3)
    left = [float(acquisition.residual(acquisition.consistent(start, weight))) for weight in weights]
    assert left == sorted(left, reverse=True)
    assert float(acquisition.residual(acquisition.sense(40, start=start))) < min(left[-1], 0.01 * left[0])


@pytest.mark.parametrize("count", [1, 2, 6])
def test_correction_minimises_its_energy(count):
    """Where its gradient vanishes: ``d = A^H w (y - A (x0 + d))``."""
    image, maps = synthetic(24, 20, count)
    acquisition = Acquisition.simulate(image, columns_of(1, 20), maps)
    x0, belief = random_complex(3, 24, 20).to(torch.complex64), 0.6 * torch.rand(20)
    d = acquisition.correction(x0, belief, 40)
    weight = belief / (1 - belief)
    expected = acquisition.adjoint(weight * (acquisition.lines - acquisition.forward(x0 + d)))
    torch.testing.assert_close(d, expected, rtol=1e-3, atol=1e-3)


def test_correction_of_coils_that_see_alike_is_that_of_one():
    """In closed form with one coil, where it may go beyond the measurement; by two steps of conjugate gradients."""
    image, _ = synthetic(24, 20)
    mask, x0 = columns_of(1, 20), random_complex(3, 24, 20).to(torch.complex64)
    alone = Acquisition.simulate(image, mask)
    alike = Acquisition.simulate(image, mask, torch.full((4, 24, 20), 0.5, dtype=torch.complex64))
    belief = torch.full((20,), 0.5)
    torch.testing.assert_close(alike.correction(x0, belief, 2), alone.correction(x0, belief, 2), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        alone.correction(x0, 2.4 * belief, 0), 1.2 * alone.adjoint(alone.lines - alone.forward(x0))
    )


def test_nothing_is_corrected_that_agrees_with_the_measurement():
    image, maps = synthetic(24, 20)
    acquisition = Acquisition.simulate(image, columns_of(1, 20), maps)
    assert float(acquisition.correction(image, torch.full((20,), 0.9), 4).abs().max()) < 1e-5


def test_belief_beyond_the_bound_of_coils_counts_as_the_bound_but_can_be_unlearned():
    image, maps = synthetic(24, 20)
    acquisition = Acquisition.simulate(image, columns_of(1, 20), maps)
    x0, belief = random_complex(3, 24, 20).to(torch.complex64), torch.full((20,), 0.95, requires_grad=True)
    d = acquisition.correction(x0, belief, 4)
    torch.testing.assert_close(d, acquisition.correction(x0, torch.full((20,), MOST_BELIEF), 4))
    d.abs().square().sum().backward()
    assert belief.grad is not None
    assert bool((belief.grad != 0)[acquisition.mask.flatten()].all())


def test_hard_consistency_of_coils_leaves_a_residual_of_rounding():
    image, maps = synthetic(32, 27)
    mask = columns_of(1, 27)
    kspace = fft2c(maps * image) + 0.05 * random_complex(0, 6, 32, 27).to(torch.complex64)
    acquisition = Acquisition.from_kspace(kspace, mask, maps)
    start = 0.8 * image
    for images in (acquisition.replaced(start), acquisition.consistent_coils(start)):
        assert acquisition.coil_residual(images) < 1e-6
        assert acquisition.residual(combine(images, maps)) < acquisition.residual(start)
    exact = Acquisition.simulate(image, mask, maps)
    torch.testing.assert_close(combine(exact.replaced(image), maps), image, atol=1e-5, rtol=0)
    full = Acquisition.simulate(image, torch.ones(27, dtype=torch.bool), maps)
    torch.testing.assert_close(combine(full.replaced(start), maps), image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(32, 40), (31, 45)])
def test_hard_consistency_leaves_a_residual_of_rounding_in_float32(shape):
    image, truth = (random_complex(seed, 2, *shape).to(torch.complex64) for seed in range(2))
    acquisition = Acquisition.simulate(truth, some_columns(2, shape[1]))
    consistent = acquisition.consistent(image)
    assert consistent.dtype == torch.complex64
    assert acquisition.residual(image).shape == (2,)
    assert (acquisition.residual(image) > 1).all()
    assert (acquisition.residual(consistent) < 1e-6).all()


def test_real_image_keeps_its_phase_of_zero():
    truth, image, mask = random_complex(0, 6, 9).real, random_complex(1, 6, 9).real, some_columns(2, 9)
    acquisition = Acquisition.simulate(truth, mask)
    assert acquisition.real
    torch.testing.assert_close(acquisition.consistent(image), consistent_2d(image + 0j, fft2c(truth), mask))
    assert not Acquisition.simulate(truth + 0j, mask).real


@given(sizes, sizes, seeds)
def test_magnitude_gets_the_phase_of_the_zero_filled_image(height, width, seed):
    truth, mask = random_complex(seed, height, width), some_columns(seed, width)
    magnitude = random_complex(seed + 1, height, width).abs()
    acquisition = Acquisition.simulate(truth, mask)
    image = with_phase(magnitude, acquisition.zero_filled)
    torch.testing.assert_close(image.abs(), magnitude)
    torch.testing.assert_close(acquisition.consistent(magnitude), acquisition.consistent(image))
    torch.testing.assert_close(acquisition.consistent(magnitude, 3), acquisition.consistent(image, 3))
    assert acquisition.residual(acquisition.consistent(magnitude)) < 1e-10
    torch.testing.assert_close(
        with_phase(acquisition.zero_filled.abs(), acquisition.zero_filled), acquisition.zero_filled
    )
    full = Acquisition.simulate(truth, torch.ones(width, dtype=torch.bool))
    torch.testing.assert_close(full.consistent(truth.abs()), truth)


def test_negative_magnitude_counts_as_zero():
    phase = torch.polar(torch.ones(2), torch.tensor([0.5, -2.0]))
    image = with_phase(torch.tensor([-0.3, 0.7]), phase)
    torch.testing.assert_close(image, torch.tensor([0, 0.7]) * phase)
    # Whatever the true magnitude is, that is nearer to it than the negative value, which turns the phase around.
    truth = torch.tensor([0.1, 0.7]) * phase
    assert (image - truth).norm() < (torch.tensor([-0.3, 0.7]) * phase - truth).norm()
    assert torch.equal(with_phase(torch.ones(2), torch.zeros(2) * 1j), torch.ones(2) + 0j)


@given(st.integers(3, 16), st.integers(3, 16), seeds)
def test_magnitude_of_a_part_of_the_field_of_view(height, width, seed):
    acquisition = Acquisition.from_kspace(random_complex(seed, 1, height, width), some_columns(seed, width))
    rows, columns = slice(1, height - 1), slice(0, width - 1)
    magnitude = random_complex(seed + 1, height - 2, width - 1).abs()
    whole, around = acquisition.embedded(magnitude, rows, columns), acquisition.zero_filled
    torch.testing.assert_close(whole[rows, columns], with_phase(magnitude, around[rows, columns]))
    assert torch.equal(whole[[0, -1]], around[[0, -1]])
    assert torch.equal(whole[:, -1], around[:, -1])


@pytest.mark.parametrize("weight", [None, 2.0])
@pytest.mark.parametrize("kind", ["complex", "real", "magnitude", "coils"])
def test_gradients_go_through(kind, weight):
    mask = torch.tensor([True, False, True, False, False, True])
    maps = random_complex(1, 2, 3, 6) if kind == "coils" else None
    truth = random_complex(2, 3, 6)
    acquisition = Acquisition.simulate(truth.real if kind == "real" else truth, mask, maps)
    start = random_complex(3, 3, 6)
    start = {"real": start.real.contiguous(), "magnitude": start.abs()}.get(kind, start).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: acquisition.consistent(x, weight), start)
    assert torch.autograd.gradcheck(lambda x: acquisition.residual(x), start)


def test_gradients_go_through_the_measurement():
    mask, maps = some_columns(1, 5), random_complex(1, 2, 4, 5)
    image = random_complex(0, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: Acquisition.simulate(x, mask, maps).zero_filled, image)
    kspace = random_complex(2, 2, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: Acquisition.from_kspace(y, mask, maps).zero_filled, kspace)


def test_noise_is_complex_and_on_the_measured_lines_only():
    mask = some_columns(0, 300)
    one, again = (
        Acquisition.simulate(torch.zeros(300, 300), mask, noise=0.5, generator=torch.Generator().manual_seed(1))
        for _ in range(2)
    )
    assert torch.equal(one.lines, again.lines)
    assert one.noise == 0.5
    assert not one.lines[..., ~mask].any()
    parts = torch.view_as_real(one.lines[..., mask])
    assert float(parts.square().sum(-1).mean().sqrt()) == pytest.approx(0.5, rel=0.01)
    assert parts.std((0, 1, 2)).tolist() == pytest.approx([0.5 / 2**0.5] * 2, rel=0.02)
    assert Acquisition.simulate(torch.zeros(4, 4), mask[:4]).noise is None


@pytest.mark.parametrize("masks", ["one", "each"])
@pytest.mark.parametrize("maps", ["none", "one", "each"])
def test_images_of_a_batch_and_strips_of_rows(masks, maps):
    image, start = random_complex(0, 3, 6, 10), random_complex(1, 3, 6, 10)
    mask = torch.stack([some_columns(seed, 10) for seed in range(3)])[:, None]
    mask = mask if masks == "each" else mask[0, 0]
    sensitivities = {"none": None, "one": random_complex(2, 2, 6, 10), "each": random_complex(3, 3, 2, 6, 10)}[maps]
    together = Acquisition.simulate(image, mask, sensitivities)
    consistent = together.consistent(start, 0.5)
    for part in (0, 2, slice(1, 3)):
        torch.testing.assert_close(together[part].consistent(start[part], 0.5), consistent[part])
        torch.testing.assert_close(together[part].zero_filled, together.zero_filled[part])
        torch.testing.assert_close(together[part].residual(start[part]), together.residual(start)[part])
    strip = together.rows(slice(2, 5))
    torch.testing.assert_close(strip.zero_filled, together.zero_filled[:, 2:5])
    torch.testing.assert_close(strip.replaced(start[:, 2:5]), together.replaced(start)[..., 2:5, :])
    if maps == "none":
        torch.testing.assert_close(strip.consistent(start[:, 2:5], 0.5), consistent[:, 2:5])


def test_coils_without_maps_give_coil_images():
    images = random_complex(0, 3, 8, 9)
    acquisition = Acquisition.from_kspace(fft2c(images), torch.ones(9, dtype=torch.bool))
    torch.testing.assert_close(acquisition.coil_images, images)
    for call in (lambda: acquisition.zero_filled, lambda: acquisition.forward(images[0])):
        with pytest.raises(UserError, match="3 coils make one image by their maps"):
            call()


def test_under_sampled_noiseless_coils_give_the_image_back():
    image, maps = synthetic(48, 40, 8)
    acquisition = Acquisition.simulate(image, (torch.arange(40) % 2 == 0) | ((torch.arange(40) - 20).abs() < 3), maps)
    assert error(acquisition.zero_filled, image) > 0.05
    assert error(acquisition.sense(60), image) < 1e-4


def test_maps_from_the_centre_lines_carry_the_whole_way():
    image, maps = synthetic(96, 80)
    mask = columns_of(0, 80)
    kspace = fft2c(maps * image) * mask
    acquisition = Acquisition.from_kspace(kspace, mask, estimate_maps(kspace, mask))
    assert error(acquisition.sense(20, 0.01).abs(), image.abs()) < 0.5 * error(
        acquisition.zero_filled.abs(), image.abs()
    )


def test_half_precision_is_raised_before_the_transform():
    image, mask = torch.rand(6, 8).half(), some_columns(2, 8)
    acquisition = Acquisition.from_kspace(random_complex(1, 1, 6, 8).to(torch.complex64), mask)
    result = acquisition.consistent(image)
    assert result.dtype == torch.complex64
    torch.testing.assert_close(result, acquisition.consistent(image.float()))
    assert Acquisition.simulate(image, mask).lines.dtype == torch.complex64


def test_functions_of_the_public_interface():
    image, mask = random_complex(0, 2, 6, 8), some_columns(2, 8)
    torch.testing.assert_close(zero_fill(undersample(image, mask)), ifft2c(fft2c(image) * mask).abs())


def test_residual_of_nothing_is_zero():
    nothing = Acquisition.simulate(torch.zeros(4, 6), torch.ones(6, dtype=torch.bool))
    assert nothing.residual(torch.zeros(4, 6)) == 0


ONE = torch.zeros(1, 4, 6, dtype=torch.complex64)
ALL = torch.ones(6, dtype=torch.bool)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Acquisition.from_kspace(ONE.real, ALL), "must be complex"),
        (lambda: Acquisition.from_kspace(ONE[0], ALL), "axes \\(..., coils, H, W\\)"),
        (lambda: Acquisition.from_kspace(ONE, ALL[:5]), "mask of shape"),
        (lambda: Acquisition.from_kspace(ONE, torch.ones(2, 1, 6)), "mask of shape"),
        (lambda: Acquisition.from_kspace(ONE, torch.tensor(True)), "mask of shape"),
        (lambda: Acquisition.simulate(torch.zeros(6), ALL), "mask of shape"),
        (lambda: Acquisition.from_kspace(ONE, torch.ones(4, 6)), "only whole lines are left out"),
        (lambda: Acquisition.from_kspace(ONE, ALL, ONE[..., :5]), "maps of shape"),
        (lambda: Acquisition.from_kspace(ONE, ALL, ONE[0]), "maps of shape"),
        (lambda: Acquisition.simulate(torch.zeros(3, 6), ALL, ONE), "maps of shape"),
        (lambda: Acquisition.from_kspace(ONE, ALL).consistent(torch.zeros(4, 5)), "shape \\(4, 5\\)"),
        (lambda: Acquisition.from_kspace(ONE, ALL).forward(torch.zeros(3, 6)), "shape \\(3, 6\\), the measured one"),
        (lambda: Acquisition.from_kspace(ONE, ALL).consistent(ONE[0], -1.0), "0 or more, not -1"),
        (lambda: Acquisition.from_kspace(ONE, ALL).consistent(ONE[0], float("nan")), "0 or more, not nan"),
        (lambda: Acquisition.from_kspace(ONE, ALL).sense(-1), "-1 steps"),
        (lambda: Acquisition.from_kspace(ONE, ALL).sense(regularisation=-1), "regularisation -1"),
        (lambda: with_phase(ONE[0], ONE[0]), "has a phase already"),
        (lambda: with_phase(torch.zeros(3, 6), ONE[0]), "shape \\(3, 6\\), the image"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(call, message):
    with pytest.raises(UserError, match=message):
        call()
