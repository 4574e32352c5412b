"""What the scripts here share: seconds of a call, and figures as they are written to a result."""

from __future__ import annotations

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
