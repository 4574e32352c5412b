"""Which estimator of the error knows where a reconstruction is wrong? See ``fsmnet.trust.error_map``.

    python benchmarks/trust/error_maps.py --cache FOLDER --weights FILE.safetensors --out FILE.json

FOLDER holds what ``samples.py`` made: ``development`` and ``test``. Each estimator is compared with the true error
within the head: by Pearson's and Spearman's correlation over all voxels of a sample, mean over a patient's samples,
then over patients; and by the error that remains when the least trusted voxels are left out, as a share of all of it
(``oracle``: the true error itself chooses). Learned estimators are scored on patients that they were not fitted to:
within ``development`` a third of the patients is left out in turn (``GROUPS``). The estimator was chosen by these
figures. What is shipped is fitted to all of them and, with the others, scored on ``test``.
Spreads, and the influence of the auxiliary, are smoothed over a pixel where nothing else is said.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scans import provenance, rounded
from scipy.stats import rankdata
from torch import Tensor

from fsmnet.data.head import head_mask
from fsmnet.files import write_text
from fsmnet.trust.error_map import ErrorNetwork, edges, error_network, looked_at, residual, smoothed, spread

LEFT_OUT = (0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
CROP = 112
GROUPS = (
    ("OMS-07", "stroke-VRD", "OMSL-20"),
    ("OMS-19", "TCGA-DU-7294", "OMSL-01"),
    ("OMS-26", "OMSL-03", "OMSL-19"),
)

Sample = dict[str, Any]
Estimate = Callable[[Sample], Tensor | None]


def spread_of(count: int, what: str = "folds", smooth: bool = True) -> Estimate:
    """Spread over so many images of a sample; None where it has fewer."""

    def estimate(sample: Sample) -> Tensor | None:
        if what not in sample or len(sample[what]) < count:
            return None
        found = spread(sample["image"], sample[what][:count])
        return smoothed(found) if smooth else found

    return estimate


def influence_of(sample: Sample) -> Tensor:
    return smoothed(sample["blank"] - sample["image"])


SIMPLE: dict[str, Estimate] = {
    "zero-filled residual": lambda s: residual(s["image"], s["zero_filled"]),
    "nearness to edges": lambda s: edges(s["image"]),
    "brightness": lambda s: s["image"],
    "influence of the auxiliary": influence_of,
    "spread over 1 fold": spread_of(1),
    "spread over 2 folds": spread_of(2),
    "spread over 2 folds, not smoothed": spread_of(2, smooth=False),
    "spread over 5 folds": spread_of(5),
    "spread over 3 masks and flips": spread_of(3, "flips"),
}
# What the error network looks at beside image, zero-filled image and auxiliary, by the number of folds.
LEARNED = {f"network, {count} fold{'s' * (count > 1)}": count for count in (1, 2, 5)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--last-steps", type=int, default=1200)
    parser.add_argument("--test-only", action="store_true", help="leave out leaving each patient out, which takes long")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    fitted = arguments.test_only and arguments.weights.exists()
    development, test = [] if fitted else read(arguments.cache / "development"), read(arguments.cache / "test")
    asked = [sample for sample in development if "flips" in sample]  # all estimators on the same samples
    found = {}
    if not arguments.test_only:
        found = {name: scores(asked, estimate) for name, estimate in SIMPLE.items()} | left_out(development, arguments)
    final = last(development, arguments)
    on_test = {name: scores(test, estimate) for name, estimate in SIMPLE.items()}
    on_test |= {name: scores(test, estimated(final, count)) for name, count in LEARNED.items()}
    on_test["oracle"] = scores(test, lambda s: s["error"])
    result = provenance(
        seed=0,
        steps={"each patient left out": arguments.steps, "shipped": arguments.last_steps},
        data={"development": sorted({s["patient"] for s in development}), "test": sorted({s["patient"] for s in test})},
        samples={"fitted to": len(development), "development": len(asked), "test": len(test)},
        left_out=list(LEFT_OUT),
        parameters=sum(p.numel() for p in final.parameters()),
        development=found,
        test=on_test,
    )
    text = json.dumps(rounded(result), indent=1)
    write_text(arguments.out, re.sub(r"\[[^][{}]*\]", lambda numbers: " ".join(numbers[0].split()), text) + "\n")


def last(samples: Sequence[Sample], arguments: argparse.Namespace) -> ErrorNetwork:
    """What is shipped, fitted to all patients, its weights in half precision; taken from its file if that is there."""
    if not arguments.weights.exists():
        fitted = fit(samples, arguments.last_steps)
        save_file({name: value.half() for name, value in fitted.state_dict().items()}, arguments.weights)
    return error_network(load_file(arguments.weights))


def left_out(samples: Sequence[Sample], arguments: argparse.Namespace) -> dict[str, Any]:
    """Scores of the error network, each patient's by one that was not fitted to it; kept in the cache."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in LEARNED}
    for group in GROUPS:
        kept = arguments.cache / "left_out" / f"{group[0]}_{arguments.steps}.json"
        if not kept.exists():
            fitted = fit([s for s in samples if s["patient"] not in group], arguments.steps)
            held_out = [sample for sample in samples if sample["patient"] in group and "flips" in sample]
            found = {name: per_sample(held_out, estimated(fitted, count)) for name, count in LEARNED.items()}
            write_text(kept, json.dumps(rounded(found)))
        for name, some in json.loads(kept.read_text()).items():
            rows[name] += some
    return {name: summary(some) for name, some in rows.items()}


