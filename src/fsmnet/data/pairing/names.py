"""Two contrasts of one exam: find them in a folder, and read them on one grid."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fsmnet.data.formats import read_volume, volume_stem
from fsmnet.data.grid import on_one_grid
from fsmnet.data.volume import Volume, turn
from fsmnet.errors import UserError

logger = logging.getLogger(__name__)

# BraTS's two naming conventions: to 2021 <case>/<case>_t1.nii.gz, from 2023 <case>/<case>-t1n.nii.gz.
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
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the folder that holds the cases with --data")
    if ("{case}" in target) != ("{case}" in auxiliary):
        raise UserError("give target and auxiliary both as contrast names or both as patterns with {case}")
    by_pattern = "{case}" in target
    targets, auxiliaries = (_one_each(candidates(root, name)) for name in (target, auxiliary))
    pairs = [Pair(case, targets[case], auxiliaries[case]) for case in sorted(targets.keys() & auxiliaries.keys())]
    if not pairs:
        wanted = f"files matching {target} and {auxiliary}" if by_pattern else f"<case>/<case>_{target}.nii.gz"
        hint = "; fastMRI's volumes need --protocol fastmri" if any(root.rglob("*.h5")) else ""
        raise UserError(f"{root}: no case has both {target} and {auxiliary} (looked for {wanted}){hint}")
    if cases is not None:
        known = {pair.case: pair for pair in pairs}
        if absent := [case for case in cases if case not in known]:
            shown = ", ".join(list(known)[:8]) + (" ..." if len(known) > 8 else "")
            raise UserError(f"{root}: no pair for case {', '.join(absent)}; there are {shown}")
        return [known[case] for case in cases]
    for case in sorted(targets.keys() ^ auxiliaries.keys()):
        logger.warning("%s: case %s has no %s and is left out", root, case, auxiliary if case in targets else target)
    return pairs


def load_pair(target: str | Path, auxiliary: str | Path, resample: bool = False) -> tuple[Volume, Volume]:
    """Read both volumes and make sure that they share one grid; the target's phase-encode axis comes last.

    Which that is the target's header tells, else it is the second in-plane axis of its file, as in ``reconstruct``.

    Args:
        target: file of the contrast to be accelerated, see :func:`fsmnet.read_volume`.
        auxiliary: file of the fully sampled one.
        resample: bring the auxiliary onto the target's grid (linear interpolation) where they differ.

    Raises:
        UserError: a file that cannot be read, or different grids without ``resample``.
    """
    target_volume, auxiliary_volume = read_volume(target), read_volume(auxiliary)
    if target_volume.phase_encode == "rows":
        target_volume, auxiliary_volume = turn(target_volume), turn(auxiliary_volume)
    return target_volume, on_one_grid(target_volume, auxiliary_volume, resample)


def candidates(root: Path, name: str) -> Iterator[tuple[str, Path]]:
    """``(case, file)`` for everything below a folder that matches a contrast's name or a pattern with ``{case}``.

    Names are those of BraTS's two conventions, at any depth. A case may come more than once.

    Raises:
        UserError: an absolute pattern.
    """
    return _by_pattern(root, name) if "{case}" in name else _by_contrast(root, name)


def _by_contrast(root: Path, contrast: str) -> Iterator[tuple[str, Path]]:
    for path in sorted(root.rglob("*.nii*")):
        if not path.name.endswith((".nii", ".nii.gz")):
            continue
        case, stem = path.parent.name, volume_stem(path)
        name = stem[len(case) + 1 :].lower()
        if stem.startswith(case) and stem[len(case) : len(case) + 1] in ("_", "-"):
            is_2023 = stem[len(case)] == "-"
            if contrast.lower() in (name, BRATS_2023_NAMES.get(name) if is_2023 else name):
                yield case, path


def _by_pattern(root: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    if Path(pattern).is_absolute():
        raise UserError(f"pattern {pattern} starts with /; write it relative to the folder {root}")
    wild = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    parts = wild.split(r"\{case\}")  # it may stand more than once; the same text must match at each place
    expression = parts[0] + "(?P<case>[^/]+?)" + "(?P=case)".join(parts[1:])
    for path in sorted(root.glob(pattern.replace("{case}", "*"))):
        if match := re.fullmatch(expression, path.relative_to(root).as_posix()):
            yield match["case"], path


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
