"""What was measured of the target: from an image by simulation, from a user's k-space as it is.

A network for images sees zero-filled magnitudes of the reconstructed field of view. Its image is then drawn back to the
measured lines of the whole field of view; phase, and what lies outside the image, are those of the zero-filled image. A
k-space model sees the measured lines of all columns, and of the rows that make the image.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from fsmnet.checkpoint import header_of, trained_recipe
from fsmnet.data.formats.raw import KSpace, read_maps
from fsmnet.data.volume import Samples
from fsmnet.errors import UserError
from fsmnet.inference.weighing import Weighing
from fsmnet.physics.acquisition import STEPS, Acquisition, undersample, zero_fill
from fsmnet.physics.coils import root_sum_of_squares
from fsmnet.physics.espirit import estimate_maps
from fsmnet.physics.fourier import TINY
from fsmnet.physics.lines import acquired_columns, check_mask, contiguous, partial_fourier
from fsmnet.physics.masks import Mask, MaskRecipe, check_centre, default_center_fraction, load_mask
from fsmnet.physics.options import MaskOptions
from fsmnet.physics.weighed import noise_of, weighed
from fsmnet.protocols import get_protocol
from fsmnet.reconstruction.inputs import AUTO, drawn_options, window
from fsmnet.reconstruction.options import ReconstructConfig

logger = logging.getLogger(__name__)

CHUNK = 4  # slices that stay in the processor's cache


# What is done with the measured lines after a network: replace its own, weigh them as all the same by a number, or by
# what each may be wrong. None: nothing.
Consistency = Literal["hard", "weighed"] | Weighing | float | None


def usual_consistency(inside: bool, real: bool) -> Consistency:
    """What is done unless somebody chooses, and what calibrations belong to.

    After a k-space model lines are put back only where the scan was simulated, without noise. Of a patient that it was
    not trained on (OMS-26, T2 with T1, the shipped network) PSNR then rose by 0.3 dB at 3x, 0.2 dB at 4x and 0.1 dB at
    8x; it fell by 0.3, 0.2 and 0.0 dB with noise of 1% of the maximum, and by 1.3, 0.9 and 0.2 dB with 2%. After a
    network for images those of a scanner are weighed (``benchmarks/weighed.py``).

    Args:
        inside: the network takes the lines.
        real: they are those of a simulated real image.
    """
    if real:
        return "hard"
    return None if inside else "weighed"


@dataclass(frozen=True)
class Measured:
    """Slices as the network gets them, and the lines that they were made from.

    Attributes:
        zero_filled: ``(n, H, W)``; complex from measured k-space, a magnitude otherwise.
        mask: acquired columns; None for a target that was degraded before.
        reference: ``(n, H, W)`` float32, the fully sampled magnitude; None where there is none.
        simulation: how the lines came to be missing, in words.
        acquisition: the measured lines of one of the slices; None where no line is known.
        place: rows and columns of the image within the measured field of view.
        coils: what the record says of coils and their maps; None for an image.
    """

    zero_filled: Tensor
    mask: Mask | None
    reference: Tensor | None
    simulation: str
    acquisition: Callable[[int], Acquisition] | None = None
    place: tuple[slice, slice] = (slice(None), slice(None))
    coils: dict[str, Any] | None = None

    def put_back(self, image: Tensor, number: int, consistency: Consistency) -> tuple[Tensor, dict[str, float]]:
        """A slice drawn to its measured lines; see :func:`consistent`.

        Args:
            image: the network's, ``(H, W)``: a magnitude, or a k-space model's with its phase, of all columns.
            number: which of the slices it is.
            consistency: how.

        Returns:
            The image, real if the phase is known to be 0, and residuals by name.
        """
        assert self.acquisition is not None
        if image.is_complex():
            whole, residuals = consistent(self.lines(slice(number, number + 1))[0], image, consistency)
            return whole[:, self.place[1]], residuals
        acquisition = self.acquisition(number)
        start = image
        if not acquisition.real:
            start = acquisition.embedded(image, *self.place)
        whole, residuals = consistent(acquisition, start, consistency)
        return whole[self.place], residuals

    def lines(self, part: slice) -> Acquisition:
        """What was measured of some slices and the image's rows, lines ``(b, C, H, W of the whole field of view)``."""
        assert self.acquisition is not None
        slices = [self.acquisition(n).rows(self.place[0]) for n in range(*part.indices(len(self.zero_filled)))]
        maps = [one.maps for one in slices if one.maps is not None]
        first = slices[0]
        lines = torch.stack([one.lines for one in slices])
        return Acquisition(lines, first.mask, torch.stack(maps) if maps else None, first.noise, first.real)

    def in_columns(self, image: Tensor) -> Tensor:
        """An image ``(n, H, W)`` among all columns of the field of view, zeros beside it."""
        if self.acquisition is None or (columns := self.acquisition(0).shape[-1]) == image.shape[-1]:
            return image
        whole = image.new_zeros((*image.shape[:-1], columns))
        whole[..., self.place[1]] = image
        return whole

    def residual(self, image: Tensor, number: int) -> tuple[Tensor, dict[str, float]]:
        """A k-space model's image ``(H, W)`` of all columns as it is, cropped, and how far it is from its lines."""
        after = self.lines(slice(number, number + 1))[0].residual(image)
        return image[:, self.place[1]], {"ResidualAfter": float(after)}

    def describe(self, consistency: Consistency) -> dict[str, Any]:
        """What the record says of :meth:`put_back`, but for the residuals."""
        if consistency == "weighed" or isinstance(consistency, Weighing):
            told = consistency.record() if isinstance(consistency, Weighing) else {}
            return {"Kind": "weighed: the network's image and the measured lines by what each may be wrong"} | told
        kind = "hard: measured k-space lines replaced"
        if consistency != "hard":
            kind = f"soft: measured lines with weight {consistency:g}"
        several = self.coils is not None and self.coils["Number"] > 1
        return {"Kind": kind, **({"Steps": STEPS} if several else {})}


