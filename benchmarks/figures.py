"""What the scripts here share: seconds of a call, figures as they are written to a result, names of older versions."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def timed(call: Callable[[], T]) -> tuple[T, float]:
    begin = time.perf_counter()
    value = call()
    return value, time.perf_counter() - begin


def rounded(value: Any) -> Any:
    """Four significant digits; of a path that is called ``file``, its name."""
    if isinstance(value, dict):
        return {key: Path(entry).name if key == "file" else rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [rounded(entry) for entry in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def wherever(*places: str) -> Any:
    """The first of these ``module:name`` that the imported version of the package has; None if it has none."""
    for place in places:
        module, name = place.split(":")
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ModuleNotFoundError as error:
            if not str(error.name).startswith("fsmnet"):
                raise
            continue
        if found is not None:
            return found
    return None
