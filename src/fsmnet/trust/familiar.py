"""Is this scan like those that the network knows? One verdict: suits, unusual (because ...), or refuse.

It looks at four things, none of which needs a reference:

- what is said of the scan and how it looks, against what the network was made for
  (:mod:`fsmnet.inference.suitability`);
- the hold-out check: does the network explain as much as it did on scans that it suits, and more than without the
  auxiliary, or than a method that has learned nothing? Not where it is too small, see :func:`enough`;
- the two contrasts: do they tell of one another in place better than moved by some millimetres (else the auxiliary lies
  elsewhere), and better than mirrored (else it is of another patient, whose head is as like as its own mirror image)?
- greys and structure of both images, and how much one tells of the other: each within the range of the scans known, and
  all of them together as like theirs (:mod:`fsmnet.trust.likeness`).

What known scans showed is kept in the checkpoint, put there by ``fsmnet calibrate``, of whole scans and of their middle
(:func:`cropped`), since people cut scans out: how much of the field of view a head fills says nothing. A number may lie
outside the range by :data:`FACTOR`, or more if a known patient lies farther outside the range of the others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fsmnet.data.head import head_mask
from fsmnet.errors import UserError
from fsmnet.trust.likeness import TINY, likeness_of, unlike

Images = npt.NDArray[np.float32]

SUITS, UNUSUAL, REFUSE = "suits", "unusual", "refuse"
UNEXPLAINED = "unexplained"  # the share of lines kept back that the network does not explain
MOVES = (2.0, 4.0)  # millimetres by which the auxiliary is moved along each axis
GREYS = 32  # of the joint histogram
FACTOR = 1.5  # by which a range may be left at least, chosen on development patients (benchmarks/trust/familiarity.py)
SIZES = (0.0, 1.0, 2.0, 4.0, 8.0)  # pixels, of Gaussians: structures of one size are what two of them leave apart
RIM = 3  # pixels of the head that lie next to air: the step there says nothing of what is inside
WORSE = 0.01  # of the energy that the network explains less with the auxiliary than without, or than another method
SMALL, LEAST_LINES = 112, 5  # columns, lines kept back: see enough(); by benchmarks/trust/few_lines.py
UNTAUGHT = ("POCS", "SENSE")  # of :func:`fsmnet.trust.holdout.simple_methods`
WORDS = (
    {
        "median": "its mid grey against its white",
        "dark": "its dark greys against its white",
        "evenness": "how evenly its fine structure is spread",  # Geary's ratio: mean over root mean square
        "told": "how much the auxiliary tells of the target",
        "mirrored": "how much more the auxiliary tells in place than mirrored",
    }
    | {f"structure {size:g}": f"its structure of about {size:g} pixels against its white" for size in SIZES[1:]}
)
ALONE = ("mirrored",)  # is looked at by itself: it may be as large as it likes


@dataclass(frozen=True)
class Sight:
    """What a scan shows; see :func:`look`.

    Attributes:
        numbers: by name, what is compared with the range of known scans.
        displacement: millimetres by which the auxiliary would have to be moved to tell most, of those tried; 0 without
            an auxiliary.
        part: whether it is of the middle of a scan that was looked at before.
    """

    numbers: dict[str, float]
    displacement: float = 0.0
    part: bool = False


@dataclass(frozen=True)
class Verdict:
    """Whether a network suits a scan.

    Attributes:
        kind: :data:`SUITS`, :data:`UNUSUAL` or :data:`REFUSE`.
        because: why not, in sentences.
        known: how many scans it was compared with; 0 if the checkpoint holds none.
    """

    kind: str
    because: tuple[str, ...] = ()
    known: int = 0

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return {"Kind": self.kind, "Because": list(self.because), "ComparedWithScans": self.known}


def look(image: Images, auxiliary: Images | None, pixel: Sequence[float], numbers: Sequence[int]) -> Sight:
    """What some slices of a reconstruction and its auxiliary show.

    Args:
        image: reconstructed magnitudes ``(n, H, W)``.
        auxiliary: likewise; None without one.
        pixel: distance in millimetres between slices, rows and columns; 0 where it is not known.
        numbers: the slices to look at; of these those count that show at least half as much as the fullest.
    """
    area = (image[list(numbers)] > 0.1 * image.max()).sum((1, 2))
    chosen = [number for number, pixels in zip(numbers, area, strict=True) if 2 * pixels >= area.max()]
    shown = _sights("target", image[chosen])
    if auxiliary is None or not auxiliary.any():
        return Sight(shown)
    head = head_mask(image[chosen])
    shown |= _sights("auxiliary", auxiliary[chosen])
    told = {0.0: _told(image, auxiliary, chosen, head, (0, 0, 0))}
    for axis, size in enumerate(pixel):
        for move in (sign * millimetres for millimetres in MOVES for sign in (-1, 1) if size > 0):
            steps = round(move / size)
            if steps == 0 or abs(steps) * size > 1.5 * MOVES[-1]:
                continue
            shift = tuple(steps if one == axis else 0 for one in range(3))
            distance = abs(steps) * size
            told[distance] = max(told.get(distance, 0.0), _told(image, auxiliary, chosen, head, shift))
    mirrored = max(_told(image, _mirrored(auxiliary, image, axis), chosen, head, (0, 0, 0)) for axis in (-2, -1))
    shown |= {"told": told[0.0], "mirrored": told[0.0] / max(mirrored, 1e-6)}
    return Sight(shown, max(told, key=lambda distance: told[distance]))


def _sights(role: str, image: Images) -> dict[str, float]:
    """Greys and structure of one contrast."""
    from scipy import ndimage

    head = head_mask(image)
    values = image[head]
    white = max(float(np.percentile(values, 99)), 1e-12)
    shown = {
        f"{role} dark": float(np.percentile(values, 10)) / white,
        f"{role} median": float(np.median(values)) / white,
    }
    inside = ndimage.binary_erosion(head, np.ones((1, 2 * RIM + 1, 2 * RIM + 1), dtype=bool))
    inside = inside if inside.any() else head
    smooth = [ndimage.gaussian_filter(image, (0, size, size)) for size in SIZES]
    structure = [(finer - coarser)[inside].astype(float) / white for finer, coarser in itertools.pairwise(smooth)]
    for size, one in zip(SIZES[1:], structure, strict=True):
        shown[f"{role} structure {size:g}"] = float(np.sqrt(np.square(one).mean()))
    fine = np.abs(structure[1])
    return shown | {f"{role} evenness": float(fine.mean() / max(float(np.sqrt(np.square(fine).mean())), 1e-12))}


def _told(
    image: Images, auxiliary: Images, chosen: list[int], head: npt.NDArray[np.bool_], shift: tuple[int, ...]
) -> float:
    """Mutual information of two contrasts within the head, in units of the image's own entropy."""
    across = [number + shift[0] for number in chosen]
    inside = [k for k, number in enumerate(across) if 0 <= number < len(auxiliary)]
    if not inside:
        return 0.0
    other = np.roll(auxiliary[[across[k] for k in inside]], shift[1:], (1, 2))
    where = head[inside]
    first, second = (_greys(one[where]) for one in (image[[chosen[k] for k in inside]], other))
    joint = np.bincount(first * GREYS + second, minlength=GREYS * GREYS).reshape(GREYS, GREYS) / max(first.size, 1)
    alone = [_entropy(joint.sum(axis)) for axis in (1, 0)]
    return (sum(alone) - _entropy(joint)) / max(alone[0], 1e-6)


