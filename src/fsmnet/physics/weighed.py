"""A network's image and the measured lines weighed against each other, each by what it may be wrong.

Hard data consistency believes the lines, noise and all, and leaves the network's errors in the others. Here the most
likely image is sought (maximum a posteriori, Gaussian errors): with the network's magnitude m, the phase phi of the
centre lines, the lines y and their noise of variance s^2 it is ``x = (m + a + i b) exp(i phi)``, where a and b minimise

    ||A x - y||^2 / s^2 + sum a^2 / v + sum b^2 / (K v),    v = c * (mean of m about the pixel).

So a network's error is expected where the image is bright, not in the air, and along the phase more than across it
(K < 1): that is what tells missing lines from their mirror images, softly where POCS does it strictly (Haacke et al., J
Magn Reson 92:126, 1991). c is such that the network's error in the measured lines is :data:`UNSEEN` times what is left
there above the noise. The minimiser is approached by conjugate gradients in ``a / sqrt(v)`` and ``b / sqrt(K v)``.

A network that takes the lines fits them, noise and all, so that what is left there tells nothing of its error, and it
has found a phase of its own, which is better than that of the centre lines (``benchmarks/weighed_inside.py``). Of such
a network phi is its own, and c is such that the error's energy is a share of the image's, which lines tell that it was
not shown (:mod:`fsmnet.inference.weighing`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from fsmnet.errors import UserError
from fsmnet.physics.acquisition import Acquisition, over_coils
from fsmnet.physics.coils import conjugate_gradients
from fsmnet.physics.fourier import TINY
from fsmnet.physics.phase import centre_phase

# Chosen on development patients by benchmarks/weighed.py.
STEPS = 10
ACROSS = 0.1  # K
UNSEEN = 4.0  # a network has seen the measured lines, noise and all, so that its error there looks smaller than it is
ABOUT = 7  # pixels of the mean's side
UNEXPLAINED = 1e-4  # of what is left in the lines: maps and phase explain no scan further, and with no noise s is 0

QUIET = 1 / 20  # of the rows are taken to lie in the air
ROWS = 9  # that the energy is smoothed over before these are sought
OUTER = 1 / 4  # of all lines, on either side of the middle, are middle ones
ALIKE = 2.5  # of six scans the middle ones have 0.7 to 2.3 times the outer ones' energy in air, 4 and more elsewhere


def weighed(acquisition: Acquisition, image: Tensor, steps: int = STEPS, share: float | None = None) -> Tensor:
    """The most likely image given a network's and the measured lines; see :mod:`fsmnet.physics.weighed`.

    Args:
        acquisition: of one coil, or of several with maps; its noise, where it is told, else :func:`estimated_noise`;
            where it is unknown, a magnitude gets its lines put back (hard data consistency), and a complex image stays.
        image: the network's, ``(..., H, W)``: a magnitude, whose negative values count as 0, or complex with its phase.
        steps: of conjugate gradients.
        share: of a complex image's energy that is wrong in each line that was not measured, as if all lines were alike.

    Returns:
        Complex ``(..., H, W)``.

    Raises:
        UserError: a complex image without a share, or the other way about.
    """
    if image.is_complex() != (share is not None):
        raise UserError("a complex image is weighed by the share of it that is wrong, a magnitude without")
    start = image.abs() if image.is_complex() else image.clamp_min(0)
    turn = torch.polar(torch.ones_like(start), image.angle()) if image.is_complex() else centre_phase(acquisition)
    rest = acquisition.lines - acquisition.forward(start * turn)
    found = noise_of(acquisition)
    noise = found.clamp_min(0).square()
    coils, height = rest.shape[-3:-1]
    left = rest.abs().square().sum((-3, -2, -1)) / (height * _count(acquisition.mask))
    seen = UNSEEN * (left - coils * noise)
    error = (seen if share is None else share * start.square().mean((-2, -1))).clamp_min(0)[..., None, None]
    about = _mean_about(start)
    spread = (error * about / about.mean((-2, -1), keepdim=True).clamp_min(TINY)).sqrt()
    variance = (noise + UNEXPLAINED * left)[..., None, None].clamp_min(TINY)

    def change(u: Tensor) -> Tensor:
        return spread * turn * torch.complex(u.real, ACROSS**0.5 * u.imag)

    def parts(x: Tensor) -> Tensor:
        along = spread * turn.conj() * x
        return torch.complex(along.real, ACROSS**0.5 * along.imag) / variance

    u = conjugate_gradients(
        lambda u: u + parts(acquisition.adjoint(acquisition.forward(change(u)))),
        parts(acquisition.adjoint(rest)),
        None,
        steps,
    )
    unknown = (found < 0)[..., None, None]
    likely = start * turn + change(u)
    if not bool(unknown.any()):
        return likely
    return torch.where(unknown, image if image.is_complex() else acquisition.consistent(start), likely)


def noise_of(acquisition: Acquisition) -> Tensor:
    """Standard deviation of the noise of each image's lines, ``(...)``: as told, else estimated; below 0 unknown."""
    estimated = estimated_noise(acquisition)
    if acquisition.noise is None:
        return estimated
    told = torch.as_tensor(acquisition.noise, dtype=estimated.dtype, device=estimated.device)
    return torch.where(told < 0, estimated, told)


def estimated_noise(acquisition: Acquisition) -> Tensor:
    """Standard deviation of the complex noise, ``(...)``, from the quietest rows; -1 where none lies in the air.

    The readout is not under-sampled, and some of its rows cross nothing but air. There all lines are alike, while an
    object has more in its middle ones. Of rows that are all alike the quietest are some per cent too low.
    """
    mask, lines = acquisition.mask, acquisition.lines
    far = (torch.arange(mask.shape[-1], device=mask.device) - mask.shape[-1] // 2).abs() > OUTER * mask.shape[-1]

    def energy(chosen: Tensor) -> Tensor:
        """Of a line of a coil in each row, ``(..., H)``."""
        total = (lines.abs().square() * over_coils(chosen)).sum((-3, -1))
        return total / (_count(chosen)[..., None] * lines.shape[-3]).clamp_min(1)

    outer, middle = energy(mask & far), energy(mask & ~far)
    smooth = _mean_about((outer + middle)[..., None], (ROWS, 1))[..., 0]
    quiet = smooth.topk(max(1, round(QUIET * outer.shape[-1])), largest=False).indices
    found, other = outer.gather(-1, quiet).mean(-1), middle.gather(-1, quiet).mean(-1)
    return torch.where(other <= ALIKE * found, found.sqrt(), -1.0)


def _count(mask: Tensor) -> Tensor:
    """Lines of each image, ``(...)``."""
    return mask.sum(-1) if mask.dim() == 1 else mask.sum((-2, -1))


def _mean_about(image: Tensor, size: int | tuple[int, int] = ABOUT) -> Tensor:
    """Mean of the pixels about each, ``(..., H, W)``; of fewer at the edge."""
    sizes = (size, size) if isinstance(size, int) else size
    flat, margin = image.reshape(-1, 1, *image.shape[-2:]), (sizes[0] // 2, sizes[1] // 2)
    return avg_pool2d(flat, sizes, 1, margin, count_include_pad=False).reshape(image.shape)
