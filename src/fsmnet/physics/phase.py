"""The smooth phase of a scan: what its centre lines tell of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.fourier import ifft1c


def centre_window(mask: Tensor) -> Tensor:
    """Hann's window over the measured lines about the middle without a gap, as many on either side; ``(W,)``.

    Of several masks over those that all have. Lines on one side alone would give the phase of what lacks on the other,
    and a sharp end ripples that an iteration would keep: on the phantom's phase, 1 rad in all, POCS then ends 1 dB
    lower at 4x, and 4 to 13 dB with partial Fourier alone and no noise.
    """
    measured = mask.reshape(-1, mask.shape[-1]).all(0)
    distance = (torch.arange(len(measured), device=mask.device) - len(measured) // 2).abs()
    nearest_gap = torch.where(measured, len(measured), distance).min()
    return (0.5 * math.pi * distance / nearest_gap.clamp_min(1)).cos().square() * (distance < nearest_gap)


def centre_phase(acquisition: Acquisition, apart: bool = False) -> Tensor:
    """``exp(i phase)`` of the image of the centre lines, complex ``(..., H, W)``; 1 where that image is zero.

    Args:
        acquisition: of one coil, or of several with maps.
        apart: give it of each coil by itself, ``(..., C, H, W)``.
    """
    centre = ifft1c(acquisition.lines * centre_window(acquisition.mask))
    phase = (centre if apart else acquisition.combined(centre)).angle()
    return torch.polar(torch.ones_like(phase), phase)
