"""Panels: what stands in the picture, and where."""

from __future__ import annotations

import numpy as np
import pytest

from fsmnet.pictures.panels import ERROR_SCALE, SIDE, Panel, Picture, colours, content, draw, pixels, rounded, window
from fsmnet.pictures.view import View


def test_the_window_ends_at_a_percentile_of_what_is_above_zero():
    image = np.zeros((100, 100))
    image[:10] = np.linspace(0.001, 1, 1000).reshape(10, 100)
    image[0, 0] = 50  # one pixel does not make the others dark
    assert window(image) == pytest.approx(0.996, abs=0.002)
    assert window(np.zeros((4, 4))) == 1.0


def test_content_keeps_a_margin_and_stays_inside():
    image = np.zeros((40, 60))
    image[10:20, 2:50] = 1
    assert content(image) == (slice(4, 26), slice(0, 56))
    assert content(np.zeros((4, 5))) == (slice(0, 4), slice(0, 5))


def test_a_map_is_in_colour_and_a_slice_is_grey():
    ramp = np.linspace(0, 2, 21)[None]
    grey = np.asarray(pixels(Panel("", ramp, 1.0)))
    assert grey[0, [0, 5, 10, 20]].tolist() == [0, 128, 255, 255]
    assert colours(np.array([0.0, 1 / 3, 2 / 3, 1.0])).tolist() == [[0, 0, 0], [255, 0, 0], [255, 255, 0], [255] * 3]
    assert np.asarray(pixels(Panel("", ramp, 2.0, scale="mm"))).shape == (1, 21, 3)


def test_a_scale_ends_in_a_number_as_people_write_it():
    assert [rounded(value) for value in (132.7, 0.0456, 7.0, 12345)] == ["130", "0.046", "7", "12000"]


@pytest.fixture
def picture():
    image = np.ones((30, 40))
    return Picture([[Panel("one", image, 1.0), None], [Panel("two", image, 1.0, "31 dB", ERROR_SCALE)]], View())


def test_panels_are_as_long_as_they_should_be_and_the_mask_is_a_strip_of_its_columns(picture):
    plain = np.asarray(draw(picture))
    white = (plain == 255).all(-1)
    assert white.any(0).sum() >= SIDE  # the longer side
    assert white[: plain.shape[0] // 2].sum(0).max() == pytest.approx(SIDE * 30 / 40, abs=2)
    columns = np.zeros(100, bool)
    columns[:50] = True
    with_mask = np.asarray(draw(Picture(picture.rows, View(), "title", columns, ("note",))))
    assert with_mask.shape[0] > plain.shape[0]
    strip = with_mask[(with_mask == 235).all(-1).sum(1) > 100]
    assert (strip == 235).all(-1).mean() == pytest.approx((plain.shape[1] - 20) / plain.shape[1] / 2, abs=0.01)


def test_letters_and_bar_are_drawn_where_the_place_is_known(picture):
    placed = View(edges=("R", "L", "A", "P"), pixel=(1.0, 1.0))
    bare, decorated = (np.asarray(draw(Picture(picture.rows, view))) for view in (View(), placed))
    assert (bare != decorated).any(-1).sum() > 100


def test_pixels_that_are_no_squares_are_shown_in_millimetres():
    panel = Panel("", np.ones((30, 30)), 1.0)
    heights = {}
    for stretch in (1.0, 2.0):
        white = (np.asarray(draw(Picture([[panel]], View(pixel=(stretch, 1.0))))) == 255).all(-1)
        heights[stretch] = white.any(1).sum(), white.any(0).sum()
    assert heights[1.0] == pytest.approx((SIDE, SIDE), abs=2)
    assert heights[2.0] == pytest.approx((SIDE, SIDE / 2), abs=2)


def test_a_title_that_is_too_long_is_cut(picture):
    short, long = (draw(Picture([[Panel(text, np.ones((9, 9)), 1.0)]], View())) for text in ("x", "x" * 500))
    assert short.size == long.size