def consistent(acquisition: Acquisition, start: Tensor, consistency: Consistency) -> tuple[Tensor, dict[str, float]]:
    """One image ``(H, W)`` drawn to its measured lines, and residuals by name, before and after.

    Hard and soft is :meth:`fsmnet.physics.acquisition.Acquisition.consistent`, weighed is
    :func:`fsmnet.physics.weighed.weighed`, of a network for images by the magnitude; it gives the noise that it
    reckoned with too. The residual after hard consistency is that of the coil images, at rounding; that of the image,
    where it is not the same, stands beside it.
    """
    if consistency == "weighed" or isinstance(consistency, Weighing):
        if isinstance(consistency, Weighing):
            whole = weighed(acquisition, start, share=consistency.share)
        else:
            whole = weighed(acquisition, start.abs())
        found = {"ResidualBefore": acquisition.residual(start), "ResidualAfter": acquisition.residual(whole)}
        return whole, {name: float(value) for name, value in (found | {"Noise": noise_of(acquisition)}).items()}
    weight = None if consistency == "hard" else consistency
    if weight is None:
        coils = acquisition.consistent_coils(start)
        whole, after = acquisition.combined(coils), acquisition.coil_residual(coils)
    else:
        whole = acquisition.consistent(start, weight)
        after = acquisition.residual(whole)
    residuals = {"ResidualBefore": acquisition.residual(start), "ResidualAfter": after}
    if acquisition.real and not start.is_complex():
        whole = whole.real
        residuals["ResidualOfRealPart"] = acquisition.residual(whole)
    elif weight is None and len(acquisition.lines) > 1:
        residuals["ResidualOfCombinedImage"] = acquisition.residual(whole)
    return whole, {name: float(value) for name, value in residuals.items()}


def of_image(target: Tensor, mask: Mask | None) -> Measured:
    """Simulate an accelerated scan from a magnitude image, or take a degraded image as it is.

    Args:
        target: ``(n, H, W)`` on [0, 1].
        mask: acquired columns; None for an image that is degraded already.
    """
    if mask is None:
        return Measured(target, None, None, "none; the target was degraded before")
    columns = torch.from_numpy(mask.columns)
    zero_filled = torch.cat([zero_fill(undersample(chunk, columns)) for chunk in target.split(CHUNK)])
    return Measured(
        zero_filled,
        mask,
        target,
        "retrospective, from a magnitude image",
        lambda number: undersample(target[number], columns),  # again, since all lines at once would fill the memory
    )


