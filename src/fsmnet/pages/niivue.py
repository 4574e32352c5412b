"""NiiVue, the viewer of the page: its JavaScript is taken from an installed package, which nilearn is."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

NAME, LICENCE = "NiiVue", "BSD 2-Clause, Copyright (c) 2021, Niivue"
SCRIPT = "_assets/js/niivue.umd.js"  # within nilearn, from version 0.14


def niivue() -> str | None:
    """The viewer's script; None where no package brings it."""
    spec = find_spec("nilearn")
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        path = Path(folder) / SCRIPT
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return None
