"""Training losses: FSMNet's (Chen et al. 2024, Eq. 6-8), and that of networks with k-space inside."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsmnet.errors import UserError
from fsmnet.models.kernels.polar import amplitude_phase
from fsmnet.models.output import Output
from fsmnet.models.precision import full_precision
from fsmnet.models.unrolled import contrast_scale
from fsmnet.physics.fourier import fft2c
from fsmnet.transforms import center_fit

LOOKED_AT = 5  # last steps of an unrolled network that its loss looks at
FADING = 0.6  # weight of a step over that of the next one


class SpatialFrequencyLoss(nn.Module):
    """L1 of both images, and L1 of the frequency image's amplitude and phase, all as means.

    ``|x - t| + |x_f - t| + weight * (| |F x_f| - |F t| | + |angle F x_f - angle F t|)``, F the unnormalised real FFT.
    A model without a frequency image is trained on the first term alone. Two further terms belong to other methods: L1
    of the auxiliary's reconstruction (MINet, MCCA, MTrans), and L1 of the image's k-space (MCCA).

    Args:
        image_weight: weight of the image's L1.
        auxiliary_weight: weight of the L1 between the auxiliary and its reconstruction, for models that make one.
        kspace_weight: weight of the L1 between centred orthonormal spectra of image and target.
        frequency_weight: weight of amplitude and phase; the paper's 0.01. The transform is unnormalised, so the
            amplitude term grows with the image.
        wrap_phase: measure phase differences around the circle: 3.1 and -3.1 rad are 6.2 apart as printed, 0.08 so.
    """

    def __init__(
        self,
        frequency_weight: float = 0.01,
        wrap_phase: bool = False,
        *,
        image_weight: float = 1.0,
        auxiliary_weight: float = 0.0,
        kspace_weight: float = 0.0,
    ) -> None:
        super().__init__()
        weights = {
            "frequency_weight": frequency_weight,
            "image_weight": image_weight,
            "auxiliary_weight": auxiliary_weight,
            "kspace_weight": kspace_weight,
        }
        for name, value in weights.items():
            if not math.isfinite(value) or value < 0:
                raise UserError(f"{name} must be 0 or more, not {value}")
        self.frequency_weight = frequency_weight
        self.wrap_phase = wrap_phase
        self.image_weight = image_weight
        self.auxiliary_weight = auxiliary_weight
        self.kspace_weight = kspace_weight

    def forward(self, output: Output, target: Tensor, auxiliary: Tensor | None = None) -> Tensor:
        """A model's output, the normalised full target and (for its term) the auxiliary, ``(B, 1, H, W)``: a scalar."""
        target, image = full_precision(target), full_precision(output.image)
        loss = self.image_weight * F.l1_loss(image, target)
        if self.kspace_weight:
            error = torch.view_as_real(fft2c(image) - fft2c(target))
            loss = loss + self.kspace_weight * error.abs().mean()
        if self.auxiliary_weight:
            if output.auxiliary_image is None or auxiliary is None:
                raise UserError("auxiliary_weight needs a model that reconstructs the auxiliary too; set it to 0")
            reconstructed = full_precision(output.auxiliary_image)
            loss = loss + self.auxiliary_weight * F.l1_loss(reconstructed, full_precision(auxiliary))
        return loss if output.frequency_image is None else loss + self._frequency(output.frequency_image, target)

    def _frequency(self, image: Tensor, target: Tensor) -> Tensor:
        """The three terms of the frequency image."""
        image = full_precision(image)
        loss = F.l1_loss(image, target)
        if self.frequency_weight:
            amplitude, phase = amplitude_phase(image)
            target_amplitude, target_phase = amplitude_phase(target)
            phase_error = (phase - target_phase).abs()
            if self.wrap_phase:
                phase_error = math.pi - (math.pi - phase_error).abs()
            loss = loss + self.frequency_weight * (F.l1_loss(amplitude, target_amplitude) + phase_error.mean())
        return loss


class UnrolledLoss(nn.Module):
    """Distance of the magnitude, and of the complex image where it is known, after each of the last steps.

    Charbonnier's, ``sqrt(e^2 + 0.02^2) - 0.02``, of the error e in units of the image's brightness. Both parts weigh
    the same; an earlier step weighs 0.6 of the next one.
    """

    def forward(self, output: Output, target: Tensor, auxiliary: Tensor | None = None) -> Tensor:
        """An output's image, complex ``(B, 1, H, W)``, against the target, ``(B, 1, h, w)``, its middle: a scalar."""
        magnitude = target.abs()
        scale = contrast_scale(magnitude).clamp_min(0.1)  # of an empty strip too
        total, weights = magnitude.new_zeros(()), 0.0
        for number, image in enumerate(reversed((output.iterates or (output.image,))[-LOOKED_AT:])):
            shown = center_fit(image, *target.shape[-2:])
            distance = _charbonnier((shown.abs() - magnitude) / scale)
            if target.is_complex():
                distance = 0.5 * (distance + _charbonnier((shown - target) / scale))
            total = total + FADING**number * distance
            weights += FADING**number
        return total / weights


def _charbonnier(error: Tensor) -> Tensor:
    squared = torch.view_as_real(error).square().sum(-1) if error.is_complex() else error.square()
    return (squared + 4e-4).sqrt().mean() - 0.02
