"""PSNR, SSIM and NMSE by scikit-image, in the two protocols.

The two must never be compared with each other: 8 bits per slice with a data range of 255 is the paper's BraTS protocol,
float per volume with the reference's maximum as data range is fastMRI's.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fsmnet.config import ProtocolName
from fsmnet.errors import UserError


class Metrics(NamedTuple):
    """PSNR in dB (infinite for identical images), SSIM and NMSE."""

    psnr: float
    ssim: float
    nmse: float


def slice_metrics(reference: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8]) -> Metrics:
    """One slice in 8 bits, ``(H, W)`` uint8 each: data range 255, SSIM with scikit-image's defaults (7 x 7 uniform)."""
    from skimage.metrics import structural_similarity

    _check(reference, image, 2)
    if reference.dtype != np.uint8 or image.dtype != np.uint8:
        raise UserError(f"the BraTS protocol scores uint8 slices, not {reference.dtype} and {image.dtype}")
    return Metrics(_psnr(reference, image, 255), float(structural_similarity(reference, image)), nmse(reference, image))


def volume_metrics(reference: npt.NDArray[np.floating], image: npt.NDArray[np.floating]) -> Metrics:
    """One volume in float, ``(S, H, W)`` each: data range is the reference's maximum, SSIM averaged over slices."""
    from skimage.metrics import structural_similarity

    _check(reference, image, 3)
    data_range = float(reference.max())
    ssim = [structural_similarity(r, i, data_range=data_range) for r, i in zip(reference, image, strict=True)]
    return Metrics(_psnr(reference, image, data_range), float(np.mean(ssim)), nmse(reference, image))


def plane_metrics(reference: npt.NDArray[np.floating], image: npt.NDArray[np.floating]) -> Metrics:
    """One slice in float, ``(H, W)`` each: data range is the slice's own maximum, not the volume's."""
    return volume_metrics(reference[None], image[None])


def score(reference: Tensor, image: Tensor, protocol: ProtocolName) -> list[Metrics]:
    """Metrics of one case, ``(n, H, W)`` each: a row per slice in the ``brats`` protocol, else one row."""
    g, p = reference.numpy(), image.numpy()
    if protocol == "brats":
        return [slice_metrics(one, other) for one, other in zip(g, p, strict=True)]
    return [volume_metrics(g, p)]


def nmse(reference: npt.NDArray[np.generic], image: npt.NDArray[np.generic]) -> float:
    """Normalised mean squared error ``||g - p||^2 / ||g||^2``."""
    g, p = reference.astype(np.float64), image.astype(np.float64)
    return float(np.sum((g - p) ** 2) / np.sum(g**2))


def _psnr(reference: npt.NDArray[np.generic], image: npt.NDArray[np.generic], data_range: float) -> float:
    from skimage.metrics import peak_signal_noise_ratio

    if np.array_equal(reference, image):
        return float("inf")
    return float(peak_signal_noise_ratio(reference, image, data_range=data_range))


def _check(reference: npt.NDArray[np.generic], image: npt.NDArray[np.generic], axes: int) -> None:
    if reference.shape != image.shape or reference.ndim != axes:
        raise UserError(f"metrics need two arrays of {axes} axes and one size, not {reference.shape} and {image.shape}")
    if min(reference.shape[-2:]) < 7:
        raise UserError(f"SSIM's window needs slices of at least 7 x 7 pixels, not {reference.shape[-2:]}")
    if not np.isfinite(image).all():
        raise UserError(
            "the image to be scored has NaN or infinite values; the network diverged or its input was damaged"
        )
    if not np.isfinite(reference).all():
        raise UserError("the reference has NaN or infinite values; its file is damaged")
    if not np.any(reference):
        raise UserError("the reference is zero everywhere; PSNR and NMSE have no meaning there")
