"""A picture like the paper's Fig. 2: reconstructions above, error maps below, one scale for each row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fsmnet.files import atomic_path, visible

Image = npt.NDArray[np.floating]
MARGIN = 6  # pixels kept around the anatomy


def comparison_picture(
    path: Path,
    reference: Image,
    auxiliary: Image,
    images: Mapping[str, Image],
    captions: Mapping[str, str],
    title: str = "",
) -> None:
    """Draw one slice by several methods.

    Args:
        path: PNG, SVG or PDF file.
        reference: fully sampled slice ``(H, W)``.
        auxiliary: the other contrast ``(H, W)``.
        images: method -> its slice ``(H, W)``, on the reference's scale.
        captions: method -> a second line under its name, e.g. its PSNR.
        title: line above everything.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = (_extent(reference.max(axis=axis)) for axis in (1, 0))
    brightest = float(reference.max())
    errors = {name: np.abs(image - reference)[rows, columns] / brightest for name, image in images.items()}
    # The worst method's 99.5th percentile, so that a few pixels do not hide everything else.
    largest = max(float(np.percentile(error, 99.5)) for error in errors.values()) or 1.0
    n = len(images) + 1
    height, width = (part.stop - part.start for part in (columns, rows))  # as shown, turned by 90 degrees
    figure = Figure(figsize=(2.6 * n + 0.7, 2 * 2.6 * height / width + 1.0), facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, n, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (name, image) in zip(axes[0], {"reference": reference, **images}.items(), strict=True):
        axis.imshow(np.rot90(image[rows, columns]), cmap="gray", vmin=0, vmax=brightest)
        axis.set_title("\n".join(map(_plain, filter(None, (name, captions.get(name, ""))))), color="white", fontsize=9)
    axes[1][0].imshow(np.rot90(auxiliary[rows, columns]), cmap="gray", vmin=0)
    axes[1][0].set_title("auxiliary", color="white", fontsize=9)
    maps = [
        axis.imshow(np.rot90(error), cmap="inferno", vmin=0, vmax=largest)
        for axis, error in zip(axes[1][1:], errors.values(), strict=True)
    ]
    bar = figure.colorbar(maps[-1], ax=axes[1].tolist(), fraction=0.02)
    bar.set_label("|error| / maximum of the reference", color="white", fontsize=8)
    bar.ax.tick_params(colors="white", labelsize=8)
    if title:
        figure.suptitle(_plain(title), color="white", fontsize=9)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _plain(text: str) -> str:
    """A text without anything that the font engine would stumble over or take for a formula."""
    return visible(text).replace("$", r"\$")


def _extent(profile: Image) -> slice:
    """From the first to the last entry above zero, with a margin."""
    places = np.flatnonzero(profile)
    return slice(max(0, int(places[0]) - MARGIN), min(profile.size, int(places[-1]) + 1 + MARGIN))
