"""Lines are inferred, masks checked, and partial Fourier told from masks that happen to be lopsided."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from fsmnet.data.formats import read_kspace
from fsmnet.errors import UserError
from fsmnet.physics.lines import CHANCE, acquired_columns, check_mask, one_sided, partial_fourier
from fsmnet.physics.masks import MASK_KINDS, Mask, default_center_fraction, make_mask
from golden import SHARED

SLICE = SHARED / "data" / "multicoil" / "brain_8coil_kspace.npy"


def scan(columns: np.ndarray, shape: tuple[int, int, int] = (2, 3, 20)) -> np.ndarray:
    """Random k-space with these columns."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal((*shape, columns.size)) + 1j * rng.standard_normal((*shape, columns.size))
    return (data * columns).astype(np.complex64)


def lines_of(kspace: np.ndarray) -> np.ndarray:
    return acquired_columns(kspace, Path("scan.npy"))


def span(width: int, first: int, last: int) -> np.ndarray:
    """Columns from the first to the last."""
    place = np.arange(width)
    return (place >= first) & (place <= last)


@pytest.mark.parametrize("columns", [make_mask("random", 60, 4, 0.08, 1).columns, span(60, 5, 55), np.ones(7, bool)])
def test_lines_are_those_with_content(columns):
    kspace = scan(columns)
    assert np.array_equal(lines_of(kspace), columns)
    kspace[1] = 0  # a slice without any
    assert np.array_equal(lines_of(kspace), columns)
    kspace[0, 1:] = 0  # a broken coil
    assert np.array_equal(lines_of(kspace), columns)


def test_readout_padded_with_zeros():
    kspace = scan(make_mask("random", 60, 4, 0.08, 1).columns)
    kspace[:, :, [0, 1, 18, 19]] = 0
    assert lines_of(kspace).sum() == np.count_nonzero(kspace[0, 0, 10])


@pytest.mark.parametrize("kind", list(MASK_KINDS))
@pytest.mark.parametrize("acceleration", [2, 4, 8])
@pytest.mark.parametrize("padding", [0, 0.1])
def test_drawn_masks_are_no_partial_fourier(kind, acceleration, padding):
    """fastMRI's masks of many widths, also where the scanner left columns at both sides empty."""
    for seed in range(100):
        width = 40 + 4 * (seed % 90)
        border = round(padding * width)
        mask = make_mask(kind, width, acceleration, default_center_fraction(acceleration), seed).columns
        assert partial_fourier(mask & span(width, border, width - 1 - border)) is None


@pytest.mark.parametrize("share", [5 / 8, 6 / 8, 7 / 8])
@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("width", [64, 320, 321])
def test_partial_fourier_of_all_lines(share, side, width):
    columns = span(width, 0, round(share * width) - 1)[::side]
    assert np.array_equal(lines_of(scan(columns)), columns)
    reach = partial_fourier(columns)
    assert reach is not None
    assert max(reach) == width // 2 - (side == -1 and width % 2 == 0)
    assert reach.before + reach.after + 1 == columns.sum()


@pytest.mark.parametrize(("kind", "share"), [("random", 5 / 8), ("equispaced", 5 / 8), ("equispaced", 6 / 8)])
def test_partial_fourier_of_accelerated_scans(kind, share):
    """Fewer lines, or a smaller part left out at random, cannot be told from chance."""
    for seed in range(20):
        mask = make_mask(kind, 320, 4, 0.08, seed).columns & span(320, 0, round(share * 320) - 1)
        assert partial_fourier(mask) is not None


def test_numbers_of_a_reach():
    reach = partial_fourier(span(64, 0, 47))
    assert reach == (32, 15)
    assert str(reach) == "partial Fourier, lines from 32 before the centre to 15 behind it"


def test_an_asymmetric_echo_is_refused():
    kspace = scan(np.ones(30, bool))
    kspace[:, :, :4] = 0
    with pytest.raises(UserError, match=r"^scan.npy: the readout is asymmetric: its samples reach from 6"):
        lines_of(kspace)


