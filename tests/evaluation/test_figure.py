"""The figure for print."""

from __future__ import annotations

import numpy as np
import pytest

from fsmnet.errors import UserError
from fsmnet.evaluation.figure import draw_figure, magnified, print_figure, together
from fsmnet.evaluation.picture import Shown, load_shown, save_shown


@pytest.fixture
def shown():
    rng = np.random.default_rng(0)
    reference = np.zeros((60, 50))
    reference[10:50, 8:42] = 0.5
    reference[30:40, 20:30] += rng.uniform(0, 0.5, (10, 10))
    images = {"Zero-filled": reference * 0.9, "$FSMNet$ \u60a3": reference * 0.99}
    affine = np.diag([-1.0, -1.0, 3.0, 1.0])
    return Shown(
        reference, reference[::-1], images, {"Zero-filled": "30.0 dB, SSIM 0.9"}, "t", ("T2", "T1"), None, affine
    )


def test_the_part_that_is_magnified_has_most_edges(shown):
    rows, columns = magnified(shown.reference)
    assert rows.start <= 30
    assert rows.stop >= 38
    assert columns.start <= 20
    assert columns.stop >= 28
    assert rows.stop - rows.start == columns.stop - columns.start == 14


@pytest.mark.parametrize(("name", "begins"), [("f.pdf", b"%PDF"), ("f.png", b"\x89PNG"), ("f.svg", b"<?xml")])
def test_forms(shown, tmp_path, name, begins):
    print_figure(shown, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begins)
    first = (tmp_path / name).read_bytes()
    print_figure(shown, tmp_path / name)
    assert (tmp_path / name).read_bytes() == first  # no date in it


def test_another_form_is_refused(shown, tmp_path):
    with pytest.raises(UserError, match=r"a figure is one of \.pdf, \.png, \.svg"):
        print_figure(shown, tmp_path / "f.docx")
    with pytest.raises(UserError, match=r"picture\.npz: is missing; evaluations from before"):
        draw_figure(tmp_path, tmp_path / "f.pdf")


def test_a_slice_is_kept_as_it_was(shown, tmp_path):
    save_shown(shown, tmp_path / "picture.npz")
    again = load_shown(tmp_path / "picture.npz")
    assert list(again.images) == list(shown.images)
    assert all(np.array_equal(again.images[name], shown.images[name]) for name in shown.images)
    assert (again.captions, again.title, again.contrasts) == (shown.captions, shown.title, shown.contrasts)
    assert again.columns is None
    assert np.array_equal(again.affine, shown.affine)
    np.savez(tmp_path / "other.npz", reference=np.zeros(3))
    with pytest.raises(UserError, match="is not the slice of an evaluation"):
        load_shown(tmp_path / "other.npz")


def test_methods_that_show_other_slices_do_not_stand_together(shown):
    other = Shown(shown.reference + 1, shown.auxiliary, shown.images)
    with pytest.raises(UserError, match="B: its slice is another than that of A"):
        together([("A", shown), ("B", other)])
    both = together([("A", shown), ("B", shown)])
    assert list(both.images) == ["A", "B"]
    assert both.captions == {"A": "30.0 dB, SSIM 0.9", "B": "30.0 dB, SSIM 0.9"}
