"""The figure for print, as the paper's Fig. 2: methods in columns, a part of each magnified, error maps below."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import uniform_filter

from fsmnet.errors import UserError
from fsmnet.evaluation.picture import Image, Shown, load_shown, worst_window
from fsmnet.files import visible
from fsmnet.pictures.figures import save_figure
from fsmnet.pictures.panels import content, window

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = (".pdf", ".png", ".svg")
COLUMN = 1.25  # inches
ZOOM = 0.28  # of the slice's shorter side: the part that is magnified
BOX = "#ffd21f"


def magnified(reference: Image) -> tuple[slice, slice]:
    """The square of a slice that has most edges in the reference: chosen without looking at any method."""
    side = max(4, round(ZOOM * min(reference.shape)))
    edges = np.hypot(*np.gradient(reference.astype(np.float64)))
    sums = uniform_filter(edges, side, mode="constant")
    half = side // 2
    inside = sums[half : reference.shape[0] - half, half : reference.shape[1] - half]
    row, column = np.unravel_index(int(inside.argmax()), inside.shape)
    return slice(int(row), int(row) + side), slice(int(column), int(column) + side)


def print_figure(shown: Shown, path: Path) -> None:
    """Write the figure as PDF, PNG or SVG, on white, at 300 dots an inch.

    Raises:
        UserError: another form.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if path.suffix not in KINDS:
        raise UserError(f"{path}: a figure is one of {', '.join(KINDS)}; choose another ending")
    rows, columns = content(shown.reference)
    view, errors = shown.view, shown.errors()

    def cut(image: Image) -> Image:
        return view(image[rows, columns])

    truth = cut(shown.reference)
    zoom, top, worst = magnified(truth), window(shown.reference), worst_window(errors)
    images = {"Reference": truth} | {name: cut(image) for name, image in shown.images.items()}
    tall = truth.shape[0] / truth.shape[1] * view.stretch
    with rc_context({"font.size": 7, "pdf.fonttype": 42, "svg.hashsalt": "fsmnet"}):
        figure = Figure(
            figsize=(COLUMN * len(images) + 0.5, COLUMN * (2 * tall + view.stretch) + 0.5), layout="constrained"
        )
        FigureCanvasAgg(figure)
        axes = figure.subplots(3, len(images), squeeze=False, height_ratios=[tall, view.stretch, tall])
        for axis in axes.flat:
            axis.set_axis_off()
        for number, (name, image) in enumerate(images.items()):
            lines = [name, *shown.captions.get(name, "").split(", ")]
            axes[0][number].set_title("\n".join(_plain(line) for line in lines if line), fontsize=7)
            _show(axes[0][number], image, top, view.stretch)
            _frame(axes[0][number], zoom)
            _show(axes[1][number], image[zoom], top, view.stretch)
        _show(axes[2][0], cut(shown.auxiliary), window(shown.auxiliary[rows, columns]), view.stretch)
        axes[2][0].set_title(_plain(f"{shown.contrasts[1]} (auxiliary)"), fontsize=7)
        map_ = None
        for axis, error in zip(axes[2][1:], errors.values(), strict=True):
            map_ = axis.imshow(cut(error), cmap="inferno", vmin=0, vmax=worst, aspect=view.stretch)
        if map_ is not None:
            bar = figure.colorbar(map_, ax=axes[2].tolist(), fraction=0.02)
            bar.set_label("|error|, % of maximum")
        _edges(axes[0][0], view.edges)
        dated = {"CreationDate": None} if path.suffix == ".pdf" else {"Date": None} if path.suffix == ".svg" else {}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # a method's name in other letters than the font's
            save_figure(figure, path, dpi=300, metadata=dated)


def draw_figure(folder: Path, path: Path) -> None:
    """The figure of an evaluation's slice, or of a comparison's, whose methods are put side by side.

    Raises:
        UserError: its slice was not kept.
    """
    print_figure(of_folder(folder), path)


def of_folder(folder: Path) -> Shown:
    """The slice that an evaluation kept.

    Raises:
        UserError: it kept none.
    """
    path = folder / "picture.npz"
    if not path.is_file():
        raise UserError(f"{path}: is missing; evaluations from before it was kept have no figure, so run it again")
    return load_shown(path)


def together(parts: Sequence[tuple[str, Shown]]) -> Shown:
    """One slice by several methods that were scored apart.

    Raises:
        UserError: they show different slices.
    """
    first = parts[0][1]
    images, captions = {}, {}
    for name, one in parts:
        if not np.array_equal(one.reference, first.reference):
            raise UserError(f"{name}: its slice is another than that of {parts[0][0]}; score both again")
        title, image = next(iter(one.images.items()))
        images[name], captions[name] = image, one.captions.get(title, "")
    return Shown(
        first.reference, first.auxiliary, images, captions, first.title, first.contrasts, first.columns, first.affine
    )


def _plain(text: str) -> str:
    """A text without anything that the font engine would stumble over or take for a formula."""
    return visible(text).replace("$", r"\$")


def _show(axis: Axes, image: Image, top: float, stretch: float) -> None:
    axis.imshow(image, cmap="gray", vmin=0, vmax=top, aspect=stretch)


def _frame(axis: Axes, zoom: tuple[slice, slice]) -> None:
    from matplotlib.patches import Rectangle

    rows, columns = zoom
    size = columns.stop - columns.start, rows.stop - rows.start
    axis.add_patch(Rectangle((columns.start, rows.start), *size, fill=False, edgecolor=BOX, linewidth=0.8))


def _edges(axis: Axes, letters: Sequence[str]) -> None:
    for letter, x, side in zip(letters[:2], (0.02, 0.98), ("left", "right"), strict=True):
        axis.text(x, 0.5, letter, color="white", ha=side, va="center", transform=axis.transAxes)