def test_the_header_tells_partial_fourier_of_any_mask():
    sparse = make_mask("random", 320, 8, 0.04, 1).columns & span(320, 0, 280)
    assert partial_fourier(sparse) is None
    assert partial_fourier(sparse, (160, 120)) == (160, 120)
    assert partial_fourier(sparse, (160, 155)) is None
    assert partial_fourier(np.ones(320, bool), (160, 120)) is None  # what was measured is seen


def test_chance_is_that_of_drawing():
    """By counting all draws: 3 of the 10 outer columns of 13, none of the last 4."""
    columns = np.zeros(13, bool)
    columns[[5, 6, 7, 0, 2, 8]] = True  # centre 6; 8 joins the run on one side only, and so counts as outer
    before, after, chance = one_sided(columns)
    assert (before, after) == (6, 2)
    assert chance == pytest.approx(math.comb(6, 3) / math.comb(10, 3))
    assert one_sided(np.ones(12, bool))[2] > CHANCE


def test_points_are_refused():
    kspace = scan(np.ones(60, bool))
    kspace[...] *= np.random.default_rng(1).random(kspace.shape[-2:]) < 0.3
    with pytest.raises(UserError, match=r"scan.npy: [23]\d\.\d% of the points are measured, and not in whole lines"):
        lines_of(kspace)


@pytest.mark.skipif(not SLICE.exists(), reason="the 8-coil slice (../shared/data/multicoil) is not here")
def test_a_poisson_disc_scan_is_refused(tmp_path):
    path = tmp_path / "brain.npy"
    np.save(path, np.load(SLICE)[None])
    kspace = read_kspace(path)
    with pytest.raises(
        UserError, match=r"brain.npy: 12\.4% of the points are measured, and not in whole lines \(as in Poi"
    ):
        acquired_columns(kspace.data, kspace.source)


def test_rows_are_named():
    kspace = scan(np.ones(30, bool))
    kspace[:, :, 1::2] = 0
    with pytest.raises(UserError, match="10 of 20 rows are empty and no column is; pass --phase-encode rows"):
        lines_of(kspace)


def test_slices_with_other_lines():
    kspace = scan(np.ones(30, bool))
    kspace[1, ..., 3] = 0
    with pytest.raises(
        UserError, match=r"29 columns are measured in slice 1 \(from 0, empty ones not counted\), 30 in all"
    ):
        lines_of(kspace)


def test_masks_are_checked(caplog):
    caplog.set_level("INFO", "fsmnet")
    acquired = make_mask("random", 60, 2, 0.1, 0).columns
    mask = check_mask(Mask(acquired, "file"), acquired, Path("k.npy"))
    assert np.array_equal(mask.columns, acquired)
    assert not caplog.messages

    fewer = acquired & span(60, 10, 59)
    mask = check_mask(Mask(fewer, "random", 4.0, 0.1), acquired, Path("k.npy"))
    assert np.array_equal(mask.columns, fewer)
    assert (mask.kind, mask.acceleration) == ("random", 4.0)
    unused = (acquired & ~fewer).sum()
    assert caplog.messages == [f"k.npy: {unused} of {acquired.sum()} measured columns lie outside the mask: not used"]

    more = acquired.copy()
    wrong = np.flatnonzero(~acquired)[:2]
    more[wrong] = True
    message = rf"k.npy: the mask counts 2 columns as acquired that are empty in the k-space \({wrong[0]}; {wrong[1]}\)"
    with pytest.raises(UserError, match=message):
        check_mask(Mask(more, "file"), acquired, Path("k.npy"))
    with pytest.raises(UserError, match="none of the 3 columns of the mask was measured"):
        check_mask(Mask(span(60, 0, 2), "file"), span(60, 10, 50), Path("k.npy"))


def test_masks_are_cut_to_what_a_scanner_did_not_pad(caplog):
    caplog.set_level("INFO", "fsmnet")
    acquired = span(60, 5, 55)
    mask = check_mask(Mask(np.arange(60) % 2 == 0, "file"), acquired, Path("k.h5"))
    assert np.array_equal(mask.columns, (np.arange(60) % 2 == 0) & acquired)
    assert "k.h5: 5 columns of the mask lie in the empty border and count as missing" in caplog.messages
