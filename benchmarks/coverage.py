"""How often 95% intervals of the mean over few patients cover the true mean: four intervals, three distributions.

    python benchmarks/coverage.py --out benchmarks/coverage.json

Patients' means are drawn from a normal distribution, from a skewed one (gamma of shape 4, skewness 1) and from a
strongly skewed one (exponential, skewness 2). Intervals: the bootstrap's percentiles, BCa, bootstrap-t, Student's t.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats

from fsmnet.files import write_text

Array = npt.NDArray[np.float64]
DISTRIBUTIONS = {
    "normal": (lambda rng, size: rng.normal(0.0, 1.0, size), 0.0),
    "skewed": (lambda rng, size: rng.gamma(4.0, 1.0, size), 4.0),
    "strongly skewed": (lambda rng, size: rng.exponential(1.0, size), 1.0),
}
LOW, HIGH = 0.025, 0.975


def covered(samples: Array, truth: float, rng: np.random.Generator, resamples: int) -> dict[str, Array]:
    """Whether each interval covers the truth, and how long it is, for each of ``(k, n)`` samples."""
    k, n = samples.shape
    mean, deviation = samples.mean(1), samples.std(1, ddof=1)
    drawn = samples[np.arange(k)[:, None, None], rng.integers(0, n, (k, resamples, n))]
    means, deviations = drawn.mean(2), drawn.std(2, ddof=1)
    half = stats.t.ppf(HIGH, n - 1) * deviation / np.sqrt(n)
    ends = {
        "percentile": tuple(np.quantile(means, [LOW, HIGH], axis=1)),
        "BCa": _bca(samples, mean, means),
        "bootstrap-t": _bootstrap_t(mean, deviation, means, deviations, n),
        "Student's t": (mean - half, mean + half),
    }
    return {name: np.stack([(low <= truth) & (truth <= high), high - low]) for name, (low, high) in ends.items()}


def _bca(samples: Array, mean: Array, means: Array) -> tuple[Array, Array]:
    """Bias-corrected and accelerated percentiles (Efron, J Am Stat Assoc 82:171, 1987)."""
    n = samples.shape[1]
    share = ((means < mean[:, None]).mean(1) + (means <= mean[:, None]).mean(1)) / 2
    bias = stats.norm.ppf(np.clip(share, 1e-3, 1 - 1e-3))
    left_out = (n * mean[:, None] - samples) / (n - 1)
    away = left_out.mean(1, keepdims=True) - left_out
    acceleration = (away**3).sum(1) / np.maximum(6 * (away**2).sum(1) ** 1.5, 1e-12)
    ordered, ends = np.sort(means, 1), []
    for level in (LOW, HIGH):
        z = bias + stats.norm.ppf(level)
        adjusted = stats.norm.cdf(bias + z / (1 - acceleration * z))
        place = np.clip((adjusted * means.shape[1]).astype(int), 0, means.shape[1] - 1)
        ends.append(ordered[np.arange(len(ordered)), place])
    return ends[0], ends[1]


def _bootstrap_t(mean: Array, deviation: Array, means: Array, deviations: Array, n: int) -> tuple[Array, Array]:
    """Quantiles of the resamples' t in place of Student's; a resample of one patient only has none."""
    error = deviations / np.sqrt(n)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error > 1e-12, (means - mean[:, None]) / error, np.nan)
    low, high = np.nanquantile(t, [LOW, HIGH], axis=1)
    own = deviation / np.sqrt(n)
    return mean - high * own, mean - low * own


def main() -> None:
    """Simulate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/coverage.json"))
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--resamples", type=int, default=599)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    result: dict[str, object] = {"level": 0.95, "samples": options.samples, "resamples": options.resamples}
    for name, (draw, truth) in DISTRIBUTIONS.items():
        table: dict[str, dict[str, dict[str, float]]] = {}
        for n in (3, 5, 10, 25):
            rng = np.random.default_rng((options.seed, n))
            parts = [covered(draw(rng, (50, n)), truth, rng, options.resamples) for _ in range(options.samples // 50)]
            for interval in parts[0]:
                found = np.concatenate([part[interval] for part in parts], axis=1)
                table.setdefault(interval, {})[str(n)] = {
                    "coverage": round(float(found[0].mean()), 4),
                    "median_length": round(float(np.median(found[1])), 3),
                }
        result[name] = table
        for interval, row in table.items():
            print(f"{name:16} {interval:12}", *(f"n={n}: {100 * cell['coverage']:.1f}%" for n, cell in row.items()))
    write_text(options.out, json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
