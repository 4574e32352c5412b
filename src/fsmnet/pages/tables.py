"""Cells of tables: what is read, and what is sorted by."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: as it is read.
        value: what the table is sorted by; the text itself where it is empty.
    """

    text: str
    value: str = ""


def cell(number: float | None, digits: int, *, infinite: bool = False, spread: float | None = None) -> Cell:
    """A figure with so many digits, and its deviation; None is no figure, or with ``infinite`` that of equal images."""
    if number is None or math.isinf(number):
        return Cell("infinite", "1e999") if infinite else Cell("")
    text = f"{number:.{digits}f}"
    return Cell(text if spread is None else f"{text} \N{PLUS-MINUS SIGN} {spread:.{digits}f}", repr(float(number)))
