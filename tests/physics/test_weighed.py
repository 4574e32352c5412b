"""An image and measured lines weighed against each other: by the equations, and against what else could be done."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fsmnet.errors import UserError
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.masks import make_mask
from fsmnet.physics.phase import centre_phase
from fsmnet.physics.simulate import coil_profiles, smooth_phase
from fsmnet.physics.weighed import ABOUT, ACROSS, UNEXPLAINED, UNSEEN, estimated_noise, weighed

SIZE = 64


@pytest.fixture
def truth(smooth):
    """Two heads with air about them, ``(2, H, W)``, and their phase."""
    magnitude = torch.from_numpy(smooth(0, (2, SIZE, SIZE), 0.3, 1.0)).float()
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIZE), torch.linspace(-1, 1, SIZE), indexing="ij")
    magnitude = magnitude * ((y / 0.7) ** 2 + (x / 0.6) ** 2 < 1)
    return magnitude, smooth_phase(SIZE, SIZE, 0.8, torch.Generator().manual_seed(1))


def measured(truth, noise, acceleration=2.0, coils=1, told=False):
    magnitude, phase = truth
    mask = torch.from_numpy(make_mask("random", SIZE, acceleration, 0.2, 0).columns)
    maps = None if coils == 1 else coil_profiles(coils, SIZE, SIZE)
    generator = torch.Generator().manual_seed(2)
    scan = Acquisition.simulate(torch.polar(magnitude, phase.expand_as(magnitude)), mask, maps, noise, generator)
    return scan if told else replace(scan, noise=None)


def network(magnitude):
    """What a network may make of it: a little blurred, and a little too dark."""
    kernel = torch.full((1, 1, 3, 3), 1 / 9)
    return 0.95 * torch.nn.functional.conv2d(magnitude[:, None], kernel, padding=1)[:, 0]


def error(image, magnitude):
    return float((image.abs() - magnitude).square().mean().sqrt())


@pytest.mark.parametrize("coils", [1, 4])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.05])
def test_it_is_nearer_to_the_truth_than_either(truth, noise, coils):
    scan, magnitude = measured(truth, noise, coils=coils), truth[0]
    image = network(magnitude)
    found = error(weighed(scan, image), magnitude)
    assert found < 0.95 * min(error(image, magnitude), error(scan.consistent(image), magnitude))


@pytest.mark.parametrize("coils", [1, 3])
def test_it_is_the_minimiser(truth, coils):
    """With many steps; by the normal equations in real numbers, written out for one row."""
    scan, image = measured(truth, 0.05, coils=coils, told=True).rows(slice(30, 33))[0], network(truth[0])[0, 30:33]
    turn = centre_phase(scan)
    rest = scan.lines - scan.forward(image * turn)
    left = rest.abs().square().sum() / (3 * scan.mask.sum())
    about = torch.nn.functional.avg_pool2d(image[None], ABOUT, 1, ABOUT // 2, count_include_pad=False)[0]
    spread = UNSEEN * (left - coils * 0.05**2) * about / about.mean()
    variance = 0.05**2 + UNEXPLAINED * left
    row = 1
    one = scan.rows(slice(row, row + 1))
    basis = torch.cat([torch.eye(SIZE), 1j * torch.eye(SIZE)]) * turn[row]
    columns = torch.stack([one.forward(each[None])[:, 0].flatten() for each in basis], -1)
    matrix = torch.cat([columns.real, columns.imag]).double()
    right = torch.cat([rest[:, row].flatten().real, rest[:, row].flatten().imag]).double()
    prior = 1 / torch.cat([spread[row], ACROSS * spread[row]]).double()
    solved = torch.linalg.solve(matrix.mT @ matrix / variance + prior.diag(), matrix.mT @ right / variance)
    expected = turn[row] * (image[row] + torch.complex(*solved.float().split(SIZE)))
    torch.testing.assert_close(weighed(scan, image, 200)[row], expected, atol=2e-4, rtol=1e-3)


def test_noise_is_estimated_from_the_air(truth):
    for noise in (0.0, 0.01, 0.05):
        found = estimated_noise(measured(truth, noise, coils=2))
        assert found.shape == (2,)
        assert found == pytest.approx([noise] * 2, rel=0.15)


def test_without_air_lines_are_put_back_unless_the_noise_is_told(truth):
    magnitude, phase = truth
    inside = slice(24, 40)
    scan = measured((magnitude[:, inside], phase[inside]), 0.02)
    image = network(magnitude)[:, inside]
    assert (estimated_noise(scan) == -1).all()
    torch.testing.assert_close(weighed(scan, image), scan.consistent(image))
    half = replace(scan, noise=torch.tensor([0.02, -1.0]))  # of the second it is unknown
    found = weighed(half, image)
    torch.testing.assert_close(found[1], scan.consistent(image)[1])
    assert error(found[0], magnitude[0, inside]) < 0.9 * error(scan.consistent(image)[0], magnitude[0, inside])


def test_nothing_stays_nothing():
    scan = Acquisition.simulate(torch.zeros(1, 16, 16, dtype=torch.complex64), torch.ones(16, dtype=torch.bool))
    assert not weighed(scan, torch.zeros(1, 16, 16)).any()


def test_every_mask_of_a_batch_is_its_own(truth):
    one, other = measured(truth, 0.01), measured(truth, 0.01, 3.0)
    image = network(truth[0])
    both = Acquisition(torch.stack([one.lines[0], other.lines[1]]), torch.stack([one.mask, other.mask])[:, None])
    phase = torch.stack([weighed(one[:1], image[:1])[0], weighed(other[1:], image[1:])[0]])
    # The centre that both masks share tells the phase.
    assert error(weighed(both, image), phase.abs()) < 0.01


def blurred(scan, truth):
    """A network with a phase of its own, 0.1 rad off, wrong as :func:`network`; and the share of it that is wrong."""
    image = torch.polar(network(truth[0]), truth[1] + 0.1)
    wrong = image - torch.polar(truth[0], truth[1].expand_as(truth[0]))
    return image, float(wrong.abs().square().mean() / image.abs().square().mean())


@pytest.mark.parametrize("coils", [1, 4])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.05])
def test_a_complex_image_keeps_its_phase_and_comes_nearer(truth, noise, coils):
    scan = measured(truth, noise, coils=coils)
    image, share = blurred(scan, truth)
    found = weighed(scan, image, share=share)
    assert error(found, truth[0]) < 0.95 * min(error(image, truth[0]), error(scan.consistent(image), truth[0]))
    torch.testing.assert_close(weighed(scan, image, share=0.0), image)
    with pytest.raises(UserError, match="a complex image is weighed by the share"):
        weighed(scan, image)
    with pytest.raises(UserError, match="a magnitude without"):
        weighed(scan, image.abs(), share=0.1)


@pytest.mark.parametrize("coils", [1, 4])
def test_all_lines_without_noise_change_nothing_that_is_right(truth, coils):
    magnitude, phase = truth
    complex_image = torch.polar(magnitude, phase.expand_as(magnitude))
    maps = None if coils == 1 else coil_profiles(coils, SIZE, SIZE)
    scan = Acquisition.simulate(complex_image, torch.ones(SIZE, dtype=torch.bool), maps)
    torch.testing.assert_close(weighed(scan, complex_image, share=0.1), complex_image)
    wrong = blurred(scan, truth)[0]
    assert error(weighed(scan, wrong, share=0.01), magnitude) < 0.02 * error(wrong, magnitude)


def test_a_complex_image_stays_where_the_noise_is_unknown(truth):
    magnitude, phase = truth
    inside = slice(24, 40)
    part = magnitude[:, inside], phase[inside]
    scan = measured(part, 0.02)
    image, share = blurred(scan, part)
    torch.testing.assert_close(weighed(scan, image, share=share), image)
