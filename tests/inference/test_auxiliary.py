"""The trial of the auxiliary: lines kept back decide, for the whole scan, from a few slices and never the truth."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fsmnet.inference.auxiliary import try_auxiliary
from fsmnet.inference.kept_back import SLICES
from fsmnet.physics.acquisition import Acquisition, undersample
from fsmnet.physics.masks import make_mask

COUNT, HEIGHT, WIDTH = 9, 20, 64
COLUMNS = make_mask("random", WIDTH, 3, seed=2).columns


@pytest.fixture
def images(smooth):
    return torch.from_numpy(smooth(5, (COUNT, HEIGHT, WIDTH), 0.2, 1)).float()


@pytest.fixture
def measured(images):
    """Which slices to their lines, with a phase, so that no conjugate line tells of another."""
    phase = torch.linspace(-2, 2, HEIGHT)[:, None] * torch.linspace(-1, 1, WIDTH) ** 2
    scan = Acquisition.simulate(torch.polar(images, phase.expand_as(images).contiguous()), torch.from_numpy(COLUMNS))
    return lambda part: scan[part]


def copying(share):
    """A network that adds a share of what the auxiliary shows and the measured lines do not."""
    seen = []

    def reconstruct(lines, other):
        seen.append((lines, other))
        zero_filled = lines.zero_filled
        if other is None:
            return zero_filled
        rotation = torch.polar(torch.ones(()), zero_filled.angle())
        missing = (other * rotation) - undersample((other * rotation)[:, None], lines.mask).zero_filled[:, 0]
        return zero_filled + share * missing

    return reconstruct, seen


def test_an_auxiliary_that_knows_the_missing_lines_helps(images, measured):
    reconstruct, _ = copying(0.8)
    trial = try_auxiliary(reconstruct, measured, images, COLUMNS, (1,))
    assert trial.helps
    assert 1.1 < trial.confirmed < 1.4  # 0.8 of what is missing was added, 1 / 0.8 of that is right
    assert trial.error < trial.error_without


def test_one_of_somebody_else_does_not(images, measured, smooth):
    reconstruct, _ = copying(0.8)
    other = torch.from_numpy(smooth(6, (COUNT, HEIGHT, WIDTH), 0.2, 1)).float()
    trial = try_auxiliary(reconstruct, measured, 2 * other.flip(-1), COLUMNS, (1,))
    assert not trial.helps


def test_noise_of_the_lines_does_not_shift_the_answer(images, measured):
    clean = try_auxiliary(copying(0.5)[0], measured, images, COLUMNS, (1,))
    scan = measured(slice(None))
    drawn = torch.randn(*scan.lines.shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    noisy = replace(scan, lines=scan.lines + 0.1 * drawn * scan.mask[..., None, :])
    trial = try_auxiliary(copying(0.5)[0], lambda part: noisy[part], images, COLUMNS, (1,))
    assert trial.error > 1.5 * clean.error
    assert trial.confirmed == pytest.approx(clean.confirmed, abs=0.1)


def test_one_that_changes_nothing_is_used(images, measured):
    trial = try_auxiliary(copying(0.0)[0], measured, images, COLUMNS, (1,))
    assert trial.change == 0
    assert trial.helps


def test_the_same_lines_are_kept_back_of_a_few_slices_for_both(images, measured):
    reconstruct, seen = copying(0.5)
    trial = try_auxiliary(reconstruct, measured, images, COLUMNS, (1,))
    assert trial.slices == SLICES
    assert [other is None for _, other in seen] == [False, True] * SLICES
    masks = torch.stack([lines.mask.flatten() for lines, _ in seen])
    assert (masks == masks[0]).all()
    assert masks[0].sum() < COLUMNS.sum()
    assert (torch.from_numpy(COLUMNS) | ~masks[0]).all()
    assert all((lines.lines[..., ~masks[0]] == 0).all() for lines, _ in seen)


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_slices_than_are_tried(images, measured, count):
    trial = try_auxiliary(copying(0.5)[0], measured, images[:count], COLUMNS, (1,))
    assert trial.slices == count


def test_too_few_lines_decide_nothing(images, measured):
    centre = make_mask("random", WIDTH, 8, 0.1, seed=1).columns.copy()
    outer = [place for place in centre.nonzero()[0] if abs(place - WIDTH // 2) > WIDTH // 8]
    centre[outer] = False
    scan = undersample(images[:, None], torch.from_numpy(centre))
    assert try_auxiliary(copying(0.5)[0], lambda part: scan[part], images, centre, (1,)) is None
