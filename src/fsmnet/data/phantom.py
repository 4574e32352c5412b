"""The embedded multi-contrast head: real anatomy from a template, contrasts from tissue physics, nothing downloaded.

Anatomy: the symmetric MNI152 2009a template (T1-weighted, brain only) and its grey and white matter maps, which the
``nilearn`` package carries. Every subject is the template after its own rotation, scaling and smooth random
deformation, with lesions in the white matter and a few percent of scatter in the relaxation times.

Contrast: in every voxel the signals of cerebrospinal fluid (CSF), grey matter, white matter and lesion, from
:func:`signal`, are mixed by their volume fractions, shaded by a receive coil, and made Rician by noise. The
template's texture and a random one of the subject's own change T1, T2 and proton density in different proportions,
so that one contrast tells much about another but not everything.

It is a phantom: good for demonstrations, tests and teaching, no stand-in for patients in a published comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.interpolate import BSpline
from scipy.optimize import brentq
from scipy.spatial.transform import Rotation
from scipy.special import expit

from fsmnet.errors import UserError, similar
from fsmnet.files import atomic_path

Array = npt.NDArray[np.float32]
Smooth = Callable[[np.random.Generator, float], Array]


@dataclass(frozen=True)
class Sequence:
    """Timing of a spin-echo sequence, in ms.

    Attributes:
        tr: repetition time.
        te: echo time.
        ti: inversion time; None without an inversion pulse.
    """

    tr: float
    te: float
    ti: float | None = None


@dataclass(frozen=True)
class Tissue:
    """What a tissue's signal depends on.

    Attributes:
        t1: longitudinal relaxation time in ms.
        t2: transverse relaxation time in ms.
        pd: proton density relative to water.
    """

    t1: float
    t2: float
    pd: float


SEQUENCES = {
    "t1": Sequence(tr=2300, te=5, ti=1100),
    "t2": Sequence(tr=5000, te=90),
    "pd": Sequence(tr=5000, te=15),
    "flair": Sequence(tr=9000, te=90, ti=2370),
}
"""T1-, T2- and proton-density-weighted, and T2-weighted with CSF suppressed: at that TR, this TI nulls a T1 of 4 s."""

TISSUES = {
    "csf": Tissue(t1=4000, t2=2000, pd=1.00),
    "grey": Tissue(t1=1450, t2=100, pd=0.82),
    "white": Tissue(t1=900, t2=75, pd=0.70),
    "lesion": Tissue(t1=1200, t2=190, pd=0.78),
}
"""Rounded values at 3 T. Grey and white matter lie between what Wansapura et al. (1999) and Stanisz et al. (2005)
measured, which differ by some 30 % in T1; Bojorquez et al. (2017) review the scatter. Densities are water contents.
The lesion is made to stand out; each subject's takes the T1 at which the T1-weighted image does not show it."""

FIELD_OF_VIEW = 155  # mm along z that all slices cover together: the height of the template's brain
TEXTURE = 3.0  # mm, spacing of the subject's own texture
SHADING = 0.08  # standard deviation of the logarithm of the coil's sensitivity
MARGIN = 8  # mm in plane around the template's brain that a deformed one may need


@dataclass(frozen=True)
class Subject:
    """One simulated head without skull; the background is exactly 0.

    Attributes:
        name: such as ``phantom-0007``.
        contrasts: for each key of :data:`SEQUENCES`, float32 ``(H, W, S)``, at least 0; 1 is what fully relaxed
            water gives at once. The axes x, y, z point right, to anterior and up: ``[:, :, k]`` is axial.
        labels: uint8 ``(H, W, S)``, what most of the voxel is: 0 background, 1 CSF, 2 grey, 3 white matter, 4 lesion.
        affine: float64 ``(4, 4)``, voxel index to mm in RAS.
    """

    name: str
    contrasts: dict[str, Array] = field(repr=False)
    labels: npt.NDArray[np.uint8] = field(repr=False)
    affine: npt.NDArray[np.float64] = field(repr=False)


