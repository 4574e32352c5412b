"""The training loss against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from fsmnet.errors import UserError
from fsmnet.models.output import Output
from fsmnet.training.losses import SpatialFrequencyLoss

H, W = 4, 8


def point(value: float, column: int = 0) -> torch.Tensor:
    """An image of one bright pixel in the first row: amplitude ``value`` at every frequency."""
    image = torch.zeros(1, 1, H, W)
    image[0, 0, 0, column] = value
    return image


def noise(seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(2, 1, H, W, generator=torch.Generator().manual_seed(seed)).to(dtype)


def with_phase(angle: float) -> torch.Tensor:
    """An image whose half spectrum is 10 everywhere, but turned by ``angle`` at row 0, column 1."""
    spectrum = torch.full((1, 1, H, W // 2 + 1), 10, dtype=torch.complex128)
    spectrum[..., 0, 1] *= complex(math.cos(angle), math.sin(angle))
    return torch.fft.irfft2(spectrum, s=(H, W))


def test_the_two_image_terms():
    target = torch.zeros(2, 1, H, W)
    output = Output(target + 3, target - 2)
    assert SpatialFrequencyLoss(frequency_weight=0)(output, target) == 5


def test_the_amplitude_term():
    # 7 against 3 at every frequency, phase 0 in both; the images differ by 4 in one of 32 pixels.
    target = point(3)
    loss = SpatialFrequencyLoss(frequency_weight=0.5)(Output(target, point(7)), target)
    assert float(loss) == pytest.approx(4 / 32 + 0.5 * 4)


def test_the_phase_term():
    # One pixel to the right of 8 turns column k by -2 pi k / 8: by 0, 45, 90, 135 and 180 degrees, 90 on average.
    target = point(1)
    loss = SpatialFrequencyLoss(frequency_weight=0.5)(Output(target, point(1, column=1)), target)
    assert float(loss) == pytest.approx(2 / 32 + 0.5 * math.pi / 2)


def test_the_weight_is_the_papers_one_hundredth():
    target = point(3)
    loss = SpatialFrequencyLoss()(Output(target, point(7)), target)
    assert float(loss) == pytest.approx(4 / 32 + 0.01 * 4)


def test_phases_either_side_of_pi_are_far_apart_as_printed_and_close_around_the_circle():
    target, image = with_phase(-3.1), with_phase(3.1)
    bins = H * (W // 2 + 1)
    without = SpatialFrequencyLoss(frequency_weight=0)(Output(image, image), target)
    for wrap, distance in ((False, 6.2), (True, 2 * math.pi - 6.2)):
        loss = SpatialFrequencyLoss(frequency_weight=1, wrap_phase=wrap)(Output(image, image), target)
        assert float(loss - without) == pytest.approx(distance / bins, abs=1e-9)


def test_wrapping_changes_nothing_for_phases_less_than_half_a_turn_apart():
    target, image = with_phase(-1.5), with_phase(1.5)
    losses = [float(SpatialFrequencyLoss(1, wrap)(Output(image, image), target)) for wrap in (False, True)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-9)


def test_a_model_without_a_frequency_image_is_trained_on_its_image_alone():
    target = torch.zeros(2, 1, H, W)
    assert SpatialFrequencyLoss(frequency_weight=1)(Output(target + 3), target) == 3


def test_the_image_term_has_a_weight_too():
    target = torch.zeros(2, 1, H, W)
    assert SpatialFrequencyLoss(image_weight=0.5)(Output(target + 3), target) == 1.5


def test_the_kspace_term():
    # A difference of 3 everywhere is 3 sqrt(H W) at the zero frequency: one real number among 2 H W.
    target = noise(0)
    loss = SpatialFrequencyLoss(image_weight=0, kspace_weight=0.5)(Output(target + 3), target)
    assert float(loss) == pytest.approx(0.5 * 3 / (2 * math.sqrt(H * W)), abs=1e-6)


def test_the_term_of_the_auxiliary():
    target, auxiliary = noise(0), noise(1)
    loss = SpatialFrequencyLoss(auxiliary_weight=0.5)
    assert float(loss(Output(target, auxiliary_image=auxiliary + 3), target, auxiliary)) == pytest.approx(1.5)
    for output, helper in ((Output(target), auxiliary), (Output(target, auxiliary_image=auxiliary), None)):
        with pytest.raises(UserError, match="auxiliary_weight needs a model that reconstructs the auxiliary too"):
            loss(output, target, helper)


def test_perfect_images_cost_nothing():
    assert SpatialFrequencyLoss(1)(Output(noise(0), noise(0)), noise(0)) == 0


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("start", [torch.zeros(1, 1, H, W), point(1), noise(3)[:1]])
def test_gradients_are_finite_even_for_an_image_of_zeros(wrap, start):
    image = start.clone().requires_grad_()
    frequency_image = start.clone().requires_grad_()
    SpatialFrequencyLoss(1, wrap)(Output(image, frequency_image), noise(1)[:1]).backward()
    assert image.grad.isfinite().all()
    assert frequency_image.grad.isfinite().all()
    assert image.grad.any()
    assert frequency_image.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    loss = SpatialFrequencyLoss(1)
    output, target = Output(noise(0, dtype), noise(1, dtype)), noise(2, dtype)
    computed = loss(output, target)
    assert computed.dtype == torch.float32
    assert torch.equal(computed, loss(Output(output.image.float(), output.frequency_image.float()), target.float()))


def test_half_precision_does_not_overflow():
    # The zero frequency of a bright image, 300 x 300 ones, is beyond float16's 65504.
    bright = torch.ones(1, 1, 300, 300, dtype=torch.float16)
    assert SpatialFrequencyLoss()(Output(bright, bright), torch.zeros_like(bright)).isfinite()


@pytest.mark.parametrize("name", ["frequency_weight", "image_weight", "auxiliary_weight", "kspace_weight"])
@pytest.mark.parametrize("weight", [-0.01, math.nan, math.inf])
def test_an_impossible_weight_is_refused_in_words(name, weight):
    with pytest.raises(UserError, match=f"{name} must be 0 or more, not {weight}"):
        SpatialFrequencyLoss(**{name: weight})
