"""What is imported when: never torchvision or timm, and no PyTorch for help."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import fsmnet

EVERYTHING = """
import importlib, pkgutil, sys
import fsmnet
names = [module.name for module in pkgutil.walk_packages(fsmnet.__path__, "fsmnet.")]
for name in names:
    if name != "fsmnet.__main__":
        importlib.import_module(name)
for name in fsmnet.__all__:
    getattr(fsmnet, name)
assert len(names) > 25, names
print(*[name for name in ("torchvision", "timm", "fastmri", "deepinv", "mrpro") if name in sys.modules])
"""

HELP = """
import sys
from fsmnet.cli import main
try:
    main(["--help"])
except SystemExit as end:
    assert end.code == 0
heavy = [name for name in ("torch", "scipy", "nibabel", "matplotlib", "skimage") if name in sys.modules]
print("heavy:", *heavy)
"""

RECONSTRUCT = """
import sys
import fsmnet.cli.reconstruct
print("heavy:", *[name for name in ("torch", "scipy", "nibabel", "skimage", "SimpleITK") if name in sys.modules])
"""

FRONT_DOOR = """
import sys
import fsmnet
dir(fsmnet), fsmnet.UserError, fsmnet.__version__
print("heavy:", *[name for name in ("numpy", "torch", "yaml", "fsmnet.options") if name in sys.modules])
"""


def run(code: str) -> str:
    process = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    return process.stdout


def test_every_module_does_without_torchvision_and_timm():
    assert run(EVERYTHING).strip() == ""


def test_help_does_without_pytorch():
    output = run(HELP)
    assert "usage: fsmnet COMMAND ..." in output
    assert output.splitlines()[-1] == "heavy:"


def test_files_can_be_read_before_pytorch_is_there():
    assert run(RECONSTRUCT).strip() == "heavy:"


def test_the_front_door_opens_at_once():
    assert run(FRONT_DOOR).strip() == "heavy:"


def test_public_names_are_listed_alike_for_people_and_for_type_checkers():
    tree = ast.parse(Path(fsmnet.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    checked = {alias.name: node.module for node in block.body for alias in node.names}
    assert checked == fsmnet._PLACES
    assert sorted([*checked, "__version__"]) == fsmnet.__all__ == dir(fsmnet)


def test_every_public_name_has_a_place_in_the_reference():
    listed = (Path(__file__).resolve().parents[1] / "docs" / "api.rst").read_text(encoding="utf-8")
    assert [name for name in fsmnet.__all__ if name != "__version__" and f":: fsmnet.{name}\n" not in listed] == []
