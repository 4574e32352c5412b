"""Rigid registration: bring an auxiliary of another position onto the target's grid, and say how well it fits.

The similarity is Mattes's mutual information (Mattes et al., IEEE Trans. Med. Imaging 22:120, 2003): contrasts need
not look alike, one only has to predict the other. It is maximised over rotation and translation by SimpleITK, from
coarse to fine; random points are drawn from a seed and one thread adds them up, so that results repeat.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from fsmnet.data.grid import grid_difference, log_repairs, require_place, resample_to
from fsmnet.data.volume import Volume
from fsmnet.errors import UserError

logger = logging.getLogger(__name__)

Matrix = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_THREADS = Lock()

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # ITK's x and y point left and to posterior, NIfTI's right and to anterior
LEVELS = (8.0, 4.0, 2.0, 1.0)  # mm between the voxels, coarse to fine
SAMPLES = 100_000  # points per level at which the two volumes are compared, at most
JUDGED = 400_000  # points for the similarity that is reported, at most
BINS = 32  # of the joint histogram, along each axis
SURROUND = 8.0  # mm of background around the head that count as well: its outline is worth much
LEAST = 4  # voxels along each axis
LOW = 0.16  # nats, between 0.12 and 0.23; see similarity()
WORSE = 0.98  # of the similarity before: less is more than what interpolation costs a pair that was in place


@dataclass(frozen=True)
class Registration:
    """An auxiliary on the target's grid, and how it came there.

    Attributes:
        volume: the auxiliary, ``(S, H, W)`` of the target, linearly interpolated; 0 outside its field of view.
        transform: float64 ``(4, 4)``, a point of the auxiliary to the point of the target where it belongs; mm, RAS.
        similarity_before: :func:`similarity` as the files lie, in nats.
        similarity_after: the same after registration.
        rotation: angle in degrees.
        shift: how far the centre of the target's head moved, in mm.
    """

    volume: Volume
    transform: Matrix
    similarity_before: float
    similarity_after: float
    rotation: float
    shift: float

    def describe(self) -> str:
        """Movement and similarity in words with numbers."""
        return (
            f"moved by {self.shift:.1f} mm and {self.rotation:.1f} degrees, "
            f"mutual information {self.similarity_before:.2f} before, {self.similarity_after:.2f} after"
        )


def register_rigid(auxiliary: Volume, target: Volume, seed: int = 0) -> Registration:
    """Find the rotation and translation under which the auxiliary tells most about the target, and apply them.

    The search starts from the best of three: as the files lie, centres of mass together, and centres of the fields of
    view together. Warns when the similarity found is low, or lower than before.

    Args:
        auxiliary: volume to be moved, on any grid.
        target: volume that stays.
        seed: of the points at which the two are compared, at least 0.

    Raises:
        UserError: SimpleITK is not installed, a volume is too thin or has no place in space, or the two cannot be laid
            over each other.
    """
    sitk = _simpleitk()
    log_repairs(target, auxiliary)
    require_place(target, auxiliary)
    for volume in (auxiliary, target):
        if min(volume.shape) < LEAST:
            size = " x ".join(map(str, volume.shape))
            raise UserError(
                f"{volume.name} is {size}: registration needs {LEAST} voxels along each axis; use --resample instead"
            )
    before = similarity(target, auxiliary, seed)
    transform = _start(auxiliary, target, seed)
    near = _cropped(target)
    done: set[tuple[int, ...]] = set()
    for spacing in LEVELS:
        level = (*_steps(auxiliary, spacing), *_steps(near, spacing))
        if level not in done:  # a level finer than both volumes would repeat the one before
            transform = _improve(sitk, transform, _coarser(auxiliary, spacing), _coarser(near, spacing), spacing, seed)
        done.add(level)
    matrix = np.linalg.inv(transform).astype(np.float64)
    registered = resample_to(replace(auxiliary, affine=matrix @ auxiliary.affine), target)
    centre = _centre(target)
    result = Registration(
        volume=registered,
        transform=matrix,
        similarity_before=before,
        similarity_after=similarity(target, registered, seed),
        rotation=float(np.degrees(np.arccos(np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1, 1)))),
        shift=float(np.linalg.norm((transform @ centre - centre)[:3])),
    )
    _judge(result, auxiliary, target)
    return result


def similarity_in_place(auxiliary: Volume, target: Volume, resampled: bool = True) -> float | None:
    """How much an auxiliary that was not registered tells about the target; warns when it is little.

    Args:
        auxiliary: volume on the target's grid.
        target: the other.
        resampled: whether it was brought there, so that a good value is worth a line too.

    Returns:
        :func:`similarity`; None where SimpleITK is not installed, since resampling needs none.
    """
    if find_spec("SimpleITK") is None:
        return None
    found = similarity(target, auxiliary)
    names = f"{auxiliary.name} and {target.name}"
    if found < LOW:
        logger.warning(
            "%s: little in common as they lie (mutual information %.2f; expected at least %.2f); see that both show "
            "one head the same way up, or try --register rigid",
            names,
            found,
            LOW,
        )
    elif resampled:
        logger.info("%s: mutual information %.2f as they lie", names, found)
    return found


def similarity(a: Volume, b: Volume, seed: int = 0) -> float:
    """Mattes mutual information of two volumes over the head of the first, in nats; larger is better.

    Points outside the second volume's field of view count as background. T1- and T2-weighted images of five heads
    reached 0.24 to 0.60 nats in place and 0.23 to 0.61 registered, 0.02 to 0.04 turned by 5 degrees and shifted by
    8 mm, those of two patients after registration 0.03 to 0.12 (``benchmarks/similarity.py``).

    Args:
        a: volume whose head and grid count.
        b: the other; brought onto the grid of ``a`` by linear interpolation where they differ.
        seed: of the points at which the two are compared, at least 0.

    Raises:
        UserError: SimpleITK is not installed.
    """
    return _similarity(a, b, head(a), seed)


def to_simpleitk(volume: Volume) -> Any:
    """A volume as SimpleITK image of the same type: its indices are the file's (i, j, k), its millimetres LPS."""
    sitk = _simpleitk()
    affine = LPS @ volume.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.data.swapaxes(1, 2)))  # (k, j, i)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    return image


