"""How like the scans that a network knows is a scan, all numbers of it taken together?

A knee may have the greys of one head and the fine structure of another, each within its range, but not both at once.
The logarithms of what known scans show (:mod:`fsmnet.trust.familiar`) have a mean and a covariance, and a scan's
distance from them is Mahalanobis' ("A simple unified framework for detecting out-of-distribution samples", Lee et al.,
NeurIPS 2018, there for a network's features),

    d^2 = z' C^-1 z / n,    z = (log x - mean) / deviation,    C = (1 - s) R + s I,

with n numbers, their correlation R, and s = :data:`SHRINKAGE`, since the scans are few. Each known patient is compared
with the others alone; a scan that is farther from all than the farthest of these is unlike them. Of patients like
these, n in n + 1 are expected to stay within.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Numbers = Mapping[str, float]

SHRINKAGE = 0.1  # chosen on development patients and made-up strangers (benchmarks/trust/familiarity.py)
TINY = 1e-4
FEWEST = 3  # patients
LEAST = 1e-3  # of a deviation: a hundredth of what real scans show


def likeness_of(patients: Sequence[Sequence[Numbers]]) -> list[dict[str, Any]]:
    """What is kept of known scans, as JSON values: of all their numbers, and of those of the target alone.

    Args:
        patients: of each patient, what his scans show by name, above 0.

    Returns:
        Nothing of fewer than :data:`FEWEST` patients.
    """
    some = [scans for scans in patients if scans]
    if len(some) < FEWEST:
        return []
    shared = sorted(set.intersection(*(set(scan) for scans in some for scan in scans)))
    alone = [name for name in shared if name.startswith("target ")]
    return [_fitted(some, names) for names in ([shared] if alone == shared else [shared, alone])]


def _fitted(patients: Sequence[Sequence[Numbers]], names: list[str]) -> dict[str, Any]:
    logs = [np.stack([_logs(scan, names) for scan in scans]) for scans in patients]
    bound = 0.0
    for number, mine in enumerate(logs):
        others = _moments(np.concatenate([one for other, one in enumerate(logs) if other != number]))
        bound = max(bound, *(_distance(one, *others)[0] for one in mine))
    mean, deviation, correlation = (one.round(5).tolist() for one in _moments(np.concatenate(logs)))
    return {"names": names, "mean": mean, "deviation": deviation, "correlation": correlation, "bound": bound}


def unlike(numbers: Numbers, known: Sequence[Mapping[str, Any]]) -> tuple[float, float, list[str]] | None:
    """How far a scan is from those known.

    Args:
        numbers: what it shows.
        known: of :func:`likeness_of`; the first whose names it has is used.

    Returns:
        Its distance, the bound, and the names, what contributes most first; None where nothing can be compared.
    """
    for one in known:
        names = list(one["names"])
        if names and set(names) <= set(numbers):
            moments = (np.asarray(one[what], dtype=np.float64) for what in ("mean", "deviation", "correlation"))
            distance, shares = _distance(_logs(numbers, names), *moments)
            return distance, float(one["bound"]), [names[place] for place in np.argsort(-shares)]
    return None


def _logs(numbers: Numbers, names: Sequence[str]) -> Values:
    return np.log([max(numbers[name], TINY) for name in names])


def _moments(logs: Values) -> tuple[Values, Values, Values]:
    """Mean, deviation and shrunk correlation of ``(scans, names)``."""
    mean, deviation = logs.mean(0), np.maximum(logs.std(0), LEAST)
    apart = (logs - mean) / deviation
    correlation = (1 - SHRINKAGE) * apart.T @ apart / len(apart) + SHRINKAGE * np.eye(len(mean))
    return mean, deviation, correlation


def _distance(logs: Values, mean: Values, deviation: Values, correlation: Values) -> tuple[float, Values]:
    """Distance, and what each number contributes to its square."""
    apart = (logs - mean) / deviation
    shares = apart * np.linalg.solve(correlation, apart) / len(apart)
    return float(np.sqrt(max(shares.sum(), 0.0))), shares
