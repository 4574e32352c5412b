"""Pairs of fastMRI volumes from a list, since the files carry no link between the contrasts of an exam.

A line of the list names the auxiliary's file and the target's, with or without ``.h5``; what follows is free. That is
the form of the lists MINet published (Feng et al., MICCAI 2021) and of :func:`fsmnet.data.pairing.content.write_pairs`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fsmnet.data.formats.fastmri import FastMRIFile
from fsmnet.data.same import same_files
from fsmnet.data.split import Split, make_split
from fsmnet.errors import UserError
from fsmnet.files import from_cell, read_csv

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FastMRIPair:
    """Two volumes of one knee (or head).

    Attributes:
        case: name of the target's file without its suffix.
        target: the volume to be accelerated.
        auxiliary: the fully sampled one; slice i helps slice i.
    """

    case: str
    target: FastMRIFile
    auxiliary: FastMRIFile

    @property
    def slices(self) -> int:
        """As many as the shorter volume has."""
        return min(self.target.slices, self.auxiliary.slices)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns that both images have."""
        rows, columns = zip(self.target.image_size, self.auxiliary.image_size, strict=True)
        return min(rows), min(columns)


def read_pairs(
    path: Path, files: Sequence[FastMRIFile], target: str | None = None, auxiliary: str | None = None
) -> list[FastMRIPair]:
    """The pairs of a list whose files are there, in the list's order.

    Args:
        path: the list (.csv).
        files: the volumes.
        target: acquisition of the volumes to be accelerated; the list's second column when None.
        auxiliary: acquisition of the fully sampled ones; the list's first column when None.

    Raises:
        UserError: no list, none of its pairs, a volume in two pairs, or another contrast than asked for.
    """
    known: dict[str, FastMRIFile] = {}
    for file in files:
        if file.path.stem in known:
            raise UserError(
                f"{file.path} and {known[file.path.stem].path} have one name, by which a list cannot tell them apart; "
                "give a folder that holds one of them with --data"
            )
        known[file.path.stem] = file
    pairs, absent = [], []
    for line, names in _names(path):
        if any(name not in known for name in names):
            absent.append(f"{names[0]} with {names[1]}")
            continue
        helper, accelerated = (known[name] for name in names)
        if target is not None and helper.acquisition == target and accelerated.acquisition != target:
            helper, accelerated = accelerated, helper
        for file, wanted in ((accelerated, target), (helper, auxiliary)):
            if wanted is not None and file.acquisition != wanted:
                raise UserError(f"{path}, line {line}: {file.name} is {file.acquisition}, not {wanted}")
        pairs.append(FastMRIPair(accelerated.path.stem, accelerated, helper))
    if not pairs:
        raise UserError(f"{path}: none of the files of its {len(absent)} pairs is in the data folder")
    if absent:
        n_listed = len(pairs) + len(absent)
        logger.warning("%s: %d of %d pairs are not there, the first %s", path, len(absent), n_listed, absent[0])
    _check_two(pairs, path)
    everything = [file.name for pair in pairs for file in (pair.target, pair.auxiliary)]
    if twice := sorted({name for name in everything if everything.count(name) > 1}):
        raise UserError(f"{path}: {', '.join(twice)} is in more than one pair; keep the right one")
    return pairs


def _names(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines of a list with the names of their two files."""
    if not path.is_file():
        raise UserError(f"{path}: no such list of pairs; make one with 'fsmnet pair --layout fastmri'")
    for line, row in read_csv(path):
        names = [from_cell(value).strip() for value in row[:2]]
        if len(names) < 2 or not all(names):
            raise UserError(f"{path}, line {line}: names no two files; write AUXILIARY,TARGET")
        yield line, [Path(name).name.removesuffix(".h5") for name in names]


def _check_two(pairs: Sequence[FastMRIPair], path: Path) -> None:
    """No pair is one scan under two names."""
    for pair in pairs:
        if pair.target is not pair.auxiliary and same_files(pair.target.path, pair.auxiliary.path):
            raise UserError(f"{path}: {pair.target.name} and {pair.auxiliary.name} are one scan; name two contrasts")


def patients_told(pairs: Sequence[FastMRIPair]) -> dict[str, str]:
    """Case -> patient where the files have a ``patient_id``; pairs that share one, of either contrast, are of one."""
    groups: list[tuple[set[str], list[str]]] = []
    for pair in pairs:
        known = {file.patient for file in (pair.target, pair.auxiliary) if file.patient}
        joined = [group for group in groups if group[0] & known]
        groups = [group for group in groups if group not in joined]
        merged = (known.union(*(ids for ids, _ in joined)), [case for _, cases in joined for case in cases])
        groups.append((merged[0], [*merged[1], pair.case]))
    return {case: min(ids) for ids, cases in groups if ids for case in cases}


def split_pairs(
    pairs: Sequence[FastMRIPair],
    seed: int,
    validation: float,
    test: float,
    patients: Mapping[str, str] | None = None,
) -> Split:
    """A split that keeps NYU's: targets in a folder ``*_val`` are for testing, if there are others to train on.

    Their patients' other scans go with them. Without such a folder the shares hold, as in
    :func:`fsmnet.data.split.make_split`.
    """
    cases = [pair.case for pair in pairs]
    of_case = {case: (patients or {}).get(case, case) for case in cases}
    tested = {of_case[pair.case] for pair in pairs if pair.target.folder.endswith("_val")}
    held = [case for case in cases if of_case[case] in tested]
    rest = [case for case in cases if of_case[case] not in tested]
    if not held or not rest:
        return make_split(cases, seed, validation, test, patients)
    split = make_split(rest, seed, validation, 0.0, patients)
    return Split(split.train, split.validation, sorted(held), patients=of_case)
