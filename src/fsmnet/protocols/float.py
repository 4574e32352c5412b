"""Protocol ``float``: the scan's own size and full precision, whole volumes scored, as fastMRI does."""

from __future__ import annotations

from torch import Tensor

from fsmnet.physics.acquisition import undersample, zero_fill
from fsmnet.protocols.volumes import VolumeProtocol
from fsmnet.transforms import to_unit


class Float(VolumeProtocol):
    """Simulated k-space of float images; the target is never clipped."""

    name = "float"

    def undersample(self, target: Tensor, mask: Tensor) -> Tensor:
        """Zero-filled magnitude, float32."""
        return zero_fill(undersample(to_unit(target), mask))


FLOAT = Float()
