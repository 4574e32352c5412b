"""Cartesian sampling masks: which phase-encode columns an accelerated scan acquires.

The kinds and their names are fastMRI's (Zbontar et al. 2018; ``magic`` is Defazio 2019), and what was registered. All
are drawn with NumPy's legacy generator, so that a seed gives the same columns on every machine and in every version.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fsmnet.errors import UserError
from fsmnet.files import atomic_write, open_numpy
from fsmnet.registry import Registry

logger = logging.getLogger(__name__)

MaskKind = str  # one of MASK_KINDS; those from outside are known when they are asked for
Columns = npt.NDArray[np.bool_]
Draw = Callable[[int, float, float, np.random.RandomState], Columns]
Seed = int | Sequence[int] | None


@dataclass(frozen=True)
class Mask:
    """Acquired columns of centred k-space and how they were chosen.

    Attributes:
        columns: bool, ``(W,)``; True where the phase-encode line is acquired.
        kind: how it was drawn, or ``"file"``.
        acceleration: the acceleration asked for; None for a mask from a file that does not say.
        center_fraction: share of the columns always kept in the middle; None if unknown.
    """

    columns: npt.NDArray[np.bool_] = field(repr=False)
    kind: str
    acceleration: float | None = None
    center_fraction: float | None = None

    @property
    def achieved_acceleration(self) -> float:
        """Columns in all divided by columns acquired."""
        return self.columns.size / int(self.columns.sum())

    def describe(self) -> str:
        """One line for people: kind, lines kept, acceleration asked for and achieved."""
        asked = "" if self.acceleration is None else f", {self.acceleration:g}x requested"
        return (
            f"{self.kind}: {int(self.columns.sum())} of {self.columns.size} columns{asked}, "
            f"{self.achieved_acceleration:.2f}x achieved"
        )


def seed_from_name(name: str | Path) -> tuple[int, ...]:
    """Seed of a file: the character codes of its own name, never of its folder, so that masks survive a move.

    They are those of the name in UTF-8, whatever the locale takes its bytes for.
    """
    return tuple(map(ord, os.fsencode(Path(name).name).decode("utf-8", "surrogateescape")))


def make_mask(
    kind: MaskKind, columns: int, acceleration: float, center_fraction: float | None = None, seed: Seed = None
) -> Mask:
    """Draw a mask.

    Args:
        kind: one of :data:`MASK_KINDS`.
        columns: number of phase-encode columns W.
        acceleration: requested acceleration, more than 1 and at most ``columns``.
        center_fraction: share of columns always kept in the middle, at least 0 and below 1; None: fastMRI's, see
            :func:`default_center_fraction`.
        seed: an integer, a sequence of integers (:func:`seed_from_name`), or None for a fresh draw.

    Raises:
        UserError: an impossible combination, in words.
    """
    center = default_center_fraction(acceleration) if center_fraction is None else center_fraction
    return mixed_mask(kind, columns, [(acceleration, center)], seed)


def mixed_mask(kind: MaskKind, columns: int, choices: Sequence[tuple[float, float]], seed: Seed = None) -> Mask:
    """Draw a mask of one of several accelerations, chosen by the same generator, as fastMRI does in mixed training.

    Args:
        kind: one of :data:`MASK_KINDS`.
        columns: number of phase-encode columns W.
        choices: pairs of acceleration and center fraction.
        seed: as for :func:`make_mask`.

    Raises:
        UserError: no choice, or an impossible one.
    """
    if not choices:
        raise UserError("a mixed mask needs at least one pair of acceleration and center fraction")
    for acceleration, center_fraction in choices:
        _check(kind, columns, acceleration, center_fraction, seed)
    random_state = np.random.RandomState(seed if seed is None or isinstance(seed, int) else list(seed))
    acceleration, center_fraction = choices[random_state.randint(0, len(choices))]  # drawn even from one
    kept = np.asarray(MASK_KINDS.get(kind)(columns, acceleration, center_fraction, random_state))
    if kept.shape != (columns,) or kept.dtype != bool:
        raise UserError(f"mask kind {kind!r} gives {kept.dtype} of shape {kept.shape}; it must give bool ({columns},)")
    if not kept.any():
        raise UserError(
            f"{kind} at {acceleration:g}x kept no column of {columns}; give a center fraction above 0 or another seed"
        )
    return Mask(kept, kind, float(acceleration), float(center_fraction))


def _check(kind: str, columns: int, acceleration: float, center_fraction: float, seed: Seed) -> None:
    MASK_KINDS.get(kind)  # an unknown kind is said there
    if columns < 2:
        raise UserError(f"a mask needs at least 2 columns, of which it leaves some out, not {columns}")
    if not math.isfinite(acceleration) or not 1 < acceleration <= columns:
        raise UserError(
            f"acceleration {acceleration:g} is impossible with {columns} columns; give more than 1, at most {columns}"
        )
    if not 0 <= center_fraction < 1:
        raise UserError(f"center fraction {center_fraction:g} is not in [0, 1); 0.08 is usual at 4x, 0.04 at 8x")
    n_low = round(center_fraction * columns)
    if kind in ("random", "equispaced_fraction") and acceleration * n_low >= columns:
        raise UserError(
            f"{n_low} centre columns of {columns} already give {columns / max(n_low, 1):.2f}x, so {acceleration:g}x is "
            f"out of reach; lower the center fraction {center_fraction:g} or the acceleration"
        )
    if isinstance(seed, int) and not 0 <= seed < 2**32:
        raise UserError(f"mask seed {seed} is not in 0 ... {2**32 - 1}")


def default_center_fraction(acceleration: float) -> float:
    """Centre of fastMRI: 0.08 at 4x, 0.04 at 8x, in proportion elsewhere."""
    return 0.32 / acceleration if acceleration > 0 else 0.08


def save_mask(mask: Mask, path: str | Path) -> None:
    """Write the columns as ``.npy``, or columns and recipe as ``.npz``; replaces the file in one step."""
    path = Path(path)
    if path.suffix not in (".npy", ".npz"):
        raise UserError(f"{path}: a mask is saved as .npy or .npz, not {path.suffix or 'without a suffix'}")
    with atomic_write(path) as file:
        if path.suffix == ".npy":
            np.save(file, mask.columns)
        else:
            np.savez(
                file,
                mask=mask.columns,
                kind=np.array(mask.kind),
                acceleration=np.array(np.nan if mask.acceleration is None else mask.acceleration),
                center_fraction=np.array(np.nan if mask.center_fraction is None else mask.center_fraction),
            )


def load_mask(path: str | Path, columns: int | None = None) -> Mask:
    """Read a mask of 0/1 or bool from ``.npy`` or ``.npz`` (entry ``mask``, or the only one); one long axis.

    Args:
        path: the file.
        columns: the number of columns the data has; checked when given.

    Raises:
        UserError: not a mask, empty, in FFT order, or of another length than the data.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such mask file; make one with 'fsmnet mask --out {path.name}'")
    file = open_numpy(path, "not a mask in .npy or .npz form")
    array = file.read(file.named("mask"))
    recipe = {name: file.read(name) for name in ("kind", "acceleration", "center_fraction") if name in file.names}
    values = np.squeeze(array)
    levels = np.unique(values) if values.ndim == 1 and values.dtype.kind in "iuf" else np.empty(0)
    if levels.size == 2 and levels[0] == 0 and levels[1] != 1:
        raise UserError(f"{path}: its values are 0 and {levels[1]:g}, those of a mask 0 and 1; save (mask > 0)")
    if levels.size and not np.isin(levels, (0, 1)).all():
        reach = "NaN" if np.isnan(levels).any() else f"values from {levels[0]:g} to {levels[-1]:g}"
        raise UserError(f"{path}: holds {reach}; a mask is 1 for each column acquired, 0 for each other one")
    if values.dtype.kind not in "biuf" or values.ndim != 1 or not np.isin(values, (0, 1)).all():
        raise UserError(
            f"{path}: a mask has one axis of 0 and 1, this array has shape {np.shape(array)}; save one row of it"
        )
    if not values.any():
        raise UserError(f"{path}: the mask keeps no column; at least one k-space line must be acquired")
    if columns is not None and values.size != columns:
        raise UserError(
            f"{path}: the mask has {values.size} columns, the data {columns}; make one with --columns {columns}"
        )
    check_centre(values.astype(bool), path)
    return Mask(
        values.astype(bool),
        str(recipe["kind"]) if "kind" in recipe else "file",
        _number(recipe.get("acceleration")),
        _number(recipe.get("center_fraction")),
    )


