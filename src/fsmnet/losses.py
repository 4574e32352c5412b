"""Training loss of FSMNet (Chen et al. 2024, Eq. 6-8)."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from fsmnet.errors import UserError
from fsmnet.models.blocks import Output, amplitude_phase, full_precision


class SpatialFrequencyLoss(nn.Module):
    """L1 of both images, and L1 of the frequency image's amplitude and phase, all as means.

    ``|x - t| + |x_f - t| + weight * (| |F x_f| - |F t| | + |angle F x_f - angle F t|)``, F the unnormalised real FFT.
    A model without a frequency image is trained on the first term alone.

    Args:
        frequency_weight: weight of amplitude and phase; the paper's 0.01. The transform is unnormalised, so the
            amplitude term grows with the image.
        wrap_phase: measure phase differences around the circle: 3.1 and -3.1 rad are 6.2 apart as printed, 0.08 so.
    """

    def __init__(self, frequency_weight: float = 0.01, wrap_phase: bool = False) -> None:
        super().__init__()
        if not math.isfinite(frequency_weight) or frequency_weight < 0:
            raise UserError(f"frequency_weight must be 0 or more, not {frequency_weight}")
        self.frequency_weight = frequency_weight
        self.wrap_phase = wrap_phase

    def forward(self, output: Output, target: Tensor) -> Tensor:
        """A model's output and the normalised fully sampled target ``(B, 1, H, W)`` to a scalar."""
        target = full_precision(target)
        loss = F.l1_loss(full_precision(output.image), target)
        if output.frequency_image is None:
            return loss
        image = full_precision(output.frequency_image)
        loss = loss + F.l1_loss(image, target)
        if self.frequency_weight:
            amplitude, phase = amplitude_phase(image)
            target_amplitude, target_phase = amplitude_phase(target)
            phase_error = (phase - target_phase).abs()
            if self.wrap_phase:
                phase_error = math.pi - (math.pi - phase_error).abs()
            loss = loss + self.frequency_weight * (F.l1_loss(amplitude, target_amplitude) + phase_error.mean())
        return loss
