"""The same reconstruction once more, slice by slice: from fewer lines, or with another auxiliary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from fsmnet.physics.acquisition import Acquisition
from fsmnet.reconstruction.measured import Consistency, Measured, consistent

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
        consistency: what was done with the measured lines after the network.
        result: what was made of it, magnitudes ``(n, H, W)`` in the unit of ``measured``; None if nobody asks for it.
        model: the network itself, whose header says what belongs to its weights.
        refusals: why the network should not be used on this scan, where the user wants it anyway.
        doubts: what else speaks against it, see :class:`fsmnet.inference.suitability.Suitability`.
        pixel: distance between neighbours along slices, rows and columns in millimetres; 0 where it is not known.
        scores: of the images that were made, by their names in the record; None without a reference.
        seconds: that the network takes for a slice; 0 where it is not known.
    """

    name: str
    measured: Measured
    auxiliary: Tensor | None
    network: Callable[[Tensor, Tensor | None, Lines], Tensor]
    consistency: Consistency
    result: Tensor | None = None
    model: nn.Module | None = None
    refusals: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    pixel: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scores: Mapping[str, Mapping[str, float | None]] | None = None
    seconds: float = 0.0

    def lines(self, number: int) -> Acquisition:
        """What was measured of a slice, in the image's rows and all columns; lines ``(1, C, H, W)``."""
        return self.measured.lines(slice(number, number + 1))

    def image(self, number: int, acquisition: Acquisition | None, auxiliary: Tensor | None = None) -> Tensor:
        """A slice as it would have been written, with its phase and all columns.

        Args:
            number: which slice.
            acquisition: its :meth:`lines`, or some of them; None where no line is known.
            auxiliary: ``(H, W)`` instead of the slice's own.

        Returns:
            ``(1, H, W)``: a magnitude if the image is known to be real, else complex.
        """
        if auxiliary is None and self.auxiliary is not None:
            auxiliary = self.auxiliary[number]
        other = None if auxiliary is None else auxiliary[None]
        if acquisition is None:
            return self.network(self.measured.zero_filled[number, None], other, self.measured.lines).clamp_min(0)
        columns = self.measured.place[1]
        zero_filled = acquisition.zero_filled[..., columns].abs()
        image = self.network(zero_filled, other, lambda _: acquisition)
        if not (image.is_complex() or acquisition.real):
            image = acquisition.embedded(image, slice(None), columns)
        if self.consistency is not None:
            image, _ = consistent(acquisition, image, self.consistency)
        if not acquisition.real:
            return image
        return image.abs() if image.is_complex() else image.clamp_min(0)

    def magnitude(self, number: int, auxiliary: Tensor | None = None) -> Tensor:
        """A slice from all that was measured, as it would have been written; ``(H, W)``.

        Args:
            number: which slice.
            auxiliary: ``(H, W)`` instead of the slice's own.
        """
        acquisition = None if self.measured.acquisition is None else self.lines(number)
        whole = self.image(number, acquisition, auxiliary)[0].abs()
        return whole if acquisition is None else whole[..., self.measured.place[1]]


@dataclass(frozen=True)
class Map:
    """An image of what may be believed, to be written beside the result.

    Attributes:
        values: ``(n, H, W)``, at least 0, in the unit of :class:`Again`.
        says: what a value means, for the record.
        short: the same in at most 35 characters of ASCII, for the file's header.
    """

    values: Tensor
    says: str
    short: str


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Attributes:
        record: a part of the record of the result.
        maps: by the word that their file's name ends with, one of :data:`fsmnet.reconstruction.inputs.MAPS`.
    """

    record: dict[str, Any]
    maps: Mapping[str, Map] = field(default_factory=dict)


# What is done with it before the record is written.
Check = Callable[[Again], Checked]
