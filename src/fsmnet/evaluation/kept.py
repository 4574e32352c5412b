"""What a comparison left in its folder, read back: its definition, and of each method what was done and scored."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from fsmnet.errors import UserError, first_line
from fsmnet.files import from_cell, parse_json
from fsmnet.options import load_yaml

T = TypeVar("T")


def read_definition(path: Path) -> dict[str, Any]:
    """The options in ``compare.yaml``.

    Raises:
        UserError: damaged.
    """
    return _read(path, lambda text: dict(load_yaml(text)), "put it back, or choose another --out")


def read_done(folder: Path) -> dict[str, Any] | None:
    """What a finished method left: ``steps``, ``minutes`` and, of late, ``options``; None of any other.

    Raises:
        UserError: damaged.
    """

    def parsed(text: str) -> dict[str, Any]:
        done = dict(parse_json(text))
        return done | {"steps": int(done["steps"]), "minutes": float(done["minutes"])}

    path = folder / "done.json"
    return _read(path, parsed, "remove it, and the method is scored again") if path.exists() else None


def read_summary(scores: Path) -> dict[str, dict[str, Any]]:
    """Of a method's summary ``contents`` (case -> voxels) and ``seen_in_training`` (side -> cases), where they are.

    Raises:
        UserError: missing or damaged.
    """

    def parsed(text: str) -> dict[str, dict[str, Any]]:
        row = dict(parse_json(text)[0])
        contents = {str(case): str(what) for case, what in dict(row.get("contents") or {}).items()}
        seen = {str(side): [*map(str, cases)] for side, cases in dict(row.get("seen_in_training") or {}).items()}
        return {"contents": contents, "seen_in_training": seen}

    return _read(scores / "summary.json", parsed, _again(scores))


def read_scores(scores: Path, figures: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of a method's ``metrics.csv``; each has a case, and numbers for the figures that it has.

    Raises:
        UserError: missing or damaged.
    """

    def parsed(text: str) -> list[dict[str, str]]:
        found = csv.DictReader(io.StringIO(text), strict=True)
        rows = [{name: from_cell(value) for name, value in row.items()} for row in found]
        for row in rows:
            if not row["case"]:
                raise ValueError("a row without a case")
            for figure in figures:
                float(row.get(figure) or 0)
        return rows

    return _read(scores / "metrics.csv", parsed, _again(scores))


def _again(scores: Path) -> str:
    return f"remove {scores.parent / 'done.json'}, and the method is scored again"


def _read(path: Path, parsed: Callable[[str], T], remedy: str) -> T:
    try:
        return parsed(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: is gone; {remedy}") from None
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: damaged ({first_line(error)}); {remedy}") from None
    except (csv.Error, yaml.YAMLError) as error:
        raise UserError(f"{path}: damaged ({first_line(error)}); {remedy}") from None
