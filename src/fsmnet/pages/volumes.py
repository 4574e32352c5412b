"""Volumes small enough to travel in a page: cut to the head, 8 bits, packed, and coarser where that is not enough."""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from fsmnet.data.volume import Array
from fsmnet.pages.scan import Shown

MARGIN = 4  # voxels kept around the content
VOXELS = 24_000_000  # of one layer at most: what a phone's graphics memory takes several times
BRIGHTER = 1.6  # times what is shown brightest is the most that 8 bits tell apart
AXES = {"L": 0, "R": 0, "P": 1, "A": 1, "S": 2, "I": 2}


@dataclass(frozen=True)
class Packed:
    """Layers as the page takes them.

    Attributes:
        volumes: by layer the NIfTI file (``.nii.gz``) in base64.
        scan: what the viewer must know.
        note: how they were reduced, in words; empty if they were not.
    """

    volumes: dict[str, str]
    scan: dict[str, Any]
    note: str


def packed(shown: Shown, most: int) -> Packed:
    """Pack the layers of a reconstruction into ``most`` bytes, halving the resolution in the slices until they fit."""
    box = _box(shown.layers[0].data)
    affine = shown.affine.copy()
    affine[:3, 3] = affine[:3] @ [box[1].start, box[2].start, box[0].start, 1]
    layers = {layer.key: layer.data[box] for layer in shown.layers}
    reduced, volumes = 1, dict[str, str]()
    while True:
        if next(iter(layers.values())).size <= VOXELS:
            volumes = {layer.key: _encoded(layers[layer.key], layer.top, affine) for layer in shown.layers}
            if sum(map(len, volumes.values())) <= most or min(next(iter(layers.values())).shape[1:]) < 64:
                break
        layers, affine, reduced = {key: _halved(data) for key, data in layers.items()}, _coarser(affine), 2 * reduced
    note = "" if reduced == 1 else f"in this page slices have 1/{reduced} of their resolution, to keep it small"
    return Packed(volumes, _scan(shown, affine, box[0]), note)


def _scan(shown: Shown, affine: npt.NDArray[np.float64], slices: slice) -> dict[str, Any]:
    across = nib.aff2axcodes(affine)[2]
    return {
        "layers": [
            {"key": one.key, "title": one.title, "top": one.top, "coloured": one.coloured, "says": one.says}
            for one in shown.layers
        ],
        "axis": AXES[across],
        "backwards": across in "LPI",
        "first": slices.start,
        "slices": slices.stop - slices.start,
        "placed": shown.placed,
    }


def _box(data: Array) -> tuple[slice, slice, slice]:
    """Where there is content, slices without any left out; everything of an empty volume."""
    box = []
    for axis in range(3):
        places = np.flatnonzero((data > 0).any(axis=tuple({0, 1, 2} - {axis})))
        margin = 0 if axis == 0 else MARGIN
        first, last = (places[0], places[-1]) if places.size else (0, data.shape[axis] - 1)
        box.append(slice(max(0, int(first) - margin), min(data.shape[axis], int(last) + 1 + margin)))
    return box[0], box[1], box[2]


def _halved(data: Array) -> Array:
    """Means of two by two pixels; an odd row or column at the end is left out."""
    height, width = (size // 2 * 2 for size in data.shape[1:])
    even = data[:, :height, :width]
    mean: Array = (even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]) / np.float32(4)
    return mean


def _coarser(affine: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The affine of halved slices: the first voxel's centre lies between those of four."""
    return np.asarray(affine @ np.array([[2, 0, 0, 0.5], [0, 2, 0, 0.5], [0, 0, 1, 0], [0, 0, 0, 1]]))


def _encoded(data: Array, top: float, affine: npt.NDArray[np.float64]) -> str:
    slope = BRIGHTER * top / 255
    grey = np.clip(np.rint(data / np.float32(slope)), 0, 255).astype(np.uint8)
    image = nib.Nifti1Image(grey.transpose(1, 2, 0), affine)
    image.header.set_slope_inter(slope, 0)
    image.header.set_xyzt_units("mm")
    return base64.b64encode(gzip.compress(image.to_bytes(), 6, mtime=0)).decode()
