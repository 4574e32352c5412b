"""The protocols of volumes on ones made by hand, and the published zero-filling figures on real ones."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import golden
from fsmnet.data.formats import read_volume
from fsmnet.data.volume import Volume
from fsmnet.errors import UserError
from fsmnet.physics.masks import make_mask
from fsmnet.protocols.brats import BRATS, brats_mask, to_8_bit
from fsmnet.protocols.float import FLOAT
from fsmnet.transforms import Normalisation, to_unit

VOLUMES = golden.SHARED / "data" / "volumes"


def volume(data: np.ndarray, name: str = "made") -> Volume:
    return Volume(np.asarray(data, dtype=np.float32), np.eye(4), Path(name))


def filled(pixels: int, height: int, width: int, value: float = 1) -> np.ndarray:
    """An image whose first ``pixels`` pixels have a value and the others are 0."""
    image = np.zeros(height * width, dtype=np.float32)
    image[:pixels] = value
    return image.reshape(height, width)


def test_brats_divides_by_the_volumes_maximum_and_rounds_down():
    data = np.full((2, 240, 240), 1000)
    data[0, 0] = 999  # 254.7: down to 254, though 255 is nearer
    data[0, 1] = 500  # 127.5
    data[0, 2] = 3  # 0.765
    data[1] = 200  # 51 exactly, in the other slice too by the volume's maximum, not its own
    slices = BRATS.prepare(volume(data), volume(2 * data))
    assert slices.target.dtype == slices.auxiliary.dtype == torch.uint8
    assert slices.target[0, :4, 0].tolist() == [254, 127, 0, 255]
    assert slices.target[1].unique().tolist() == [51]
    assert torch.equal(slices.auxiliary, slices.target)  # each by its own maximum
    assert slices.numbers == [0, 1]


@given(st.integers(1, 128))
def test_brats_loses_no_grey_level_of_a_volume_that_has_255_of_them(step):
    levels = np.arange(240) + 16
    data = np.full((1, 240, 240), 255 * step)
    data[0, :, 0] = step * levels
    assert np.array_equal(BRATS.prepare(volume(data), volume(data)).target[0, :, 0].numpy(), levels)


@pytest.mark.parametrize("maximum", [1000.3, 777.7, 0.017])
def test_voxels_a_rounding_error_below_a_grey_level_stay_below(maximum):
    top = np.float32(maximum)
    values = (np.arange(240) * float(top) / 255).astype(np.float32)  # just above or below their levels
    data = np.full((1, 240, 240), top)
    data[0, :, 0] = values
    exact = [math.floor(255 * Fraction(float(value)) / Fraction(float(top))) for value in values]
    assert BRATS.prepare(volume(data), volume(data)).target[0, :, 0].tolist() == exact


def test_brats_centres_other_sizes_before_everything_else():
    data = np.zeros((1, 251, 101))
    data[0, 3:, :] = 2
    data[0, 0, 0] = 100  # cropped away, so it is not the maximum
    data[0, 5, 0] = 4  # 5 rows go before (floor of 11 / 2): the first row of the frame; 69 columns are added before
    slices = BRATS.prepare(volume(data), volume(data))
    assert slices.target.shape == (1, 240, 240)
    frame = slices.target[0]
    assert frame[0, 69] == 255
    assert frame[0, 70] == frame[239, 169] == 127
    assert not frame[:, :69].any()
    assert not frame[:, 170:].any()


def test_float_keeps_size_and_precision():
    data = np.stack([filled(20, 10, 12, 4), filled(120, 10, 12, 3)])
    slices = FLOAT.prepare(volume(data), volume(data / 8))
    assert slices.target.shape == (2, 10, 12)
    assert slices.target.dtype == slices.auxiliary.dtype == torch.float32
    assert slices.target[1].unique().tolist() == [0.75]
    assert torch.equal(slices.target, slices.auxiliary)


@pytest.mark.parametrize(("protocol", "quarter"), [(BRATS, 63), (FLOAT, 0.25)])
def test_the_maximum_is_that_of_all_slices_even_of_those_left_out(protocol, quarter):
    data = np.stack([filled(1, 240, 240, 8), filled(57600, 240, 240, 2)])
    slices = protocol.prepare(volume(data), volume(data))
    assert slices.numbers == [1]
    assert slices.target.unique().tolist() == [quarter]


@pytest.mark.parametrize(("protocol", "height", "width"), [(BRATS, 240, 240), (FLOAT, 20, 30)])
def test_slices_with_a_tenth_of_their_pixels_above_zero_are_kept(protocol, height, width):
    tenth = height * width // 10
    data = np.stack([filled(pixels, height, width) for pixels in (tenth, tenth - 1, tenth + 1, 0)])
    slices = protocol.prepare(volume(data), volume(np.ones_like(data)))
    assert slices.numbers == [0, 2]
    assert len(slices.target) == len(slices.auxiliary) == 2


@given(st.integers(1, 40), st.integers(1, 40))
def test_exactly_a_tenth_is_enough_at_every_size(height, width):
    data = np.stack([filled(height * width, 10 * height, width), filled(height * width - 1, 10 * height, width)])
    assert FLOAT.prepare(volume(data), volume(data)).numbers == [0]


def test_the_tenth_is_one_of_the_frame_after_centring():
    # 70 x 82 pixels are all of a small slice, but less than a tenth of the frame; 71 x 82 are more.
    for height, kept in ((70, False), (71, True)):
        data = np.ones((1, height, 82))
        if kept:
            assert BRATS.prepare(volume(data), volume(data)).numbers == [0]
        else:
            with pytest.raises(UserError, match="made: no slice has 10% of its pixels above zero"):
                BRATS.prepare(volume(data), volume(data))


def test_the_target_decides_which_slices_are_kept():
    target = np.stack([filled(9, 10, 10), filled(50, 10, 10), filled(100, 10, 10)])
    auxiliary = np.stack([filled(90, 10, 10), filled(0, 10, 10), filled(1, 10, 10)])
    slices = FLOAT.prepare(volume(target), volume(auxiliary))
    assert slices.numbers == [1, 2]
    assert slices.auxiliary.sum((-2, -1)).tolist() == [0, 1]


def test_an_auxiliary_outside_the_frame_is_refused_in_words():
    auxiliary = np.zeros((1, 300, 300))
    auxiliary[0, 0] = 1
    with pytest.raises(UserError, match="far: nothing is left of the image in the 240 x 240 centre"):
        BRATS.prepare(volume(np.ones((1, 300, 300))), volume(auxiliary, "far"))


def test_eight_bits_and_back():
    image = torch.tensor([-0.1, 0.0, 0.0039, 1 / 255, 0.5, 0.9999, 1.0, 1.7], dtype=torch.float64)
    assert to_8_bit(image).tolist() == [0, 0, 0, 1, 127, 254, 255, 255]
    assert to_unit(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal((to_unit(levels) * 255).round().to(torch.uint8), levels)
    assert to_unit(image) is image


def test_zero_filling_in_brats_is_its_formula_in_8_bits(smooth):
    grey = smooth(0, (6, 240, 240), 0, 255).astype(np.uint8)
    mask = brats_mask(4).columns
    kspace = np.fft.fftshift(np.fft.fft2(grey / 255, norm="ortho"), axes=(-2, -1)) * mask
    magnitude = np.abs(np.fft.ifft2(np.fft.ifftshift(kspace, axes=(-2, -1)), norm="ortho"))
    expected = np.floor(255 * np.clip(magnitude, 0, 1)).astype(np.uint8)
    result = BRATS.zero_fill(torch.from_numpy(grey), torch.from_numpy(mask))
    assert result.dtype == torch.uint8
    assert np.array_equal(result.numpy(), expected)
    # Slices on [0, 1] are taken as they are.
    from_unit = BRATS.zero_fill(torch.from_numpy(grey / 255), torch.from_numpy(mask))
    assert torch.equal(from_unit, result)


def test_zero_filling_in_float_stays_float_and_unclipped(smooth):
    image = smooth(1, (60, 64), 0, 1)
    image[20:24, 20:24] = 5
    mask = torch.from_numpy(make_mask("random", 64, 4, 0.1, seed=0).columns)
    result = FLOAT.zero_fill(torch.from_numpy(image), mask)
    assert result.dtype == torch.float32
    assert result.max() > 1
    everything = torch.ones(64, dtype=torch.bool)
    assert FLOAT.zero_fill(torch.from_numpy(image), everything).numpy() == pytest.approx(image, abs=1e-5)


def test_inputs_of_a_network_have_their_own_statistics_and_are_clipped():
    zero_filled, auxiliary = torch.rand(2, 2, 1, 30, 30, generator=torch.Generator().manual_seed(0))
    auxiliary[0, 0, 0, 0] = 100  # 30 deviations away
    inputs = FLOAT.normalisation.inputs(zero_filled, auxiliary)
    mean, std = zero_filled.numpy().mean((-2, -1)), zero_filled.numpy().std((-2, -1))  # NumPy's is of the population
    assert inputs.normalisation.mean.flatten().tolist() == pytest.approx(mean.flatten().tolist())
    assert inputs.normalisation.std.flatten().tolist() == pytest.approx(std.flatten().tolist())
    for result, image in ((inputs.target, zero_filled), (inputs.auxiliary, auxiliary)):
        expected = np.stack([(one - one.mean()) / one.std() for one in image.double().numpy()])
        np.testing.assert_allclose(result.numpy(), np.clip(expected, -6, 6), atol=1e-5)
    assert inputs.auxiliary.max() == 6
    assert torch.equal(inputs.auxiliary[1], FLOAT.normalisation.inputs(zero_filled[1], auxiliary[1]).auxiliary)


def test_inputs_in_8_bits_are_divided_by_255():
    grey = torch.arange(400).remainder(256).to(torch.uint8).reshape(1, 20, 20)
    from_grey, from_unit = FLOAT.normalisation.inputs(grey, grey), FLOAT.normalisation.inputs(grey / 255, grey / 255)
    assert torch.equal(from_grey.target, from_unit.target)
    assert from_grey.normalisation.mean == pytest.approx(float(grey.double().mean() / 255))


def test_the_full_target_has_the_zero_filled_images_statistics_and_is_clipped_in_brats_only():
    normalisation = Normalisation(torch.tensor([[0.5]]), torch.tensor([[0.05]]))
    target = torch.tensor([[0.5, 0.55, 1.0]])  # 0, 1 and 10 deviations
    assert BRATS.normalisation.target(target, normalisation).tolist()[0] == pytest.approx([0, 1, 6], abs=1e-5)
    assert FLOAT.normalisation.target(target, normalisation).tolist()[0] == pytest.approx([0, 1, 10], abs=1e-5)


def test_reconstructions_are_finished_as_they_are_scored():
    image = torch.tensor([-0.5, 0.5, 2.0])
    assert BRATS.finish(image).tolist() == [0, 127, 255]
    assert FLOAT.finish(image) is image


# PSNR and SSIM of zero-filling, mean and population deviation over slices, to the printed digits.
PUBLISHED = {
    "TCGA-DU-7294": (91, {4: (31.24, 1.01, 0.771, 0.017), 8: (27.71, 1.29, 0.694, 0.022)}),
    "TCGA-FG-6692": (106, {4: (32.21, 0.92, 0.775, 0.016), 8: (28.64, 0.92, 0.687, 0.029)}),
}


@pytest.mark.skipif(not VOLUMES.is_dir(), reason="the real volumes (../shared/data) are not here")
@pytest.mark.parametrize("case", list(PUBLISHED))
def test_zero_filling_has_the_published_figures(case):
    count, rows = PUBLISHED[case]
    t2 = read_volume(VOLUMES / case / f"{case}_t2.nii.gz")
    slices = BRATS.prepare(t2, t2)
    assert len(slices.numbers) == count
    for acceleration, expected in rows.items():
        mask = torch.from_numpy(brats_mask(acceleration).columns)
        zero_filled = BRATS.zero_fill(slices.target, mask)
        figures = np.array([row[:2] for row in BRATS.score(slices.target, zero_filled)])
        (psnr, ssim), (psnr_std, ssim_std) = figures.mean(0), figures.std(0)
        assert (round(psnr, 2), round(psnr_std, 2), round(ssim, 3), round(ssim_std, 3)) == expected