def signal(sequence: Sequence, t1: npt.ArrayLike, t2: npt.ArrayLike, pd: npt.ArrayLike) -> npt.NDArray[np.floating]:
    """Signal of a spin echo: ``PD (1 - exp(-TR/T1)) exp(-TE/T2)``.

    After an inversion pulse the bracket is ``1 - 2 exp(-TI/T1) + exp(-TR/T1)``, negative before the null.

    Args:
        sequence: timing in ms.
        t1: longitudinal relaxation time in ms, any shape.
        t2: transverse relaxation time in ms, of a shape that broadcasts with the others.
        pd: proton density relative to water, likewise.
    """
    t1, t2, pd = np.asarray(t1), np.asarray(t2), np.asarray(pd)
    recovered = 1 - np.exp(-sequence.tr / t1)
    if sequence.ti is not None:
        recovered = 2 * (1 - np.exp(-sequence.ti / t1)) - recovered
    echo: npt.NDArray[np.floating] = pd * recovered * np.exp(-sequence.te / t2)
    return echo


@dataclass(frozen=True)
class _Template:
    """The brain's box of the template at 1 mm; arrays are float32 ``(X, Y, Z)``, all but ``brain`` as cubic splines.

    Attributes:
        brain: 1 in the brain, 0 outside.
        csf: volume fraction of cerebrospinal fluid, 1 outside the brain.
        white: volume fraction of white matter; what is left is grey matter.
        texture: T1-weighted intensity that the fractions do not explain, as a share of that of white matter.
        deep_white: ``(N, 3)``, mm from the middle of the box: where a lesion may be centred.
        middle: float64 ``(3,)``, the middle of the box in mm, RAS.
    """

    brain: Array
    csf: Array
    white: Array
    texture: Array
    deep_white: Array
    middle: npt.NDArray[np.float64]


