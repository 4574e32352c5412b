"""Methods without learning, beside which every network is measured: zero-filling and POCS."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from fsmnet.errors import UserError
from fsmnet.models.output import Output
from fsmnet.physics.acquisition import Acquisition, over_coils
from fsmnet.physics.coils import root_sum_of_squares
from fsmnet.physics.fourier import fft1c, ifft1c
from fsmnet.transforms import center_fit

CLASSICAL = ("zero_filling", "pocs")  # by name; they have no weights


class ZeroFilling(nn.Module):
    """Returns the zero-filled target as it is; the auxiliary is ignored and nothing is learned."""

    def forward(self, target: Tensor, auxiliary: Tensor) -> Output:
        """``(B, 1, H, W)`` in, the same out."""
        return Output(target)


class POCS(nn.Module):
    """Projection onto convex sets: what is known of the image and what was measured are imposed in turn.

    Of an image that is known to be real (a magnitude was simulated) much is known: it is real and not negative, it is
    zero outside the auxiliary's head, and its k-space is Hermitian, ``y(-k) = conj y(k)``, so that each measured line
    gives another one. Of a complex image only that its phase is smooth: it is that of the centre lines (Haacke et al.,
    J Magn Reson 92:126, 1991).

    Args:
        iterations: of both projections.
    """

    takes = "acquisition"

    def __init__(self, iterations: int = 30) -> None:
        super().__init__()
        if iterations < 1:
            raise UserError(f"iterations must be at least 1, not {iterations}")
        self.iterations = iterations

    def forward(self, acquisition: Acquisition, auxiliary: Tensor) -> Output:
        """The image's magnitude.

        Args:
            acquisition: of images ``(B, H, W)``; of several coils without maps each is treated by itself, and the
                root of the sum of squares is taken.
            auxiliary: ``(B, 1, h, w)`` in its own intensities; where it is zero a real image is taken to be zero too.

        Returns:
            float32 ``(B, 1, h, w)``, the middle of the field of view.

        Raises:
            UserError: something else than an acquisition.
        """
        if not isinstance(acquisition, Acquisition):
            raise UserError("pocs works on measured lines; call it with an Acquisition and the auxiliary")
        real = acquisition.real and acquisition.lines.shape[-3] == 1
        image = self._real(acquisition, auxiliary[:, 0] > 0) if real else self._complex(acquisition)
        return Output(center_fit(image, *auxiliary.shape[-2:])[:, None])

    def _real(self, acquisition: Acquisition, support: Tensor) -> Tensor:
        lines, known = with_mirrored_lines(acquisition.lines[..., 0, :, :], acquisition.mask)
        inside = filled(support)
        image = start = ifft1c(lines).real.clamp_min(0) * inside
        for step in range(self.iterations):
            projected = ifft1c(torch.where(known, lines, fft1c(start))).real.clamp_min(0) * inside
            start = projected + step / (step + 3) * (projected - image)  # Nesterov's momentum: fewer iterations
            image = projected
        return image

    def _complex(self, acquisition: Acquisition) -> Tensor:
        measured, known = acquisition.lines, over_coils(acquisition.mask)
        centre = ifft1c(measured * centre_lines(acquisition.mask))
        single = acquisition.maps is None
        image = ifft1c(measured) if single else acquisition.zero_filled
        phase = (centre if single else acquisition.combined(centre)).angle()
        turn = torch.polar(torch.ones_like(phase), phase)
        for _ in range(self.iterations):
            constrained = turn * (image * turn.conj()).real.clamp_min(0)
            if single:
                image = ifft1c(torch.where(known, measured, fft1c(constrained)))
            else:
                image = acquisition.combined(acquisition.replaced(constrained))
        constrained = turn * (image * turn.conj()).real.clamp_min(0)
        return root_sum_of_squares(constrained) if single else constrained.abs()


def filled(support: Tensor) -> Tensor:
    """A support, bool ``(..., H, W)``, with the holes of each image filled: what is dark inside a head is no air."""
    from scipy import ndimage

    images = support.reshape(-1, *support.shape[-2:]).cpu().numpy()
    whole = np.stack([ndimage.binary_fill_holes(image) for image in images])
    return torch.from_numpy(whole).reshape(support.shape).to(support.device)


def with_mirrored_lines(lines: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Lines ``(..., H, W)`` of a real image and what their conjugates tell of those not measured, and which are known.

    Row by row ``y(-k) = conj y(k)``; k = 0 is the line ``W // 2``.
    """
    width = lines.shape[-1]
    mirror = (2 * (width // 2) - torch.arange(width, device=lines.device)) % width
    return torch.where(mask, lines, lines[..., mirror].conj() * mask[..., mirror]), mask | mask[..., mirror]


def centre_lines(mask: Tensor) -> Tensor:
    """The measured lines about the middle without a gap, bool ``(W,)``; of several masks those that all have."""
    measured = mask.reshape(-1, mask.shape[-1]).all(0)
    middle = len(measured) // 2
    right = measured[middle:].long().cumprod(0).flip(0)
    left = measured[: middle + 1].flip(0).long().cumprod(0).flip(0)
    return torch.cat([left, right.flip(0)[1:]]).bool()
