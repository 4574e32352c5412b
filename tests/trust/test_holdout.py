"""Hold-out check: which lines are kept back, and what oracles, zero-filling and strangers say of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fsmnet.errors import UserError
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.holdout import BANDS, center_block, folds, without
from fsmnet.physics.masks import make_mask
from fsmnet.physics.simulate import coil_profiles, smooth_phase
from fsmnet.trust.holdout import hold_out, simple_methods

WIDTH = 96


@pytest.fixture
def columns():
    return make_mask("random", WIDTH, 3, seed=4).columns


@pytest.fixture
def image(smooth):
    data = torch.from_numpy(smooth(3, (3, 40, WIDTH), 0, 1)) ** 2
    data[..., :8] = data[..., -8:] = data[:, :5] = 0
    edges = torch.zeros(3, 40, WIDTH)
    edges[:, 10:30, 20:60] = 0.5
    return data + edges


def with_phase(image):
    """A phase that the eleven centre lines can tell."""
    return torch.polar(image, smooth_phase(*image.shape[-2:], 0.5, torch.Generator().manual_seed(0)))


def test_only_outer_lines_are_kept_back_each_once_and_the_draw_is_the_seed_s(columns):
    sets = folds(columns, 5, (1, 2))
    assert (np.sum(sets, axis=0) == (columns & ~center_block(columns))).all()
    assert all(np.array_equal(a, b) for a, b in zip(sets, folds(columns, 5, (1, 2)), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(sets, folds(columns, 5, (1, 3)), strict=True))
    assert np.array_equal(sets[0], folds(columns, 1, (1, 2))[0])
    sizes = [one.sum() for one in sets]
    assert max(sizes) - min(sizes) <= 1
    assert (columns & center_block(columns)).sum() >= 3


@pytest.mark.parametrize("width", [95, 96])
def test_of_a_real_image_no_conjugate_of_a_line_kept_back_stays(width):
    columns = make_mask("random", width, 2, seed=1).columns
    mirror = (2 * (width // 2) - np.arange(width)) % width
    for one in folds(columns, 5, real=True):
        rest = columns & ~one
        assert one.any()
        assert not (one & rest[mirror]).any()
    assert any((one & (columns & ~one)[mirror]).any() for one in folds(columns, 5))  # of a complex image they may


def test_a_method_that_uses_the_symmetry_learns_nothing_of_a_real_image(image, columns):
    measured = Acquisition.simulate(image, torch.from_numpy(columns))

    def by_symmetry(rest):
        """Fills lines with their conjugates: exact where those were measured."""
        mirrored = torch.roll(rest.lines.flip(-1), 1, -1).conj()  # W is even
        return Acquisition(rest.lines + torch.where(rest.mask, 0, mirrored), torch.ones(WIDTH).bool()).zero_filled.real

    found = hold_out(measured, {"symmetry": by_symmetry}, folds(columns, 5, real=True))["symmetry"]
    assert found.explained < 0.01
    leaking = hold_out(measured, {"symmetry": by_symmetry}, folds(columns, 5))["symmetry"]
    assert leaking.explained > 0.1


@pytest.mark.parametrize("coils", [1, 4])
def test_an_oracle_explains_all_and_zero_filling_what_coils_tell(image, columns, coils):
    truth = with_phase(image)
    maps = None if coils == 1 else coil_profiles(coils, *image.shape[-2:])
    measured = Acquisition.simulate(truth, torch.from_numpy(columns), maps)
    methods = {"oracle": lambda rest: truth, "silence": lambda rest: 0 * truth, **simple_methods(measured)}
    found = hold_out(measured, methods, folds(columns, 2))
    assert found["oracle"].explained == pytest.approx(1, abs=1e-9)
    assert found["oracle"].explained_by_band == pytest.approx([1] * BANDS, abs=1e-6)
    assert found["silence"].explained == pytest.approx(0, abs=1e-9)
    if coils == 1:
        assert found["zero-filling"].explained == pytest.approx(0, abs=1e-6)
        assert 0 < found["POCS"].explained < 1
    else:
        assert 0 < found["zero-filling"].explained < found["SENSE"].explained < 1


def test_zero_filling_of_a_real_image_says_a_little(image, columns):
    measured = Acquisition.simulate(image, torch.from_numpy(columns))
    found = hold_out(measured, simple_methods(measured), folds(columns, 1, real=True))
    assert found["zero-filling"].explained < 0.5


def test_every_method_gets_the_other_lines_only(image, columns):
    measured = Acquisition.simulate(with_phase(image), torch.from_numpy(columns))
    [one] = folds(columns)
    rest = without(measured, one)
    assert (rest.lines[..., torch.from_numpy(one)] == 0).all()
    assert torch.equal(rest.mask, measured.mask & ~torch.from_numpy(one))
    kept = rest.mask.reshape(-1, WIDTH)[0]
    assert torch.equal(rest.lines[..., kept], measured.lines[..., kept])


def test_too_few_lines_and_impossible_folds(columns):
    few = np.zeros(64, dtype=bool)
    few[[4, 20, 30, 31, 32, 33, 34, 50]] = True
    with pytest.raises(UserError, match="3 outer lines are too few"):
        folds(few)
    with pytest.raises(UserError, match="1 to 5, not 6"):
        folds(columns, 6)
