"""The gallery's pages, which are run where the documentation is built: here that they name what there is."""

from __future__ import annotations

import ast
import dataclasses
import importlib
from pathlib import Path

import pytest

import fsmnet
from fsmnet.evaluation.options import CompareConfig, EvaluateConfig
from fsmnet.reconstruction.options import ReconstructConfig
from fsmnet.training.options import TrainConfig

PAGES = sorted((Path(__file__).resolve().parents[1] / "docs" / "gallery").glob("plot_*.py"))
OPTIONS = {
    "fsmnet.train": TrainConfig,
    "fsmnet.evaluate": EvaluateConfig,
    "fsmnet.compare": CompareConfig,
    "fsmnet.reconstruct": ReconstructConfig,
}


def test_there_are_pages():
    assert len(PAGES) >= 10


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_what_a_page_imports_and_calls_is_there(path):
    """Imports, names of ``fsmnet``, and keywords of its functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("fsmnet"):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "fsmnet":
            assert hasattr(fsmnet, node.attr), node.attr
        if isinstance(node, ast.Call) and ast.unparse(node.func) in OPTIONS:
            known = {field.name for field in dataclasses.fields(OPTIONS[ast.unparse(node.func)])}
            assert {keyword.arg for keyword in node.keywords} <= known


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_begins_with_a_title_and_ends_with_something_to_see(path):
    text = path.read_text(encoding="utf-8")
    title, line = ast.get_docstring(ast.parse(text)).splitlines()[:2]
    assert len(line) == len(title)
    assert set(line) == {"="}
    assert "plt." in text or "print(" in text
