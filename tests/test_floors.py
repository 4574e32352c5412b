"""The house: imports point down, rooms of one floor do not know each other, no cycle; only the command line prints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import floors

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "fsmnet"
TREES = floors.parse(PACKAGE)
EDGES = floors.imports(TREES)


def test_every_room_stands_on_a_floor():
    assert {floors.room_of(file) for file in TREES if file not in floors.OUTSIDE} <= set(floors.FLOOR_OF) | {"weights"}


def test_no_import_points_up():
    assert floors.upward(EDGES) == []


def test_rooms_of_one_floor_do_not_know_each_other():
    assert floors.crossing(EDGES) == []


def test_no_cycle():
    assert floors.cycles(EDGES) == []


def test_only_the_command_line_prints():
    assert floors.prints(TREES) == []


def test_no_model_imports_the_kernels():
    models = {file for file in TREES if file.startswith("models/") and not file.startswith("models/kernels/")}
    users = {file for file in models if any(target.startswith("models/kernels/") for target in EDGES[file])}
    assert users == set()


def test_few_files_stand_in_the_root():
    assert len([file for file in TREES if "/" not in file]) <= 10


def test_no_function_is_over_the_complexity():
    assert floors.complex_functions(PACKAGE) == []


def test_options_need_no_pytorch():
    modules = [f"fsmnet.{file.removesuffix('.py').replace('/', '.')}" for file in TREES if file.endswith("options.py")]
    assert len(modules) > 8
    lines = ["import sys", *(f"import {name}" for name in modules), "assert 'torch' not in sys.modules"]
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from fsmnet.data.volume import read", {"data/volume.py"}),
        ("from fsmnet.data import volume", {"data/volume.py"}),
        ("from fsmnet.data import something", {"data/__init__.py"}),
        ("import fsmnet.data.volume", {"data/volume.py"}),
        ("from .fourier import fft", {"physics/fourier.py"}),
        ("from ..data import volume", {"data/volume.py"}),
        ("def f():\n    from fsmnet.data.volume import read", {"data/volume.py"}),
        ("if TYPE_CHECKING:\n    from fsmnet.data.volume import Volume", {"data/volume.py"}),
        ("PLACE = 'fsmnet.data.volume:read'", {"data/volume.py"}),
        ("from fsmnet import __version__", set()),
        ("from fsmnet import reconstruct", {"__init__.py"}),
        ("GROUP = 'fsmnet.data'", set()),
        ("import numpy", set()),
    ],
)
def test_an_import_is_seen_wherever_it_stands(source, expected):
    files = ("__init__.py", "data/__init__.py", "data/volume.py", "physics/__init__.py", "physics/fourier.py")
    trees = {file: floors.ast.parse("") for file in files} | {"physics/masks.py": floors.ast.parse(source)}
    edges = floors.imports(trees)
    assert edges["physics/masks.py"] == expected
    assert len(floors.upward(edges)) == len(expected - {"physics/fourier.py"})


def test_cycles_and_crossings_are_seen():
    assert floors.cycles({"a.py": {"b.py"}, "b.py": {"c.py"}, "c.py": {"a.py"}, "d.py": {"a.py"}}) == [
        ["a.py", "b.py", "c.py"]
    ]
    assert floors.crossing({"models/a.py": {"data/b.py"}, "data/b.py": set()}) == ["models/a.py -> data/b.py"]


def test_printing_is_seen():
    source = "import sys\ndef f():\n    print(1)\nclass C:\n    def m(self):\n        sys.stdout.write('x')"
    trees = {"data/volume.py": floors.ast.parse(source), "cli/parser.py": floors.ast.parse(source)}
    assert floors.prints(trees) == ["data/volume.py: C.m", "data/volume.py: f"]
