"""POCS: what it imposes holds, what was measured stays, and it gains where there is something to gain."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import golden
from fsmnet.data.pairing.names import find_pairs
from fsmnet.errors import UserError
from fsmnet.models import create_model
from fsmnet.models.classical import POCS, phase_constrained, with_mirrored_lines
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.coils import root_sum_of_squares
from fsmnet.physics.fourier import fft1c
from fsmnet.physics.masks import make_mask
from fsmnet.physics.options import MaskOptions
from fsmnet.physics.simulate import coil_profiles, smooth_phase
from fsmnet.protocols import get_protocol


def head(smooth, height=48, width=64):
    """A textured disc, zero outside, ``(1, H, W)``."""
    y, x = np.mgrid[:height, :width]
    inside = ((y - height / 2) ** 2 / (0.4 * height) ** 2 + (x - width / 2) ** 2 / (0.35 * width) ** 2) < 1
    return torch.from_numpy(smooth(0, (height, width), 0.2, 1.0) * inside)[None].float()


def columns(width, acceleration=4):
    return torch.from_numpy(make_mask("random", width, acceleration, 0.1, 0).columns)


def error(image, reference):
    return float((image - reference).norm() / reference.norm())


@pytest.mark.parametrize("width", [64, 63])
def test_mirrored_lines_are_those_of_a_real_image(smooth, width):
    image, mask = head(smooth, width=width), columns(width)
    lines, known = with_mirrored_lines(fft1c(image) * mask, mask)
    torch.testing.assert_close(lines, fft1c(image) * known, atol=1e-5, rtol=1e-5)
    assert mask.sum() < known.sum() <= 2 * mask.sum()


def test_a_real_image_is_not_negative_and_inside_the_support(smooth):
    image, mask = head(smooth), columns(64)
    acquisition = Acquisition.simulate(image, mask)
    pocs = create_model("pocs")(acquisition, image[:, None]).image
    assert pocs.shape == (1, 1, 48, 64)
    assert pocs.min() >= 0
    assert not pocs[0, 0][image[0] == 0].any()
    assert error(pocs[0], image) < 0.5 * error(acquisition.zero_filled.abs(), image)
    assert error(pocs[0], image) < error(POCS(5)(acquisition, image[:, None]).image[0], image)


def test_an_auxiliary_that_shows_nothing_is_none(smooth):
    image, mask = head(smooth), columns(64)
    acquisition = Acquisition.simulate(image, mask)
    alone = POCS()(acquisition, None).image
    assert alone.any()
    assert torch.equal(POCS()(acquisition, torch.zeros_like(image)[:, None]).image, alone)


@pytest.mark.parametrize("coils", [1, 4])
def test_a_complex_image_has_its_smooth_phase(smooth, coils):
    image, mask = head(smooth, 96, 160), columns(160, 3)
    phase = smooth_phase(96, 160, 1.0, torch.Generator().manual_seed(0))
    maps = None if coils == 1 else coil_profiles(coils, 96, 160)
    acquisition = Acquisition.simulate(torch.polar(image, phase), mask, maps)
    pocs = POCS()(acquisition, image[:, None]).image
    assert error(pocs[0].abs(), image) < error(acquisition.zero_filled.abs(), image)
    assert error(pocs[0], torch.polar(image, phase)) < error(acquisition.zero_filled, torch.polar(image, phase))
    assert torch.equal(POCS()(acquisition, None).image, pocs)


@pytest.mark.parametrize("coils", [1, 4])
@pytest.mark.parametrize("share", [5 / 8, 7 / 8])
@pytest.mark.parametrize("flipped", [False, True])
def test_partial_fourier_is_completed(smooth, share, flipped, coils):
    """The side that was left out follows from the other one and a smooth phase."""
    image, mask = head(smooth, 96, 160), torch.arange(160) < round(share * 160)
    mask = mask.flip(0) if flipped else mask
    phase = smooth_phase(96, 160, 1.0, torch.Generator().manual_seed(0))
    maps = None if coils == 1 else coil_profiles(coils, 96, 160)
    acquisition = Acquisition.simulate(torch.polar(image, phase), mask, maps)
    whole, zero_filled = phase_constrained(acquisition), acquisition.zero_filled
    assert error(whole, torch.polar(image, phase)) < 0.7 * error(zero_filled, torch.polar(image, phase))
    assert error(whole.abs(), image) < 0.7 * error(zero_filled.abs(), image)


def test_coils_without_maps_and_a_wider_field_of_view(smooth):
    image, mask = head(smooth), columns(64)
    coils = coil_profiles(3, 48, 64) * image[:, None]
    acquisition = Acquisition.simulate(coils, mask)  # three images; as coils:
    acquisition = Acquisition(acquisition.lines[:, :, 0], mask)
    pocs = POCS()(acquisition, image[:, None, 8:40, 16:48]).image
    assert pocs.shape == (1, 1, 32, 32)
    zero_filled = root_sum_of_squares(acquisition.coil_images)
    assert error(pocs[0], image[:, 8:40, 16:48]) < error(zero_filled[:, 8:40, 16:48], image[:, 8:40, 16:48])


def test_it_takes_what_was_measured():
    with pytest.raises(UserError, match="pocs works on measured lines"):
        create_model("pocs")(torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8))
    with pytest.raises(UserError, match="iterations must be at least 1"):
        create_model("pocs", iterations=0)


# Every tenth slice of TCGA-FG-6692, protocol brats: PSNR and SSIM as another implementation gave them.
PUBLISHED = {4: (39.57, 0.971), 8: (34.78, 0.936)}


@pytest.mark.skipif(not (golden.SHARED / "data" / "volumes").is_dir(), reason="the scans (../shared/data) are not here")
@pytest.mark.parametrize("acceleration", PUBLISHED)
def test_pocs_of_a_real_scan(acceleration):
    protocol = get_protocol("brats")
    [pair] = find_pairs(golden.SHARED / "data" / "volumes", "t2", "t1", ["TCGA-FG-6692"])
    case = protocol.accelerate(pair, protocol.mask_recipe(MaskOptions(acceleration=acceleration)))
    part = slice(None, None, 10)
    image = POCS()(case.measured(part), case.slices.auxiliary[part, None]).image[:, 0]
    found = np.mean([row[:2] for row in protocol.score(case.slices.target[part], protocol.finish(image))], axis=0)
    assert found == pytest.approx(PUBLISHED[acceleration], abs=0.06)
