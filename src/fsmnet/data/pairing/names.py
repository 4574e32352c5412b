"""Two contrasts of one exam: find them in a folder, and read them on one grid."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fsmnet.data.find import absence, file_at, files_below, matching, require_folder
from fsmnet.data.formats import read_volume, volume_stem
from fsmnet.data.formats.nifti import NIFTI
from fsmnet.data.grid import on_one_grid
from fsmnet.data.same import require_two
from fsmnet.data.volume import Volume, turn
from fsmnet.errors import UserError, listed

logger = logging.getLogger(__name__)

# BraTS's two naming conventions: to 2021 <case>/<case>_t1.nii.gz, from 2023 <case>/<case>-t1n.nii.gz.
MOST_TOLD = 20  # of the cases that are left out
BRATS_2023_NAMES = {"t1n": "t1", "t1c": "t1ce", "t2w": "t2", "t2f": "flair"}


@dataclass(frozen=True)
class Pair:
    """Files of one exam: the contrast to be accelerated and the one that helps.

    Attributes:
        case: name of the exam.
        target: file of the contrast to be accelerated, or a DICOM folder.
        auxiliary: likewise, of the fully sampled one.
        target_series: which series of the DICOM folder, as :func:`fsmnet.data.formats.dicom.choose_series` takes it;
            else None.
        auxiliary_series: likewise.
    """

    case: str
    target: Path
    auxiliary: Path
    target_series: str | None = None
    auxiliary_series: str | None = None


def find_pairs(root: str | Path, target: str, auxiliary: str, cases: Sequence[str] | None = None) -> list[Pair]:
    """Pairs below a folder, sorted by case.

    Args:
        root: a folder of BraTS cases (either naming convention, at any depth), or any folder for patterns.
        target: a contrast name (``t1``, ``t1ce``, ``t2``, ``flair``, or what follows ``<case>_`` in the files' names),
            or a pattern with ``{case}``, e.g. ``"{case}/anat/{case}_T2w.nii.gz"``.
        auxiliary: likewise, for the fully sampled contrast.
        cases: only these; each must be there.

    Raises:
        UserError: no folder, no pair, or a case that is not there.
    """
    root = Path(root)
    require_folder(root, "give the folder that holds the cases with --data")
    if ("{case}" in target) != ("{case}" in auxiliary):
        raise UserError("give target and auxiliary both as contrast names or both as patterns with {case}")
    by_pattern = "{case}" in target
    targets, auxiliaries = (_one_each(candidates(root, name)) for name in (target, auxiliary))
    pairs = [Pair(case, targets[case], auxiliaries[case]) for case in sorted(targets.keys() & auxiliaries.keys())]
    left_out = {
        case: f"has no {auxiliary if case in targets else target}" for case in targets.keys() ^ auxiliaries.keys()
    }
    left_out |= {pair.case: why for pair in pairs if (why := _absence(pair, root))}
    pairs = [pair for pair in pairs if pair.case not in left_out]
    if not pairs and left_out:
        told = listed([f"{case} {why}" for case, why in sorted(left_out.items())])
        raise UserError(f"{root}: none of {len(left_out)} cases has both {target} and {auxiliary}: {told}")
    if not pairs:
        wanted = f"files matching {target} and {auxiliary}" if by_pattern else f"<case>/<case>_{target}.nii.gz"
        hint = "; fastMRI's volumes need --protocol fastmri" if files_below(root, (".h5",)) else ""
        raise UserError(f"{root}: no case has both {target} and {auxiliary} (looked for {wanted}){hint}")
    if cases is not None:
        known = {pair.case: pair for pair in pairs}
        if absent := [case for case in cases if case not in known]:
            shown = ", ".join(list(known)[:8]) + (" ..." if len(known) > 8 else "")
            why = listed([f"{case} {left_out[case]}" for case in absent if case in left_out])
            there = f"{why}; there are" if why else "there are"
            raise UserError(f"{root}: no pair for case {', '.join(absent)}; {there} {shown}")
        return [known[case] for case in cases]
    if left_out:
        told = listed([f"{case} {why}" for case, why in sorted(left_out.items())], MOST_TOLD)
        logger.warning("%s: %d of %d cases left out: %s", root, len(left_out), len(left_out) + len(pairs), told)
    return pairs


def load_pair(target: str | Path, auxiliary: str | Path, resample: bool = False) -> tuple[Volume, Volume]:
    """Read both volumes and make sure that they share one grid; the target's phase-encode axis comes last.

    Which that is the target's header tells, else it is the second in-plane axis of its file, as in ``reconstruct``.

    Args:
        target: file of the contrast to be accelerated, see :func:`fsmnet.read_volume`.
        auxiliary: file of the fully sampled one.
        resample: bring the auxiliary onto the target's grid (linear interpolation) where they differ.

    Raises:
        UserError: a file that cannot be read, one scan in both places, or different grids without ``resample``.
    """
    target_volume, auxiliary_volume = read_volume(target), read_volume(auxiliary)
    require_two(target_volume, auxiliary_volume)
    if target_volume.phase_encode == "rows":
        target_volume, auxiliary_volume = turn(target_volume), turn(auxiliary_volume)
    return target_volume, on_one_grid(target_volume, auxiliary_volume, resample)


def case_names(path: Path) -> list[str]:
    """Names that a split may have for the case of a file: of its folders, and its own with and without contrast."""
    folders, stem = [folder.name for folder in path.absolute().parents[:3]], volume_stem(path)
    return list(dict.fromkeys([stem, *(stem[:i] for i, sign in enumerate(stem) if sign in "_-"), *folders]))


def candidates(root: Path, name: str) -> Iterator[tuple[str, Path]]:
    """``(case, file)`` for everything below a folder that matches a contrast's name or a pattern with ``{case}``.

    Names are those of BraTS's two conventions, at any depth. A case may come more than once.

    Raises:
        UserError: an absolute pattern.
    """
    return _by_pattern(root, name) if "{case}" in name else _by_contrast(root, name)


def _absence(pair: Pair, root: Path) -> str:
    """Why a pair's files are not there to be read; empty if they are."""
    told = ((path.relative_to(root).as_posix(), absence(path)) for path in (pair.target, pair.auxiliary))
    return " and ".join(f"({name} {why})" for name, why in told if why)


def _by_contrast(root: Path, contrast: str) -> Iterator[tuple[str, Path]]:
    for found in files_below(root, NIFTI):
        case, stem = found.place.parent.name, volume_stem(found.place)
        name = stem[len(case) + 1 :].lower()
        if stem.startswith(case) and stem[len(case) : len(case) + 1] in ("_", "-"):
            is_2023 = stem[len(case)] == "-"
            if contrast.lower() in (name, BRATS_2023_NAMES.get(name) if is_2023 else name):
                yield case, found.file


def _by_pattern(root: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    if Path(pattern).is_absolute():
        raise UserError(f"pattern {pattern} starts with /; write it relative to the folder {root}")
    wild = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    parts = wild.split(r"\{case\}")  # it may stand more than once; the same text must match at each place
    expression = parts[0] + "(?P<case>[^/]+?)" + "(?P=case)".join(parts[1:])
    for path in matching(root, pattern.replace("{case}", "*")):
        if match := re.fullmatch(expression, path.relative_to(root).as_posix()):
            yield match["case"], file_at(path, NIFTI)


def _one_each(found: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Case -> file, where no case has two."""
    files: dict[str, Path] = {}
    for case, path in found:
        if case in files:
            raise UserError(
                f"case {case} has two candidates, {files[case]} and {path}; keep one or use a narrower pattern"
            )
        files[case] = path
    return files
