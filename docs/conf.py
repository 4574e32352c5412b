"""Sphinx configuration."""

import fsmnet

project = "FSMNet"
author = copyright = "The FSMNet developers"
version = release = fsmnet.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"FSMNet {release}"
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
myst_heading_anchors = 3
