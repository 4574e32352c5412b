"""What would be lost here? Small structure that only the target shows is put into the scan, and found again or not.

A lesion that was lost shows in no map of the image alone: it looks like the tissue around it. But how much of one
would be kept can be tried. Spots p of :data:`SIZE` and both signs, all over the head and far from one another, are
added to the measured lines, y + A (p exp(i phase)), and the slice is reconstructed once more; the auxiliary knows
nothing of them. With x and x' the images before and after, and G a Gaussian,

    kept = G (|x'| - |x|) p / G p^2:

1 where they are kept whole, 0 where nothing of them is seen (Chan and Haldar, "Local perturbation
responses and checkerboard tests", Magn Reson Med 86:1873, 2021, ask nonlinear reconstructions likewise).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsmnet.data.head import head_mask
from fsmnet.inference.slices import progress_bar
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.phase import centre_phase
from fsmnet.reconstruction.again import Again, Map
from fsmnet.trust.between import between

SIZE = 5.0  # millimetres across, at half of the height
APART = 12.0  # millimetres between neighbours
AROUND = 5.0  # millimetres, standard deviation of the Gaussian
CONTRAST = 0.15  # of the image's white
SEEN = 0.02  # of a spot's energy that must lie around a voxel


@dataclass(frozen=True)
class Probed:
    """What is kept of small structure.

    Attributes:
        kept: share by voxel, ``(n, H, W)``; NaN outside the head.
        contrast: of the spots, in the unit of the images.
    """

    kept: Tensor
    contrast: float

    def map(self) -> Map:
        """The contrast that such structure would lose; 0 outside the head."""
        lost = self.contrast * (1 - self.kept.nan_to_num(nan=1.0)).clamp(0, 1)
        says = (
            f"contrast that structure of {SIZE:g} mm seen by the target alone would lose, of {self.contrast:.3g} "
            "(of the brightest voxel 1); tried with spots in the measured lines of some slices"
        )
        return Map(lost, says, "contrast lost of small structure")

    def record(self) -> dict[str, Any]:
        """Shares within the head as JSON values: the median, and what nine tenths of it exceed."""
        inside = self.kept[torch.isfinite(self.kept)].numpy()
        tenth, median = np.percentile(inside, [10, 50]).round(4).tolist() if inside.size else (None, None)
        return {"Millimetres": SIZE, "Median": median, "Tenth": tenth}


def probe(again: Again, numbers: Sequence[int]) -> Probed:
    """Try some slices of a reconstruction, one pass each; what lies between two of them gets the mean of both.

    Args:
        again: with its result and an acquisition.
        numbers: the slices to try.
    """
    result = again.result
    assert result is not None
    head = torch.from_numpy(head_mask(result.numpy()))
    contrast = CONTRAST * float(np.percentile(result[head].numpy(), 99))
    pixel = [size or 1.0 for size in again.pixel[1:]]
    found, energy = [], []
    for place in progress_bar(range(len(numbers)), "small structure put in", "slice"):
        number = numbers[place]
        image = result[number]
        spotted = image + contrast * spots(image, contrast, pixel, zlib.crc32(f"{again.name} {number}".encode()))
        added = spotted.clamp_min(0) - image  # an image does not get darker than 0
        scan = with_structure(again.lines(number), again.measured.in_columns(added[None]))
        change = again.image(number, scan)[0].abs()[..., again.measured.place[1]] - image
        found.append(_around(change * added, pixel))
        energy.append(_around(added.square(), pixel))
    count = len(result)
    below = between(torch.stack(energy), numbers, count)
    seen = head & (below > SEEN * below.max())
    kept = between(torch.stack(found), numbers, count) / below.clamp_min(torch.finfo(below.dtype).tiny)
    return Probed(torch.where(seen, kept, torch.nan), contrast)


def spots(image: Tensor, contrast: float, pixel: Sequence[float], seed: int) -> Tensor:
    """Spots of height 1 on a shaken grid within the head, dark only where there is enough to darken; ``(H, W)``."""
    rng = np.random.default_rng(seed)
    shape = image.shape[-2:]
    at = np.zeros(shape)
    steps = [APART / size for size in pixel]
    places = [np.arange(rng.uniform(0, step), side, step) for step, side in zip(steps, shape, strict=True)]
    for row in places[0]:
        for column in places[1]:
            shaken = np.array([row, column]) + rng.uniform(-0.15, 0.15, 2) * steps
            y, x = np.clip(shaken.astype(int), 0, np.array(shape) - 1).tolist()
            dark = bool(rng.random() < 0.5) and float(image[y, x]) > 2 * contrast
            at[y, x] = 0.0 if float(image[y, x]) < contrast / 2 else -1.0 if dark else 1.0
    widths = [SIZE / size / np.sqrt(8 * np.log(2)) for size in pixel]
    return torch.from_numpy(_blurred(at, widths) * 2 * np.pi * widths[0] * widths[1]).float()


def with_structure(acquisition: Acquisition, added: Tensor) -> Acquisition:
    """What would have been measured with magnitudes ``(1, H, W)`` more, along the phase of the centre lines."""
    image = added.to(acquisition.lines.dtype)
    if not acquisition.real:
        image = centre_phase(acquisition) * image
    return replace(acquisition, lines=acquisition.lines + acquisition.forward(image))


def _around(values: Tensor, pixel: Sequence[float]) -> Tensor:
    return torch.from_numpy(_blurred(values.double().numpy(), [AROUND / size for size in pixel])).float()


def _blurred(values: Any, widths: Sequence[float]) -> Any:
    from scipy import ndimage

    return ndimage.gaussian_filter(values, widths)
