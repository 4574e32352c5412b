"""Split by patient: slices of one patient are never on both sides."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from fsmnet.errors import UserError
from fsmnet.files import write_text


@dataclass(frozen=True)
class Split:
    """Cases for training, for choosing the checkpoint, and for the final figures."""

    train: list[str]
    validation: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)


def make_split(cases: Sequence[str], seed: int, validation: float = 0.1, test: float = 0.0) -> Split:
    """Split cases at random by shares; each share above 0 gets at least one case.

    The cases are sorted first, so that the order in which a file system lists them does not matter.

    Raises:
        UserError: nothing is left to train on.
    """
    order = [sorted(set(cases))[i] for i in np.random.default_rng(seed).permutation(len(set(cases)))]
    n_test, n_validation = (max(1, round(share * len(order))) if share > 0 else 0 for share in (test, validation))
    if n_test + n_validation >= len(order):
        raise UserError(
            f"{len(order)} cases cannot give {n_validation} for validation and {n_test} for testing and leave some for "
            "training; add cases, or set validation_fraction or test_fraction to 0"
        )
    held = n_test + n_validation
    return Split(sorted(order[held:]), sorted(order[n_test:held]), sorted(order[:n_test]))


def save_split(split: Split, path: Path) -> None:
    """Write a split as JSON."""
    write_text(path, json.dumps(asdict(split), indent=2) + "\n")


def load_split(path: Path) -> Split:
    """Read a split.

    Raises:
        UserError: missing, not a split, or a case on two sides.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such split file")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(cases, list) for cases in document.values()):
            raise TypeError("a text is no list of cases")
        split = Split(**{name: [str(case) for case in cases] for name, cases in document.items()})
    except (ValueError, TypeError, AttributeError):
        raise UserError(
            f'{path}: not a split; it should read {{"train": [...], "validation": [...], "test": [...]}}'
        ) from None
    everything = split.train + split.validation + split.test
    if twice := sorted({case for case in everything if everything.count(case) > 1}):
        raise UserError(f"{path}: case {', '.join(twice)} is listed twice; a patient belongs to one side only")
    return split
