"""The ways to simulate and to score, always named with a result.

``brats`` is the paper's protocol as far as it can be reconstructed: 240 x 240 slices in 8 bits, one fixed mask, metrics
per slice in 8 bits. ``float`` keeps the scan's own size and full precision and scores whole volumes, as fastMRI does.
Both scale a volume to [0, 1] by its maximum and leave out slices with less than 10% of their pixels above zero.
``fastmri`` is the paper's protocol for the knee: the scanner's k-space is under-sampled, intensities and slices are the
file's, whole volumes are scored (:mod:`fsmnet.protocols.fastmri_slices`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from fsmnet.data.options import ProtocolName
from fsmnet.data.volume import Volume
from fsmnet.errors import UserError
from fsmnet.physics import fourier as kspace
from fsmnet.transforms import CLIP, Normalisation, center_fit

PROTOCOLS: tuple[ProtocolName, ...] = get_args(ProtocolName)

BRATS_SIZE = 240
CHUNK = 4
CONTENT = 0.1  # least share of pixels above zero that makes a slice worth keeping


@dataclass(frozen=True)
class Slices:
    """Slices of one pair on [0, 1]: float32, or the protocol's 8 bits (uint8, 255 for 1).

    Attributes:
        target: ``(n, H, W)``.
        auxiliary: ``(n, H, W)``.
        numbers: the slices' indices in the volume.
    """

    target: Tensor
    auxiliary: Tensor
    numbers: list[int]


@dataclass(frozen=True)
class Inputs:
    """What a network takes, and the way back to intensities.

    Attributes:
        target: normalised zero-filled target ``(..., H, W)``.
        auxiliary: normalised auxiliary ``(..., H, W)``.
        normalisation: fitted on the zero-filled target.
    """

    target: Tensor
    auxiliary: Tensor
    normalisation: Normalisation


def prepare(target: Volume, auxiliary: Volume, protocol: ProtocolName) -> Slices:
    """Scale both volumes, keep the slices with content, and go to the protocol's frame and precision.

    Raises:
        UserError: no slice has enough content.
    """
    frames = [torch.from_numpy(volume.data) for volume in (target, auxiliary)]
    if protocol == "brats":
        frames = [center_fit(frame, BRATS_SIZE, BRATS_SIZE) for frame in frames]
    keep = (frames[0] > 0).float().mean((-2, -1)) >= CONTENT
    numbers = keep.nonzero()[:, 0].tolist()
    if not numbers:
        raise UserError(
            f"{target.source}: no slice has 10% of its pixels above zero; is the third axis the slice axis?"
        )
    scaled = []
    for frame, volume in zip(frames, (target, auxiliary), strict=True):
        maximum = frame.max()
        if maximum <= 0:
            raise UserError(f"{volume.source}: nothing is left of the image in the {BRATS_SIZE} x {BRATS_SIZE} centre")
        # In double precision, so that a value just below a grey level does not round up to it.
        values = frame[keep].double() / maximum.double()
        scaled.append(to_8_bit(values) if protocol == "brats" else values.float())
    return Slices(scaled[0], scaled[1], numbers)


def to_8_bit(image: Tensor) -> Tensor:
    """``floor(255 v)`` of values limited to [0, 1], uint8: truncated, as the released code does, not rounded."""
    return (image.clamp(0, 1) * 255).floor().to(torch.uint8)


def to_unit(image: Tensor) -> Tensor:
    """8-bit grey levels to [0, 1] in float32; float images as they are."""
    return image.float() / 255 if image.dtype == torch.uint8 else image


def zero_fill(target: Tensor, mask: Tensor, protocol: ProtocolName) -> Tensor:
    """Under-sample slices on [0, 1] and fill the missing lines with zeros.

    Args:
        target: ``(..., H, W)``, float32 or uint8.
        mask: bool, ``(W,)`` or ``(..., 1, W)``.
        protocol: ``brats`` gives 8 bits again (uint8), ``float`` float32.
    """
    if target.dim() == 3 and len(target) > CHUNK:  # a few slices at a time stay in the processor's cache
        return torch.cat([zero_fill(part, mask, protocol) for part in target.split(CHUNK)])
    if protocol == "brats":
        grey = target.double() / 255 if target.dtype == torch.uint8 else target.double()
        return to_8_bit(kspace.brats_undersample(grey, mask))
    return kspace.zero_fill(kspace.undersample(to_unit(target), mask))


def network_inputs(
    zero_filled: Tensor,
    auxiliary: Tensor,
    protocol: ProtocolName = "float",
    auxiliary_zero_filled: Tensor | None = None,
) -> Inputs:
    """Normalise the zero-filled target and the auxiliary by their own statistics, clipped.

    Args:
        zero_filled: ``(..., H, W)``.
        auxiliary: ``(..., H, W)``.
        protocol: ``fastmri`` divides by the sample standard deviation, the others by the population's.
        auxiliary_zero_filled: image whose statistics normalise the auxiliary instead of its own: in ``fastmri`` the
            under-sampled auxiliary.
    """
    target, helper = to_unit(zero_filled), to_unit(auxiliary)
    sample = protocol == "fastmri"
    normalisation = Normalisation.fit(target, sample)
    statistics = Normalisation.fit(helper if auxiliary_zero_filled is None else auxiliary_zero_filled, sample)
    return Inputs(normalisation.apply(target), statistics.apply(helper), normalisation)


def network_target(target: Tensor, normalisation: Normalisation, protocol: ProtocolName) -> Tensor:
    """The fully sampled target by the zero-filled image's statistics; clipped in the paper's protocols only."""
    return normalisation.apply(to_unit(target), None if protocol == "float" else CLIP)


def finish(image: Tensor, protocol: ProtocolName) -> Tensor:
    """Reconstruction on [0, 1] as the protocol scores it: 8 bits, or float32 as it is."""
    return to_8_bit(image) if protocol == "brats" else image


def check_protocol(name: str) -> ProtocolName:
    """Narrow a text to a protocol's name."""
    for known in PROTOCOLS:
        if name == known:
            return known
    raise UserError(f"unknown protocol {name!r}; choose one of {', '.join(PROTOCOLS)}")
