"""How slices lie for the eye: a mark at a known place of the patient is seen where radiologists look for it."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest

from fsmnet.pictures.view import View, view_of

AXES = {"L": 0, "R": 0, "P": 1, "A": 1, "S": 2, "I": 2}
ORIENTATIONS = [
    "".join(one)
    for order in permutations(("LR", "AP", "SI"))
    for one in product(*order)
]  # fmt: skip


def affine_of(axes: str, sizes=(2.0, 0.5, 3.0)) -> np.ndarray:
    """Indices that grow towards these letters."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for index, (letter, size) in enumerate(zip(axes, sizes, strict=True)):
        affine[AXES[letter], index] = size if letter in "RAS" else -size
    assert "".join(nib.aff2axcodes(affine)) == axes
    return affine


@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_letters_stand_where_the_patient_is(axes):
    affine = affine_of(axes)
    view = view_of(affine)
    rows, columns = (np.broadcast_to(index, (4, 6)) for index in (np.arange(4)[:, None], np.arange(6)[None]))
    places = nib.affines.apply_affine(affine, np.stack([rows, columns, 0 * rows], -1))  # millimetres, R A S
    ends = [(np.s_[:, 0], np.s_[:, -1]), (np.s_[:, -1], np.s_[:, 0]), (np.s_[0], np.s_[-1]), (np.s_[-1], np.s_[0])]
    for letter, (edge, against) in zip(view.edges, ends, strict=True):
        axis, sign = AXES[letter], 1 if letter in "RAS" else -1
        shown = view(places[..., axis]) * sign
        assert (shown[edge] > shown[against]).all()
    assert view.edges[0] in ("R", "A")
    assert view.edges[2] in ("S", "A")
    assert view.plane == {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal"}.get(axes[2], "sagittal")
    height, width = view(places[..., 0]).shape
    assert (view.pixel[0] * (height - 1), view.pixel[1] * (width - 1)) == pytest.approx(
        (2.0 * 3, 0.5 * 5) if height == 4 else (0.5 * 5, 2.0 * 3)
    )


def test_a_volume_without_a_place_is_shown_as_it_is_stored():
    image = np.arange(6).reshape(2, 3)
    for view in (View(), view_of(None), view_of(np.eye(4), placed=False)):
        assert np.array_equal(view(image), image)
        assert set(view.edges) == {""}
        assert view.pixel is None
        assert view.bar(300) == 0
    told = view_of(np.diag([0.5, 0.7, 3, 1]), placed=False)
    assert told.pixel == (0.5, 0.7)
    assert told.stretch == pytest.approx(5 / 7)
    assert set(told.edges) == {""}


@pytest.mark.parametrize(("width", "columns", "bar"), [(1, 240, 50), (0.4, 240, 20), (1.0, 400, 100), (1e-3, 10, 0)])
def test_a_bar_is_a_round_number_of_millimetres(width, columns, bar):
    assert View(pixel=(1.0, width)).bar(columns) == bar
