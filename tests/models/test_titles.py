"""What people call the methods."""

from __future__ import annotations

import pytest

from fsmnet.models import MODELS, create_model, recipe_of
from fsmnet.models.titles import TITLES, title_of, titles_of


def test_every_method_has_a_title():
    assert set(TITLES) == {name for name in MODELS if str(MODELS.get(name).place).startswith("fsmnet.")}


@pytest.mark.parametrize(
    ("recipe", "title"),
    [
        ({"name": "fsmnet", "options": {"features": 16}}, "FSMNet, 16 features"),
        (recipe_of(create_model("fsmnet_unrolled", steps=1)), "FSMNet unrolled"),
        ({"name": "zero_filling", "options": {}}, "Zero-filled"),
        ({"name": "my_package.networks:Net"}, "Net"),
    ],
)
def test_titles(recipe, title):
    assert title_of(recipe) == title


def test_methods_of_one_title_are_numbered():
    one, other = {"name": "pocs"}, {"name": "minet"}
    assert titles_of([one, other, one]) == ["POCS (1)", "MINet", "POCS (2)"]
