"""The measurement: what an accelerated scan knows of an image, and what can be done with that knowledge.

With the sensitivities S_c of the coils, the Fourier transform F and the mask M, coil c measures ``y_c = M F S_c x`` of
the image x, in short ``y = A x`` (SENSE: Pruessmann et al., Magn Reson Med 42:952, 1999). One coil is several coils
with a map of ones. Lines are left out along the phase-encode axis W only, so M touches that axis only: the transform
along the other axis is done once, on reading, and F here is the centred orthonormal transform along W. Every row of the
image is then a problem of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from fsmnet.errors import UserError
from fsmnet.physics.coils import check_maps, coil_data, combine, conjugate_gradients
from fsmnet.physics.fourier import TINY, at_least_single, broadcast_mask, fft1c, ifft1c
from fsmnet.physics.masks import Mask

Data = Tensor | npt.NDArray[Any]

STEPS = 10  # conjugate-gradient steps of data consistency with several coils
MOST_BELIEF = 0.8  # in a line where there are several coils, which never fit their maps and the noise quite


@dataclass(frozen=True, eq=False)
class Acquisition:
    """Measured lines of one image or of many. All methods let gradients through.

    Attributes:
        lines: y, complex64 ``(..., C, H, W)``: k-space along W, image along H; zero where not measured.
        mask: M, bool ``(W,)`` or ``(..., 1, W)``; True where a line was measured.
        maps: S, complex64 ``(..., C, H, W)`` of unit energy, ``sum_c |S_c|^2 = 1`` where there is signal, 0 elsewhere;
            leading axes may be left out. None for one coil of sensitivity 1.
        noise: standard deviation of the complex noise in the lines, one number or one of each image ``(...)``, where a
            negative one stands for unknown; None if unknown or none.
        real: whether the image is known to be real, since a real one was simulated.

    Raises:
        UserError: shapes that do not fit together, k-space that is not complex.
    """

    lines: Tensor
    mask: Tensor
    maps: Tensor | None = None
    noise: float | Tensor | None = None
    real: bool = False

    def __post_init__(self) -> None:
        coil_data(self.lines, "k-space")
        object.__setattr__(self, "mask", broadcast_mask(self.mask, self.shape))
        if self.mask.dim() > 1 and self.mask.shape[-2] != 1:
            raise UserError(
                f"a mask of shape {tuple(self.mask.shape)} leaves out points; only whole lines are left out"
            )
        if self.maps is not None:
            check_maps(self.maps, self.lines.shape)

    @classmethod
    def simulate(
        cls,
        image: Tensor,
        mask: Tensor,
        maps: Tensor | None = None,
        noise: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Acquisition:
        """Measure an image: ``y = A x + n``.

        Args:
            image: x, real or complex, ``(..., H, W)``.
            mask: bool, ``(W,)`` or ``(..., 1, W)``.
            maps: ``(..., C, H, W)``; None for one coil.
            noise: standard deviation of the complex Gaussian noise n.
            generator: of the noise.
        """
        known = broadcast_mask(mask, image.shape)
        coils = at_least_single(image).unsqueeze(-3)
        if maps is not None:
            check_maps(maps, (*image.shape[:-2], *maps.shape[-3:-2], *image.shape[-2:]))
            coils = maps * coils
        lines = fft1c(coils)
        if noise:
            lines = lines + noise * torch.randn(
                lines.shape, generator=generator, dtype=lines.dtype, device=lines.device
            )
        return cls(lines * over_coils(known), known, maps, noise or None, real=not image.is_complex())

    @classmethod
    def from_kspace(cls, kspace: Tensor, mask: Tensor, maps: Tensor | None = None) -> Acquisition:
        """What was measured, as two-dimensional k-space.

        Args:
            kspace: complex ``(..., C, H, W)``, centred and orthonormal; what lies outside the mask is ignored.
            mask: bool, ``(W,)`` or ``(..., 1, W)``.
            maps: ``(..., C, H, W)``; None for one coil, or for several whose maps are unknown: then only
                :attr:`coil_images` can be had.
        """
        kspace = coil_data(kspace, "k-space")
        known = broadcast_mask(mask, torch.Size((*kspace.shape[:-3], *kspace.shape[-2:])))
        return cls(ifft1c(kspace, -2) * over_coils(known), known, maps)

    @property
    def shape(self) -> torch.Size:
        """Of the image, ``(..., H, W)``."""
        return torch.Size((*self.lines.shape[:-3], *self.lines.shape[-2:]))

    @property
    def device(self) -> torch.device:
        """Where the lines are."""
        return self.lines.device

    def to(self, device: torch.device) -> Acquisition:
        """The same on another device."""
        mask, maps = self.mask.to(device), None if self.maps is None else self.maps.to(device)
        noise = self.noise.to(device) if isinstance(self.noise, Tensor) else self.noise
        return Acquisition(self.lines.to(device), mask, maps, noise, self.real)

    def __getitem__(self, part: int | slice) -> Acquisition:
        """Some of the images along the leading axis."""

        def taken(one: Tensor, axes: int) -> Tensor:  # the same of all images, or one of each
            if one.dim() < axes or (len(one) == 1 and isinstance(part, slice)):
                return one
            return one[part if len(one) > 1 else 0]

        axes, maps, noise = len(self.shape), self.maps, self.noise
        mask = taken(self.mask, axes) if axes > 2 else self.mask
        maps = taken(maps, axes + 1) if maps is not None and axes > 2 else maps
        noise = taken(noise, axes - 2) if isinstance(noise, Tensor) and noise.dim() else noise
        return replace(self, lines=self.lines[part], mask=mask, maps=maps, noise=noise)

    def rows(self, part: slice) -> Acquisition:
        """A strip of the image, ``(..., part of H, W)``: what is smaller than the processor's cache is faster."""
        maps = None if self.maps is None else self.maps[..., part, :]
        return replace(self, lines=self.lines[..., part, :], maps=maps)

    def forward(self, image: Tensor) -> Tensor:
        """``A x``: the lines that would have been measured of an image ``(..., H, W)``; complex ``(..., C, H, W)``."""
        return fft1c(self._seen(image)) * over_coils(self.mask)

    def adjoint(self, lines: Tensor) -> Tensor:
        """``A^H y = sum_c conj(S_c) F^-1 M y_c``; lines ``(..., C, H, W)`` to a complex image ``(..., H, W)``."""
        return self.combined(ifft1c(lines * over_coils(self.mask)))

    def combined(self, coils: Tensor) -> Tensor:
        """``sum_c conj(S_c) x_c``; coil images ``(..., C, H, W)`` to a complex image ``(..., H, W)``."""
        return coils[..., 0, :, :] if (maps := self._sensitivities()) is None else combine(coils, maps)

    @property
    def coil_images(self) -> Tensor:
        """``F^-1 y_c``: what each coil sees, missing lines zero; complex ``(..., C, H, W)``."""
        return ifft1c(self.lines)

    @property
    def zero_filled(self) -> Tensor:
        """``A^H y``: the image whose missing lines are zero; complex ``(..., H, W)``, magnitude by ``.abs()``."""
        return self.combined(self.coil_images)

    def residual(self, image: Tensor) -> Tensor:
        """How far an image ``(..., H, W)`` is from the measurement, ``||A x - y|| / ||y||``; real ``(...)``.

        A real image counts as having phase 0. 0 where both image and measurement are zero.
        """
        return self._relative(self.forward(image) - self.lines)

    def coil_residual(self, coils: Tensor) -> Tensor:
        """:meth:`residual` of coil images ``(..., C, H, W)``."""
        return self._relative(fft1c(coils) * over_coils(self.mask) - self.lines)

    def consistent(self, image: Tensor, weight: float | None = None) -> Tensor:
        """Draw an image x0 to the measurement.

        Weighted, it is the minimiser of ``||x - x0||^2 + w ||A x - y||^2``: with one coil the measured lines become
        ``(F x0 + w y) / (1 + w)`` and the others stay (Schlemper et al., IEEE TMI 37:491, 2018, ``w = lambda``); with
        several, some conjugate-gradient steps towards it (Aggarwal et al., IEEE TMI 38:394, 2019, ``w = 1 / lambda``).
        w is the variance of the error of ``F x0`` over that of the noise of y: 0 ignores the measurement. Hard, which
        is infinite w, are the coil images of :meth:`consistent_coils`, combined.

        Args:
            image: x0, ``(..., H, W)``; complex, or a magnitude, which gets the phase of the zero-filled image
                (:func:`with_phase`), unless the image is known to be real.
            weight: w, at least 0; None for hard.

        Returns:
            The image, complex: only that agrees with the measurement. Its magnitude is ``.abs()``; of an image that is
            known to be real, take ``.real``: the rest is what x0 had wrong in lines whose conjugates are missing.

        Raises:
            UserError: shapes that do not fit, a weight below 0.
        """
        if weight is not None and not weight >= 0:
            raise UserError(
                f"the weight of the measurement must be 0 or more, not {weight:g}; leave it out to replace lines"
            )
        if weight is None or weight == float("inf"):
            return self.combined(self.consistent_coils(image))
        start = self._phased(image)
        if self.maps is None:
            return self.combined(ifft1c(self.drawn_lines(start, weight)))
        return start.to(self.lines.dtype) if weight == 0 else self.sense(STEPS, 1 / weight, start)

    def correction(self, image: Tensor, belief: Tensor, steps: int) -> Tensor:
        """What the measurement adds to an image x0, every line believed as much as it deserves.

        The minimiser d of ``||d||^2 + sum_l w_l |A d - (y - A x0)|^2_l`` over the lines l, with the belief
        ``W = w / (1 + w)``. With one coil that is ``A^H W (y - A x0)``, for a W above 1 too, which is over-relaxed;
        with several there are conjugate-gradient steps towards it, and no W counts for more than :data:`MOST_BELIEF`.

        Args:
            image: x0, complex ``(..., H, W)``.
            belief: W of each line, broadcastable to the lines.
            steps: of conjugate gradients, with several coils.

        Returns:
            d, complex ``(..., H, W)``.
        """
        rest = self.lines - self.forward(image)
        if self.lines.shape[-3] == 1:
            return self.adjoint(rest * belief)
        # Bounded in value alone: a network begins beyond the bound, and must have a gradient there to come back.
        belief = belief + (belief.clamp_max(MOST_BELIEF) - belief).detach()
        weight = belief / (1 - belief)
        right = self.adjoint(weight * rest)
        return conjugate_gradients(lambda d: d + self.adjoint(weight * self.forward(d)), right, None, steps)

    def consistent_coils(self, image: Tensor) -> Tensor:
        """Coil images that agree with the measurement to rounding: hard data consistency; complex ``(..., C, H, W)``.

        The measured lines of every coil replace those of ``F S_c x``. Combined again, that leaves the other lines as
        they were, so with several coils x first takes some conjugate-gradient steps towards the least-squares solution
        nearest to it. One image cannot hold C k-spaces: combined, they agree only as far as the maps explain the coils.

        Args:
            image: as for :meth:`consistent`.
        """
        start = self._phased(image)
        return self.replaced(start if self.lines.shape[-3] == 1 else self.sense(STEPS, start=start))

    def replaced(self, image: Tensor) -> Tensor:
        """Coil images ``(..., C, H, W)`` of an image ``(..., H, W)``, the measured lines in place of their own."""
        return ifft1c(self.drawn_lines(image))

    def drawn_lines(self, image: Tensor, weight: float | None = None) -> Tensor:
        """All lines ``F S_c x``, the measured ones ``(F S_c x + w y_c) / (1 + w)``, or y_c; ``(..., C, H, W)``."""
        lines, measured = fft1c(self._seen(image)), self.lines
        if weight is not None:
            measured = (lines + weight * measured) / (1 + weight)
        return torch.where(over_coils(self.mask), measured, lines)

    def sense(self, iterations: int = 20, regularisation: float = 0.0, start: Tensor | None = None) -> Tensor:
        """Image by conjugate gradients (Pruessmann et al., Magn Reson Med 46:638, 2001); complex ``(..., H, W)``.

        Solves ``(A^H A + lambda I) x = A^H y + lambda x0``, the minimiser of ``||A x - y||^2 + lambda ||x - x0||^2``.
        The iteration begins at x0; without regularisation x0 is no more than that beginning. A pixel where all maps are
        zero keeps its value of x0.

        Args:
            iterations: steps, at least 0.
            regularisation: lambda, at least 0.
            start: x0, ``(..., H, W)``; zero when None.
        """
        right = self.zero_filled
        start = None if start is None else self._checked(start)
        return conjugate_gradients(lambda x: self.adjoint(self.forward(x)), right, start, iterations, regularisation)

    def embedded(self, magnitude: Tensor, rows: slice, columns: slice) -> Tensor:
        """A magnitude of a part of the field of view, with the zero-filled image's phase, and that image around it.

        Args:
            magnitude: real ``(..., h, w)``.
            rows: where it lies along H.
            columns: where it lies along W.

        Returns:
            Complex ``(..., H, W)``.
        """
        whole = self.zero_filled.clone()
        whole[..., rows, columns] = with_phase(magnitude, whole[..., rows, columns])
        return whole

    def _checked(self, image: Tensor) -> Tensor:
        if image.shape != self.shape:
            raise UserError(f"the image has shape {tuple(image.shape)}, the measured one {tuple(self.shape)}")
        return image.to(self.lines.dtype if image.is_complex() else self.lines.real.dtype)

    def _phased(self, image: Tensor) -> Tensor:
        return self._checked(image if self.real or image.is_complex() else with_phase(image, self.zero_filled))

    def _seen(self, image: Tensor) -> Tensor:
        """``S_c x``."""
        coils = self._checked(image).unsqueeze(-3)
        return coils if (maps := self._sensitivities()) is None else maps * coils

    def _sensitivities(self) -> Tensor | None:
        if self.maps is None and self.lines.shape[-3] > 1:
            raise UserError(
                f"{self.lines.shape[-3]} coils make one image by their maps; estimate them (physics.espirit)"
            )
        return self.maps

    def _relative(self, difference: Tensor) -> Tensor:
        return _norm(difference) / _norm(self.lines).clamp_min(TINY)