def _simpleitk() -> Any:
    try:
        import SimpleITK
    except ImportError:
        raise UserError("registration needs SimpleITK; install it with pip install 'fsmnet[register]'") from None
    return SimpleITK


def _start(auxiliary: Volume, target: Volume, seed: int) -> Matrix:
    """Target to auxiliary in RAS: the translation with which the search begins."""
    auxiliary, target = _coarser(auxiliary, LEVELS[0] / 2), _coarser(target, LEVELS[0] / 2)
    shifts = [np.zeros(3)]
    for centre in (_centre, _middle):
        shifts.append((centre(auxiliary) - centre(target))[:3])
    starts = [np.eye(4) for _ in shifts]
    for start, shift in zip(starts, shifts, strict=True):
        start[:3, 3] = shift
    mask = _surroundings(target)
    moved = [replace(auxiliary, affine=np.linalg.inv(start) @ auxiliary.affine) for start in starts]
    values = [_similarity(target, volume, mask, seed) for volume in moved]
    if max(values) <= 0 or auxiliary.data.min() == auxiliary.data.max():
        raise UserError(
            f"{auxiliary.name} cannot be laid over {target.name}: no position has anything in common; "
            "are they of one exam?"
        )
    return starts[int(np.argmax(values))]  # the first of equals: as the files lie