def of_kspace(kspace: KSpace, config: ReconstructConfig, recipe: MaskRecipe, keep: Tensor, maximum: float) -> Measured:
    """Under-sampled slices of a user's k-space.

    Args:
        kspace: as read, phase-encode axis last.
        config: mask and maps.
        recipe: of the mask that the options and the network ask for.
        keep: bool ``(S,)``, the slices with content.
        maximum: divides the k-space, so that images lie on about [0, 1].

    Raises:
        UserError: see :func:`choose_mask` and :func:`coil_maps`; noise that no line comes up to.
    """
    _require_signal(kspace, config.noise)
    mask, simulation, full = choose_mask(kspace, config, recipe)
    columns, (rows, across) = torch.from_numpy(mask.columns), window(kspace)
    numbers = np.flatnonzero(keep.numpy()).tolist()

    def scaled(number: int) -> Tensor:
        return torch.from_numpy(kspace.data[numbers[number]]) / maximum

    def measure(number: int, columns: Tensor = columns) -> Acquisition:
        one = Acquisition.from_kspace(scaled(number), columns, None if maps is None else maps[number])
        return one if config.noise is None else replace(one, noise=config.noise / maximum)

    count, everything = range(len(numbers)), torch.ones_like(columns)
    maps, origin = coil_maps(kspace, config, numbers, (scaled(n) * columns for n in count), columns)
    reach = partial_fourier(mask.columns, kspace.reach)
    if reach is not None:
        simulation = f"{simulation}; {reach}"
        logger.info("%s: %s; the other side counts as missing", kspace.source, reach)
    return Measured(
        torch.stack([measure(n).zero_filled[rows, across] for n in count]),
        mask,
        torch.stack([measure(n, everything).zero_filled[rows, across].abs() for n in count]) if full else None,
        simulation,
        measure,
        (rows, across),
        {
            "Number": kspace.coils,
            "Maps": origin,
            "ShareOfPixelsWithMaps": 1.0 if maps is None else float((maps != 0).any(1).float().mean()),
            "Matrix": list(kspace.data.shape[-2:]),
        },
    )


def _require_signal(kspace: KSpace, noise: float | None) -> None:
    """Refuse a noise in other units: more than any value of the k-space."""
    strongest = max(float(np.abs(one).max()) for one in kspace.data) if noise else 0.0
    if noise and noise > strongest:
        raise UserError(
            f"{kspace.source}: --noise {noise:g} is more than the strongest value of the k-space, {strongest:.3g}; "
            "give it in the units of the k-space, or leave it out"
        )


def choose_mask(kspace: KSpace, config: ReconstructConfig, recipe: MaskRecipe) -> tuple[Mask, str, bool]:
    """The lines to reconstruct from.

    A mask that is given, in a file or in the k-space's own, is checked against the data; otherwise the empty lines tell
    it. Only fully sampled k-space can be accelerated by a mask that is drawn.

    Args:
        kspace: as read.
        config: ``mask`` (a file, ``auto`` or None) and the options to draw one.
        recipe: of the mask that the options and the network ask for.

    Returns:
        The mask, how the lines came to be missing, and whether the k-space is fully sampled.

    Raises:
        UserError: a mask that contradicts the data, nothing to infer, or k-space that is no Cartesian whole.
    """
    acquired = acquired_columns(kspace.data, kspace.source)
    source = kspace.source
    full = contiguous(acquired) and partial_fourier(acquired) is None
    if config.mask is not None and config.mask != AUTO:
        mask = check_mask(load_mask(config.mask, acquired.size), acquired, source)
    elif drawn_options(config):
        if not full:
            raise UserError(
                f"{source}: is under-sampled already ({acquired.sum()} of {acquired.size} columns); leave "
                "--acceleration and the options of the mask out"
            )
        mask = check_mask(recipe.draw(acquired.size, source.name), acquired, source)
    elif kspace.columns is not None:
        if kspace.columns.size != acquired.size:
            raise UserError(f"{source}: its mask has {kspace.columns.size} columns, its k-space {acquired.size}")
        mask = check_mask(Mask(kspace.columns, "stated by the file"), acquired, source)
    else:
        mask = Mask(acquired, "inferred from empty columns")
    check_centre(mask.columns, source)
    if not np.array_equal(mask.columns, acquired):
        return mask, "retrospective, from measured k-space", full
    if full:
        raise UserError(
            f"{source}: is fully sampled, so there is nothing to reconstruct; give --acceleration for a retrospective "
            "experiment, or --mask FILE with fewer lines"
        )
    return mask, "none; prospectively under-sampled k-space", False


