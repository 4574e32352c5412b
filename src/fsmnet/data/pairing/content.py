"""Which volumes show the same knee: pairs of two contrasts found by what the images show.

The files of fastMRI carry no link between the scans of an exam. The contrasts differ in brightness, fat even changes
from bright to dark, but edges stay where they are. Every slice becomes a field of edge directions without sign, the
normalised gradients of Haber and Modersitzki (MICCAI 2006): with n the gradient over its length (damped where there is
only noise), ``<n1, n2>^2`` of two images is the inner product of their features ``(|n|^2, nx^2 - ny^2, 2 nx ny)``, but
for a constant, so that a cross-correlation finds the shift between them as well. What all knees of a contrast have in
common does not tell them apart: the mean feature is subtracted.

First a coarse descriptor of central slices picks candidates, then the slices are aligned and compared, then one
assignment of all volumes maximises the sum of the scores (Hungarian method).
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from fsmnet.data.formats.fastmri import FastMRIFile
from fsmnet.data.pairing.fastmri_tree import read_tree
from fsmnet.errors import UserError
from fsmnet.files import csv_text, write_text

logger = logging.getLogger(__name__)

SIDE = 64  # pixels to which slices are reduced
DAMPING = 0.1  # of the mean squared gradient: weaker edges count less
PLACES = (0.3, 0.4, 0.5, 0.6, 0.7)  # of the compared slices along the volume
REACH = 0.11  # how far from such a place the other volume's slice may lie
MOST = 12  # slices of a volume that are looked at
SHIFT = 4  # pixels of the reduced slice: 6% of the field of view
COARSE = 4  # pixels of the reduced slice that make one of the coarse descriptor
CANDIDATES = 10  # volumes that are compared in detail with each one
LOW_MARGIN = 0.05  # below, a pair should be looked at; chosen on simulated knees

Array = npt.NDArray[np.float32]
Complex = npt.NDArray[np.complex64]


@dataclass(frozen=True)
class Match:
    """Two volumes that seem to show the same anatomy.

    Attributes:
        auxiliary: the fully sampled volume.
        target: the volume to be accelerated.
        score: correlation of their edges on aligned slices, 1 at most.
        margin: how much higher that is than the best score of either with any other volume; infinite if there is none.
    """

    auxiliary: FastMRIFile
    target: FastMRIFile
    score: float
    margin: float

    @property
    def doubtful(self) -> bool:
        """Whether another volume fits nearly as well, or better."""
        return self.margin < LOW_MARGIN

    def note(self) -> str:
        """What a person should look at; empty if nothing."""
        notes = ["low margin"] if self.doubtful else []
        if self.auxiliary.slices != self.target.slices:
            notes.append(f"{self.auxiliary.slices} and {self.target.slices} slices")
        return "; ".join(notes)


def match_volumes(auxiliaries: Sequence[FastMRIFile], targets: Sequence[FastMRIFile]) -> list[Match]:
    """Pair volumes of one folder with volumes of the same folder, each once at most; sorted by the target's path.

    Raises:
        UserError: no folder holds both contrasts.
    """
    matches: list[Match] = []
    for folder in sorted({file.path.parent for file in targets}):
        here, there = ([f for f in files if f.path.parent == folder] for files in (auxiliaries, targets))
        if here and there:
            matches += _match_folder(here, there)
        else:
            logger.warning("%s: holds only one of the two contrasts", folder)
    if not matches:
        raise UserError("no folder holds volumes of both contrasts; see --target and --auxiliary")
    return sorted(matches, key=lambda match: match.target.path)


def write_pairs(matches: Sequence[Match], path: Path) -> None:
    """Write pairs in the form of MINet's lists: no header line; auxiliary, target, distance (1 - score).

    Three more columns follow: margin, folder, note.
    """
    write_text(path, pairs_text(matches))


def pairs_text(matches: Sequence[Match]) -> str:
    """What :func:`write_pairs` writes."""
    lines = []
    for match in matches:
        names = (match.auxiliary.path.stem, match.target.path.stem)
        lines.append([*names, f"{1 - match.score:.4f}", f"{match.margin:.4f}", match.target.folder, match.note()])
    return csv_text(lines)


def match_tree(root: Path, target: str, auxiliary: str, multicoil: bool, index: Path) -> tuple[list[Match], int]:
    """Pairs among the volumes below a folder.

    Args:
        root: fastMRI's folders.
        target: acquisition of the volumes to be accelerated; ``t2`` stands for ``CORPDFS_FBK``.
        auxiliary: acquisition of the fully sampled ones; ``t1`` stands for ``CORPD_FBK``.
        multicoil: multi-coil volumes instead of emulated single-coil ones.
        index: where the files' headers are kept.

    Returns:
        The pairs, and how many volumes of the two contrasts are left without a partner.

    Raises:
        UserError: no volume of a contrast.
    """
    files = [f for f in read_tree(root, index).files if f.multicoil == multicoil and f.reconstruction is not None]
    sides = []
    for name, brats, knee in ((auxiliary, "t1", "CORPD_FBK"), (target, "t2", "CORPDFS_FBK")):
        wanted = knee if name == brats else name
        sides.append([file for file in files if file.acquisition == wanted])
        if not sides[-1]:
            known = ", ".join(sorted({file.acquisition for file in files})) or "none with a reference; see --coils"
            coil = "multi" if multicoil else "single"
            raise UserError(f"{root}: holds no {wanted} volume of a {coil} coil; there are {known}")
    matches = match_volumes(sides[0], sides[1])
    return matches, sum(map(len, sides)) - 2 * len(matches)


def edge_features(image: npt.NDArray[np.floating]) -> Array:
    """Edge directions without sign of an image, ``(|n|^2, nx^2 - ny^2, 2 nx ny)``, float32 ``(3, SIDE, SIDE)``.

    Args:
        image: ``(H, W)``, at least 0; its longer side becomes ``SIDE``, about its middle.
    """
    scale = SIDE / max(image.shape)
    smooth = ndimage.gaussian_filter(image.astype(np.float64), 0.5 / scale if scale < 1 else 0)
    offset = [(n - 1) / 2 - (SIDE - 1) / 2 / scale for n in image.shape]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The behavior of affine_transform")  # SciPy 1.15 says what it did before 0.18
        small = ndimage.affine_transform(smooth, [1 / scale] * 2, offset, (SIDE, SIDE), order=1, mode="nearest")
    gy, gx = (ndimage.gaussian_filter(small, 1, order=order) for order in ((1, 0), (0, 1)))
    square = gx**2 + gy**2
    damped = square + DAMPING * square.mean() + np.finfo(np.float64).tiny
    return np.asarray(np.stack([square, gx**2 - gy**2, 2 * gx * gy]) / damped, dtype=np.float32)


@dataclass
class _Content:
    """A volume for comparison.

    Attributes:
        file: the volume.
        places: of the slices along the volume, 0 to 1.
        features: ``(n, 3, SIDE, SIDE)``.
        coarse: ``(places, 3, SIDE / COARSE, SIDE / COARSE)``, unit norm.
        spectra: of the features, of which each slice has unit norm.
    """

    file: FastMRIFile
    places: npt.NDArray[np.float64]
    features: Array
    coarse: Array = field(default_factory=lambda: np.empty(0, np.float32))
    spectra: Complex = field(default_factory=lambda: np.empty(0, np.complex64))

    def nearest(self, place: float) -> int:
        """The slice that lies nearest to a place."""
        return int(np.abs(self.places - place).argmin())


def _contents(files: Sequence[FastMRIFile]) -> list[_Content]:
    """Volumes of one contrast that can be read; what they have in common is taken away."""
    contents = []
    for file in tqdm(files, desc="reading", unit="volume", disable=not sys.stderr.isatty(), leave=False):
        ends = np.array([PLACES[0] - REACH, PLACES[-1] + REACH]) * (file.slices - 1)
        first, last = int(np.ceil(ends[0])), int(np.floor(ends[1]))
        spread = np.linspace(first, max(first, last), min(MOST, max(1, last - first + 1)))
        numbers = np.unique(spread.round().astype(int))
        try:
            features = np.stack([edge_features(file.target(int(number))) for number in numbers])
        except UserError as error:
            logger.warning("left out: %s", error)
            continue
        contents.append(_Content(file, numbers / max(1, file.slices - 1), features))
    means = np.zeros((len(PLACES), 3, SIDE, SIDE), dtype=np.float32)
    if len(contents) > 1:
        means += [np.mean([c.features[c.nearest(place)] for c in contents], axis=0) for place in PLACES]
    tiny = np.finfo(np.float32).tiny
    for content in contents:
        rest = content.features - means[[int(np.abs(np.array(PLACES) - place).argmin()) for place in content.places]]
        rest -= rest.mean((-2, -1), keepdims=True)
        central = rest[[content.nearest(place) for place in PLACES]]
        coarse = ndimage.gaussian_filter(central, (0, 0, 1.5, 1.5))[..., ::COARSE, ::COARSE]
        content.coarse = coarse / max(float(np.linalg.norm(coarse)), tiny)
        rest /= np.maximum(np.sqrt(np.sum(rest**2, axis=(1, 2, 3))), tiny)[:, None, None, None]
        content.spectra = np.fft.rfft2(rest).astype(np.complex64)
        content.features = np.empty(0, np.float32)  # half the memory of a thousand volumes
    return contents


def _match_folder(auxiliaries: Sequence[FastMRIFile], targets: Sequence[FastMRIFile]) -> list[Match]:
    rows, columns = _contents(auxiliaries), _contents(targets)
    if not rows or not columns:
        return []
    coarse = _coarse_similarity(rows, columns)
    compared = np.zeros(coarse.shape, dtype=bool)
    for axis in (0, 1):
        best = np.argsort(-coarse, axis=axis).take(range(min(CANDIDATES, coarse.shape[axis])), axis)
        np.put_along_axis(compared, best, True, axis)
    scores = np.full(coarse.shape, -1.0)
    bar = tqdm(np.argwhere(compared), desc="comparing", unit="pair", disable=not sys.stderr.isatty(), leave=False)
    for row, column in bar:
        scores[row, column] = _similarity(rows[row], columns[column])
    matches = []
    for row, column in np.column_stack(linear_sum_assignment(scores, maximize=True)).tolist():
        if compared[row, column]:
            others = [np.delete(scores[row], column), np.delete(scores[:, column], row)]
            next_best = max((float(other.max()) for other in others if other.size), default=-np.inf)
            score = float(scores[row, column])
            matches.append(Match(rows[row].file, columns[column].file, score, score - next_best))
    return matches


def _coarse_similarity(rows: Sequence[_Content], columns: Sequence[_Content]) -> Array:
    """Best product of the coarse descriptors over shifts by one of their pixels, ``(rows, columns)``."""
    left, right = (np.stack([content.coarse for content in side]) for side in (rows, columns))
    shifted = [np.roll(right, (dy, dx), (-2, -1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    products = [left.reshape(len(rows), -1) @ other.reshape(len(columns), -1).T for other in shifted]
    return np.asarray(np.max(products, axis=0))


def _similarity(one: _Content, other: _Content) -> float:
    """Mean over places of the best correlation with a slice of the other volume near there, over small shifts."""
    shifts = np.r_[0 : SHIFT + 1, -SHIFT:0]
    best = []
    for place in PLACES:
        near = np.abs(other.places - place) <= REACH
        near[other.nearest(place)] = True
        product = (one.spectra[one.nearest(place)].conj() * other.spectra[near]).sum(1)
        correlation = np.fft.irfft2(product, s=(SIDE, SIDE))
        best.append(float(correlation[:, shifts[:, None], shifts].max()))
    return float(np.mean(best))
