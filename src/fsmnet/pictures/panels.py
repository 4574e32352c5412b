"""Panels on a dark ground: a slice each, with a title, edges' letters, a millimetre bar; below them the mask.

Drawn by Pillow, which takes a hundredth of a second: every reconstruction gets its picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from fsmnet.files import atomic_path, visible
from fsmnet.pictures.view import Image, View

PERCENTILE = 99.5  # of the pixels above zero: the brightest few would make everything else dark
ERROR_SCALE = "% of the\nreference's\nmaximum"
SIDE, GAP, LINE = 300, 10, 17  # pixels: longer side of a panel, between panels, a line of text
SCALE = 88  # width that an error scale takes
STRIP = 12  # height of the mask
GROUND, INK, FAINT = (0, 0, 0), (240, 240, 240), (170, 170, 170)


@dataclass(frozen=True)
class Panel:
    """One slice.

    Attributes:
        title: what it is, in a name that people know.
        image: as it is shown, see :class:`fsmnet.pictures.view.View`; real ``(rows, columns)``.
        top: value that is shown brightest; 0 is black.
        caption: a second line.
        scale: unit of a scale beside it, in lines, for maps in colour; grey without one.
    """

    title: str
    image: Image
    top: float
    caption: str = ""
    scale: str = ""


@dataclass(frozen=True)
class Picture:
    """Rows of panels, all of one size.

    Attributes:
        rows: of panels; a place may be empty.
        view: how the slices lie.
        title: line above everything.
        columns: the mask, bool ``(W,)``; None for none.
        notes: lines below everything.
    """

    rows: Sequence[Sequence[Panel | None]]
    view: View
    title: str = ""
    columns: npt.NDArray[np.bool_] | None = None
    notes: Sequence[str] = field(default_factory=tuple)

    def save(self, path: Path) -> None:
        """Write the picture; the form is chosen by the name."""
        with atomic_path(path) as temporary:
            draw(self).save(temporary)


def window(image: Image) -> float:
    """The :data:`PERCENTILE` of the pixels above zero; 1 where there is none."""
    bright = image[image > 0]
    return float(np.percentile(bright, PERCENTILE)) if bright.size else 1.0


def content(image: Image, margin: int = 6) -> tuple[slice, slice]:
    """Rows and columns with something in them, and a margin; all of a slice that is empty."""
    parts = []
    for axis in (1, 0):
        places = np.flatnonzero(image.max(axis=axis) > 0)
        first, last = (places[0], places[-1]) if places.size else (0, image.shape[1 - axis] - 1)
        parts.append(slice(max(0, int(first) - margin), min(image.shape[1 - axis], int(last) + 1 + margin)))
    return parts[0], parts[1]


def draw(picture: Picture) -> Pillow.Image:
    """The picture's pixels."""
    first = next(panel for row in picture.rows for panel in row if panel is not None)
    height, width = _size(first.image.shape, picture.view.stretch)
    with_scale = any(panel is not None and panel.scale for row in picture.rows for panel in row)
    across = max(map(len, picture.rows)) * (width + GAP) + GAP + (SCALE if with_scale else 0)
    heads = [2 if any(panel is not None and panel.caption for panel in row) else 1 for row in picture.rows]
    masked = picture.columns is not None
    below = (STRIP + LINE + GAP if masked else 0) + len(picture.notes) * LINE + GAP
    down = (LINE + GAP if picture.title else 0) + sum(height + n * LINE + GAP for n in heads) + below
    canvas = Pillow.new("RGB", (across, down), GROUND)
    pen = _Pen(canvas)
    y = GAP // 2
    if picture.title:
        pen.text((GAP, y), picture.title)
        y += LINE + GAP
    for lines, row in zip(heads, picture.rows, strict=True):
        for number, panel in enumerate(row):
            if panel is not None:
                x = GAP + number * (width + GAP)
                _draw_panel(pen, panel, picture.view, (x, y), (width, height), lines)
                if panel.scale and (number == len(row) - 1 or row[number + 1] is None):
                    _draw_scale(pen, panel, (x + width + 8, y + lines * LINE), height)
        y += height + lines * LINE + GAP
    if picture.columns is not None:
        y = _draw_mask(pen, picture.columns, (GAP, y), across - 2 * GAP)
    for note in picture.notes:
        pen.text((GAP, y), note, FAINT, size=12)
        y += LINE
    return canvas


