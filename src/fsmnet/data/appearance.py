"""What a scan of a head looks like: is its fluid bright or dark, is the skull there?

Both are judged only where they are plain; a scan that shows neither is ``unknown``, never forced into a kind. The
bounds were set on nine patients (skull-stripped and as scanned, 1 mm and 2D, T1, T1ce, T2, FLAIR), whole and
under-sampled up to 8x; the numbers stand beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.floating]
Fluid = Literal["bright", "dark", "unknown"]
Head = Literal["stripped", "whole", "unknown"]

# Contrasts by their fluid. FLAIR is one of the dark ones, whatever its weighting.
FLUID: dict[str, Fluid] = {"t1": "dark", "t1ce": "dark", "flair": "dark", "t2": "bright"}

# (p98 + p2 - 2 p50) / (p98 - p2) in the middle of the head: fluid is its longer tail. T2: 0.26 to 0.76;
# T1, T1ce and FLAIR: -0.66 to -0.11.
BRIGHT, DARK = 0.2, -0.1
# A few slices may show hardly any fluid. FLAIR in slabs of three: up to 0.29; T2: 0.42 at least.
BRIGHT_FEW, DARK_FEW, FEW = 0.4, -0.2, 8

# Least over two depths below the outline of the fifth-darkest value, as a share of the brain's median: bone is dark.
BONE, BRAIN = 0.31, 0.37
DEPTHS = ((0.1, 0.15), (0.15, 0.2))  # of the greatest distance from the outline

SIZE = 96  # pixels along a side to which slices are brought, by averaging
SLICES = 24


@dataclass(frozen=True)
class Appearance:
    """How an image of a head looks.

    Attributes:
        fluid: brightness of cerebrospinal fluid against the brain.
        head: whether the skull was removed.
    """

    fluid: Fluid
    head: Head

    def contrasts(self) -> tuple[str, ...]:
        """Contrasts that look so; none if the fluid does not show."""
        return tuple(name for name, fluid in FLUID.items() if fluid == self.fluid)


UNKNOWN = Appearance("unknown", "unknown")


def appearance(data: Image, outline: Image | None = None) -> Appearance:
    """What an image looks like.

    Args:
        data: magnitudes ``(S, H, W)``.
        outline: of the same size, the whole image of another contrast; for an image that lacks lines, whose own outline
            is folded over. Its head is not judged then.
    """
    shape = data if outline is None else outline
    content = np.flatnonzero((shape > 0).mean(axis=(1, 2)) > 0.03)
    if not content.size or min(data.shape[1:]) < 24:
        return UNKNOWN
    # The middle of what there is, so that it does not matter in which order the slices are.
    inner = content[len(content) // 4 : max(len(content) // 4 + 1, 3 * len(content) // 4)]
    chosen = inner[:: max(1, len(inner) // SLICES)]
    small = _small(data[chosen])
    fluid = _fluid(small, small if outline is None else _small(outline[chosen]), few=content.size < FEW)
    return Appearance(fluid, _head(small) if outline is None else "unknown")


def _small(slices: Image) -> Image:
    """Slices of about :data:`SIZE` pixels along each side."""
    rows, columns = (max(1, round(side / SIZE)) for side in slices.shape[1:])
    n, height, width = len(slices), slices.shape[1] // rows, slices.shape[2] // columns
    blocks = slices[:, : height * rows, : width * columns].astype(np.float32)
    return np.asarray(blocks.reshape(n, height, rows, width, columns).mean(axis=(2, 4)))


def _fluid(small: Image, outline: Image, few: bool) -> Fluid:
    """Of the values in an ellipse over half of the head, which is brain and the fluid within it."""
    shown = (outline > 0.1 * np.percentile(outline, 99)).mean(axis=0) > 0.1
    axes = [np.flatnonzero(shown.any(axis=1 - axis)) for axis in (0, 1)]
    if not all(axis.size > 8 for axis in axes):
        return "unknown"
    places = [
        ((np.arange(side) - (axis[0] + axis[-1]) / 2) / (0.35 * axis.size)) ** 2
        for side, axis in zip(small.shape[1:], axes, strict=True)
    ]
    inside = small[:, places[0][:, None] + places[1] <= 1]
    values = inside[inside > 0.02 * np.percentile(inside, 99)]
    if not values.size:
        return "unknown"
    low, middle, high = np.percentile(values, [2, 50, 98])
    tail = (high + low - 2 * middle) / max(high - low, 1e-12)
    bright, dark = (BRIGHT_FEW, DARK_FEW) if few else (BRIGHT, DARK)
    return "bright" if tail >= bright else "dark" if tail <= dark else "unknown"


def _head(small: Image) -> Head:
    """By the ring below the outline: brain, or bone, which no contrast shows."""
    from scipy import ndimage

    if not small.any():
        return "unknown"
    threshold = 0.15 * np.percentile(small[small > 0], 98)
    rings: list[list[Image]] = [[] for _ in DEPTHS]
    for one in small:
        closed = ndimage.binary_closing(np.pad(one > threshold, 8), iterations=3)
        labels, count = ndimage.label(ndimage.binary_fill_holes(closed)[8:-8, 8:-8])
        if not count:
            continue
        head = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
        depth = ndimage.distance_transform_edt(head)
        if depth.max() < 8:
            continue
        depth = depth / depth.max()
        brain = max(float(np.median(one[depth > 0.5])), 1e-12)
        for ring, (above, below) in zip(rings, DEPTHS, strict=True):
            ring.append(one[(depth > above) & (depth <= below)] / brain)
    if not rings[0]:
        return "unknown"
    darkest = min(float(np.percentile(np.concatenate(ring), 20)) for ring in rings)
    return "whole" if darkest < BONE else "stripped" if darkest > BRAIN else "unknown"