def check_centre(columns: Columns, source: object) -> None:
    """Refuse a mask that cannot be of centred k-space, and warn of one without the centre line itself.

    Scanners and simulations acquire the middle of k-space densely. A mask with such a run of columns about column 0 in
    place of the middle is in the order of the FFT; by chance a random mask has none as long.

    Args:
        columns: bool ``(W,)``; zero frequency should be at ``W // 2``.
        source: where it is from, for the message.

    Raises:
        UserError: the middle is left out.
    """
    centre = columns.size // 2
    missing = _run_in_the_middle(~columns)
    if missing > max(3, columns.size // 30) and columns.mean() > 0.5 and missing >= _longest_run(~columns):
        raise UserError(
            f"{source}: the mask leaves out {missing} columns in the middle of {columns.size} and keeps most others: "
            "it is inverted; it must be 1 for each column acquired, so save its opposite"
        )
    middle, corner = _run_in_the_middle(columns), _run_in_the_middle(np.fft.fftshift(columns))
    if corner > max(3, 2 * middle) or (corner > 1 and not middle):
        raise UserError(
            f"{source}: the mask is in FFT order: {corner} columns about column 0 are acquired without a gap, "
            f"{middle} about the middle, column {centre}; apply numpy.fft.fftshift to it, and to such k-space"
        )
    if not middle:
        near = columns[max(0, centre - 1) : centre + 2].any()
        words = f"{source}: the mask leaves out the centre of k-space, column {centre} of {columns.size}, which holds "
        if not near:
            raise UserError(f"{words}most of the image; give the mask of this scan, zero frequency in the middle")
        logger.warning("%smost of the image; see that zero frequency lies in the middle", words)


def _run_in_the_middle(columns: Columns) -> int:
    """Columns acquired without a gap about the one at ``W // 2``; 0 if that is not."""
    centre = columns.size // 2
    if not columns[centre]:
        return 0
    before, after = np.flatnonzero(~columns[:centre]), np.flatnonzero(~columns[centre:])
    return int((centre + after[0] if after.size else columns.size) - (before[-1] + 1 if before.size else 0))


def _longest_run(columns: Columns) -> int:
    """Most columns next to each other."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], columns, [False]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _number(value: npt.NDArray[np.generic] | None) -> float | None:
    if value is None or value.size != 1 or value.dtype.kind not in "iuf" or not np.isfinite(value).all():
        return None
    return float(value.item())


def _with_centre(kept: Columns, n_low: int) -> Columns:
    """Columns with the block in the middle added."""
    first = (kept.size - n_low + 1) // 2
    kept[first : first + n_low] = True
    return kept


def _at(columns: int, places: npt.NDArray[np.floating]) -> Columns:
    """A mask of the columns nearest to some places."""
    kept = np.zeros(columns, dtype=bool)
    kept[np.around(places).astype(int).clip(max=columns - 1)] = True
    return kept


def random_columns(columns: int, acceleration: float, center_fraction: float, random: np.random.RandomState) -> Columns:
    """Every outer column with the same probability."""
    n_low = round(center_fraction * columns)
    probability = (columns / acceleration - n_low) / (columns - n_low)
    return _with_centre(np.asarray(random.uniform(size=columns) < probability), n_low)


def equispaced(columns: int, acceleration: float, center_fraction: float, random: np.random.RandomState) -> Columns:
    """One column in ``acceleration``, from a random first one; the centre comes on top."""
    offset = random.randint(0, round(acceleration))
    return _with_centre(_at(columns, np.arange(offset, columns, acceleration)), round(center_fraction * columns))


def equispaced_fraction(
    columns: int, acceleration: float, center_fraction: float, random: np.random.RandomState
) -> Columns:
    """As :func:`equispaced`, spaced so that centre and outer columns together reach the requested acceleration."""
    n_low = round(center_fraction * columns)
    spacing = acceleration * (n_low - columns) / (n_low * acceleration - columns)
    offset = random.randint(0, round(spacing))
    return _with_centre(_at(columns, np.arange(offset, columns - 1, spacing)), n_low)


def magic(columns: int, acceleration: float, center_fraction: float, random: np.random.RandomState) -> Columns:
    """Offset sampling of one column in ``acceleration``; the centre comes on top."""
    return _with_centre(_magic_columns(columns, round(acceleration), random), round(center_fraction * columns))


def magic_fraction(columns: int, acceleration: float, center_fraction: float, random: np.random.RandomState) -> Columns:
    """As :func:`magic`, spaced so that all columns together reach the requested acceleration."""
    n_low = max(1, min(round(center_fraction * columns), round(columns / acceleration)))
    outside = round(columns / acceleration) - n_low
    kept = np.zeros(columns, dtype=bool)
    if outside > 0:
        kept = _magic_columns(columns, round(columns / outside), random)
    return _with_centre(kept, n_low)


def _magic_columns(columns: int, step: int, random_state: np.random.RandomState) -> npt.NDArray[np.bool_]:
    """Offset sampling that makes best use of conjugate symmetry (Defazio 2019)."""
    offset = random_state.randint(0, step)
    positive, negative = (offset + 1, offset + 2) if offset % 2 == 0 else (offset + 2, offset - 1)
    half = (columns + 1) // 2
    left, right = np.zeros(half, dtype=bool), np.zeros(columns - half, dtype=bool)
    left[positive::step] = True
    right[negative::step] = True
    return np.asarray(np.fft.fftshift(np.concatenate([left, right[::-1]])))


MASK_KINDS: Registry[Draw] = Registry(
    "mask kind",
    "fsmnet.masks",
    {
        "random": random_columns,
        "equispaced": equispaced,
        "equispaced_fraction": equispaced_fraction,
        "magic": magic,
        "magic_fraction": magic_fraction,
    },
)


def register_mask_kind(name: str, draw: Draw | str) -> None:
    """Add a kind of mask, for every command and function in this process.

    Args:
        name: what ``--mask-kind`` calls it.
        draw: ``draw(columns, acceleration, center_fraction, random_state)``, or ``"package.module:draw"``: which of W
            columns are acquired, bool ``(W,)``, the centre included. All chance comes from the
            :class:`numpy.random.RandomState`, so that a seed gives the same mask everywhere.

    Raises:
        UserError: the name is one of this package's own.
    """
    MASK_KINDS.register(name, draw)


@dataclass(frozen=True)
class MaskRecipe:
    """How masks are drawn.

    Attributes:
        kind: see :data:`fsmnet.physics.masks.MASK_KINDS`.
        acceleration: requested.
        center_fraction: share of columns always kept in the middle.
        seed: a number for one mask everywhere, or ``"name"`` for one per file from the file's own name.
        mixed: pairs of acceleration and center fraction, of which every training sample gets one; empty for one kind.
        span: least and most acceleration of a network that was trained with any mask between them; else None.
    """

    kind: MaskKind
    acceleration: float
    center_fraction: float
    seed: int | str
    mixed: tuple[tuple[float, float], ...] = ()
    span: tuple[float, float] | None = None

    def mixing(self, accelerations: Sequence[float] | None, centers: Sequence[float] | None = None) -> MaskRecipe:
        """The same with several accelerations, of which every training sample gets one.

        Args:
            accelerations: none or empty for one acceleration.
            centers: center fraction of each; fastMRI's by default.

        Raises:
            UserError: lists that do not fit each other, or a seed that gives every sample the same mask.
        """
        accelerations = accelerations or []
        if centers is None:
            centers = [default_center_fraction(acceleration) for acceleration in accelerations]
        if len(centers) != len(accelerations):
            raise UserError(
                f"mixed_center_fractions has {len(centers)} values, mixed_accelerations {len(accelerations)}; give as "
                "many"
            )
        if accelerations and self.seed != "name":
            raise UserError("mixed_accelerations need a new mask for every sample; set mask_seed to name")
        return replace(self, mixed=tuple(zip(map(float, accelerations), map(float, centers), strict=True)))

    def spanning(self, span: Sequence[float] | None) -> MaskRecipe:
        """The same with any acceleration between two, evenly in the logarithm, of which every training sample gets one.

        Six in ten of the masks are random, the others evenly spaced; the centre is fastMRI's.

        Args:
            span: least and most; None for one acceleration.

        Raises:
            UserError: no such pair, or other options that say how masks are drawn.
        """
        if span is None:
            return self
        if len(span) != 2 or not 1 < span[0] < span[1]:
            raise UserError(f"acceleration_span is two accelerations, the lower one first, such as 2 12, not {span}")
        if self.mixed or self.seed != "name":
            raise UserError(
                "acceleration_span draws a mask of any acceleration for every sample; leave mixed_accelerations and "
                "mask_seed out"
            )
        return replace(self, span=(float(span[0]), float(span[1])))

    def includes(self, other: MaskRecipe) -> bool:
        """Whether who trains with these masks sees those of another recipe."""
        if self.span is not None:
            return self.span[0] <= other.acceleration <= self.span[1]
        kinds = self.mixed or ((self.acceleration, self.center_fraction),)
        return any(replace(self, acceleration=a, center_fraction=c, mixed=()) == other for a, c in kinds)

    def __str__(self) -> str:
        """In words, for messages."""
        if self.span is not None:
            return f"any mask of {self.span[0]:g}x to {self.span[1]:g}x"
        kinds = self.mixed or ((self.acceleration, self.center_fraction),)
        drawn = " or ".join(f"{acceleration:g}x with centre {center:g}" for acceleration, center in kinds)
        return f"{self.kind}, {drawn}, seed {'from the name' if self.seed == 'name' else self.seed}"

    def draw(self, columns: int, name: str | Path) -> Mask:
        """The mask of a file."""
        return self.draw_with(columns, self.seed if isinstance(self.seed, int) else seed_from_name(name))

    def draw_with(self, columns: int, seed: Seed) -> Mask:
        """A mask of this kind with another seed."""
        return make_mask(self.kind, columns, self.acceleration, self.center_fraction, seed)

    def draw_sample(self, columns: int, seed: Seed) -> Mask:
        """The mask of a training sample: one of the mixed kinds, if there are several, or any of the span."""
        if self.span is not None:
            random = np.random.default_rng(seed)
            acceleration = math.exp(random.uniform(math.log(self.span[0]), math.log(self.span[1])))
            kind = "random" if random.random() < 0.6 else "equispaced_fraction"
            return make_mask(kind, columns, acceleration, seed=seed)
        return mixed_mask(self.kind, columns, self.mixed, seed) if self.mixed else self.draw_with(columns, seed)
