"""What a trial is, and the list of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Work = Callable[[Path, int], dict[str, Any]]


@dataclass(frozen=True)
class Trial:
    """Something that is done to the product.

    Attributes:
        name: of the trial.
        what: is done, in a line.
        count: of repetitions, unless another number is given.
        work: does it, in an empty folder, so many times; the figures, with ``held``: whether nothing broke.
    """

    name: str
    what: str
    count: int
    work: Work


class AbsentError(Exception):
    """What a trial needs is not on this machine; it is left out, and says why."""


TRIALS: dict[str, Trial] = {}


def trial(name: str, what: str, count: int = 1) -> Callable[[Work], Work]:
    """Register a function as a trial; see :class:`Trial`."""

    def register(work: Work) -> Work:
        TRIALS[name] = Trial(name, what, count, work)
        return work

    return register
