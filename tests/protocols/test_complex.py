"""Complex images: no shortcut through Hermitian symmetry, the same for every method, scored as magnitudes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fsmnet.data.options import PairOptions
from fsmnet.data.pairing.names import find_pairs
from fsmnet.errors import UserError
from fsmnet.evaluation.evaluate import evaluate
from fsmnet.evaluation.options import EvaluateConfig
from fsmnet.physics.masks import MaskRecipe
from fsmnet.protocols import protocol_of
from fsmnet.protocols.complex import COMPLEX, Complex
from fsmnet.protocols.float import FLOAT

BY_NAME = MaskRecipe("random", 4.0, 0.08, "name")
EVERYTHING = torch.ones(64, dtype=torch.bool)


@pytest.fixture
def pair(heads):
    return find_pairs(heads, "t2", "t1")[0]


@pytest.fixture
def slices(pair):
    return FLOAT.accelerate(pair, BY_NAME).slices.target[:2]


def test_options_set_the_strengths(tmp_path):
    assert protocol_of(PairOptions(data=tmp_path, protocol="complex")) == COMPLEX == Complex(1.0, 0.01, 1)
    given = PairOptions(data=tmp_path, protocol="complex", phase=0.5, noise=0.0, simulated_coils=4)
    assert protocol_of(given) == Complex(0.5, 0.0, 4)
    for name, wrong in (("phase", -1.0), ("noise", -0.1), ("simulated_coils", 0)):
        with pytest.raises(UserError, match=f"{name} must be at least"):
            protocol_of(PairOptions(data=tmp_path, protocol="complex", **{name: wrong}))


@pytest.mark.parametrize("coils", [1, 4])
def test_without_phase_and_noise_it_is_float(slices, coils):
    plain = Complex(0.0, 0.0, coils)
    mask = torch.from_numpy(BY_NAME.draw(64, "a").columns)
    everything = plain.measure(slices, EVERYTHING, [(0,), (1,)])
    torch.testing.assert_close(everything.zero_filled.abs(), slices, rtol=0, atol=1e-5)
    if coils == 1:
        filled = plain.zero_fill(slices, mask, [(0,), (1,)])
        torch.testing.assert_close(filled, FLOAT.zero_fill(slices, mask), rtol=0, atol=1e-5)


def test_noise_is_as_strong_as_asked_and_the_phase_hides_nothing(slices):
    protocol = Complex(1.0, 0.02)
    acquisition = protocol.measure(slices, EVERYTHING, [(0,), (1,)])
    quiet = Complex(1.0, 0.0).measure(slices, EVERYTHING, [(0,), (1,)])
    torch.testing.assert_close(quiet.zero_filled.abs(), slices, rtol=0, atol=1e-5)
    noise = acquisition.lines - quiet.lines
    assert float(noise.abs().square().mean().sqrt()) == pytest.approx(0.02, rel=0.05)
    assert acquisition.noise == 0.02
    assert not acquisition.real
    # Of a real image, a line tells its conjugate; here they differ.
    spectrum = quiet.lines[0, 0]
    mirrored = spectrum.flip(-1).roll(1, -1).conj()
    assert float((spectrum - mirrored).norm() / spectrum.norm()) > 0.3


def test_every_method_meets_the_same_and_every_slice_its_own(pair):
    first, again = (COMPLEX.accelerate(pair, BY_NAME) for _ in range(2))
    assert torch.equal(first.zero_filled, again.zero_filled)
    one = COMPLEX.accelerate(pair, BY_NAME, most=1)  # the same slice, alone
    place = first.slices.numbers.index(one.slices.numbers[0])
    assert torch.equal(one.zero_filled[0], first.zero_filled[place])
    part = slice(1, 3)
    assert torch.equal(first.measured(part).zero_filled.abs(), first.zero_filled[part])
    phases = first.measured(slice(0, 2)).zero_filled.angle()
    assert not torch.allclose(phases[0], phases[1], atol=0.1)


def test_training_samples_follow_from_their_position(pair):
    data, again = (COMPLEX.training_slices([pair], BY_NAME, seed=3, augment=False) for _ in range(2))
    assert torch.equal(data[5, 1].zero_filled, again[5, 1].zero_filled)
    fixed = COMPLEX.training_slices([pair], MaskRecipe("random", 4.0, 0.08, 7), augment=False)
    assert not torch.equal(fixed[0, 1].zero_filled, fixed[1, 1].zero_filled)  # one mask, another phase
    assert torch.equal(fixed[0, 1].auxiliary, fixed[1, 1].auxiliary)


@pytest.mark.parametrize("coils", [1, 4])
def test_scores_are_those_of_the_magnitude_per_volume(heads, pair, tmp_path, coils):
    options = {"protocol": "complex", "noise": 0.05, "simulated_coils": coils}
    config = EvaluateConfig(
        data=heads, out=tmp_path, models=["zero_filling"], cases=[pair.case], device="cpu", **options
    )
    (row,) = evaluate(config)
    case = Complex(1.0, 0.05, coils).accelerate(pair, BY_NAME)
    (expected,) = FLOAT.score(case.slices.target, case.zero_filled)
    assert (row["n"], row["protocol"], row["psnr_mean"]) == (1, "complex", pytest.approx(expected.psnr))
    assert np.isfinite(expected.ssim)
