"""Cases to train on and to score, whichever the protocol: their slices, and what acceleration leaves of them."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.masks import Mask


class Case(typing.Protocol):
    """A pair of contrasts of one patient, as files."""

    @property
    def case(self) -> str:
        """Its name in splits, tables and files."""


@dataclass(frozen=True)
class Slices:
    """Slices of one pair: float32, or the protocol's 8 bits (uint8, 255 for 1).

    Attributes:
        target: ``(n, H, W)``.
        auxiliary: ``(n, H, W)``.
        numbers: the slices' indices in the volume.
        content: tells the target from others whatever its name, see :func:`fsmnet.data.volume.content_hash`.
        fingerprint: tells whether a case is exactly what it was: voxels of both contrasts and the name that masks are
            drawn from, wherever the files lie; empty where that is not known.
        affine: of the target's volume, for how slices are shown; None where it does not place them.
    """

    target: Tensor
    auxiliary: Tensor
    numbers: list[int]
    content: str = ""
    fingerprint: str = ""
    affine: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Accelerated:
    """Slices of one case, and what an accelerated scan would have left of them.

    Attributes:
        slices: fully sampled target and auxiliary.
        zero_filled: ``(n, H, W)``, what is left of the target.
        auxiliary_zero_filled: ``(n, H, W)``, of the auxiliary, where the protocol takes its statistics; else None.
        mask: the target's.
        contrast: kind of the target where the file says it, such as fastMRI's ``CORPDFS_FBK``; scores are also given
            for each kind. Empty where all cases are of one.
        left_out: slices of the target's file that have no counterpart in the auxiliary's.
        measured: which slices -> what was measured of them, in the scale of ``slices``; None where that is not told.
        whole: likewise of a scanner's k-space, whose field of view is wider than the slices; several coils lack maps.
        consistent: puts the measured lines back into reconstructions ``(n, H, W)``; None where nothing was measured.
    """

    slices: Slices
    zero_filled: Tensor
    auxiliary_zero_filled: Tensor | None
    mask: Mask
    contrast: str = ""
    left_out: int = 0
    measured: Callable[[slice], Acquisition] | None = None
    consistent: Callable[[Tensor], Tensor] | None = None
    whole: Callable[[slice], Acquisition] | None = None


def thinned(count: int, most: int | None, ends: bool = True) -> list[int]:
    """At most ``most`` of ``count`` indices, evenly spread.

    Args:
        count: of indices.
        most: of them; all if None.
        ends: from the first to the last; or without them, the middles of equal parts, since the outermost slices of a
            volume that was not sifted show little.
    """
    if most is None or most >= count:
        return list(range(count))
    if not ends:
        return [(2 * part + 1) * count // (2 * most) for part in range(most)]
    return [int(i) for i in torch.linspace(0, count - 1, most).round().long()]
