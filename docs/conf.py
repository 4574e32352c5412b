"""Sphinx configuration."""

from pathlib import Path

import fsmnet
from fsmnet.cli.reference import page

(Path(__file__).parent / "commands.md").write_text(page(), encoding="utf-8")  # of the options as they are

project = "FSMNet"
author = copyright = "The FSMNet developers"
version = release = fsmnet.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_gallery.gen_gallery"]
html_theme = "furo"
html_title = f"FSMNet {release}"
exclude_patterns = ["_build", "gallery"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
myst_heading_anchors = 3
# Every page of the gallery is run while these pages are built, and one that fails stops the build.
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "abort_on_example_error": True,
    "within_subsection_order": "FileNameSortKey",
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
}