def _greys(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.int64]:
    """Grey levels, as many voxels in each as ties allow."""
    bounds = np.unique(np.quantile(values, np.arange(1, GREYS) / GREYS)) if values.size else np.zeros(1)
    greys: npt.NDArray[np.int64] = np.digitize(values, bounds).astype(np.int64)
    return greys


def _entropy(shares: npt.NDArray[np.floating[Any]]) -> float:
    some = shares[shares > 0]
    return float(-(some * np.log(some)).sum())


def _mirrored(auxiliary: Images, image: Images, axis: int) -> Images:
    """The auxiliary mirrored about the middle of the image's head."""
    along = tuple(one for one in range(-3, 0) if one != axis)
    weight = image.sum(along, dtype=np.float64)
    middle = float((weight * np.arange(weight.size)).sum() / max(float(weight.sum()), 1e-12))
    turned: Images = np.roll(np.flip(auxiliary, axis), round(2 * middle - (weight.size - 1)), axis)
    return turned


def look_cropped(image: Images, auxiliary: Images | None, numbers: Sequence[int]) -> Sight:
    """:func:`look` at the middle of a scan; nothing is moved."""
    return replace(look(*cropped(image, auxiliary), (0.0, 0.0, 0.0), numbers), part=True)


def cropped(image: Images, auxiliary: Images | None) -> tuple[Images, Images | None]:
    """The middle of the head, half as wide and half as high: what a scan shows if somebody cuts it out."""
    rows, columns = (np.flatnonzero(head_mask(image).any(axis)) for axis in ((0, 2), (0, 1)))
    (top, bottom), (left, right) = (np.percentile(one, [25, 75]).astype(int).tolist() for one in (rows, columns))
    part = np.s_[:, top : bottom + 1, left : right + 1]
    return image[part], None if auxiliary is None else auxiliary[part]


