"""A smooth phase and coils' profiles: what is promised of them."""

from __future__ import annotations

import pytest
import torch

from fsmnet.physics.fourier import fft2c
from fsmnet.physics.simulate import coil_profiles, smooth_phase


def drawn(seed, *shape, strength=1.0):
    return smooth_phase(*shape, strength, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("strength", [0.0, 0.3, 2.0])
def test_a_phase_is_smooth_and_as_strong_as_asked(strength):
    phase = drawn(0, 60, 45, strength=strength)
    assert phase.shape == (60, 45)
    assert float(phase.std(correction=0)) == pytest.approx(strength, abs=1e-5)
    energy = fft2c(phase).abs().square()
    assert float(energy[28:33, 20:25].sum()) == pytest.approx(float(energy.sum()), rel=1e-5)  # five waves each way


def test_a_phase_follows_from_its_seed():
    assert torch.equal(drawn(3, 20, 24), drawn(3, 20, 24))
    assert not torch.equal(drawn(3, 20, 24), drawn(4, 20, 24))


@pytest.mark.parametrize("coils", [1, 2, 8])
def test_profiles_have_unit_energy_and_see_unequally(coils):
    profiles = coil_profiles(coils, 20, 30)
    assert profiles.shape == (coils, 20, 30)
    assert profiles.dtype == torch.complex64
    torch.testing.assert_close(profiles.abs().square().sum(0), torch.ones(20, 30))
    brightest = {int(one.abs().argmax()) for one in profiles}
    assert len(brightest) == coils
