"""Which files of a folder belong together, and in words why the others were left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from fsmnet.data.find import absence, file_at, files_below, matching, require_folder
from fsmnet.data.formats import read_volume, reading_format, volume_stem
from fsmnet.data.formats.dicom.headers import is_dicom
from fsmnet.data.formats.nifti import NIFTI, read_header
from fsmnet.data.grid import grid_difference
from fsmnet.data.pairing.names import candidates
from fsmnet.data.pairing.tables import REMEDY, Row
from fsmnet.data.same import same_scans
from fsmnet.data.volume import Volume
from fsmnet.errors import UserError
from fsmnet.files import is_utf8

# Contrast -> BIDS suffix; t1ce is the one with a contrast agent (entity ``ce-``). Other names are taken as suffix.
BIDS_SUFFIXES = {"t1": "T1w", "t1ce": "T1w", "t2": "T2w", "flair": "FLAIR", "pd": "PDw"}


def propose_pairs(root: Path, target: str, auxiliary: str, same_grid: bool = True) -> list[Row]:
    """Candidate pairs below a folder with a verdict on each, sorted by case. Of NIfTI and DICOM only headers are read.

    Looked for are BraTS cases (as in :func:`fsmnet.data.pairing.names.find_pairs`) and BIDS files
    ``sub-*/[ses-*/]anat/*_T2w.nii.gz``, where subject and session make the case; or the patterns; or, where there is no
    such file, DICOM studies (see :func:`fsmnet.data.pairing.studies.propose_series`).

    Args:
        root: folder to look through.
        target: a contrast name (``t1``, ``t1ce``, ``t2``, ``flair``, a BIDS suffix), a pattern with ``{case}``, or for
            DICOM a part of the series' description.
        auxiliary: likewise, for the fully sampled contrast.
        same_grid: reject pairs on different grids; False accepts them and says so, for who resamples or registers.

    Raises:
        UserError: no folder, no file of either contrast, or names that cannot be meant.
    """
    require_folder(root, "give the folder that holds the cases")
    if ("{case}" in target) != ("{case}" in auxiliary):
        raise UserError("give target and auxiliary both as contrast names or both as patterns with {case}")
    if target.lower() == auxiliary.lower():
        raise UserError(f"target and auxiliary are both {target}; name two contrasts")
    found = [_candidates(root, name) for name in (target, auxiliary)]
    if not any(found):
        if "{case}" not in target and _holds_dicom(root):
            from fsmnet.data.pairing.studies import propose_series

            return propose_series(root, target, auxiliary, same_grid)
        wanted = "files that match" if "{case}" in target else "DICOM series and BraTS or BIDS files of"
        hint = "; fastMRI's volumes need --layout fastmri" if files_below(root, (".h5",)) else ""
        raise UserError(f"{root}: neither {target} nor {auxiliary} is there (looked for {wanted} these){hint}")
    cases = sorted(found[0].keys() | found[1].keys())
    return [_row(root, case, (target, auxiliary), found, same_grid) for case in cases]


def _row(root: Path, case: str, names: tuple[str, str], found: Sequence[dict[str, list[Path]]], same_grid: bool) -> Row:
    """The verdict on a case, from the files found for its two contrasts."""
    files: list[Path | None] = []
    problems: list[str] = []
    volumes: list[Volume | None] = []
    for name, cases in zip(names, found, strict=True):
        paths = cases.get(case, [])
        files.append(paths[0] if len(paths) == 1 else None)
        try:
            if len(paths) != 1:
                raise UserError(_choice(root, case, name, cases))
            volumes.append(_header(paths[0], root))
        except UserError as error:
            problems.append(str(error))
            volumes.append(None)
    target, auxiliary = volumes
    accepted, note = not problems, "; ".join(problems)
    if target is not None and auxiliary is not None:
        if files[0] == files[1]:
            accepted, note = False, f"target and auxiliary are one file, {target.source}"
        elif target.shape == auxiliary.shape and same_scans(*filter(None, files)):
            accepted, note = False, f"{target.source} and {auxiliary.source} show the same voxels; give two contrasts"
        elif difference := grid_difference(target, auxiliary):
            accepted = not same_grid
            note = f"{difference}; {REMEDY}"
    shapes = [None if volume is None else volume.shape for volume in volumes]
    return Row(case, files[0], files[1], accepted, note, shapes[0], shapes[1])


def _choice(root: Path, case: str, name: str, cases: dict[str, list[Path]]) -> str:
    """Why a contrast of a case is not one file: there is none, or there are several."""
    if paths := cases.get(case):
        shown = ", ".join(_inside(path, root) for path in paths)
        return f"{len(paths)} candidates for {name}: {shown}; keep one, or narrow it down with a pattern"
    subject, _, session = case.partition("_ses-")
    others = [other for other in cases if session and other.startswith(f"{subject}_ses-")]
    return f"no {name} of this case" + (f"; that of {', '.join(others)} is another session's" if others else "")


def _header(path: Path, root: Path) -> Volume:
    """A volume for its shape and affine, of NIfTI without voxels; its source is relative to ``root``."""
    name = _inside(path, root)
    if part := _misplaced(path.relative_to(root)):
        raise UserError(f"{name}: lies in the folder of {part}, which its name does not say; move or rename it")
    if why := absence(path):
        raise UserError(f"{name}: {why}")
    if not is_utf8(name):
        raise UserError(f"{name}: its name is not in UTF-8, as a table must be; rename it")
    if (form := reading_format(path)) is not None and form.name != "nifti":
        return replace(read_volume(path), source=Path(name))
    return read_header(path, name)


def _misplaced(path: Path) -> str:
    """BIDS: the subject or session of a path's folders that the file's name contradicts; empty if there is none."""
    entities = volume_stem(path).split("_")
    for part in path.parts[:-1] if path.parent.name == "anat" else ():
        kind = part.partition("-")[0]
        others = [entity for entity in entities if entity.startswith(f"{kind}-")]
        if kind in ("sub", "ses") and others and part not in others:
            return part
    return ""


def _inside(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _holds_dicom(root: Path) -> bool:
    """Whether one of the visible files below a folder is DICOM, by its first bytes."""
    return any(found.file.is_file() and is_dicom(found.file) for found in files_below(root))


def _candidates(root: Path, name: str) -> dict[str, list[Path]]:
    """Files of a contrast, or of a pattern, by case; more than one where it is not clear which is meant."""
    found: dict[str, list[Path]] = {}
    for case, path in (*(() if "{case}" in name else _bids_files(root, name)), *candidates(root, name)):
        found.setdefault(case, []).append(path)
    return found


def _bids_files(root: Path, contrast: str) -> Iterator[tuple[str, Path]]:
    """``(case, file)`` of a contrast in BIDS; the case is the subject, ``sub-01``, or ``sub-01_ses-02``."""
    suffix = BIDS_SUFFIXES.get(contrast.lower(), contrast).lower()
    for place in sorted(matching(root, "sub-*/anat/*") + matching(root, "sub-*/ses-*/anat/*")):
        case = "_".join(place.relative_to(root).parts[:-2])
        *entities, last = volume_stem(place).split("_")
        enhanced = any(entity.startswith("ce-") for entity in entities)
        wanted = contrast.lower() not in BIDS_SUFFIXES or enhanced == (contrast.lower() == "t1ce")
        if wanted and last.lower() == suffix and place.name.endswith(NIFTI):
            yield case, file_at(place, NIFTI)