class _Pen:
    def __init__(self, canvas: Pillow.Image) -> None:
        self.canvas, self.draw = canvas, ImageDraw.Draw(canvas)

    def text(self, place: tuple[float, float], text: str, ink: tuple[int, int, int] = INK, **more: Any) -> None:
        """One line; ``anchor`` as Pillow has it, ``most`` the width that it may take."""
        font = ImageFont.load_default(more.pop("size", 13))
        text, most = visible(text), more.pop("most", None)
        while most and len(text) > 1 and font.getlength(text) > most:
            text = text[:-2] + "\N{HORIZONTAL ELLIPSIS}"
        self.draw.text(place, text, ink, font, **more)


def _size(shape: tuple[int, ...], stretch: float) -> tuple[int, int]:
    """Height and width of a panel for a slice."""
    height, width = shape[0] * stretch, float(shape[1])
    factor = SIDE / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def colours(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Black, red, yellow, white for 0 to 1: the colour map known as hot; ``(..., 3)``."""
    return np.asarray(255 * np.clip(np.stack([3 * values, 3 * values - 1, 3 * values - 2], -1), 0, 1), np.uint8)


def pixels(panel: Panel) -> Pillow.Image:
    """A slice in its window, one pixel for each of its own."""
    values = np.clip(panel.image.astype(np.float64) / (panel.top or 1.0), 0, 1)
    return Pillow.fromarray(colours(values) if panel.scale else np.asarray(np.rint(255 * values), np.uint8))


def _draw_panel(pen: _Pen, panel: Panel, view: View, place: tuple[int, int], size: tuple[int, int], lines: int) -> None:
    (x, y), (width, height) = place, size
    pen.text((x, y), panel.title, most=width)
    if panel.caption:
        pen.text((x, y + LINE), panel.caption, FAINT, size=12, most=width)
    y += lines * LINE
    pen.canvas.paste(pixels(panel).resize(size, Pillow.Resampling.BICUBIC).convert("RGB"), (x, y))
    left, right, above, below = view.edges
    edge: dict[str, Any] = {"size": 12, "stroke_width": 2, "stroke_fill": GROUND}
    pen.text((x + 4, y + height / 2), left, anchor="lm", **edge)
    pen.text((x + width - 4, y + height / 2), right, anchor="rm", **edge)
    pen.text((x + width / 2, y + 3), above, anchor="mt", **edge)
    pen.text((x + width / 2, y + height - 4), below, anchor="mb", **edge)
    if view.pixel and (bar := view.bar(panel.image.shape[1])):
        long = round(bar / view.pixel[1] * width / panel.image.shape[1])
        ends = (x + width - 8 - long, y + height - 6), (x + width - 8, y + height - 6)
        pen.draw.line(ends, INK, 2)
        pen.text((x + width - 8, y + height - 10), f"{bar} mm", size=11, anchor="rb")


def _draw_scale(pen: _Pen, panel: Panel, place: tuple[int, int], height: int) -> None:
    (x, y), ramp = place, np.linspace(1, 0, height)[:, None]
    pen.canvas.paste(Pillow.fromarray(colours(np.repeat(ramp, 12, 1))), place)
    pen.text((x + 16, y), rounded(panel.top), size=11, anchor="lt")
    pen.text((x + 16, y + height), "0", size=11, anchor="lb")
    for number, word in enumerate(panel.scale.splitlines()):
        pen.text((x + 16, y + height / 3 + number * 14), word, FAINT, size=11, most=SCALE - 26)


def rounded(value: float) -> str:
    """Two digits, as one reads them: 130, not 1.3e+02."""
    return f"{float(f'{value:.2g}'):g}"


def _draw_mask(pen: _Pen, columns: npt.NDArray[np.bool_], place: tuple[int, int], width: int) -> int:
    """The mask's columns as a strip; the place below it."""
    x, y = place
    count, every = int(columns.sum()), columns.size
    pen.text((x, y), f"k-space lines measured: {count} of {every} ({every / max(count, 1):.2f}x)", FAINT, size=12)
    strip = Pillow.fromarray(np.where(columns, 235, 45).astype(np.uint8)[None])
    pen.canvas.paste(strip.resize((width, STRIP), Pillow.Resampling.NEAREST).convert("RGB"), (x, y + LINE))
    return y + LINE + STRIP + GAP // 2
