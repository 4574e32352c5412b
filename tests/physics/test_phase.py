"""The phase that the centre lines tell."""

from __future__ import annotations

import math

import torch

from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.phase import centre_phase, centre_window
from fsmnet.physics.simulate import coil_profiles, smooth_phase


def test_the_centre_ends_at_the_first_gap_on_either_side():
    mask = torch.tensor([1, 0, 1, 1, 1, 1, 0, 1], dtype=torch.bool)
    third = math.cos(math.pi / 4) ** 2
    torch.testing.assert_close(centre_window(mask), torch.tensor([0, 0, 0, third, 1, third, 0, 0]))
    assert torch.equal(centre_window(torch.stack([mask, mask | True])[:, None]), centre_window(mask))
    assert (centre_window(mask | True) > 0).sum() == 8
    mask[4] = False
    assert not centre_window(mask).any()


def test_the_phase_is_that_of_the_image_whatever_the_coils():
    turn = torch.polar(torch.ones(48, 48), smooth_phase(48, 48, 0.3, torch.Generator().manual_seed(0)))
    mask = torch.zeros(48, dtype=torch.bool)
    mask[14:35] = True
    for maps in (None, coil_profiles(3, 48, 48)):
        found = centre_phase(Acquisition.simulate(turn, mask, maps))
        assert (found * turn.conj()).angle()[:, 4:-4].abs().max() < 0.05  # at the edges waves that do not close
    apart = centre_phase(Acquisition.simulate(turn, mask, coil_profiles(3, 48, 48)), apart=True)
    assert apart.shape == (3, 48, 48)
