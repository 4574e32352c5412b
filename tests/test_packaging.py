"""What is imported is declared, what is declared is imported, and the lists of packages agree with each other."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

import floors
from fsmnet.cli.doctor import OPTIONAL

ROOT = Path(__file__).resolve().parents[1]
# Distributions whose module is called otherwise.
MODULES = {"scikit-image": "skimage", "PyYAML": "yaml", "pillow": "PIL", "dask-jobqueue": "dask_jobqueue"}
# Declared, and used by another: PyTorch writes TensorBoard's files, the dashboard of distributed is made with Bokeh.
THROUGH_OTHERS = {"tensorboard", "bokeh"}


def project() -> dict:
    """The table [project] of pyproject.toml."""
    tomllib = pytest.importorskip("tomllib")  # of Python 3.11
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements: list[str]) -> set[str]:
    found = {re.split(r"[\[<>=; ]", requirement)[0] for requirement in requirements}
    return {MODULES.get(name, name) for name in found}


def imported() -> set[str]:
    """Modules of others that the package imports, at the top or within functions."""
    found = set()
    for tree in floors.parse(ROOT / "src" / "fsmnet").values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"fsmnet"}


def optional() -> dict[str, set[str]]:
    """Extra -> modules, of those that a user installs."""
    extras = project()["optional-dependencies"]
    return {extra: names(needs) for extra, needs in extras.items() if extra not in ("dev", "docs", "release")}


def test_what_is_imported_is_declared():
    declared = names(project()["dependencies"]) | set().union(*optional().values())
    assert imported() - declared == set()
    assert declared - imported() - THROUGH_OTHERS == set()


def test_the_doctor_knows_every_optional_package():
    assert set(OPTIONAL) == set().union(*optional().values())
    assert all(package in optional()[extra] for package, (_, extra) in OPTIONAL.items())


def test_hooks_take_the_pinned_versions():
    hooks = set(re.findall(r"\[([a-z-]+==[\d.]+)\]", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")))
    pinned = set(re.findall(r"^[\w.-]+==[\d.]+", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
    assert hooks - pinned == {"pre-commit-hooks==6.0.0"}


def test_every_python_of_the_workflow_is_declared():
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    [versions] = re.findall(r"python: \[(.*)\]", workflow)
    declared = [line.rsplit(" ", 1)[1] for line in project()["classifiers"] if re.search(r"Python :: 3\.\d+$", line)]
    assert re.findall(r"[\d.]+", versions) == declared
    for command in ("make demo", "make test", "make lint", "make docs"):
        assert f"- run: {command}\n" in workflow
