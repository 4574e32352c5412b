"""Measures of the package's layout over its syntax trees; nothing is imported.

An import counts wherever it stands: at the top, inside a function, under ``TYPE_CHECKING``, or as a string that names a
module, to be imported later. Files are told by their path within the package, with "/" between.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

# From the bottom to the top. Imports point down only; what stands on one floor does not know each other.
FLOORS = (
    ("errors",),
    ("files", "registry", "text", "transforms"),
    ("options", "metrics", "pictures"),
    ("physics",),
    ("data", "models"),
    ("protocols",),
    ("checkpoint",),
    ("inference",),
    ("training", "reconstruction"),
    ("evaluation",),
    ("export", "trust"),
    ("pages", "benchmark"),
    ("cli",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
OUTSIDE = {"__init__.py", "__main__.py", "_version.py"}
MAX_COMPLEXITY = 12

Trees = Mapping[str, ast.Module]
Edges = Mapping[str, set[str]]


def parse(package: Path) -> dict[str, ast.Module]:
    """Every Python file of the package: path within it -> syntax tree."""
    files = sorted(package.rglob("*.py"))
    return {file.relative_to(package).as_posix(): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def room_of(file: str) -> str:
    return file.split("/")[0].removesuffix(".py")


def _modules(trees: Trees, package: str) -> dict[str, str]:
    """Dotted name -> file."""
    names = {}
    for file in trees:
        parts = [package, *file.removesuffix(".py").split("/")]
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return names


def _dotted(file: str, tree: ast.Module, package: str) -> Iterator[tuple[str, str | None]]:
    """What a file imports: (module, name taken from it, None for all of it, "" where it is only a string)."""
    here = [package, *file.removesuffix(".py").split("/")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here[: len(here) - node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield from ((module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value.split(":")[0], ""


def imports(trees: Trees, package: str = "fsmnet") -> dict[str, set[str]]:
    """File -> the package's files that it imports, in any way."""
    modules = _modules(trees, package)
    edges: dict[str, set[str]] = {}
    for file, tree in trees.items():
        found = set()
        for module, name in _dotted(file, tree, package):
            target = modules.get(f"{module}.{name}") or modules.get(module)
            named_package = name == "" and target is not None and target.endswith("__init__.py")  # "fsmnet.models"
            if target and not named_package and (module, name) != (package, "__version__"):
                found.add(target)
        edges[file] = found - {file}
    return edges


def _steps(edges: Edges, rooms: Mapping[str, str]) -> Iterator[tuple[str, str, int]]:
    """Every import between two rooms: the files, and by how many floors it goes down."""
    for file, targets in edges.items():
        for target in targets:
            here, there = (rooms.get(f, room_of(f)) for f in (file, target))
            if file not in OUTSIDE and target not in OUTSIDE and here != there:
                yield file, target, FLOOR_OF[here] - FLOOR_OF[there]


def upward(edges: Edges, rooms: Mapping[str, str] | None = None) -> list[str]:
    """Imports of a higher floor, or of the package's own front door; ``rooms`` tells rooms that paths do not."""
    found = [f"{file} -> {target}" for file, target, down in _steps(edges, rooms or {}) if down < 0]
    through = [f"{file} -> __init__.py" for file in edges if file not in OUTSIDE and "__init__.py" in edges[file]]
    return sorted(found + through)


def crossing(edges: Edges, rooms: Mapping[str, str] | None = None) -> list[str]:
    """Imports of another room on the same floor."""
    return sorted(f"{file} -> {target}" for file, target, down in _steps(edges, rooms or {}) if down == 0)


def cycles(edges: Edges) -> list[list[str]]:
    """Strongly connected sets of two files or more (Tarjan); the files that stand outside are left out."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(file: str) -> None:
        index[file] = low[file] = len(index)
        stack.append(file)
        for target in sorted(edges[file] - OUTSIDE):
            if target not in index:
                visit(target)
                low[file] = min(low[file], low[target])
            elif target in stack:
                low[file] = min(low[file], index[target])
        if low[file] == index[file]:
            at = stack.index(file)
            members = sorted(stack[at:])
            del stack[at:]
            if len(members) > 1:
                found.append(members)

    for file in sorted(edges):
        if file not in index and file not in OUTSIDE:
            visit(file)
    return sorted(found)


def reachable(edges: Edges, file: str) -> set[str]:
    """Everything that a file imports, directly or not."""
    seen: set[str] = set()
    ahead = [file]
    while ahead:
        for target in edges[ahead.pop()] - seen:
            seen.add(target)
            ahead.append(target)
    return seen


def prints(trees: Trees, rooms: Mapping[str, str] | None = None) -> list[str]:
    """Calls of ``print`` and uses of ``sys.stdout`` outside the command line, as ``file: function``."""
    found = []
    for file, tree in trees.items():
        if (rooms or {}).get(file, room_of(file)) in ("cli", "__main__"):
            continue
        for name, node in _named(tree):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            stream = isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.stdout"
            if called or stream:
                found.append(f"{file}: {name}")
    return sorted(found)


def _named(tree: ast.AST, name: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Every node with the dotted name of the function or class it stands in."""
    for node in ast.iter_child_nodes(tree):
        yield name, node
        scope = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        yield from _named(node, f"{name}.{node.name}".lstrip(".") if scope else name)


def complex_functions(package: Path, most: int = MAX_COMPLEXITY) -> list[str]:
    """Functions whose McCabe number, as ruff counts it, is above ``most``: ``file: name (number)``."""
    options = ["--isolated", "--no-cache", "--select", "C901", "--config", f"lint.mccabe.max-complexity={most}"]
    command = [sys.executable, "-m", "ruff", "check", *options, "--exit-zero", "--output-format", "json", str(package)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return sorted(
        "{}: {} ({})".format(
            Path(entry["filename"]).relative_to(package.resolve()).as_posix(),
            *re.findall(r"`(.*?)` is too complex \((\d+) >", entry["message"])[0],
        )
        for entry in found
    )


def lines(package: Path) -> dict[str, int]:
    return {
        file.relative_to(package).as_posix(): len(file.read_text(encoding="utf-8").splitlines())
        for file in sorted(package.rglob("*.py"))
    }


def code_lines(trees: Trees) -> int:
    """Lines with code on them: no blank line, no comment, no docstring."""
    total = 0
    for tree in trees.values():
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        skipped: set[int] = set()
        for node in ast.walk(tree):
            if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
                skipped |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
        total += len(_occupied(tree) - skipped)
    return total


def _occupied(tree: ast.Module) -> set[int]:
    """Line numbers on which a part of the syntax tree begins or ends."""
    places = [
        (n.lineno, n.end_lineno or n.lineno)
        for n in ast.walk(tree)
        if isinstance(n, (ast.expr, ast.stmt, ast.arg, ast.alias, ast.keyword))
    ]
    return {line for place in places for line in place}
