"""The worst and the best slice of an evaluation, kept while the cases pass by."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from fsmnet.data.volume import counted_slices
from fsmnet.evaluation.picture import Shown, picture_of
from fsmnet.protocols.cases import Slices
from fsmnet.transforms import to_unit

FILES = {"worst": "picture_worst.png", "best": "picture_best.png"}
Found = dict[str, tuple[float, Shown]]


@dataclass
class Extremes:
    """Worst and best slice of one method by PSNR over the slice, the peak being the volume's maximum.

    Attributes:
        method: whose slices are judged.
        found: ``worst`` and ``best`` -> PSNR and the slice.
    """

    method: str
    found: Found

    def look(self, slices: Slices, images: dict[str, Tensor], show: Callable[[int], Shown]) -> None:
        """See whether a case has a worse or a better slice; ``show`` makes one ready to be shown."""
        target, image = to_unit(slices.target).numpy(), to_unit(images[self.method]).numpy()
        error = np.square(image - target, dtype=np.float64).mean((1, 2))
        counted = np.flatnonzero(counted_slices(target) & (error > 0))
        if not counted.size:
            return
        psnr = 20 * math.log10(float(target.max()) or 1.0) - 10 * np.log10(error)
        for name, place in (("worst", psnr[counted].argmin()), ("best", psnr[counted].argmax())):
            index = int(counted[place])
            value = float(psnr[index])
            if self._is_further(name, value):
                self.found[name] = value, show(index)

    def take(self, found: Found) -> None:
        """See whether what was found elsewhere is worse or better."""
        for name, (value, shown) in found.items():
            if self._is_further(name, value):
                self.found[name] = value, shown

    def _is_further(self, name: str, value: float) -> bool:
        return name not in self.found or (value < self.found[name][0]) == (name == "worst")

    def draw(self, folder: Path) -> None:
        """Write the pictures."""
        for name, (value, shown) in self.found.items():
            title = f"{name.capitalize()} slice of {self.method}, {value:.2f} dB: {shown.title}"
            picture_of(replace(shown, title=title)).save(folder / FILES[name])
