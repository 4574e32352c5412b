"""Which estimator of the error knows where a reconstruction is wrong? See ``fsmnet.trust.error_map``.

    python benchmarks/trust/error_maps.py --cache FOLDER [--steps 900] [--out FILE.json] [--weights FILE.safetensors]

FOLDER holds what ``samples.py`` made: ``development`` and ``test``. Each estimator is compared with the true error
within the head: by Pearson's and Spearman's correlation over all voxels of a sample, mean over a patient's samples,
then over patients; and by the error that remains when the least trusted voxels are left out, as a share of all of it
(``oracle``: the true error itself chooses). Learned estimators are scored on patients that they were not fitted to:
within ``development`` each patient is left out once. The estimator with the highest Pearson correlation there is the
one to ship; it is then fitted to all of them and, with the others, scored on ``test``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from figures import rounded
from safetensors.torch import save_file
from scans import provenance
from scipy.stats import rankdata
from torch import Tensor

from fsmnet.data.head import head_mask
from fsmnet.files import write_text
from fsmnet.trust.error_map import ErrorNetwork, edges, looked_at, residual, spread

LEFT_OUT = (0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
CROP = 160

Sample = dict[str, Any]
SIMPLE: dict[str, Callable[[Sample], Tensor]] = {
    "zero-filled residual": lambda s: residual(s["image"], s["zero_filled"]),
    "nearness to edges": lambda s: edges(s["image"]),
    "brightness": lambda s: s["image"],
    "influence of the auxiliary": lambda s: (s["blank"] - s["image"]).abs(),
    "spread over 2 folds": lambda s: spread(s["image"], s["folds"][:2]),
    "spread over 5 folds": lambda s: spread(s["image"], s["folds"]) if "flips" in s else None,
    "spread over masks and flips": lambda s: spread(s["image"], s["flips"]) if "flips" in s else None,
}
LEARNED: dict[str, Callable[[Sample], tuple[Tensor, ...]]] = {
    "network": lambda s: (),
    "network, with influence": lambda s: ((s["blank"] - s["image"]).abs(),),
    "network, with spread over 2 folds": lambda s: (spread(s["image"], s["folds"][:2]),),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--learned", nargs="*", default=list(LEARNED))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    development, test = read(arguments.cache / "development"), read(arguments.cache / "test")
    found: dict[str, Any] = {name: scores(development, estimate) for name, estimate in SIMPLE.items()}
    seconds = {}
    for name in arguments.learned:
        started = time.process_time()
        parts = []
        for patient in sorted({s["patient"] for s in development}):
            others = [s for s in development if s["patient"] != patient]
            fitted = fit(others, LEARNED[name], arguments.steps)
            held_out = [s for s in development if s["patient"] == patient]
            parts.append(per_sample(held_out, estimated(fitted, LEARNED[name])))
        found[name] = summary([row for part in parts for row in part])
        seconds[name] = time.process_time() - started
        print(name, json.dumps(rounded(found[name]["all"])), flush=True)
    best = max((name for name in arguments.learned), key=lambda name: found[name]["all"]["pearson"])
    final = fit(development, LEARNED[best], 2 * arguments.steps)
    on_test = {name: scores(test, estimate) for name, estimate in SIMPLE.items()}
    on_test[best] = scores(test, estimated(final, LEARNED[best]))
    on_test["oracle"] = scores(test, lambda s: (s["image"] - s["truth"]).abs())
    result = provenance(
        seed=0,
        steps=arguments.steps,
        data={"development": sorted({s["patient"] for s in development}), "test": sorted({s["patient"] for s in test})},
        samples={"development": len(development), "test": len(test)},
        left_out=list(LEFT_OUT),
        chosen=best,
        parameters=sum(p.numel() for p in final.parameters()),
        processor_seconds_of_leaving_each_patient_out=seconds,
        development=found,
        test=on_test,
    )
    text = json.dumps(rounded(result), indent=1) + "\n"
    print(text, end="")
    if arguments.out:
        write_text(arguments.out, text)
    if arguments.weights:
        save_file({name: value.half() for name, value in final.state_dict().items()}, arguments.weights)


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


def fit(samples: Sequence[Sample], more: Callable[[Sample], tuple[Tensor, ...]], steps: int) -> ErrorNetwork:
    """A network fitted to the errors of samples, each patient counting the same."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    prepared: dict[str, list[tuple[Tensor, Tensor, Tensor, Tensor]]] = {}
    for sample in samples:
        images, unit = shown(sample, more)
        weight = torch.from_numpy(sample["head"]).float()
        weight = 0.1 + 0.9 * weight
        prepared.setdefault(sample["patient"], []).append(
            (images, sample["error"][None] / unit, sample["share"], weight)
        )
    patients = sorted(prepared)
    network = ErrorNetwork(next(iter(prepared.values()))[0][0].shape[1])
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps)
    network.train()
    for _ in range(steps):
        of_patient = prepared[patients[rng.integers(len(patients))]]
        images, error, share, weight = of_patient[rng.integers(len(of_patient))]
        top, left = (int(rng.integers(max(1, side - CROP + 1))) for side in images.shape[-2:])
        part = (..., slice(top, top + CROP), slice(left, left + CROP))
        images, error, weight = images[part], error[part], weight[part]
        axes = [axis for axis in (-2, -1) if rng.random() < 0.5]
        images, error, weight = (one.flip(axes) for one in (images, error, weight))
        said = network(images, share[None]) + 1e-3
        loss = ((said.log() + error / said) * weight).sum() / weight.sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return network.eval()


def shown(sample: Sample, more: Callable[[Sample], tuple[Tensor, ...]]) -> tuple[Tensor, Tensor]:
    names = ("image", "zero_filled", "auxiliary")
    return looked_at(*(sample[name][None] for name in names), *(one[None] for one in more(sample)))


def estimated(network: ErrorNetwork, more: Callable[[Sample], tuple[Tensor, ...]]) -> Callable[[Sample], Tensor]:
    def estimate(sample: Sample) -> Tensor:
        images, unit = shown(sample, more)
        with torch.inference_mode():
            return (network(images, sample["share"][None]) * unit)[0]

    return estimate


def scores(samples: Sequence[Sample], estimate: Callable[[Sample], Tensor | None]) -> dict[str, Any]:
    return summary(per_sample(samples, estimate))


def per_sample(samples: Sequence[Sample], estimate: Callable[[Sample], Tensor | None]) -> list[dict[str, Any]]:
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