def reference_of(
    sights: Sequence[Sequence[Sight]], explained: Mapping[float, Sequence[Sequence[float]]]
) -> dict[str, Any]:
    """What is kept of known scans, as JSON values.

    Args:
        sights: of each patient, of his scans.
        explained: acceleration -> what the hold-out check explained of each patient's scans.
    """
    names = sorted({name for patient in sights for one in patient for name in one.numbers})
    known = {name: [[one.numbers[name] for one in p if name in one.numbers] for p in sights] for name in names}
    unexplained = {at: [[1 - share for share in patient] for patient in shares] for at, shares in explained.items()}
    every = {at: [share for patient in shares for share in patient] for at, shares in explained.items()}
    return {
        "scans": sum(not one.part for patient in sights for one in patient),
        "patients": len(sights),
        "ranges": {name: [min(map(min, filter(None, v))), max(map(max, filter(None, v)))] for name, v in known.items()},
        "factors": {name: _factor(values, name) for name, values in known.items()},
        "likeness": likeness_of([[_together(one) for one in patient] for patient in sights]),
        "displacement": max(one.displacement for patient in sights for one in patient),
        "explained": {f"{at:g}": [min(shares), float(np.mean(shares))] for at, shares in every.items()},
        "unexplained_factor": max((_factor(values, UNEXPLAINED) for values in unexplained.values()), default=FACTOR),
    }


def _factor(patients: Sequence[Sequence[float]], name: str) -> float:
    """By which factor the range of a number may be left: as each known patient leaves that of the others, at most."""
    some = [values for values in patients if values]
    if len(some) < 3:  # too few to tell
        return FACTOR
    left = [FACTOR]
    for number, values in enumerate(some):
        others = [value for other in (*some[:number], *some[number + 1 :]) for value in other]
        left += [_outside(name, value, min(others), max(others)) for value in values]
    return max(left)


def _outside(name: str, value: float, low: float, high: float) -> float:
    """By which factor a number lies outside a range; 1 and less inside, and where it lies on the side that is right."""
    below, above = (max(low, TINY) / max(value, TINY), max(value, TINY) / max(high, TINY))
    return below if name == "mirrored" else above if name == UNEXPLAINED else max(below, above)


