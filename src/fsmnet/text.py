"""Texts that leave the program, so that what stands in a file's name or header steers nothing.

A terminal obeys control characters, a spreadsheet takes a cell that begins with ``=`` for a formula, a JSON reader may
stop at NaN, and a file's name need not be text at all.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def visible(text: str) -> str:
    r"""A line of text with everything shown that is no letter, sign or space.

    Control characters, escapes, what turns the direction of writing, line breaks, and bytes of a file's name that are
    no text come out as ``\x1b`` or ``\u202e``.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if _is_plain(letter) else _escaped(letter) for letter in text)


def json_text(value: Any, indent: int | None = 2) -> str:
    """A value as JSON; numbers that JSON does not know (NaN, infinite) become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV; None is an empty cell, and texts that a spreadsheet would take for formulas begin with ``'``."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def from_cell(text: str) -> str:
    """What :func:`csv_text` made a cell of."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def _cell(value: object) -> object:
    if not isinstance(value, str) or not _FORMULA.match(value):
        return value
    try:
        float(value)
    except ValueError:
        return "'" + value
    return value


def _is_plain(letter: str) -> bool:
    # Cc control, Cf format (of direction, joining, invisible), Cs bytes that are no text, Zl and Zp line breaks
    return letter == "\t" or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn")


def _escaped(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file's name
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value
