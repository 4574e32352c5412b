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
from fsmnet.physics.phase import centre_phase
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
    zero outside the auxiliary's head (where a slice of the auxiliary shows nothing, that tells nothing), and its
    k-space is Hermitian, ``y(-k) = conj y(k)``, so that each measured line gives another one. Of a complex image only
    that its phase is smooth (:func:`phase_constrained`), which tells a side of k-space from the other one: partial
    Fourier.

    Args:
        iterations: of both projections.
    """

    takes = "acquisition"

    def __init__(self, iterations: int = 30) -> None:
        super().__init__()
        if iterations < 1:
            raise UserError(f"iterations must be at least 1, not {iterations}")
        self.iterations = iterations

    def forward(self, acquisition: Acquisition, auxiliary: Tensor | None) -> Output:
        """The image, complex where it has a phase; of several coils without maps the magnitude.

        Args:
            acquisition: of images ``(B, H, W)``; of several coils without maps each is treated by itself, and the
                root of the sum of squares is taken.
            auxiliary: ``(B, 1, h, w)`` in its own intensities; where it is zero a real image is taken to be zero too.

        Returns:
            ``(B, 1, h, w)``, the middle of the field of view; all of it without auxiliary.

        Raises:
            UserError: something else than an acquisition.
        """
        if not isinstance(acquisition, Acquisition):
            raise UserError("pocs works on measured lines; call it with an Acquisition and the auxiliary")
        if acquisition.real and acquisition.lines.shape[-3] == 1:
            shown = (
                torch.ones_like(acquisition.mask).expand(acquisition.shape)
                if auxiliary is None
                else auxiliary[:, 0] > 0
            )
            image = self._real(acquisition, shown)
        else:
            image = phase_constrained(acquisition, self.iterations)
        return Output((image if auxiliary is None else center_fit(image, *auxiliary.shape[-2:]))[:, None])

    def _real(self, acquisition: Acquisition, support: Tensor) -> Tensor:
        lines, known = with_mirrored_lines(acquisition.lines[..., 0, :, :], acquisition.mask)
        inside = filled(support | ~support.any(-1, keepdim=True).any(-2, keepdim=True))
        image = start = ifft1c(lines).real.clamp_min(0) * inside
        for step in range(self.iterations):
            projected = ifft1c(torch.where(known, lines, fft1c(start))).real.clamp_min(0) * inside
            start = projected + step / (step + 3) * (projected - image)  # Nesterov's momentum: fewer iterations
            image = projected
        return image


def phase_constrained(acquisition: Acquisition, iterations: int = 30) -> Tensor:
    """A complex image with a smooth phase and the measured lines (Haacke et al., J Magn Reson 92:126, 1991).

    The phase is that of the centre lines (:func:`fsmnet.physics.phase.centre_phase`). In turn the image is given it,
    not negative along it, and the measured lines.

    Args:
        acquisition: of images ``(..., H, W)``; of several coils without maps each is treated by itself.
        iterations: of both.

    Returns:
        Complex ``(..., H, W)``; of several coils without maps the root of the sum of squares, real.
    """
    measured, known = acquisition.lines, over_coils(acquisition.mask)
    apart = acquisition.maps is None
    image = ifft1c(measured) if apart else acquisition.zero_filled
    turn = centre_phase(acquisition, apart)
    for _ in range(iterations):
        constrained = turn * (image * turn.conj()).real.clamp_min(0)
        if apart:
            image = ifft1c(torch.where(known, measured, fft1c(constrained)))
        else:
            image = acquisition.combined(acquisition.replaced(constrained))
    constrained = turn * (image * turn.conj()).real.clamp_min(0)
    if not apart:
        return constrained
    return constrained[..., 0, :, :] if measured.shape[-3] == 1 else root_sum_of_squares(constrained)


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
