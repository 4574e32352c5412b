"""PSNR, SSIM and NMSE, of slices in 8 bits and of volumes in float.

The two must never be compared with each other: 8 bits per slice with a data range of 255 is the paper's BraTS protocol,
float per volume with the reference's maximum as data range is fastMRI's. Slices in 8 bits are scored by scikit-image;
volumes in float by the same formulas written for many slices, to within 1e-6 of scikit-image's in a fraction of its
time (``tests/test_metrics.py``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fsmnet.errors import UserError

Floats = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]
WINDOW = 7  # pixels along each side of SSIM's uniform window


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
        raise UserError(f"slices in 8 bits are scored as uint8, not {reference.dtype} and {image.dtype}")
    return Metrics(_psnr(reference, image, 255), float(structural_similarity(reference, image)), nmse(reference, image))


def volume_metrics(reference: Floats, image: Floats, data_range: float | None = None) -> Metrics:
    """One volume in float, ``(S, H, W)`` each, SSIM averaged over slices; the data range is by default its maximum."""
    _check(reference, image, 3)
    scores = VolumeScores(reference, data_range)
    scores.add(slice(None), image)
    return scores.metrics()


def masked_metrics(reference: npt.NDArray[Any], image: npt.NDArray[Any], mask: Mask, data_range: float) -> Metrics:
    """Scores inside a mask, ``(S, H, W)`` each; see :meth:`VolumeScores.masked`. In 8 bits as in float."""
    _check(reference, image, 3)
    scores = VolumeScores(reference.astype(np.float32), data_range, mask)
    scores.add(slice(None), image.astype(np.float32))
    return scores.masked()


class VolumeScores:
    """:func:`volume_metrics` of an image whose slices come one after the other.

    Attributes:
        mask: bool ``(S, H, W)``, inside which :meth:`masked` scores; may be set before the first slices come.
    """

    def __init__(
        self,
        reference: Floats,
        data_range: float | None = None,
        mask: Mask | None = None,
        counted: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Begin with the whole reference.

        Args:
            reference: ``(S, H, W)``.
            data_range: its maximum if None.
            mask: bool ``(S, H, W)``, inside which :meth:`masked` scores.
            counted: bool ``(S,)``, the slices that count; all if None.

        Raises:
            UserError: a reference that nothing can be compared with.
        """
        _check_reference(reference)
        self._reference, self.mask = reference, mask
        self._range = float(reference.max()) if data_range is None else data_range
        self._counted = np.ones(len(reference), dtype=bool) if counted is None else counted
        self._whole, self._inside = _Sums(), _Sums()

    def add(self, part: slice, image: Floats) -> None:
        """Compare some slices, finite ``(b, H, W)``."""
        numbers = range(len(self._reference))[part]
        for number, y in zip(numbers, image, strict=True):
            if not self._counted[number]:
                continue
            x = self._reference[number]
            g = x.astype(np.float64)
            # No scalar products: the threads of NumPy's BLAS keep turning for a while, on the cores of the network.
            energy, error, similar = np.square(g), np.square(g - y), _ssim_map(x, y, self._range)
            self._whole.add(energy, error, similar)
            if self.mask is not None and (inside := self.mask[number]).any():
                centres = inside[WINDOW // 2 : -(WINDOW // 2), WINDOW // 2 : -(WINDOW // 2)]
                self._inside.add(energy[inside], error[inside], similar[centres])

    def metrics(self) -> Metrics:
        """Scores of the slices so far, at least one."""
        return self._whole.metrics(self._range)

    def masked(self) -> Metrics:
        """Scores inside the mask, NaN where it is empty: PSNR and NMSE of its voxels, SSIM of windows centred in it.

        The data range is the same as for the whole image.
        """
        return self._inside.metrics(self._range)


@dataclass
class _Sums:
    """What the scores of a volume are made of: sums of squares, and the mean SSIM of each slice."""

    energy: float = 0.0
    error: float = 0.0
    voxels: int = 0
    ssim: list[float] = field(default_factory=list)

    def add(self, energy: Floats, error: Floats, similar: Floats) -> None:
        self.energy += float(energy.sum())
        self.error += float(error.sum())
        self.voxels += energy.size
        if similar.size:
            self.ssim.append(float(similar.mean(dtype=np.float64)))

    def metrics(self, data_range: float) -> Metrics:
        if not (self.voxels and self.energy and self.ssim):
            return Metrics(math.nan, math.nan, math.nan)
        mean = self.error / self.voxels
        psnr = 10 * math.log10(data_range**2 / mean) if mean else math.inf
        return Metrics(psnr, float(np.mean(self.ssim)), self.error / self.energy)


def plane_metrics(reference: Floats, image: Floats) -> Metrics:
    """One slice in float, ``(H, W)`` each: data range is the slice's own maximum, not the volume's."""
    return volume_metrics(reference[None], image[None])


def psnr(reference: npt.ArrayLike, image: npt.ArrayLike, data_range: float | None = None) -> float:
    """Peak signal-to-noise ratio ``10 log10(L^2 / mean (g - p)^2)`` in dB, scikit-image's; infinite for equal images.

    Args:
        reference: g, real, of any shape.
        image: p, of the same shape.
        data_range: L; None: 255 for uint8, else the reference's maximum.

    Raises:
        UserError: shapes that differ, values that are not finite or not real, a reference that is zero everywhere.
    """
    g, p = _arrays(reference, image)
    return _psnr(g, p, _data_range(g) if data_range is None else data_range)


def ssim(reference: npt.ArrayLike, image: npt.ArrayLike, data_range: float | None = None) -> float:
    """Structural similarity of slices with scikit-image's defaults (uniform windows of 7 x 7), averaged over slices.

    Args:
        reference: real, ``(H, W)`` or ``(S, H, W)``, at least 7 x 7.
        image: of the same shape.
        data_range: None: 255 for uint8, else the maximum of the whole reference.

    Raises:
        UserError: see :func:`psnr`.
    """
    from skimage.metrics import structural_similarity

    g, p = _arrays(reference, image)
    if g.ndim not in (2, 3) or min(g.shape[-2:]) < WINDOW:
        raise UserError(f"SSIM compares slices (H, W) or (S, H, W) of at least 7 x 7 pixels, not {g.shape}")
    scale = _data_range(g) if data_range is None else data_range
    planes = zip(g.reshape(-1, *g.shape[-2:]), p.reshape(-1, *g.shape[-2:]), strict=True)
    return float(np.mean([structural_similarity(x, y, data_range=scale) for x, y in planes]))


def nmse(reference: npt.ArrayLike, image: npt.ArrayLike) -> float:
    """Normalised mean squared error ``||g - p||^2 / ||g||^2`` of two real arrays of one shape.

    Raises:
        UserError: see :func:`psnr`.
    """
    g, p = (array.astype(np.float64) for array in _arrays(reference, image))
    return float(np.sum((g - p) ** 2) / np.sum(g**2))


def _ssim_map(x: Floats, y: Floats, data_range: float) -> Floats:
    """SSIM of the windows that lie within the slice, ``(H - 6, W - 6)`` (Wang et al., IEEE TIP 13:600, 2004).

    Uniform windows of 7 x 7, sample covariances, K1 = 0.01, K2 = 0.03: scikit-image's ``structural_similarity`` with
    its defaults. Only the sum of the two variances is needed, which saves a window sum.
    """
    n = WINDOW**2
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_x, mean_y = _window_sums(x) / n, _window_sums(y) / n
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    covariance = (_window_sums(x * y) / n - product) * (n / (n - 1))
    variances = (_window_sums(x * x + y * y) / n - squares) * (n / (n - 1))
    ssim: Floats = (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
    return ssim


def _window_sums(x: Floats) -> Floats:
    """Sums over all windows, ``(H - 6, W - 6)``: 7 = 4 + 2 + 1 rows, then columns likewise."""
    for _ in range(2):
        pairs = x[:-1] + x[1:]
        x = (pairs[:-5] + pairs[2:-3] + pairs[4:-1] + x[6:]).T
    return x


def _psnr(reference: npt.NDArray[np.generic], image: npt.NDArray[np.generic], data_range: float) -> float:
    from skimage.metrics import peak_signal_noise_ratio

    if np.array_equal(reference, image):
        return float("inf")
    return float(peak_signal_noise_ratio(reference, image, data_range=data_range))


def _arrays(reference: npt.ArrayLike, image: npt.ArrayLike) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Both as real arrays of one shape that can be compared."""
    g, p = np.asarray(reference), np.asarray(image)
    if g.shape != p.shape:
        raise UserError(f"the reference has shape {g.shape}, the image {p.shape}; they must have the same")
    if g.dtype.kind not in "iuf" or p.dtype.kind not in "iuf":
        raise UserError(f"metrics compare real images, not {g.dtype} and {p.dtype}; take the magnitude")
    if not g.any():
        raise UserError("the reference is zero everywhere; PSNR and NMSE have no meaning there")
    if not (np.isfinite(g).all() and np.isfinite(p).all()):
        raise UserError("reference or image has NaN or infinite values; its file is damaged, or the network diverged")
    return g, p


def _data_range(reference: npt.NDArray[Any]) -> float:
    return 255.0 if reference.dtype == np.uint8 else float(reference.max())


def _check(reference: npt.NDArray[np.generic], image: npt.NDArray[np.generic], axes: int) -> None:
    if reference.shape != image.shape or reference.ndim != axes:
        raise UserError(f"metrics need two arrays of {axes} axes and one size, not {reference.shape} and {image.shape}")
    if not np.isfinite(image).all():
        raise UserError(
            "the image to be scored has NaN or infinite values; the network diverged or its input was damaged"
        )
    _check_reference(reference)


def _check_reference(reference: npt.NDArray[np.generic]) -> None:
    if min(reference.shape[-2:]) < WINDOW:
        raise UserError(f"SSIM's window needs slices of at least 7 x 7 pixels, not {reference.shape[-2:]}")
    if not np.isfinite(reference).all():
        raise UserError("the reference has NaN or infinite values; its file is damaged")
    if not np.any(reference):
        raise UserError("the reference is zero everywhere; PSNR and NMSE have no meaning there")