def make_subject(
    seed: int, size: int = 240, slices: int | None = None, snr: float = 40.0, voxel: float = 1.0
) -> Subject:
    """Simulate one head. Equal arguments give equal bits; ``size`` and ``slices`` change nothing but extent and noise.

    Args:
        seed: at least 0; chooses anatomy, lesions, relaxation times, shading and noise.
        size: H and W; the head is centred, and cut off where it does not fit.
        slices: S, adjacent axial slices around the middle of the brain; None for all, 155 mm.
        snr: mean signal within the brain over the standard deviation of the noise in either channel, the same for
            each contrast; ``math.inf`` for no noise.
        voxel: edge of the voxels in mm.

    Raises:
        UserError: an impossible value, in words, or nilearn is not installed.
    """
    shape = _checked_shape(seed, size, slices, snr, voxel)
    template = _template(voxel)
    anatomy, physics, coil, noise = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(4))

    # The grid in mm from the middle of the brain, and the part of it that a brain can reach.
    available = round(FIELD_OF_VIEW / voxel)
    axes = [voxel * (np.arange(count) - (count - 1) / 2) for count in (size, size, available)]
    axes[2] = axes[2][(available - shape[2]) // 2 :][: shape[2]]
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = template.middle + [axis[0] for axis in axes]
    reach = np.array(template.brain.shape) / 2 + [MARGIN, MARGIN, 0]
    near = [np.abs(axis) <= limit for axis, limit in zip(axes, reach, strict=True)]
    near_axes = [axis[keep] for axis, keep in zip(axes, near, strict=True)]
    smooth = partial(_smooth_field, reach, near_axes)

    # Where in the template each voxel lies. What follows looks at the voxels of the brain only, in one row.
    places = _deformed_places(anatomy, near_axes, smooth)
    brain = _sample(template.brain, places, order=1) > 0.5
    places = places[:, brain]
    csf = np.clip(_sample(template.csf, places), 0, 1)
    white = np.clip(_sample(template.white, places), 0, 1 - csf)
    lesion = white * _lesions(anatomy, template.deep_white, places)
    fractions = {"csf": csf, "grey": 1 - csf - white, "white": white - lesion, "lesion": lesion}
    texture = _sample(template.texture, places)
    images = _images(physics, fractions, texture, [smooth(physics, TEXTURE)[brain] for _ in range(3)])

    everywhere = np.zeros(shape, bool)
    everywhere[np.ix_(*near)] = brain
    contrasts = {}
    for name, image in images.items():
        shaded = image * np.exp(SHADING * smooth(coil, 90)[brain])
        real, imaginary = shaded.mean() / snr * noise.standard_normal((2, shaded.size), np.float32)
        contrasts[name] = np.zeros(shape, np.float32)
        contrasts[name][everywhere] = np.hypot(shaded + real, imaginary)
    labels = np.zeros(shape, np.uint8)
    labels[everywhere] = np.argmax(list(fractions.values()), axis=0) + 1
    return Subject(subject_name(seed), contrasts, labels, affine)


def subject_name(seed: int) -> str:
    """Name of the subject with this seed, such as ``phantom-0007``."""
    return f"phantom-{seed:04d}"


def write_subjects(
    folder: Path,
    seeds: Iterable[int],
    contrasts: Iterable[str] = ("t1", "t2"),
    *,
    size: int = 240,
    slices: int | None = None,
    snr: float = 40.0,
    voxel: float = 1.0,
) -> list[Path]:
    """Write ``<folder>/<name>/<name>_<contrast>.nii.gz`` as BraTS does: int16, the brightest voxel 4095.

    A file already there that was made with the same options is kept; a subject with all its files is not simulated.

    Args:
        folder: created with its parents if need be.
        seeds: one subject each.
        contrasts: keys of :data:`SEQUENCES`.
        size: as in :func:`make_subject`, like those that follow.
        slices: number of slices, None for all.
        snr: signal-to-noise ratio.
        voxel: edge of the voxels in mm.

    Returns:
        The subjects' folders, in the order of the seeds.

    Raises:
        UserError: an unknown contrast, an impossible value, nilearn is missing, or the folder cannot be written to.
    """
    contrasts = tuple(contrasts)
    if unknown := [name for name in contrasts if name not in SEQUENCES]:
        hint = similar(unknown[0], SEQUENCES)
        raise UserError(f"the phantom has no contrast {unknown[0]!r}{hint}; choose from {', '.join(SEQUENCES)}")
    folders = []
    for seed in seeds:
        name = subject_name(seed)
        # The header has 79 characters for it.
        description = f"fsmnet phantom: seed {seed}, size {size}, slices {slices}, snr {snr:g}, voxel {voxel:g}"
        files = {contrast: folder / name / f"{name}_{contrast}.nii.gz" for contrast in contrasts}
        missing = [contrast for contrast, path in files.items() if _description(path) != description]
        folders.append(folder / name)
        if not missing:
            continue
        subject = make_subject(seed, size=size, slices=slices, snr=snr, voxel=voxel)
        for contrast in missing:
            image = subject.contrasts[contrast]
            nifti = nib.Nifti1Image(np.rint(image * (4095 / image.max())).astype(np.int16), subject.affine)
            nifti.header["descrip"] = description
            nifti.header.set_xyzt_units("mm")
            with atomic_path(files[contrast]) as temporary:
                nib.save(nifti, temporary)
    return folders


def _description(path: Path) -> str | None:
    """What the header of a NIfTI file says about its origin; None if there is no such file."""
    try:
        return str(nib.Nifti1Image.from_filename(path).header["descrip"].item().decode())
    except (OSError, EOFError, nib.filebasedimages.ImageFileError):
        return None


def _checked_shape(seed: int, size: int, slices: int | None, snr: float, voxel: float) -> tuple[int, int, int]:
    """Shape ``(H, W, S)`` of the grid asked for, if it can be had."""
    if seed < 0:
        raise UserError(f"the phantom's seed is {seed}; choose 0 or more")
    if size < 8:
        raise UserError(f"the phantom's size is {size}; choose at least 8 voxels")
    if not snr > 0:
        raise UserError(f"the phantom's snr is {snr}; choose more than 0")
    if not 0.5 <= voxel <= 10:
        raise UserError(f"the phantom's voxel is {voxel} mm; choose from 0.5 to 10")
    available = round(FIELD_OF_VIEW / voxel)
    if slices is not None and not 1 <= slices <= available:
        raise UserError(f"the phantom's slices are {slices}; voxels of {voxel:g} mm allow 1 to {available}")
    return size, size, available if slices is None else slices


@lru_cache(maxsize=2)
def _template(voxel: float) -> _Template:
    """Maps for sampling at ``voxel`` mm, blurred as a voxel larger than the template's blurs."""
    try:
        from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template
    except ImportError:
        raise UserError("the phantom needs the nilearn package; install it with pip install 'fsmnet[demo]'") from None
    template = load_mni152_template(resolution=1)
    box = ndimage.find_objects((np.asarray(template.dataobj) > 0).astype(np.int8))[0]
    middle = nib.affines.apply_affine(template.affine, [(axis.start + axis.stop - 1) / 2 for axis in box])
    t1w, grey, white = (
        np.asarray(image.dataobj, np.float32)[box]
        for image in (template, load_mni152_gm_template(resolution=1), load_mni152_wm_template(resolution=1))
    )
    brain = t1w > 0
    csf = np.clip(1 - grey - white, 0, 1)
    dark, medium, bright = (np.median(t1w[brain & (tissue > 0.95)]) for tissue in (csf, grey, white))

    # The average over many heads calls a narrow sulcus grey matter; its intensity tells of the fluid inside.
    fluid = np.clip((dark * csf + medium * grey + bright * white - t1w) / (medium - dark), 0, grey)
    csf, grey = csf + fluid, grey - fluid
    texture = np.where(brain, t1w - dark * csf - medium * grey - bright * white, 0) / bright

    # It also blurs the borders: sharpen the fractions to those of a single head; they add up to 1 again.
    sharp = [np.clip(2 * a - ndimage.gaussian_filter(a, 1.5), 0, None) ** 1.5 for a in (csf, grey, white)]
    total = np.sum(sharp, axis=0).clip(1e-6)
    csf, white = np.where(brain, sharp[0] / total, 1), np.where(brain, sharp[2] / total, 0)
    deep_white = np.argwhere(ndimage.gaussian_filter(white, 3) > 0.9) - (np.array(brain.shape) - 1) / 2

    sigma = math.sqrt(max(voxel**2 - 1, 0)) / 2.355  # the full width at half maximum is the voxel's edge

    def spline(volume: npt.NDArray[np.floating]) -> Array:
        return ndimage.spline_filter(ndimage.gaussian_filter(volume.astype(np.float32), sigma), output=np.float32)

    mask = ndimage.gaussian_filter(brain.astype(np.float32), sigma)
    return _Template(mask, spline(csf), spline(white), spline(texture), deep_white.astype(np.float32), middle)


def _sample(volume: Array, places: Array, order: Literal[1, 3] = 3) -> Array:
    """Values of a volume of the template at ``(3, ...)`` mm; with ``order`` 3 the volume is its spline coefficients."""
    middle = (np.array(volume.shape, np.float32) - 1) / 2
    indices = places + middle.reshape(3, *[1] * (places.ndim - 1))
    mode: Literal["constant", "mirror"] = "constant" if order == 1 else "mirror"
    return ndimage.map_coordinates(volume, indices, np.float32, order=order, mode=mode, prefilter=False)


def _smooth_field(
    reach: npt.NDArray[np.float64], axes: list[npt.NDArray[np.float64]], rng: np.random.Generator, spacing: float
) -> Array:
    """Random field ``(X, Y, Z)`` of zero mean and unit variance: a cubic spline with normal coefficients.

    Args:
        reach: ``(3,)``; the field exists from minus to plus this many mm, whichever part of it is looked at.
        axes: where to look at it, in mm along x, y and z.
        rng: draws the coefficients.
        spacing: of the spline's knots, in mm.
    """
    bases = []
    for limit, axis in zip(reach, axes, strict=True):
        count = math.ceil(2 * limit / spacing) + 3
        knots = spacing * (np.arange(count + 4) - (count + 3) / 2)
        bases.append(BSpline.design_matrix(axis, knots, 3).toarray().astype(np.float32))
    coefficients = rng.standard_normal([basis.shape[1] for basis in bases], np.float32)
    coefficients *= (315 / 151) ** 1.5  # along one axis, a spline of unit coefficients has variance 151 / 315
    field: Array = np.einsum("abc,xa,yb,zc->xyz", coefficients, *bases, optimize=True)
    return field


def _deformed_places(rng: np.random.Generator, axes: list[npt.NDArray[np.float64]], smooth: Smooth) -> Array:
    """Where each voxel of the grid lies in the template, ``(3, X, Y, Z)`` in mm: rotated, scaled and deformed.

    The template is larger than most heads, so scaling only shrinks it. The displacements are small against the
    spacing of their knots, so that no tissue folds.
    """
    rotation = Rotation.from_euler("xyz", rng.normal(0, 2.5, 3).clip(-6, 6), degrees=True).as_matrix()
    matrix = (rotation / rng.uniform(0.9, 0.99, 3)).astype(np.float32)
    x, y, z = np.meshgrid(*(axis.astype(np.float32) for axis in axes), indexing="ij", sparse=True)
    return np.stack([a * x + b * y + c * z + 2 * smooth(rng, 40) + smooth(rng, 14) for a, b, c in matrix])


def _lesions(rng: np.random.Generator, deep_white: Array, places: Array) -> Array:
    """Share of lesion in the white matter, ``(N,)``, at ``(3, N)`` mm: one to four ellipsoids with a soft rim.

    The first lies within 10 mm of the middle slice, so that a thin slab shows one too, the others within 35 mm.
    """
    share = np.zeros(places.shape[1], np.float32)
    for limit in (10, 35, 35, 35)[: rng.integers(1, 5)]:
        centre = rng.choice(deep_white[np.abs(deep_white[:, 2]) < limit])
        radii = rng.uniform(3, 8) * rng.uniform(0.7, 1.4, 3)
        turn = Rotation.from_quat(rng.standard_normal(4)).as_matrix() / radii[:, None]
        distance = np.linalg.norm(turn.astype(np.float32) @ (places - centre[:, None]), axis=0)
        share = np.maximum(share, expit(8 * (1 - distance)))
    return share


def _images(
    rng: np.random.Generator, fractions: dict[str, Array], texture: Array, fields: list[Array]
) -> dict[str, Array]:
    """Signal of each contrast, ``(N,)``, without shading or noise.

    Args:
        rng: draws the scatter of the relaxation times, 3 percent.
        fractions: volume fraction ``(N,)`` of each of :data:`TISSUES`.
        texture: the template's, ``(N,)``; T1-weighted brightness comes from short T1, and tissue rich in myelin or
            iron has short T2 too.
        fields: three random textures ``(N,)``, for T1, T2 and proton density.
    """
    scatter = 1 + 0.03 * rng.standard_normal((len(TISSUES), 2)).clip(-2, 2)
    tissues = {
        name: replace(tissue, t1=tissue.t1 * a, t2=tissue.t2 * b)
        for (name, tissue), (a, b) in zip(TISSUES.items(), scatter.tolist(), strict=True)
    }
    tissues["lesion"] = _hidden(tissues["lesion"], tissues["white"], SEQUENCES["t1"])
    t1, t2, pd = (
        np.exp(share * texture + strength * noise)
        for share, strength, noise in zip((-1.0, -0.8, -0.2), (0.02, 0.02, 0.01), fields, strict=True)
    )
    return {
        contrast: np.abs(
            sum(
                fractions[name] * signal(sequence, tissue.t1 * t1, tissue.t2 * t2, tissue.pd * pd)
                for name, tissue in tissues.items()
            )
        )
        for contrast, sequence in SEQUENCES.items()
    }


def _hidden(tissue: Tissue, behind: Tissue, sequence: Sequence) -> Tissue:
    """The tissue with the T1 at which the sequence gives it the signal of another."""

    def difference(t1: float) -> float:
        return float(signal(sequence, t1, tissue.t2, tissue.pd) - signal(sequence, behind.t1, behind.t2, behind.pd))

    return replace(tissue, t1=brentq(difference, behind.t1 / 4, behind.t1 * 4))