def coil_maps(
    kspace: KSpace, config: ReconstructConfig, numbers: list[int], measured: Iterable[Tensor], columns: Tensor
) -> tuple[Tensor | None, str]:
    """Sensitivities of unit energy, ``(n, C, H, W)`` or None for one coil without any, and where they are from.

    Args:
        kspace: as read; its own maps are taken where no file is given.
        config: the file of maps, and whether rows and columns were changed over on reading.
        numbers: the slices with content.
        measured: their k-space, ``(C, H, W)`` each, zero outside the lines to use.
        columns: bool ``(W,)``, these lines.

    Raises:
        UserError: maps that do not fit, or a centre too small to estimate them from.
    """
    given: Samples | None = kspace.maps
    source = f"from {kspace.source.name}"
    if config.maps is not None:
        given = read_maps(config.maps)
        given = np.ascontiguousarray(given.swapaxes(-2, -1)) if config.phase_encode == "rows" else given
        source = f"from {config.maps}"
    if given is not None:
        slices, *shape = kspace.data.shape
        if list(given.shape[1:]) != shape or given.shape[0] not in (1, slices):
            raise UserError(
                f"{config.maps or kspace.source}: maps of shape {given.shape} do not fit k-space of shape "
                f"{kspace.data.shape} (slices, coils, rows, columns)"
            )
        maps = torch.from_numpy(given).expand(slices, *shape)[numbers]
        return maps / root_sum_of_squares(maps)[:, None].clamp_min(TINY), f"{source}, scaled to unit energy"
    if kspace.coils == 1:
        return None, "none; one coil of sensitivity 1"
    lines = "the centre lines"
    if kspace.calibration is not None:
        separate, lines = torch.from_numpy(kspace.calibration[numbers]), "a separate calibration scan"
        measured, columns = separate, separate.any(0).any(0).any(0)
    try:
        maps = torch.stack([estimate_maps(one, columns) for one in measured])
    except UserError as error:
        raise UserError(f"{kspace.source}: {error}, with --maps") from None
    return maps, f"ESPIRiT from {lines} (Uecker et al., Magn Reson Med 71:990, 2014)"


def mask_recipe(config: ReconstructConfig, model: nn.Module) -> MaskRecipe:
    """The masks that the network was trained for, with what the user changes."""
    trained = trained_recipe(model)
    acceleration = config.acceleration or (trained.acceleration if trained else 4.0)
    mixed = {} if trained is None else dict(trained.mixed)
    if trained is not None and acceleration in mixed:
        recipe = replace(trained, acceleration=acceleration, center_fraction=mixed[acceleration])
    elif trained is not None and acceleration == trained.acceleration:
        recipe = trained
    elif trained is not None and trained.span is not None and trained.span[0] <= acceleration <= trained.span[1]:
        recipe = replace(trained, acceleration=acceleration, center_fraction=default_center_fraction(acceleration))
    else:
        protocol = get_protocol(header_of(model).protocol or "float")
        recipe = protocol.mask_recipe(MaskOptions(acceleration=acceleration))
    given: dict[str, Any] = {
        "kind": config.mask_kind,
        "center_fraction": config.center_fraction,
        "seed": config.mask_seed,
    }
    return replace(recipe, **{name: value for name, value in given.items() if value is not None})
