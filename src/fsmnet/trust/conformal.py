"""From an expected error to a promise: "the error is below this value", at a stated rate, with the patient as unit.

Voxels of one scan err together, so it is patients that are counted. Voxels of the head are put into groups by their
expected error. In each group and patient one number says by what factor the expected error must be raised so that a
share ``rate`` of the voxels lies below; of these numbers, sorted, the k-th of n is taken,

    k = ceil((n + 1) rate).

For a new patient, exchangeable with the n, the chance that ``rate`` of the group's voxels lie below is then at least
``rate``: split conformal prediction (Papadopoulos et al., ECML 2002; Angelopoulos & Bates, 2021), its score being a
patient's quantile. Where k > n nothing can be promised: 90% needs nine patients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fsmnet.errors import UserError

GROUPS = 4  # by expected error, as many voxels in each
FEWEST = 100  # voxels of a group that make a patient's quantile

Values = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Calibration:
    """Factors by which an expected error becomes a bound.

    Attributes:
        rate: of patients and, within a patient, of a group's voxels.
        edges: expected errors between the groups, as a share of the image's brightness; one less than groups.
        factors: of each group.
        patients: that they rest on.
        estimator: whose expected error they belong to.
        accelerations: of the scans that they rest on, least and greatest.
        data: names of these patients.
    """

    rate: float
    edges: tuple[float, ...]
    factors: tuple[float, ...]
    patients: int
    estimator: str
    accelerations: tuple[float, float]
    data: tuple[str, ...] = ()

    def bound(self, expected: Values, brightness: float) -> Values:
        """What errors stay below at the rate, in the unit of ``expected``.

        Args:
            expected: expected errors, any shape.
            brightness: :func:`brightness` of the image, in the same unit.
        """
        groups = np.digitize(expected / brightness, self.edges)
        raised: Values = expected * np.asarray(self.factors, dtype=expected.dtype)[groups]
        return raised

    def why_not(self, estimator: str, acceleration: float) -> str:
        """Why it does not hold for a reconstruction; empty if it does."""
        low, high = self.accelerations
        if estimator != self.estimator:
            return f"calibrated for another estimator ({self.estimator})"
        if not 0.8 * low <= acceleration <= 1.25 * high:
            return f"calibrated for {low:g} to {high:g}x only"
        return ""

    def says(self) -> str:
        """The promise in words."""
        return (
            f"in {self.rate:.0%} of patients the error of {self.rate:.0%} of the head's voxels is below this value; "
            f"calibrated on {self.patients} patients"
        )

    def record(self) -> dict[str, Any]:
        """As JSON values, from which :func:`calibration_of` makes it again."""
        return asdict(self)


def calibration_of(record: dict[str, Any]) -> Calibration | None:
    """A calibration from a checkpoint's header; None if there is none.

    Raises:
        UserError: it is damaged.
    """
    if not record:
        return None
    try:
        names = ("edges", "factors", "accelerations", "data")
        found = Calibration(**record | {name: tuple(record.get(name, ())) for name in names})
        numbers = [found.rate, *found.edges, *found.factors, *found.accelerations]
        if len(found.edges) + 1 != len(found.factors) or not all(math.isfinite(float(one)) for one in numbers):
            raise ValueError("its numbers do not fit together")
    except (TypeError, ValueError) as error:
        raise UserError(
            f"the checkpoint's calibration is damaged ({error}); make it again by 'fsmnet calibrate'"
        ) from None
    return found


def brightness(image: Values) -> float:
    """The mean of an image weighted by itself: how bright it is, whatever empty space is around it."""
    total = float(image.sum(dtype=np.float64))
    return float(np.square(image, dtype=np.float64).sum()) / total if total > 0 else 1.0


def needed(rate: float) -> int:
    """The least number of patients that can promise a rate."""
    return next(n for n in range(1, 100_000) if math.ceil(_whole((n + 1) * rate)) <= n)


def promised(patients: int) -> float:
    """The highest rate that so many patients can promise, ``n / (n + 1)``."""
    return patients / (patients + 1)


def group_edges(expected: Sequence[Values]) -> tuple[float, ...]:
    """Expected errors that part the voxels into :data:`GROUPS` of equal number, each patient counting the same.

    Args:
        expected: of each patient's voxels, as a share of brightness.
    """
    quantiles = np.mean([np.quantile(one, np.arange(1, GROUPS) / GROUPS) for one in expected], axis=0)
    return tuple(float(one) for one in quantiles)


def patient_scores(error: Values, expected: Values, edges: Sequence[float], rate: float) -> list[float]:
    """The factor that each group of a patient's voxels needs; NaN where it has hardly any.

    Args:
        error: true errors of its voxels ``(v,)``.
        expected: expected ones as a share of brightness, in the same unit.
        edges: between groups.
        rate: of the voxels that must lie below.
    """
    groups = np.digitize(expected, edges)
    ratios = error / np.maximum(expected, 1e-12)
    parts = [ratios[groups == group] for group in range(len(edges) + 1)]
    return [float(np.quantile(part, rate, method="higher")) if part.size >= FEWEST else math.nan for part in parts]


def factors_of(scores: Sequence[Sequence[float]], rate: float) -> tuple[float, ...]:
    """The factor of each group from the patients' scores ``(n, groups)``.

    Raises:
        UserError: too few patients for the rate.
    """
    factors = []
    for group in np.array(scores, dtype=float).T:
        known = np.sort(group[np.isfinite(group)])
        place = math.ceil(_whole((known.size + 1) * rate))
        if place > known.size:
            raise UserError(
                f"{known.size} patients promise at most {promised(known.size):.0%}, and {rate:.0%} needs "
                f"{needed(rate)}; give more patients, or a lower --rate"
            )
        factors.append(float(known[place - 1]))
    return tuple(factors)


def _whole(number: float) -> float:
    """A number without the rounding that would make 9.000000000000002 of 10 * 0.9."""
    return round(number, 9)
