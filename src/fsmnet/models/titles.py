"""What people call a method: in pictures and tables no path of a file stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

TITLES = {
    "zero_filling": "Zero-filled",
    "pocs": "POCS",
    "mdunet": "MDUNet",
    "minet": "MINet",
    "mcca": "MCCA",
    "swinir": "SwinIR",
    "mtrans": "MTrans",
    "dcamsr": "DCAMSR",
    "fsmnet": "FSMNet",
    "fsmnet_released": "FSMNet as released",
    "fsmnet_fast": "FSMNet fast",
    "fsmnet_unrolled": "FSMNet unrolled",
}


def title_of(recipe: Mapping[str, Any]) -> str:
    """A method's name, with its width where that tells it from others, e.g. ``FSMNet, 16 features``.

    Args:
        recipe: of :func:`fsmnet.models.recipe_of`.
    """
    name = TITLES.get(recipe["name"], str(recipe["name"]).rpartition(":")[2])
    features = recipe.get("options", {}).get("features")
    return f"{name}, {features} features" if features else name


def titles_of(recipes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Titles of several methods; those that would share one are numbered in their order."""
    titles = [title_of(recipe) for recipe in recipes]
    shared, seen = Counter(titles), Counter[str]()
    for place, title in enumerate(titles):
        seen[title] += 1
        if shared[title] > 1:
            titles[place] = f"{title} ({seen[title]})"
    return titles
