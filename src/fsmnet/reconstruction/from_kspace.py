"""A user's own k-space: mask, coil maps, zero-filled image, and the measured lines put back into the network's image.

One coil is the case C = 1 with a sensitivity of 1 everywhere. The network sees magnitudes of the reconstructed field of
view; phase, and what lies outside, are those of the zero-filled image.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fsmnet.data.formats.raw import KSpace, read_maps
from fsmnet.data.scan import Scan, turn
from fsmnet.data.volume import Samples, Volume
from fsmnet.errors import UserError
from fsmnet.physics import coils
from fsmnet.physics.coils import adjoint, combine, multi_coil_data_consistency, replace_measured
from fsmnet.physics.espirit import estimate_maps
from fsmnet.physics.fourier import TINY, fft2c, ifft2c
from fsmnet.physics.lines import acquired_columns, check_mask, contiguous
from fsmnet.physics.masks import Mask, load_mask
from fsmnet.reconstruction.inputs import AUTO, drawn_options
from fsmnet.reconstruction.options import ReconstructConfig
from fsmnet.reconstruction.undersampled import Undersampled, describe_consistency

logger = logging.getLogger(__name__)

STEPS = 10  # conjugate-gradient steps of data consistency with several coils


def place(kspace: KSpace, auxiliary: Scan, turned: bool) -> tuple[Scan, Scan]:
    """The scan that a k-space makes, and the auxiliary with its axes as the k-space has them.

    The image is the root sum of squares of what was measured; the result takes its place in space. That is the file's
    own, or, where the file knows none and the sizes agree, the auxiliary's.

    Args:
        kspace: as read, phase-encode axis last.
        auxiliary: as read.
        turned: whether rows and columns of the k-space were changed over on reading.

    Raises:
        UserError: coils that were read as slices, as the auxiliary shows.
    """
    helper = auxiliary.volume
    if kspace.affine is None:  # no geometry but the order of the axes
        if auxiliary.turned:
            helper = replace(turn(helper), header=auxiliary.header)
        header = helper.header
        if turned:
            helper = turn(helper)
        auxiliary = replace(auxiliary, volume=helper, turned=turned, header=header if turned else None)
    slices = len(kspace.data)
    if kspace.coils == 1 and slices > 1 and len(helper.data) != slices and not kspace.knows_axis:
        raise UserError(
            f"{kspace.source}: three axes are read as {slices} slices, but {helper.name} has {len(helper.data)}; if "
            "they are coils, save the array with four axes (slices, coils, rows, columns)"
        )
    rows, columns = window(kspace)
    image = np.stack(
        [coils.root_sum_of_squares(ifft2c(torch.from_numpy(one)))[rows, columns].numpy() for one in kspace.data]
    )
    if kspace.affine is not None:
        return Scan(Volume(image, kspace.affine, kspace.source)), auxiliary
    if image.shape != helper.data.shape:
        return Scan(Volume(image, np.eye(4), kspace.source, placed=False)), auxiliary
    if helper.placed:
        logger.warning("%s: has no place in space; taken to lie on the grid of %s", kspace.source, helper.name)
    volume = Volume(image, helper.affine, kspace.source, header=helper.header, placed=helper.placed)
    return Scan(volume, None, turned, auxiliary.header), auxiliary


def window(kspace: KSpace) -> tuple[slice, slice]:
    """Rows and columns of the matrix that make the reconstructed image; the centre ``N // 2`` stays the centre."""
    begins = [whole // 2 - part // 2 for whole, part in zip(kspace.data.shape[-2:], kspace.size, strict=True)]
    rows, columns = (slice(begin, begin + part) for begin, part in zip(begins, kspace.size, strict=True))
    return rows, columns


def choose_mask(kspace: KSpace, config: ReconstructConfig, draw: Callable[[], Mask]) -> tuple[Mask, str, bool]:
    """The lines to reconstruct from.

    A mask that is given, in a file or in the k-space's own, is checked against the data; otherwise the empty lines tell
    it. Only fully sampled k-space can be accelerated by a mask that is drawn.

    Args:
        kspace: as read.
        config: ``mask`` (a file, ``auto`` or None) and the options to draw one.
        draw: draws the mask that the options and the network ask for.

    Returns:
        The mask, how the lines came to be missing, and whether the k-space is fully sampled.

    Raises:
        UserError: a mask that contradicts the data, nothing to infer, or k-space that is no Cartesian whole.
    """
    acquired = acquired_columns(kspace.data, kspace.source)
    full, source = contiguous(acquired), kspace.source
    if config.mask is not None and config.mask != AUTO:
        mask = check_mask(load_mask(config.mask, acquired.size), acquired, source)
    elif drawn_options(config):
        if not full:
            raise UserError(
                f"{source}: is under-sampled already ({acquired.sum()} of {acquired.size} columns); leave "
                "--acceleration and the options of the mask out"
            )
        mask = check_mask(draw(), acquired, source)
    elif kspace.columns is not None:
        if kspace.columns.size != acquired.size:
            raise UserError(f"{source}: its mask has {kspace.columns.size} columns, its k-space {acquired.size}")
        mask = check_mask(Mask(kspace.columns, "stated by the file"), acquired, source)
    else:
        mask = Mask(acquired, "inferred from empty columns")
    if not np.array_equal(mask.columns, acquired):
        return mask, "retrospective, from measured k-space", full
    if full:
        raise UserError(
            f"{source}: is fully sampled, so there is nothing to reconstruct; give --acceleration for a retrospective "
            "experiment, or --mask FILE with fewer lines"
        )
    return mask, "none; prospectively under-sampled k-space", False


def coil_maps(
    kspace: KSpace, measured: Tensor, keep: Tensor, columns: Tensor, file: Path | None, rows: bool
) -> tuple[Tensor, str]:
    """Sensitivities of unit energy, ``(n, C, H, W)``, and where they are from.

    Args:
        kspace: as read; its own maps are taken where no file is given.
        measured: the slices with content, ``(n, C, H, W)``.
        keep: bool ``(S,)``, which they are.
        columns: bool ``(W,)``, the lines to use.
        file: of ``--maps``.
        rows: whether rows and columns were changed over on reading the k-space.

    Raises:
        UserError: maps that do not fit, or a centre too small to estimate them from.
    """
    given: Samples | None = kspace.maps
    source = f"from {kspace.source.name}"
    if file is not None:
        given = read_maps(file)
        given = np.ascontiguousarray(given.swapaxes(-2, -1)) if rows else given
        source = f"from {file}"
    if given is not None:
        slices, *shape = kspace.data.shape
        if list(given.shape[1:]) != shape or given.shape[0] not in (1, slices):
            raise UserError(
                f"{file or kspace.source}: maps of shape {given.shape} do not fit k-space of shape {kspace.data.shape} "
                "(slices, coils, rows, columns)"
            )
        maps = torch.from_numpy(given).expand(slices, *shape)[keep]
        return maps / coils.root_sum_of_squares(maps)[:, None].clamp_min(TINY), f"{source}, scaled to unit energy"
    if kspace.coils == 1:
        return torch.ones(1, dtype=measured.dtype).expand(measured.shape), "none; one coil of sensitivity 1"
    try:
        maps = torch.stack([estimate_maps(one * columns, columns) for one in measured])
    except UserError as error:
        raise UserError(f"{kspace.source}: {error}, with --maps") from None
    return maps, "ESPIRiT from the centre lines (Uecker et al., Magn Reson Med 71:990, 2014)"


def of_kspace(
    kspace: KSpace, config: ReconstructConfig, draw: Callable[[], Mask], keep: Tensor, maximum: float
) -> Undersampled:
    """Under-sampled slices of a user's k-space.

    Args:
        kspace: as read, phase-encode axis last.
        config: mask, maps, and data consistency.
        draw: draws the mask that the options and the network ask for.
        keep: bool ``(S,)``, the slices with content.
        maximum: divides the k-space, so that images lie on about [0, 1].

    Raises:
        UserError: see :func:`choose_mask` and :func:`coil_maps`.
    """
    mask, simulation, full = choose_mask(kspace, config, draw)
    columns, (rows, across) = torch.from_numpy(mask.columns), window(kspace)
    measured = torch.from_numpy(kspace.data)[keep] / maximum
    maps, origin = coil_maps(kspace, measured, keep, columns, config.maps, config.phase_encode == "rows")
    zero_filled = torch.stack([adjoint(y, s, columns) for y, s in zip(measured, maps, strict=True)])
    reference = None
    if full:
        whole = [combine(ifft2c(y), s) for y, s in zip(measured, maps, strict=True)]
        reference = torch.stack(whole).abs()[:, rows, across]
    weight = config.noise_weight if config.data_consistency == "soft" else None

    def put_back(image: Tensor, part: slice) -> tuple[Tensor, dict[str, list[float]]]:
        start = zero_filled[part].clone()
        start[:, rows, across] = with_phase_of(image, start[:, rows, across])
        slices = zip(start, measured[part], maps[part], strict=True)
        done = [consistent(x, y, columns, s, weight) for x, y, s in slices]
        residuals = {name: [values[name] for _, values in done] for name in done[0][1]}
        return torch.stack([x for x, _ in done])[:, rows, across], residuals

    share = float((maps != 0).any(1).float().mean())
    return Undersampled(
        zero_filled[:, rows, across],
        mask,
        reference,
        simulation,
        None if config.data_consistency == "off" else put_back,
        {"Kind": describe_consistency(weight), **({"Steps": STEPS} if kspace.coils > 1 else {})},
        {
            "Number": kspace.coils,
            "Maps": origin,
            "ShareOfPixelsWithMaps": share,
            "Matrix": list(kspace.data.shape[-2:]),
        },
    )


def with_phase_of(magnitude: Tensor, image: Tensor) -> Tensor:
    """A magnitude, negative values set to 0, with the phase of a complex image; ``(..., H, W)``."""
    return torch.polar(magnitude.clamp_min(0), image.angle())


def consistent(
    image: Tensor, measured: Tensor, columns: Tensor, maps: Tensor, weight: float | None
) -> tuple[Tensor, dict[str, float]]:
    """One slice drawn to its measurement, and the residuals on the measured lines before and after.

    Hard: with several coils conjugate-gradient steps towards the least-squares solution nearest to the image come
    first, since lines that are replaced coil by coil and combined again leave the others as they were; then the
    measured lines of every coil replace those of the image, and the coils are combined. The residual after is that of
    the coil images, at rounding; the combined image agrees only as far as the maps explain the coils.
    Soft: the steps alone, weighted.

    Args:
        image: complex, ``(H, W)``.
        measured: ``(C, H, W)``.
        columns: bool ``(W,)``.
        maps: ``(C, H, W)``.
        weight: None for hard.
    """
    residuals = {"ResidualBefore": float(coils.residual(image, measured, columns, maps))}
    if weight is not None:
        image = multi_coil_data_consistency(image, measured, columns, maps, weight, STEPS)
        return image, {**residuals, "ResidualAfter": float(coils.residual(image, measured, columns, maps))}
    if len(measured) > 1:
        image = multi_coil_data_consistency(image, measured, columns, maps, None, STEPS)
    image, images = replace_measured(image, measured, columns, maps)
    left = torch.linalg.vector_norm((fft2c(images) - measured) * columns)
    residuals["ResidualAfter"] = float(left / torch.linalg.vector_norm(measured * columns).clamp_min(TINY))
    if len(measured) > 1:
        residuals["ResidualOfCombinedImage"] = float(coils.residual(image, measured, columns, maps))
    return image, residuals