def _improve(sitk: Any, start: Matrix, auxiliary: Volume, target: Volume, spacing: float, seed: int) -> Matrix:
    """One level of the search; target to auxiliary in RAS, as ``start``."""
    transform = sitk.Euler3DTransform()
    centre = (LPS @ _centre(target))[:3]
    matrix = LPS @ start @ LPS
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation((matrix[:3, :3] @ centre + matrix[:3, 3] - centre).tolist())
    method = _metric(sitk, target, _surroundings(target), SAMPLES, seed)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=spacing / 2,
        minStep=spacing / 1000,
        numberOfIterations=100,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-8,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    try:
        with _one_thread(sitk):
            method.Execute(to_simpleitk(_clipped(target)), to_simpleitk(_clipped(auxiliary)))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"{auxiliary.name} cannot be registered to {target.name} ({reason})") from None
    found = np.eye(4)
    found[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    found[:3, 3] = np.array(transform.GetTranslation()) + centre - found[:3, :3] @ centre
    return LPS @ found @ LPS


def _similarity(a: Volume, b: Volume, mask: Mask, seed: int) -> float:
    """:func:`similarity` over a mask of the first volume's shape."""
    sitk = _simpleitk()
    if grid_difference(a, b):
        try:
            b = resample_to(b, a)
        except UserError:  # nothing of b lies there
            return 0.0
    if b.data.min() == b.data.max():
        return 0.0
    method = _metric(sitk, a, mask, JUDGED, seed)
    method.SetInitialTransform(sitk.Euler3DTransform())
    try:
        with _one_thread(sitk):
            return -float(method.MetricEvaluate(to_simpleitk(_clipped(a)), to_simpleitk(_clipped(b))))
    except RuntimeError:  # constant wherever it is looked at
        return 0.0


def _metric(sitk: Any, fixed: Volume, mask: Mask, samples: int, seed: int) -> Any:
    """Registration method whose metric looks at random points within a mask of the fixed volume's shape."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricFixedMask(to_simpleitk(replace(fixed, data=mask.view(np.uint8))))
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(min(1.0, samples / np.count_nonzero(mask)), seed + 1)  # 0 is the clock's time
    method.SetMetricUseFixedImageGradientFilter(False)
    method.SetMetricUseMovingImageGradientFilter(False)
    method.SetInterpolator(sitk.sitkLinear)
    return method


@contextmanager
def _one_thread(sitk: Any) -> Iterator[None]:
    """Sums in another order would not repeat; the method's own number of threads does not reach its metric.

    The number is the whole process's, so registrations in several Python threads wait for each other.
    """
    with _THREADS:
        threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        try:
            yield
        finally:
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def _clipped(volume: Volume) -> Volume:
    """A few very bright voxels would leave the histogram empty."""
    return replace(volume, data=np.minimum(volume.data, np.percentile(volume.data[head(volume)], 99.8)))


def head(volume: Volume) -> Mask:
    """Where the head is, bool ``(S, H, W)``: above a tenth of its bright tissue; all of the volume if nothing is."""
    positive = volume.data[volume.data > 0]
    if not positive.size:
        return np.ones(volume.data.shape, bool)
    inside: Mask = volume.data > 0.1 * np.percentile(positive, 95)
    return inside


def _surroundings(volume: Volume) -> Mask:
    """The head and :data:`SURROUND` mm around it, bool ``(S, H, W)``."""
    from scipy import ndimage  # slow to import, and the similarity does without

    distance = ndimage.distance_transform_edt(~head(volume), sampling=_spacing(volume))
    near: Mask = distance <= SURROUND
    return near


def _cropped(volume: Volume) -> Volume:
    """The box around the head and :data:`SURROUND` mm more: what the search looks at."""
    box = []
    for axis, size in enumerate(_spacing(volume)):
        filled = np.flatnonzero(head(volume).any(axis=tuple({0, 1, 2} - {axis})))
        margin = int(np.ceil(SURROUND / size)) + 1
        box.append(slice(max(0, filled[0] - margin), filled[-1] + margin + 1))
    k, i, j = (part.start for part in box)
    affine = volume.affine.copy()
    affine[:, 3] = volume.affine @ [i, j, k, 1]
    return replace(volume, data=np.ascontiguousarray(volume.data[tuple(box)]), affine=affine)


def _coarser(volume: Volume, spacing: float) -> Volume:
    """Every n-th voxel along each axis, blurred before; ``spacing`` mm apart or less, unless they were more."""
    steps = _steps(volume, spacing)
    if max(steps) == 1:
        return volume
    from scipy import ndimage

    blurred = ndimage.gaussian_filter(volume.data, [0.4 * step if step > 1 else 0 for step in steps], truncate=3)
    k, i, j = steps
    data = np.ascontiguousarray(blurred[::k, ::i, ::j])
    return replace(volume, data=data, affine=volume.affine @ np.diag([i, j, k, 1.0]))


def _steps(volume: Volume, spacing: float) -> list[int]:
    """How many voxels along each axis of ``data`` lie within ``spacing`` mm, at least 1 and leaving some voxels."""
    most = [size // LEAST for size in volume.data.shape]
    return [max(1, min(int(spacing / size + 1e-3), n)) for size, n in zip(_spacing(volume), most, strict=True)]


def _spacing(volume: Volume) -> list[float]:
    """Size of a voxel in mm along the axes of ``data``."""
    i, j, k = np.linalg.norm(volume.affine[:3, :3], axis=0).tolist()
    return [k, i, j]


def _centre(volume: Volume) -> Matrix:
    """Centre of mass in mm, RAS, ``(4,)``."""
    from scipy import ndimage

    k, i, j = ndimage.center_of_mass(head(volume))
    centre: Matrix = volume.affine @ np.array([i, j, k, 1.0])
    return centre


def _middle(volume: Volume) -> Matrix:
    """Middle of the field of view in mm, RAS, ``(4,)``."""
    middle: Matrix = volume.affine @ np.array([(n - 1) / 2 for n in volume.shape] + [1.0])
    return middle


def _judge(result: Registration, auxiliary: Volume, target: Volume) -> None:
    """Say what was done, and whether to trust it."""
    names = f"{auxiliary.name} to {target.name}"
    if result.similarity_after < WORSE * result.similarity_before:
        logger.warning("%s: registration made it worse (%s); look at both, or use --resample", names, result.describe())
    elif result.similarity_after < LOW:
        logger.warning(
            "%s: little in common after registration (%s; expected at least %.2f); are they of one head, all of it?",
            names,
            result.describe(),
            LOW,
        )
    else:
        logger.info("%s: %s", names, result.describe())
