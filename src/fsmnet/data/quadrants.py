"""Exchanged quadrants: an image, or the k-space it is made from, that was transformed without shifting the image.

``fftshift(fft2(image))`` is centred k-space of an image whose zero lies in its corner; what reads it as centred in both
domains gets the image rolled by half the field of view. Equivalently, the k-space alternates by ``(-1)^(i + j)``.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt

from fsmnet.data.volume import Array, Volume, crop_begin
from fsmnet.errors import UserError

# Of T1 and T2 of the training patients in place the correlation was 0.31 to 0.96 and that of none of the rolled images
# larger; with exchanged quadrants, under-sampled 3.5 times, it was 0.42 to 0.79 when rolled and below 0 as they lay.
# In a tight field of view, where head lies nearly everywhere, it was 0.60 when rolled and 0.34 as it lay.
LEAST, GAIN = 0.35, 0.15
# Mean of cos(2 pi i / N) over the energy: -0.80 to -0.38 for heads of the training patients in place, so at least 0.38
# when rolled; about 0 for textures that fill the field of view, which say nothing.
CORNER = 0.25
SMALLEST = 12  # pixels along an axis; of patches of made-up heads with 6 one in 27 fitted better when rolled, by chance

Profile = npt.NDArray[np.float64]


def require_in_place(target: Volume, auxiliary: Volume, kspace: bool, turned: bool = False) -> None:
    """Refuse a pair that fits only when one of the two is rolled by half its field of view.

    Args:
        target: image, or what the k-space makes.
        auxiliary: on the target's grid.
        kspace: whether the target is made from k-space.
        turned: whether the axes H and W stand for the file's columns and rows.

    Raises:
        UserError: with the cause and the remedy.
    """
    axes = exchanged(target.data, auxiliary.data)
    if not axes:
        return
    names = [("rows", "columns")[axis ^ turned] for axis in axes]
    along = " and ".join(sorted(names, reverse=True))
    if not all(_in_the_corner(target.data, axis) for axis in axes):
        raise UserError(
            f"{auxiliary.name}: fits {target.name} when rolled by half its field of view along {along}: its quadrants "
            "are exchanged; apply numpy.fft.fftshift to it before saving it"
        )
    if not kspace:
        raise UserError(
            f"{target.name}: fits {auxiliary.name} when rolled by half the field of view along {along}: its quadrants "
            "are exchanged; apply numpy.fft.fftshift to it before saving it"
        )
    sign = " + ".join(name.removesuffix("s") for name in sorted(names, reverse=True))
    raise UserError(
        f"{target.name}: the image fits {auxiliary.name} when rolled by half the field of view along {along}: the "
        f"k-space was made without ifftshift of the image; multiply it by (-1)^({sign}), or make it as "
        "fftshift(fft2(ifftshift(image)))"
    )


def exchanged(target: Array, auxiliary: Array) -> tuple[int, ...]:
    """In-plane axes (0 for H, 1 for W) along which one of two images must be rolled by half to lie on the other.

    Args:
        target: ``(S, H, W)`` magnitudes.
        auxiliary: of the same shape.

    Returns:
        None of them where the two lie alike, or where nothing says that one of them is wrong: its mass lies in the
        middle along such an axis.
    """
    axes = rolled(target, auxiliary)
    for image in (target, auxiliary) if axes else ():
        if all(_in_the_corner(image, axis) for axis in axes):
            return axes
    return ()


def rolled(image: Array, other: Array) -> tuple[int, ...]:
    """In-plane axes along which an image must be rolled by half its field of view to lie as another one does.

    Args:
        image: ``(S, H, W)``.
        other: of that size, or of the middle of it.
    """
    one, reference = _projection(image), _projection(other)
    if min(one.shape) < SMALLEST:
        return ()
    begins = [crop_begin(whole, part) for whole, part in zip(one.shape, reference.shape, strict=True)]
    middle = tuple(slice(begin, begin + part) for begin, part in zip(begins, reference.shape, strict=True))
    found = {
        rolls: _correlation(
            np.roll(one, [n // 2 * roll for n, roll in zip(one.shape, rolls, strict=True)], (0, 1))[middle], reference
        )
        for rolls in product((0, 1), repeat=2)
    }
    best = max(found, key=lambda rolls: found[rolls])
    if found[best] < LEAST or found[best] - found[0, 0] < GAIN:
        return ()
    return tuple(axis for axis in (0, 1) if best[axis])


def _in_the_corner(data: Array, axis: int) -> bool:
    """Whether the energy lies about the border of an in-plane axis, by its mean on the circle."""
    energy = np.square(_projection(data)).sum(1 - axis)
    return bool((energy * np.cos(2 * np.pi * (np.arange(energy.size) / energy.size))).sum() > CORNER * energy.sum())


def _projection(data: Array) -> Profile:
    """Sum of the slices, ``(H, W)``, bright voxels cut off."""
    positive = data[data > 0]
    most = np.percentile(positive, 99) if positive.size else 0.0
    total: Profile = np.minimum(data, most).sum(0, dtype=np.float64)
    return total


def _correlation(one: Profile, other: Profile) -> float:
    one, other = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((one * one).sum() * (other * other).sum()))
    return float((one * other).sum()) / norm if norm else 0.0
