"""Pairs of series in a folder of DICOM studies: a case is a study, its contrasts are series.

Only headers are read. Every verdict is that of :func:`fsmnet.data.formats.dicom.checks.checked`, so that what is
accepted can be read.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fsmnet.data.formats.dicom.checks import checked
from fsmnet.data.formats.dicom.contrast import CONTRASTS
from fsmnet.data.formats.dicom.geometry import affine
from fsmnet.data.formats.dicom.series import NOT_CLINICAL, Series, list_series
from fsmnet.data.grid import grid_difference
from fsmnet.data.pairing.tables import REMEDY, Row
from fsmnet.data.same import same_images
from fsmnet.data.volume import Volume
from fsmnet.errors import UserError


@dataclass(frozen=True)
class Study:
    """The series of one study that may be taken.

    Attributes:
        case: the study's folder relative to the folder searched, with ``_`` between its parts, and the UID where that
            is another study's name too.
        folder: deepest folder that holds all its files.
        series: without those that this package derived.
        shared: whether other studies lie below the folder as well.
    """

    case: str
    folder: Path
    series: tuple[Series, ...]
    shared: bool

    def name_of(self, series: Series) -> str:
        """What chooses a series of the folder: its number where no other has it, else its UID."""
        numbers = [other.number for other in self.series]
        alone = series.number is not None and numbers.count(series.number) == 1 and not self.shared
        return str(series.number) if alone else series.series_uid


def propose_series(root: Path, target: str, auxiliary: str, same_grid: bool = True) -> list[Row]:
    """Candidate pairs among the DICOM series below a folder with a verdict on each study, sorted by case.

    Args:
        root: a study, or a folder of studies.
        target: a contrast (``t1``, ``t1ce``, ``t2``, ``flair``, ``pd``), guessed from descriptions and times, or a part
            of the SeriesDescription, in any case.
        auxiliary: likewise, for the fully sampled contrast.
        same_grid: reject series on different grids; False accepts them and says so, for who resamples or registers.

    Raises:
        UserError: no DICOM images, or neither contrast in any study.
    """
    studies = _studies(root)
    if not any(_fitting(study, name) for study in studies for name in (target, auxiliary)):
        there = ", ".join(series.label for study in studies[:2] for series in study.series[:8])
        raise UserError(
            f"{root}: no DICOM series is {target} or {auxiliary} by its description or times; "
            f"there are {there or 'none'}; give parts of their descriptions as target and auxiliary"
        )
    return [_row(root, study, studies, (target, auxiliary), same_grid) for study in studies]


def _studies(root: Path) -> list[Study]:
    groups: dict[str, list[Series]] = {}
    for series in list_series(root):
        if NOT_CLINICAL not in series.description:  # a result is no source
            groups.setdefault(series.study_uid, []).append(series)
    folders = {
        uid: Path(os.path.commonpath([path.parent for s in group for path in s.files])) for uid, group in groups.items()
    }
    names = ["_".join(folder.relative_to(root).parts) or root.resolve().name for folder in folders.values()]
    studies = []
    for name, (uid, folder) in zip(names, folders.items(), strict=True):
        case = f"{name}_{uid}" if names.count(name) > 1 else name
        shared = any(other != uid and folders[other].is_relative_to(folder) for other in folders)
        studies.append(Study(case, folder, tuple(groups[uid]), shared))
    return sorted(studies, key=lambda study: study.case)


def _fitting(study: Study, name: str) -> list[Series]:
    """Series of exactly that description, else of a contrast by its name, else with the text in their description."""
    text = name.strip().lower()
    by_contrast = [s for s in study.series if text in CONTRASTS and s.contrast == text]
    whole = [s for s in study.series if s.description.strip().lower() == text]
    part = [s for s in study.series if text not in CONTRASTS and text in s.description.lower()]
    return whole or by_contrast or part


def _row(root: Path, study: Study, studies: Sequence[Study], names: tuple[str, str], same_grid: bool) -> Row:
    choices: list[tuple[Series, Volume] | None] = []
    problems: list[str] = []
    for name in names:
        try:
            choices.append(_choice(root, study, studies, name))
        except UserError as error:
            problems.append(str(error))
            choices.append(None)
    accepted, note = not problems, "; ".join(problems)
    target, auxiliary = choices
    if target is not None and auxiliary is not None:
        accepted, note = _verdict(*target, *auxiliary, same_grid)
    folders = [None if choice is None else study.folder for choice in choices]
    which = [None if choice is None else study.name_of(choice[0]) for choice in choices]
    shapes = [None if choice is None else choice[1].shape for choice in choices]
    return Row(study.case, folders[0], folders[1], accepted, note, shapes[0], shapes[1], which[0], which[1])


def _verdict(target: Series, place: Volume, auxiliary: Series, other: Volume, same_grid: bool) -> tuple[bool, str]:
    """Whether two series with these places make a pair, and why not, or what has to be done first."""
    if target == auxiliary:
        return False, f"target and auxiliary are both {target.label}"
    if place.shape == other.shape and same_images(*(one.files[one.n_files // 2] for one in (target, auxiliary))):
        return False, f"{target.label} and {auxiliary.label} show the same image; give two contrasts"
    if target.patient != auxiliary.patient:
        return False, f"{target.label} and {auxiliary.label} have different PatientIDs in one study"
    if target.frame_uid != auxiliary.frame_uid:
        return not same_grid, (
            f"{target.label} and {auxiliary.label} have different frames of reference, so their positions cannot be "
            "compared; bring the auxiliary onto the target with --register rigid"
        )
    difference = grid_difference(place, other)
    return not (difference and same_grid), f"{difference}; {REMEDY}" if difference else ""


def _choice(root: Path, study: Study, studies: Sequence[Study], name: str) -> tuple[Series, Volume]:
    """The one usable series of a contrast, and its place without voxels.

    Raises:
        UserError: none, none that can be read, or several.
    """
    usable: list[tuple[Series, Volume]] = []
    problems: list[str] = []
    for series in _fitting(study, name):
        try:
            usable.append((series, _header(series, root)))
        except UserError as error:
            problems.append(str(error).removeprefix(f"{series.folder}: "))
    if len(usable) == 1:
        return usable[0]
    if usable:
        shown = ", ".join(series.label for series, _ in usable)
        raise UserError(f"{len(usable)} candidates for {name}: {shown}; give a longer part of one's description")
    if problems:
        raise UserError("; ".join(problems))
    patients = {series.patient for series in study.series} - {""}
    elsewhere = [
        other.case
        for other in studies
        if other is not study and any(series.patient in patients for series in _fitting(other, name))
    ]
    hint = f"; that of {', '.join(elsewhere)} is another study of this patient" if elsewhere else ""
    raise UserError(f"no {name} among its {len(study.series)} series{hint}")


def _header(series: Series, root: Path) -> Volume:
    """A series without voxels, for its shape and affine.

    Raises:
        UserError: no regular stack of magnitude slices.
    """
    headers = checked(series)
    empty = np.broadcast_to(np.float32(0), (len(headers), series.columns, series.rows))  # takes no memory
    return Volume(empty, affine(headers), Path(root.name), series=series.label)
