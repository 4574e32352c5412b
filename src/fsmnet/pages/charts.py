"""Curves and dots as pictures in the page (SVG by matplotlib), readable at a phone's width."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fsmnet.files import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Chart = dict[str, str]
MARKERS = "os^DvP*X"
WIDTH = 4.6  # inches
FEW = 20  # points of a curve up to which each is marked; one alone would not be seen


def plain(text: str) -> str:
    """A text without anything that the font engine would stumble over or take for a formula."""
    return visible(text).replace("$", r"\$")


def image_source(data: bytes, kind: str) -> str:
    """What ``src`` of an ``img`` takes, with the image in it."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _chart(height: float, says: str, draw: Any) -> Chart:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "fsmnet", "font.size": 10}):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.subplots()
        draw(axes)
        if axes.get_legend_handles_labels()[1]:
            figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # a method's name in other letters than the font's
            figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return {"source": image_source(file.getvalue(), "svg+xml"), "says": says}


def _style(number: int) -> dict[str, Any]:
    return {"color": f"C{number % 10}", "marker": MARKERS[number % len(MARKERS)], "markersize": 5}


def bands(explained: Mapping[str, Sequence[float | None]], upto: Sequence[float]) -> Chart:
    """The hold-out check: share of unseen lines' energy that methods explain, by frequency."""

    def draw(axes: Axes) -> None:
        begins = [0.0, *upto[:-1]]
        middles = [(begin + end) / 2 for begin, end in zip(begins, upto, strict=True)]
        for number, (name, shares) in enumerate(explained.items()):
            known = [(x, share) for x, share in zip(middles, shares, strict=True) if share is not None]
            if known:
                axes.plot(*zip(*known, strict=True), label=plain(name), **_style(number))
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_xlabel("frequency, share of the highest")
        axes.set_ylabel("explained share of the energy")
        axes.set_ylim(top=1.02)
        axes.set_ylim(bottom=max(-1.0, axes.get_ylim()[0]))
        axes.grid(alpha=0.3)

    return _chart(3.6, "Hold-out check: what is said of measured lines that were kept back; 1 is all, 0 nothing.", draw)


def dots(means: Mapping[str, Sequence[float]], intervals: Mapping[str, tuple[float, float] | None], what: str) -> Chart:
    """A dot for each patient, by method, with mean and interval."""

    def draw(axes: Axes) -> None:
        for place, (name, values) in enumerate(means.items()):
            row = len(means) - 1 - place
            axes.plot(values, [row] * len(values), "o", color=f"C{place % 10}", alpha=0.55, markersize=5)
            middle = sum(values) / len(values)
            if interval := intervals.get(name):
                axes.plot(interval, [row - 0.25] * 2, color="black", linewidth=1.5)
            axes.plot([middle], [row - 0.25], "|", color="black", markersize=9)
        axes.set_yticks(range(len(means)), [plain(name) for name in reversed([*means])])
        axes.set_ylim(-0.7, len(means) - 0.5)
        axes.set_xlabel(what)
        axes.grid(axis="x", alpha=0.3)

    return _chart(1.0 + 0.42 * len(means), f"{what}: a dot for each patient; below it the mean and its interval.", draw)


def _placed(names: Iterable[str], order: Sequence[str]) -> list[tuple[int, str]]:
    """Names with the numbers that their colours follow from: the same method looks alike in all pictures."""
    return [(order.index(name) if name in order else number, name) for number, name in enumerate(names)]


def curves(
    lines: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str, says: str, order: Sequence[str] = ()
) -> Chart:
    """Lines by name; ``order`` has all names that other pictures beside this one show."""

    def draw(axes: Axes) -> None:
        few = max(map(len, lines.values())) <= FEW
        for number, name in _placed(lines, order):
            points = lines[name]
            style = _style(number) if few else {"color": f"C{number % 10}"}
            axes.plot(*zip(*points, strict=True), label=plain(name), **style)
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.grid(alpha=0.3)

    return _chart(3.6, says, draw)


def scatter(
    points: Mapping[str, tuple[float, float]], across: str, up: str, says: str, order: Sequence[str] = ()
) -> Chart:
    """A point for each method; the horizontal axis is logarithmic; ``order`` as of :func:`curves`."""
    from matplotlib.ticker import LogLocator, NullLocator

    def draw(axes: Axes) -> None:
        for number, name in _placed(points, order):
            x, y = points[name]
            axes.plot([x], [y], linestyle="none", label=plain(name), **_style(number))
        axes.set_xscale("log")
        axes.margins(0.15)
        low, high = min(x for x, _ in points.values()), max(x for x, _ in points.values())
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 4 * low else (1, 1.5, 2, 3, 4, 5, 7)))
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.grid(alpha=0.3)

    return _chart(3.6, says, draw)
