"""A reconstruction of a simulated scan, whose error is known, as :mod:`fsmnet.trust` looks at those of users."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from fsmnet.checkpoint import trained_normalisation
from fsmnet.errors import UserError
from fsmnet.inference.slices import reconstruct_slices
from fsmnet.models import takes_acquisition
from fsmnet.physics.acquisition import Acquisition
from fsmnet.protocols.cases import Accelerated
from fsmnet.reconstruction.again import Again
from fsmnet.reconstruction.measured import Measured, usual_consistency


def reconstructed(name: str, network: nn.Module, case: Accelerated, auxiliary: Tensor | None = None) -> Again:
    """A case reconstructed as ``fsmnet reconstruct`` would.

    Args:
        name: of the target's file.
        network: in eval mode.
        case: of a protocol that tells what was measured.
        auxiliary: ``(n, H, W)`` instead of the case's own.

    Raises:
        UserError: a protocol that does not.
    """
    if case.measured is None:
        raise UserError(f"{name}: its k-space is not told slice by slice; choose --protocol complex or float")
    inside, normalisation = takes_acquisition(network), trained_normalisation(network)

    def passes(zero_filled: Tensor, other: Tensor | None, lines: Callable[[slice], Acquisition]) -> Tensor:
        return reconstruct_slices(network, zero_filled, other, normalisation, measured=lines, phase=True)

    measured = case.measured
    scan = Measured(
        case.zero_filled, case.mask, case.slices.target, "", lambda number: measured(slice(number, number + 1))[0]
    )
    consistency = usual_consistency(inside, measured(slice(0, 1)).real)
    other = case.slices.auxiliary if auxiliary is None else auxiliary
    again = Again(name, scan, other, passes, consistency, model=network)
    return replace(again, result=torch.stack([again.magnitude(number) for number in range(len(case.zero_filled))]))
