"""How voxels stand in a file: the type, and what its whole numbers mean.

A file holds whole numbers q, and q * slope + intercept is the intensity. Rounding to them adds an error of
slope / sqrt(12) (root mean square).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Stored:
    """A type of voxels and what they mean.

    Attributes:
        type: NumPy's name, such as ``int16`` or ``float32``.
        slope: what one step is worth, in intensities; 1 for floats.
        intercept: the intensity of a stored 0.
        noise: of the scan that it was chosen for, see :func:`fsmnet.data.voxels.noise_of`; None if nobody asked.
    """

    type: str = "float32"
    slope: float = 1.0
    intercept: float = 0.0
    noise: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether voxels are whole numbers."""
        return np.dtype(self.type).kind in "iu"

    @property
    def rounding(self) -> float:
        """Root mean square of the error that rounding makes, in intensities."""
        return self.slope / math.sqrt(12) if self.is_whole else 0.0

    def fits(self, most: float) -> bool:
        """Whether intensities from 0 to ``most`` can be stored."""
        limits = np.iinfo(self.type)
        low, high = (-self.intercept / self.slope, (most - self.intercept) / self.slope)
        return limits.min <= low and high <= limits.max

    def of(self, values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], int]:
        """Intensities as they are stored, and how many lay beyond what can be stored and were cut."""
        if not self.is_whole:
            return values.astype(self.type), 0
        limits, whole = np.iinfo(self.type), np.rint((values.astype(np.float64) - self.intercept) / self.slope)
        beyond = np.count_nonzero((whole < limits.min) | (whole > limits.max))
        return whole.clip(limits.min, limits.max).astype(self.type), int(beyond)

    def record(self) -> dict[str, Any]:
        """What the record says of it."""
        if not self.is_whole:
            return {"Type": self.type}
        return {
            "Type": self.type,
            "Slope": self.slope,
            "Intercept": self.intercept,
            "Rounding": self.rounding,
            "Noise": self.noise,
        }
