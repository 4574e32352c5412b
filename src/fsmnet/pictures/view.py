"""How a slice lies for the eye: which way is up, which letters stand at its edges, how large a pixel is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[Any]

PLANES = {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal", "L": "sagittal", "R": "sagittal"}
OPPOSITE = dict(zip("LRAPSI", "RLPAIS", strict=True))
BARS = (100, 50, 20, 10, 5, 2, 1)  # millimetres


@dataclass(frozen=True)
class View:
    """From slices ``(H, W)`` as they are stored to slices as they are shown, the radiologist's way.

    Superior is up, else anterior; the patient's right is at the left edge, else anterior.

    Attributes:
        swapped: rows and columns change places, before anything is turned round.
        flipped: whether rows, and whether columns, are turned round.
        edges: letters at the left, right, upper and lower edge; empty where the place in space is not known.
        pixel: height and width of a pixel as shown, in millimetres; None if not known.
        plane: axial, coronal or sagittal; empty if not known.
    """

    swapped: bool = False
    flipped: tuple[bool, bool] = (False, False)
    edges: Sequence[str] = ("", "", "", "")
    pixel: tuple[float, float] | None = None
    plane: str = ""

    def __call__(self, image: Image) -> Image:
        """A slice ``(H, W)`` as it is shown."""
        shown = image.T if self.swapped else image
        for axis, flip in enumerate(self.flipped):
            shown = np.flip(shown, axis) if flip else shown
        return shown

    @property
    def stretch(self) -> float:
        """Height of a pixel as shown over its width."""
        return self.pixel[0] / self.pixel[1] if self.pixel else 1.0

    def bar(self, columns: int) -> int:
        """Millimetres that a bar of about a fifth to a half of so many columns stands for; 0 if that is not known."""
        if self.pixel is None:
            return 0
        return next((length for length in BARS if length <= 0.4 * columns * self.pixel[1]), 0)


def view_of(affine: npt.NDArray[Any] | None, placed: bool = True) -> View:
    """The view of slices ``data[k]`` of a volume ``(S, H, W)``.

    Args:
        affine: ``(4, 4)``, indices (i, j, k) of the voxel ``data[k, i, j]`` to millimetres; None if not known.
        placed: whether it places the volume in the patient. Otherwise the slices are shown as they are stored.
    """
    if affine is None or (not placed and np.array_equal(affine, np.eye(4))):
        return View()
    rows, columns, _ = (float(x) for x in np.linalg.norm(affine[:3, :3], axis=0))
    if not placed:
        return View(pixel=(rows, columns))
    towards = nib.aff2axcodes(affine)  # letters that the indices i, j and k grow towards
    swapped = towards[0] in "LR" or (towards[0] in "AP" and towards[1] in "SI")
    vertical, horizontal = (towards[1], towards[0]) if swapped else (towards[0], towards[1])
    up, left = (vertical in "SA", horizontal in "RA")
    edges = [horizontal, OPPOSITE[horizontal], vertical, OPPOSITE[vertical]]
    if not left:
        edges[:2] = edges[1], edges[0]
    if not up:
        edges[2:] = edges[3], edges[2]
    pixel = (columns, rows) if swapped else (rows, columns)
    return View(swapped, (up, left), tuple(edges), pixel, PLANES[towards[2]])
