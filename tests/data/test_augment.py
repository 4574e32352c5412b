"""Training samples: what is drawn is done, and nothing else."""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from torch import Tensor

from fsmnet.data.augment import NODES, Parameters, augment, draw, ellipses, measure, places
from fsmnet.physics.random_scans import Random

SIZE = (24, 32)


def source(seed: int = 0) -> Random:
    return Random(torch.device("cpu"), torch.Generator().manual_seed(seed))


def slices(batch: int = 4) -> Tensor:
    return torch.rand(batch, 2, 40, 40, generator=torch.Generator().manual_seed(3)) * 0.8 + 0.2


def untouched(batch: int = 4, coils: int = 1) -> Parameters:
    """Parameters that leave a pair as it is."""
    drawn = draw(batch, SIZE, source(), coils=coils)
    frame = torch.zeros(batch, 2, 2, 3)
    frame[..., 0, 0] = frame[..., 1, 1] = 1
    return replace(
        drawn,
        frame=frame,
        curve=torch.linspace(0, 1, NODES).expand(batch, 2, -1),
        shading=drawn.shading * 0,
        contrast=drawn.contrast * 0,
        present=torch.ones(batch, dtype=torch.bool),
        wrong=torch.zeros(batch, dtype=torch.bool),
        blur=torch.zeros(batch),
        grain=torch.zeros(batch),
    )


def test_parameters_follow_the_seed():
    one, same, other = (draw(5, SIZE, source(seed), coils=3) for seed in (0, 0, 1))
    for field in fields(Parameters):
        assert torch.equal(getattr(one, field.name), getattr(same, field.name)), field.name
    assert not torch.equal(one.frame, other.frame)
    assert not torch.equal(one.mask, other.mask)


def test_nothing_drawn_changes_nothing():
    pairs = slices()
    sample = augment(untouched(), pairs, SIZE)
    torch.testing.assert_close(sample.target, pairs[:, 0, 8:32, 4:36], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sample.auxiliary, pairs[:, 1:, 8:32, 4:36], rtol=1e-4, atol=1e-5)


def test_flips_transposition_and_whole_shifts_are_exact():
    pairs = slices()
    frame = torch.zeros(4, 2, 2, 3)
    frame[..., 0, 1], frame[..., 1, 0] = -1, 1  # rows of the result run along columns of the slice
    frame[..., 2] = torch.tensor([2.0, -3.0])
    sample = augment(replace(untouched(), frame=frame), pairs, SIZE)
    turned = pairs[:, 0].mT.flip(-1).roll((3, 2), (-2, -1))  # place (r, c) shows the slice at (2 - c, r - 3)
    torch.testing.assert_close(sample.target, turned[:, 8:32, 4:36], rtol=1e-4, atol=1e-5)


def test_a_structure_shows_where_it_was_put():
    parameters = untouched()
    plain = augment(parameters, slices(), SIZE)
    contrast = torch.zeros_like(parameters.contrast)
    contrast[:, 0, 0] = 0.3
    contrast[:, 1, 1] = -5.0
    sample = augment(replace(parameters, contrast=contrast), slices(), SIZE)
    torch.testing.assert_close(sample.target - plain.target, 0.3 * sample.profiles[:, 0], rtol=1e-3, atol=1e-5)
    assert (sample.auxiliary <= plain.auxiliary + 1e-6).all()
    assert float(sample.auxiliary.min()) >= 0
    assert (sample.contrast[:, 1, 1] > -1).all()  # no more is taken than there is
    assert (sample.contrast[:, 2:] == 0).all()


def test_an_absent_auxiliary_is_blank_and_a_wrong_one_the_neighbours():
    parameters = untouched()
    plain = augment(parameters, slices(), SIZE)
    present, wrong = torch.tensor([True, False, True, True]), torch.tensor([False, False, True, False])
    contrast = torch.full_like(parameters.contrast, 0.1)
    sample = augment(replace(parameters, present=present, wrong=wrong, contrast=contrast * 0), slices(), SIZE)
    assert not sample.auxiliary[1].any()
    torch.testing.assert_close(sample.auxiliary[2], plain.auxiliary[1])
    assert torch.equal(sample.present, present)
    shown = augment(replace(parameters, present=present, wrong=wrong, contrast=contrast), slices(), SIZE).contrast
    assert (shown[[1, 2], :, 1] == 0).all()
    assert (shown[[0, 3], :, 1] != 0).all()


def test_an_ellipse_has_its_radii():
    rows, columns = places((41, 41), torch.device("cpu"))
    one = ellipses(torch.tensor([0.0, 5.0]), torch.tensor([4.0, 8.0, 0.0, 0.1]), rows, columns) > 0.5
    assert one.sum(0).max() == 7  # rows within 4 of the middle; at its end it is no longer more than half
    assert one.sum(1).max() == 15
    assert one[20, 25]


def test_a_scan_measures_the_image_with_phase_and_noise():
    parameters = untouched(coils=3)
    target = augment(parameters, slices(), SIZE).target
    silent = replace(parameters, noise=torch.zeros(4), told=torch.tensor([True, True, False, False]))
    image, scan = measure(silent, target, 40)
    torch.testing.assert_close(image.abs(), target)
    torch.testing.assert_close(scan.lines, scan.forward(image), rtol=1e-4, atol=1e-5)
    assert isinstance(scan.noise, Tensor)
    assert scan.noise.tolist() == [0, 0, -1, -1]
    torch.manual_seed(0)
    _, noisy = measure(replace(parameters, noise=torch.full((4,), 0.5)), target, 40)
    kept = parameters.mask[:, None].expand_as(noisy.lines)
    assert abs(float((noisy.lines - scan.lines)[kept].abs().square().mean().sqrt()) - 0.5) < 0.03
    assert not noisy.lines[~kept].any()
