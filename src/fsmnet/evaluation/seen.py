"""Which cases are scored, and which of them a network has seen in its training."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fsmnet.checkpoint import SEEN, WAYS
from fsmnet.data.split import Seen, Split, load_split
from fsmnet.errors import UserError, listed
from fsmnet.evaluation.options import EvaluateConfig
from fsmnet.evaluation.scores import Row
from fsmnet.protocols.base import Protocol

logger = logging.getLogger(__name__)

Splits = Mapping[str, Split | None]  # of each model's training; None where it is not known, or there was none


def find_cases(config: EvaluateConfig, protocol: Protocol[Any], splits: Splits) -> tuple[list[Any], dict[str, str]]:
    """The cases to score, and the patient of each.

    They are those that the options name; else those that the models' trainings kept for testing, where they are there;
    else all.

    Raises:
        UserError: cases that are not there, or two ways to name them.
    """
    asked = _asked(config)
    pairs = protocol.named_cases(config, config.out, asked)
    patients = protocol.patients(pairs, config)
    keeping = [split for split in splits.values() if split is not None and split.test]
    if asked is not None or not keeping:
        return pairs, patients

    def kept(case: str) -> bool:
        found = [split.seen(case, patients[case]) for split in keeping]
        return all(one is not None and one.side == "test" for one in found)

    if tested := [pair for pair in pairs if kept(pair.case)]:
        logger.info("scoring %d of %d cases: those kept for testing; --cases names others", len(tested), len(pairs))
    return tested or pairs, patients


def _asked(config: EvaluateConfig) -> list[str] | None:
    if config.split is None:
        return config.cases
    if config.cases is not None:
        raise UserError("give --cases or --split, not both")
    test = load_split(config.split).test
    if not test:
        raise UserError(f"{config.split}: the split keeps no case for testing; name some with --cases")
    return test


class SeenCases:
    """What is said of each scored case and each network's training."""

    def __init__(self, splits: Splits) -> None:
        self._splits = splits
        self._found: dict[str, dict[str, Seen | None]] = {name: {} for name in splits}

    def look(self, model: str, case: str, patient: str, content: str) -> str:
        """The side of the training's split that a case was on; ``no`` for none, empty where that is not known."""
        split = self._splits[model]
        if split is None:
            return ""
        seen = self._found[model][case] = split.seen(case, patient, content)
        return "no" if seen is None else seen.side

    def told(self, rows: Sequence[Row], content: str) -> list[Row]:
        """The rows of a case, with the side on which each model had it."""
        return [replace(row, seen=self.look(row.model, row.case, row.patient, content)) for row in rows]

    def summary(self, model: str) -> dict[str, list[str]] | None:
        """Cases that were trained on, and those that chose the checkpoint; None where that is not known."""
        if self._splits[model] is None:
            return None
        return {side: self._named(model, side) for side in SEEN}

    def warn(self) -> None:
        """Name the cases that a network had seen."""
        for model in self._splits:
            for side, words in SEEN.items():
                if named := self._named(model, side):
                    logger.warning(
                        "%s %s %d of the %d cases scored here: %s; its scores are too good",
                        model,
                        words,
                        len(named),
                        len(self._found[model]),
                        listed(named),
                    )

    def _named(self, model: str, side: str) -> list[str]:
        found = ((case, seen) for case, seen in self._found[model].items() if seen is not None and seen.side == side)
        return [case if seen.by == "name" else f"{case} ({seen.case}{WAYS[seen.by]})" for case, seen in found]
