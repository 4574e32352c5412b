"""Split by patient: no patient is on two sides, however many cases there are of each."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

import numpy as np

from fsmnet.data.patients import cases_named, patient_of
from fsmnet.errors import UserError, listed
from fsmnet.files import json_text, parse_json, write_text

logger = logging.getLogger(__name__)

Side = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Split:
    """Cases for training, for choosing the checkpoint, and for the final figures.

    Attributes:
        train: names of the cases.
        validation: likewise.
        test: likewise.
        patients: case -> patient; where a case is not among them its name tells, see :func:`patient_of`.
        contents: case -> :func:`fsmnet.data.volume.content_hash` of its target, where it was read; several, with
            spaces between, where several of its contrasts were targets.
        before: cases that the initial weights had been trained on, if they had been.
    """

    train: list[str]
    validation: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    patients: dict[str, str] = field(default_factory=dict, compare=False)
    contents: dict[str, str] = field(default_factory=dict, compare=False)
    before: list[str] = field(default_factory=list, compare=False)

    def sides(self) -> dict[Side, list[str]]:
        """Cases by side; what was trained on before counts as trained on."""
        return {"train": self.train + self.before, "validation": self.validation, "test": self.test}

    def named(self) -> set[str]:
        """All cases."""
        return {*self.train, *self.validation, *self.test}

    def with_cases(self, patients: Mapping[str, str], where: object) -> Split:
        """The same with cases in the place of patients that it names, and the patients of them all.

        Args:
            patients: case -> patient.
            where: the split is from, for the message.

        Raises:
            UserError: a case is on two sides, once by its own name and once by its patient's.
        """
        train, validation, test = (cases_named(names, patients) for names in (self.train, self.validation, self.test))
        everything = train + validation + test
        if twice := sorted({case for case in everything if everything.count(case) > 1}):
            raise UserError(
                f"{where}: case {twice[0]} is on two sides, by its own name and by its patient's, "
                f"{patients.get(twice[0], '')}; a patient belongs to one side only"
            )
        of_case = self.patients | {case: patients[case] for case in everything if case in patients}
        return replace(self, train=train, validation=validation, test=test, patients=of_case)

    def difference(self, other: Split) -> str:
        """A case that another split has on another side, in words; empty if there is none."""
        mine, theirs = (
            {case: side for side in ("train", "validation", "test") for case in getattr(one, side)}
            for one in (self, other)
        )
        for case in sorted(mine.keys() | theirs.keys()):
            if mine.get(case) != theirs.get(case):
                return f"case {case} was in {mine.get(case, 'no list')}, is in {theirs.get(case, 'no list')}"
        return ""

    def after(self, other: Split) -> Split:
        """This split, of weights that had been trained with another one."""
        patients = {case: other.patient(case) for case in other.sides()["train"]}
        return replace(
            self,
            patients=patients | self.patients,
            contents={case: other.contents[case] for case in patients if case in other.contents} | self.contents,
            before=sorted(patients),
        )

    def patient(self, case: str) -> str:
        """The patient of a case."""
        return self.patients.get(case) or patient_of(case)

    def across(self) -> list[str]:
        """Patients with cases on two sides."""
        found: dict[str, set[Side]] = {}
        for side, cases in self.sides().items():
            for case in cases:
                found.setdefault(self.patient(case), set()).add(side)
        return sorted(patient for patient, sides in found.items() if len(sides) > 1)

    def warn_of_patients_across(self, where: object) -> None:
        """Say which patients are on two sides; a new split has none, one made by hand or by a list may."""
        if across := self.across():
            logger.warning(
                "%s: %s %s cases on two sides; scores on them are too good; leave --split out to split by patient",
                where,
                listed([f"patient {patient}" for patient in across]),
                "has" if len(across) == 1 else "have",
            )

    def seen(self, case: str, patient: str = "", content: str = "") -> Seen | None:
        """Where a case to be scored stood in this split; None if it is in none of its sides.

        Args:
            case: its name.
            patient: its patient; by the name if empty.
            content: its content, see ``contents``.
        """
        for side, cases in self.sides().items():
            known = {content: one for one in cases for content in self.contents.get(one, "").split()}
            patients = {self.patient(one): one for one in cases}
            if case in cases:
                return Seen(side, case, "name")
            if content and content in known:
                return Seen(side, known[content], "content")
            if (patient or patient_of(case)) in patients:
                return Seen(side, patients[patient or patient_of(case)], "patient")
        return None


@dataclass(frozen=True)
class Seen:
    """How a network's training knew a case.

    Attributes:
        side: of the split.
        case: the split's name for it.
        by: what tells: the case's name, its voxels under another name, or another case of the same patient.
    """

    side: Side
    case: str
    by: Literal["name", "content", "patient"]


def make_split(
    cases: Sequence[str],
    seed: int,
    validation: float = 0.1,
    test: float = 0.0,
    patients: Mapping[str, str] | None = None,
) -> Split:
    """Split patients at random by shares; each share above 0 gets at least one patient.

    The patients are sorted by the first of their cases, so that the order in which a file system lists them does not
    matter, and that the split of a folder with one case of each patient follows from the cases' names alone.

    Args:
        cases: names.
        seed: of the draw.
        validation: share of the patients.
        test: share of the patients.
        patients: case -> patient; by the cases' names if None.

    Raises:
        UserError: nothing is left to train on.
    """
    groups: dict[str, list[str]] = {}
    of_case = {case: (patients or {}).get(case) or patient_of(case) for case in sorted(set(cases))}
    for case, patient in of_case.items():
        groups.setdefault(patient, []).append(case)
    names = list(groups)
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    n_test, n_validation = (max(1, round(share * len(order))) if share > 0 else 0 for share in (test, validation))
    if n_test + n_validation >= len(order):
        count = f"{len(of_case)} cases" + ("" if len(order) == len(of_case) else f" of {len(order)} patients")
        named = "" if len(order) == len(of_case) else " (name them by --patient if their names mislead)"
        raise UserError(
            f"{count}{named} cannot give {n_validation} for validation and {n_test} for testing and leave some for "
            "training; add cases, or set validation_fraction or test_fraction to 0"
        )
    held = n_test + n_validation
    parts = (order[held:], order[n_test:held], order[:n_test])
    train, chosen, tested = (sorted(case for patient in part for case in groups[patient]) for part in parts)
    return Split(train, chosen, tested, of_case)


def as_document(split: Split) -> dict[str, list[str] | dict[str, str]]:
    """A split as JSON holds it; what is not known is left out."""
    always = ("train", "validation", "test", "patients")
    return {name: value for name, value in asdict(split).items() if value or name in always}


def save_split(split: Split, path: Path) -> None:
    """Write a split as JSON."""
    write_text(path, json_text(as_document(split)) + "\n")


def split_from(document: Mapping[str, object]) -> Split:
    """A split from what JSON holds; those of before patients were named have three lists only.

    Raises:
        TypeError: a part that is none, or of the wrong kind.
    """
    if unknown := set(document) - {one.name for one in fields(Split)}:
        raise TypeError(f"nobody knows {unknown}")

    def cases(name: str) -> list[str]:
        if not isinstance(value := document.get(name, []), list):
            raise TypeError(f"{name} is no list of cases")
        return [str(case) for case in value]

    def table(name: str) -> dict[str, str]:
        if not isinstance(value := document.get(name, {}), dict):
            raise TypeError(f"{name} is no table of cases")
        return {str(case): str(what) for case, what in value.items()}

    if "train" not in document:
        raise TypeError("there is no list to train on")
    named = cases("train"), cases("validation"), cases("test")
    return Split(*named, table("patients"), table("contents"), cases("before"))


def load_split(path: Path) -> Split:
    """Read a split.

    Raises:
        UserError: missing, not a split, or a case on two sides.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give a split file, of a run its split.json")
    if not path.is_file():
        raise UserError(f"{path}: no such split file")
    try:
        split = split_from(parse_json(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError):
        raise UserError(
            f'{path}: not a split; it should read {{"train": [...], "validation": [...], "test": [...]}}'
        ) from None
    everything = split.train + split.validation + split.test
    if twice := sorted({case for case in everything if everything.count(case) > 1}):
        raise UserError(f"{path}: case {', '.join(twice)} is listed twice; a patient belongs to one side only")
    return split
