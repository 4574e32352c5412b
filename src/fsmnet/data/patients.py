"""Whose scan a case is. The patient is the unit of splits, intervals and tests; a patient may have several cases.

What names a patient, in this order: a table or a pattern that was given; what the files say, where their format has a
place for it; the case's name, by the conventions of :func:`patient_of`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from fsmnet.data.options import PairOptions
from fsmnet.errors import UserError
from fsmnet.files import read_csv

# What stands for the patient at the beginning of a name, where a data set has a convention of its own.
CONVENTIONS = (
    r"(BraTS-[A-Za-z-]+-\d{4,5})-\d{3}",  # BraTS 2023 and later: task, patient, time point
    r"(TCGA-[A-Za-z0-9]{2}-[A-Za-z0-9]{4})(?:[-_.].+)?",
    r"(UPENN-GBM-\d{5})_\d{2}",
    r"(sub-[A-Za-z0-9]+)(?:[_/-].+)?",  # BIDS: ses-, run- and all that follows
    r"(OAS\d{5}|OAS[12]_\d{4})_MR.*",
)
# An examination's mark at the end of a name: -s2, _ses01, -session-2, _tp3, -visit2, _week-012, -baseline, a date.
# All but the first only behind a name that has a number already: brain_scan_001 is no second scan of "brain".
WORDS = r"tp|time|visit|scan|exam|study|date|day|week|wk|month|year|followup|fu|mr|[stvwm]"
MARKS = (
    r"(.+?)[-_ .](?:ses-[A-Za-z0-9]+|(?:ses|sess|session|timepoint)[-_ ]?\d+)",
    rf"(.*\d.*?)[-_ .](?:{WORDS})[-_ ]?\d+(?:[-_.]\d+)*",
    r"(.*\d.*?)[-_ .](?:baseline|followup|follow-up|pre-?op|post-?op)",
    r"(.*\d.*?)[-_ .](?:19|20)\d\d[-_.]?[01]\d[-_.]?[0-3]\d",
)


def patient_of(case: str) -> str:
    """The patient of a case by its name alone: the name itself where no convention is recognised.

    ``BraTS-GLI-00001-100`` and ``-101`` are BraTS-GLI-00001, ``sub-01_ses-02`` is sub-01, ``OMSL-01-s2`` is OMSL-01.
    """
    for form in (*CONVENTIONS, *MARKS):
        if match := re.fullmatch(form, case, re.IGNORECASE):
            return match[1]
    return case


def patients_of(cases: Sequence[str], options: PairOptions, told: Mapping[str, str] | None = None) -> dict[str, str]:
    """The patient of each case.

    Args:
        cases: their names.
        options: ``patient``, a pattern, and ``patient_table``, a file, which win over everything else.
        told: what the files themselves say, for some of the cases or all.

    Raises:
        UserError: both are given, or a case that the pattern or the table does not know.
    """
    if options.patient is not None and options.patient_table is not None:
        raise UserError("give --patient or --patient-table, not both")
    if options.patient_table is not None:
        table = read_patients(options.patient_table)
        if absent := [case for case in cases if case not in table]:
            raise UserError(f"{options.patient_table}: has no patient for case {absent[0]}; add a line for it")
        return {case: table[case] for case in cases}
    if options.patient is not None:
        return {case: _by_pattern(case, options.patient) for case in cases}
    return {case: (told or {}).get(case) or patient_of(case) for case in cases}


def cases_named(names: Sequence[str], patients: Mapping[str, str]) -> list[str]:
    """Cases by their own names or by their patients': a patient's stands for all of that patient's cases.

    Args:
        names: of cases, and of patients where they are no case's. One that is neither stays as it is.
        patients: case -> patient.
    """
    of_patient: dict[str, list[str]] = {}
    for case, patient in patients.items():
        of_patient.setdefault(patient, []).append(case)
    found = ([name] if name in patients else sorted(of_patient.get(name, [name])) for name in names)
    return list(dict.fromkeys(case for cases in found for case in cases))


def read_patients(path: Path) -> dict[str, str]:
    """Case -> patient from the columns ``case`` and ``patient`` of a table, see :func:`fsmnet.files.read_csv`.

    Raises:
        UserError: no such table, or without these columns, or a case with two patients.
    """
    lines = [[value.strip() for value in row] for _, row in read_csv(path)]
    patients: dict[str, str] = {}
    for values in lines[1:]:
        row = dict(zip(lines[0], values, strict=False))
        case, patient = (row.get(column, "") for column in ("case", "patient"))
        if not case or not patient:
            raise UserError(f"{path}: a line without case or patient; its columns must be named case and patient")
        if patients.setdefault(case, patient) != patient:
            raise UserError(f"{path}: case {case} has two patients, {patients[case]} and {patient}; keep one")
    return patients


def _by_pattern(case: str, pattern: str) -> str:
    """What stands at ``{patient}`` in a pattern with ``*``, or what the group of a regular expression matches."""
    expression = pattern
    if "{patient}" in pattern:
        wild = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
        expression = wild.replace(r"\{patient\}", "(?P<patient>.+?)", 1) + "$"
    try:
        form = re.compile(expression)
    except re.error as error:
        raise UserError(f"--patient {pattern}: no pattern ({error}); write one such as '{{patient}}-*'") from None
    if not form.groups:
        raise UserError(f"--patient {pattern}: has no place for the patient; write one such as '{{patient}}-*'")
    match = form.match(case)
    patient = match and (match["patient"] if "patient" in form.groupindex else match[1])
    if not patient:
        raise UserError(f"--patient {pattern}: case {case} is not of this form; widen the pattern, or give a table")
    return patient
