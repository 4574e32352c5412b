"""``--adapt``: a few parameters of the k-space network are fitted to the scan's own measured lines.

Nobody knows the image, but some lines can be kept back: a step keeps back a fifth of the outer lines, and asks for an
image from the others that tells them (Yaman et al., Magn Reson Med 84:3172, 2020; at test time Darestani et al.,
arXiv:2204.07204). Fitted are what modulates the blocks and what weighs the lines, 2% of the network, so that little can
go wrong; when to stop, another fifth says, which no step sees. Without a gain there the network stays as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fsmnet.errors import UserError
from fsmnet.models.output import as_output
from fsmnet.physics.acquisition import Acquisition, over_coils
from fsmnet.physics.holdout import Columns, Unseen, folds, unseen, without
from fsmnet.protocols.cases import thinned

STEPS = 24
LOOK = 4  # steps between looks at the lines that no step sees
RATE = 2e-3
SLICES = 4
FITTED = ("condition", "lines")  # parts of the network

Scan = tuple[Acquisition, Tensor | None]  # one slice, (1, C, H, W), and its auxiliary, (1, 1, H, W)


def adapt(
    model: nn.Module, scan: Callable[[int], Scan], slices: int, seed: tuple[int, ...]
) -> tuple[nn.Module, dict[str, Any]]:
    """A copy of a network fitted to some slices of a scan, and what the record says of it.

    Args:
        model: an unrolled network, not optimised.
        scan: number of a slice -> what was measured of it, and the auxiliary, on the network's device.
        slices: how many there are; at most four, evenly spread, are looked at.
        seed: of the lines that are kept back.

    Raises:
        UserError: another network, or too few lines to keep some back.
    """
    fitted = copy.deepcopy(model).eval().requires_grad_(False)
    parts = [part for name in FITTED if isinstance(part := getattr(fitted, name, None), nn.Module)]
    if len(parts) < len(FITTED):
        raise UserError("adapt is for the network fsmnet_unrolled; leave it out with others")
    parameters = [parameter.requires_grad_() for part in parts for parameter in part.parameters()]
    shown = [scan(number) for number in thinned(slices, SLICES, ends=False)]
    real = shown[0][0].real
    columns = shown[0][0].mask.flatten().cpu().numpy()
    stopping = _kept_back(columns, seed, real)

    def explained() -> float:
        found: list[Unseen] = []
        for lines, auxiliary in shown:
            with torch.no_grad():
                image = as_output(fitted(without(lines, stopping), auxiliary)).image[:, 0]
            found.append(unseen(lines, stopping, image))
        return sum(found[1:], found[0]).explained

    optimizer = torch.optim.Adam(parameters, lr=RATE)
    before = best = explained()
    steps, kept = 0, [parameter.detach().clone() for parameter in parameters]
    for step in range(1, STEPS + 1):
        lines, auxiliary = shown[step % len(shown)]
        hidden = _kept_back(columns & ~stopping, (*seed, step), real)
        rest = without(lines, stopping)
        image = as_output(fitted(without(rest, hidden), auxiliary)).image[:, 0]
        asked = over_coils(torch.from_numpy(hidden).to(rest.device))
        error = ((rest.forward(image) - rest.lines) * asked).abs().square().sum()
        optimizer.zero_grad()
        (error / (rest.lines * asked).abs().square().sum().clamp_min(1e-12)).backward()
        optimizer.step()
        if step % LOOK == 0 and (now := explained()) > best:
            best, steps, kept = now, step, [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)
    return fitted.requires_grad_(False), {
        "Parameters": sum(parameter.numel() for parameter in parameters),
        "Slices": len(shown),
        "Steps": steps,
        "StepsTried": STEPS,
        "HeldOutExplained": {"before": before, "after": best},
    }


def _kept_back(columns: Columns, seed: tuple[int, ...], real: bool) -> Columns:
    try:
        return folds(columns, 1, seed, real)[0]
    except UserError as error:
        raise UserError(f"adapt keeps lines back twice, and {error}; leave it out") from None
