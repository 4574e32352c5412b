"""What a difference between methods is worth: intervals and tests over patients, never over slices.

Slices of one patient resemble each other, so they count as one observation, the patient's mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats


def patient_means(values: Sequence[float], patients: Sequence[str]) -> dict[str, float]:
    """Mean of each patient's values."""
    groups: dict[str, list[float]] = {}
    for value, patient in zip(values, patients, strict=True):
        groups.setdefault(patient, []).append(value)
    return {patient: float(np.mean(group)) for patient, group in groups.items()}


def confidence_interval(means: Mapping[str, float], seed: int = 0) -> tuple[float, float] | None:
    """95% bootstrap interval (percentiles) of the mean over patients; None for fewer than three of them."""
    if len(means) < 3:
        return None
    sample = (np.array(list(means.values())),)
    result = stats.bootstrap(sample, np.mean, method="percentile", rng=np.random.default_rng(seed))
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def wilcoxon_p(means: Mapping[str, float], reference: Mapping[str, float]) -> float | None:
    """Two-sided p of a Wilcoxon signed-rank test, paired over the patients both have; None if it cannot be computed."""
    common = sorted(means.keys() & reference.keys())
    differences = np.array([means[p] - reference[p] for p in common])
    if len(common) < 3 or not differences.any():
        return None
    return float(stats.wilcoxon(differences).pvalue)
