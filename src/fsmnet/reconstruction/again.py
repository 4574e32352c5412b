"""The same reconstruction once more, slice by slice: from fewer lines, or with another auxiliary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fsmnet.physics.acquisition import Acquisition
from fsmnet.reconstruction.measured import Measured, consistent

Lines = Callable[[slice], Acquisition]


@dataclass(frozen=True)
class Again:
    """A reconstruction that is done, ready to be repeated.

    Attributes:
        name: of the target's file.
        measured: what was known of the target, ``n`` slices.
        auxiliary: the other contrast as the network takes it, ``(n, H, W)``; None without one.
        network: zero-filled images ``(b, H, W)``, auxiliary and lines to the network's images, with their phase and all
            columns if it takes lines.
        put_back: whether the measured lines were put back.
        weight: of the measured lines; None to replace them.
    """

    name: str
    measured: Measured
    auxiliary: Tensor | None
    network: Callable[[Tensor, Tensor | None, Lines], Tensor]
    put_back: bool
    weight: float | None

    def lines(self, number: int) -> Acquisition:
        """What was measured of a slice, in the image's rows and all columns; lines ``(1, C, H, W)``."""
        return self.measured.lines(slice(number, number + 1))

    def image(self, number: int, acquisition: Acquisition, auxiliary: Tensor | None = None) -> Tensor:
        """A slice as it would have been written, with its phase and all columns.

        Args:
            number: which slice.
            acquisition: its :meth:`lines`, or some of them.
            auxiliary: ``(H, W)`` instead of the slice's own.

        Returns:
            ``(1, H, W)``: a magnitude if the image is known to be real, else complex.
        """
        if auxiliary is None and self.auxiliary is not None:
            auxiliary = self.auxiliary[number]
        columns = self.measured.place[1]
        zero_filled = acquisition.zero_filled[..., columns].abs()
        image = self.network(zero_filled, None if auxiliary is None else auxiliary[None], lambda _: acquisition)
        if not (image.is_complex() or acquisition.real):
            image = acquisition.embedded(image, slice(None), columns)
        if self.put_back:
            image, _ = consistent(acquisition, image, self.weight)
        if not acquisition.real:
            return image
        return image.abs() if image.is_complex() else image.clamp_min(0)


# What is done with it before the record is written: a part of the record.
Check = Callable[[Again], dict[str, Any]]
