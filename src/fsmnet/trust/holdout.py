"""Hold-out check: does a reconstruction know measured lines that it was not shown? It needs no reference.

Some of the measured lines are kept back (:mod:`fsmnet.physics.holdout`), the image is reconstructed from the others,
and what it says of the lines kept back is compared with their measurement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from fsmnet.models.classical import POCS, phase_constrained
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.holdout import Columns, Unseen, unseen, without

SENSE = {"iterations": 10, "regularisation": 0.01}

Reconstruct = Callable[[Acquisition], Tensor]  # what was measured -> image (..., H, W), real or with its phase


def hold_out(acquisition: Acquisition, methods: Mapping[str, Reconstruct], sets: list[Columns]) -> dict[str, Unseen]:
    """What methods say of lines that they are not shown, summed over sets of lines.

    Args:
        acquisition: what was measured, ``(..., C, H, W)``.
        methods: name -> reconstruction; each is called once for every set of lines.
        sets: the lines to keep back, of :func:`fsmnet.physics.holdout.folds`.
    """
    found: dict[str, Unseen] = {}
    for columns in sets:
        rest = without(acquisition, columns)
        for name, method in methods.items():
            one = unseen(acquisition, columns, method(rest))
            found[name] = found[name] + one if name in found else one
    return found


def simple_methods(acquisition: Acquisition, auxiliary: Tensor | None = None) -> dict[str, Reconstruct]:
    """What a network must beat: the zero-filled image; with one coil POCS, with several SENSE.

    With one coil the lines of a zero-filled complex image are zero where none was measured: it explains 0. Of a real
    image the magnitude is taken, as it is shown, and that says something.

    Args:
        acquisition: what was measured, ``(n, C, H, W)``.
        auxiliary: ``(n, H, W)``; where it is zero POCS takes a real image to be zero too.
    """
    methods: dict[str, Reconstruct] = {"zero-filling": lambda rest: rest.zero_filled}
    if acquisition.lines.shape[-3] > 1:
        return methods | {"SENSE": lambda rest: rest.sense(int(SENSE["iterations"]), SENSE["regularisation"])}
    support = torch.ones(acquisition.shape) if auxiliary is None else auxiliary
    if acquisition.real:
        return {
            "zero-filling": lambda rest: rest.zero_filled.abs(),
            "POCS": lambda rest: POCS()(rest, support[:, None]).image[:, 0],
        }

    return methods | {"POCS": lambda rest: phase_constrained(rest)}