def with_phase(magnitude: Tensor, image: Tensor) -> Tensor:
    """A magnitude with the phase of a complex image of the same shape, ``max(m, 0) exp(i arg(z))``.

    A network that knows magnitudes only gives no phase. The zero-filled image's is the best guess without a model,
    since the phase of most scans is smooth and so lies in the centre lines. A magnitude is not negative: where a
    network says so, 0 is nearer to the truth, whatever that is. Where the image is zero the phase is 0.

    Raises:
        UserError: a complex magnitude, or shapes that differ.
    """
    if magnitude.is_complex():
        raise UserError("the image has a phase already; give its magnitude")
    if magnitude.shape != image.shape:
        raise UserError(f"the magnitude has shape {tuple(magnitude.shape)}, the image {tuple(image.shape)}")
    return torch.polar(magnitude.to(image.real.dtype).clamp_min(0), image.angle())


def undersample(image: Data, mask: Data | Mask, maps: Data | None = None) -> Acquisition:
    """What an accelerated scan would have measured of an image; see :meth:`Acquisition.simulate`.

    Args:
        image: real or complex, ``(..., H, W)``, a tensor or an array; W is the phase-encode axis.
        mask: of :func:`fsmnet.make_mask`, or bool ``(W,)`` or ``(..., 1, W)``.
        maps: coil sensitivities, complex ``(..., C, H, W)`` of unit energy; None for one coil.

    Raises:
        UserError: shapes that do not fit together.
    """
    lines = mask.columns if isinstance(mask, Mask) else mask
    coils = None if maps is None else torch.as_tensor(maps)
    return Acquisition.simulate(torch.as_tensor(image), torch.as_tensor(lines), coils)


def zero_fill(acquisition: Acquisition) -> Tensor:
    """Magnitude of the image whose missing lines are zero; real ``(..., H, W)``."""
    return acquisition.zero_filled.abs()


def over_coils(mask: Tensor) -> Tensor:
    """A mask ``(W,)`` or ``(..., 1, W)`` against lines ``(..., C, H, W)``."""
    return mask if mask.dim() < 3 else mask.unsqueeze(-3)


def _norm(lines: Tensor) -> Tensor:
    """Norm over coils and both axes; of pairs of real numbers, for which the sum is vectorised."""
    norm: Tensor = torch.linalg.vector_norm(torch.view_as_real(lines), dim=(-4, -3, -2, -1))
    return norm