def unusual(sight: Sight, reference: Mapping[str, Any]) -> list[str]:
    """In what a scan differs from those known, in sentences.

    Raises:
        UserError: the reference is damaged.
    """
    try:
        found = []
        for name, value in sight.numbers.items():
            if name not in reference["ranges"]:
                continue
            low, high = reference["ranges"][name]
            if _outside(name, value, low, high) > reference.get("factors", {}).get(name, FACTOR):
                found.append(f"{_in_words(name)} is {value:.2g}, of known scans {low:.2g} to {high:.2g}")
        apart = unlike(_together(sight), reference.get("likeness", []))
        if apart is not None and apart[0] > apart[1]:
            found.append(
                f"taken together, its greys and structure are {apart[0]:.3g} away from those of known scans, which "
                f"are at most {apart[1]:.3g} away from one another; most of it by {_in_words(apart[2][0])}"
            )
        if sight.displacement > reference["displacement"]:
            found.append(
                f"the auxiliary tells more of the target when it is moved by {sight.displacement:.2g} mm; "
                "pass --register rigid"
            )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"the checkpoint's known scans are damaged ({error}); make them again by 'fsmnet calibrate'"
        ) from None
    return found


def _together(sight: Sight) -> dict[str, float]:
    """The numbers that are compared together."""
    return {name: value for name, value in sight.numbers.items() if name not in ALONE}


def _in_words(name: str) -> str:
    role, _, what = name.partition(" ")
    return f"{role}: {WORDS[what]}" if what else WORDS[role]


def explained_before(reference: Mapping[str, Any], acceleration: float) -> tuple[float, float] | None:
    """Least and mean of what was explained of known scans at the nearest acceleration; None if none is near."""
    known = _nearest(reference.get("explained", {}), acceleration)
    return None if known is None else (known[0], known[1])


def explained_of_test_patients(reference: Mapping[str, Any], acceleration: float) -> tuple[float, float] | None:
    """Least and most of what was explained of patients that only tested the network; likewise."""
    known = _nearest(reference.get("explained_of_test_patients", {}), acceleration)
    return (min(known), max(known)) if known else None


def _nearest(known: Mapping[str, Sequence[float]], acceleration: float) -> Sequence[float] | None:
    """What is known at the nearest acceleration; None if that is half as much again, or less than two thirds."""
    if not known:
        return None
    nearest = min(known, key=lambda at: abs(math.log(float(at) / acceleration)))
    return known[nearest] if 0.66 < float(nearest) / acceleration < 1.5 else None


def enough(sets: Sequence[npt.NDArray[np.bool_]]) -> bool:
    """Whether lines kept back may speak against a scan: of one below :data:`SMALL`, :data:`LEAST_LINES` at least.

    Of development patients made so coarse, which the network suits, fewer lines raised a doubt in 34 of 82 draws, in
    one and not in the next; those of larger ones did in none of 72.

    Args:
        sets: bool ``(W,)`` each, the lines kept back together.
    """
    return bool(sets) and (sets[0].size >= SMALL or sum(int(lines.sum()) for lines in sets) >= LEAST_LINES)


def by_hold_out(
    explained: Mapping[str, float | None], before: tuple[float, float] | None, factor: float = FACTOR
) -> tuple[list[str], list[str]]:
    """What the hold-out check speaks for: refusing, and calling a scan unusual.

    Args:
        explained: shares by method; ``network`` and, with an auxiliary, ``network, auxiliary blank`` among them; of
            :data:`UNTAUGHT` those that were tried.
        before: of :func:`explained_before`.
        factor: how many times as much may be unexplained as of the known scan that was explained worst.
    """
    share = explained.get("network")
    if share is None:
        return [], []
    refused, doubted = [], []
    if share <= max(0.0, explained.get("zero-filling") or 0.0):
        refused.append("the network explains no more of lines kept back than a zero-filled image does")
    blank = explained.get("network, auxiliary blank")
    if blank is not None and share < blank - WORSE:
        doubted.append("the network explains lines kept back better without the auxiliary")
    for name in UNTAUGHT:
        other = explained.get(name)
        if other is not None and share < other - WORSE:
            doubted.append(
                f"{name}, which has learned nothing, explains {other:.0%} of lines kept back, the network {share:.0%}"
            )
    if before is not None and 1 - share > factor * (1 - before[0]):
        doubted.append(f"the network explains {share:.0%} of lines kept back, of known scans at least {before[0]:.0%}")
    return refused, doubted