def read(folder: Path) -> list[Sample]:
    """All samples of a folder, with the head of the true image."""
    samples = []
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as arrays:
            sample: Sample = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        sample["patient"], sample["acceleration"] = file.stem.split("_")[0], int(file.stem.split("_")[-1])
        sample["head"] = head_mask(sample["truth"][None].numpy())[0]
        sample["error"] = (sample["image"] - sample["truth"]).abs()
        samples.append(sample)
    return samples


def fit(samples: Sequence[Sample], steps: int) -> ErrorNetwork:
    """A network fitted to the errors of samples, each patient counting the same."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    prepared: dict[str, list[tuple[Tensor, ...]]] = {}
    for sample in samples:
        weight = 0.1 + 0.9 * torch.from_numpy(sample["head"]).float()
        variants = [(sample, count) for count in (1, 2, 5) if len(sample["folds"]) >= count]
        variants.append((alone(sample), 1))
        for one, count in variants:
            images, unit = shown(one, count)
            error = one["error"][None] / unit
            scale = error[0][torch.from_numpy(sample["head"])].square().mean().sqrt()
            prepared.setdefault(sample["patient"], []).append((images, error / scale, scale, one["share"], weight))
    patients = sorted(prepared)
    network = ErrorNetwork()
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps)
    network.train()
    for _ in range(steps):
        of_patient = prepared[patients[rng.integers(len(patients))]]
        images, error, scale, share, weight = of_patient[rng.integers(len(of_patient))]
        top, left = (int(rng.integers(max(1, side - CROP + 1))) for side in images.shape[-2:])
        part = (..., slice(top, top + CROP), slice(left, left + CROP))
        images, error, weight = images[part], error[part], weight[part]
        axes = [axis for axis in (-2, -1) if rng.random() < 0.5]
        images, error, weight = (one.flip(axes) for one in (images, error, weight))
        said = (network(images, share[None]) + 1e-3) / scale
        loss = ((said.log() + error / said + (said - error).square()) * weight).sum() / weight.sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return network.eval()


def alone(sample: Sample) -> Sample:
    """The same scan without an auxiliary; how its folds would differ is taken from those with it."""
    image = sample["blank"]
    others = {"folds": image + (sample["folds"] - sample["image"]), "auxiliary": torch.zeros_like(image)}
    return sample | {"image": image, "error": (image - sample["truth"]).abs()} | others


def shown(sample: Sample, count: int) -> tuple[Tensor, Tensor]:
    """What the error network gets of a sample with so many folds, and its unit."""
    names = ("image", "zero_filled", "auxiliary")
    told = (influence_of(sample), smoothed(spread(sample["image"], sample["folds"][:count])))
    return looked_at(*(sample[name][None] for name in names), *(one[None] for one in told))


def estimated(network: ErrorNetwork, count: int = 1) -> Estimate:
    """What a network expects of a sample with so many folds; None where it has fewer."""

    def estimate(sample: Sample) -> Tensor | None:
        if len(sample["folds"]) < count:
            return None
        images, unit = shown(sample, count)
        with torch.inference_mode():
            return (network(images, sample["share"][None]) * unit)[0]

    return estimate


def scores(samples: Sequence[Sample], estimate: Estimate) -> dict[str, Any]:
    return summary(per_sample(samples, estimate))


def per_sample(samples: Sequence[Sample], estimate: Estimate) -> list[dict[str, Any]]:
    rows = []
    for sample in samples:
        said = estimate(sample)
        if said is None:
            continue
        head = sample["head"]
        error, said = sample["error"].numpy()[head].astype(float), said.numpy()[head].astype(float)
        order = np.argsort(said)  # the most trusted first
        total = np.cumsum(error[order] ** 2)
        kept = [max(1, round((1 - share) * len(error))) for share in LEFT_OUT]
        remaining = [float(np.sqrt(total[k - 1] / k)) for k in kept]
        rows.append(
            {
                "patient": sample["patient"],
                "acceleration": sample["acceleration"],
                "pearson": float(np.corrcoef(error, said)[0, 1]),
                "spearman": float(np.corrcoef(rankdata(error), rankdata(said))[0, 1]),
                "remaining": [one / remaining[0] for one in remaining],
                "said_over_error": float(said.mean() / error.mean()),
            }
        )
    return rows


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over a patient's samples, and the mean of the patients'."""

    def mean(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
        names = ("pearson", "spearman", "remaining", "said_over_error")
        return {name: np.mean([part[name] for part in parts], axis=0).tolist() for name in names}

    patients = {one: [row for row in rows if row["patient"] == one] for one in sorted({row["patient"] for row in rows})}
    found = {patient: mean(of_patient) | {"samples": len(of_patient)} for patient, of_patient in patients.items()}
    accelerations = sorted({row["acceleration"] for row in rows})
    return {
        "all": mean(list(found.values())),
        "by acceleration": {f"{r}x": mean([row for row in rows if row["acceleration"] == r]) for r in accelerations},
        "patients": found,
    }


if __name__ == "__main__":
    main()
