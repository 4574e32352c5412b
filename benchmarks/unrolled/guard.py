"""When should an auxiliary be left out? Lines kept back with and without it, beside true errors, on validation scans.

    python benchmarks/unrolled/guard.py DATA --out benchmarks/unrolled/guard.json

OMS-26 validated the network. OMSL-03, a head with skull, was trained on; its own scans say less, and decide nothing
alone. The test patients take no part. Of a few slices of each the target is reconstructed with auxiliaries that are
right, moved, of another level of the head and of other patients, once from all lines (true errors against the image)
and once without a fifth of the outer ones (errors of the lines kept back).
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from evaluate import load, moved, network, scan_of, scored
from torch import Tensor
from train import reconstruct

from fsmnet.errors import UserError
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.holdout import folds, unseen, without
from fsmnet.physics.masks import seed_from_name
from fsmnet.transforms import center_fit

HERE = Path(__file__).parent
TASKS = [  # case, target, auxiliary, whose auxiliaries are wrong, accelerations, percent of noise
    ("OMS-26", "t2", "t1", ["OMS-07", "OMS-19", "TCGA-DU-7294"], [2, 4, 8], 0.5),
    ("OMS-26", "t2", "t1", ["OMS-07", "TCGA-DU-7294"], [4, 8], 3.0),
    ("OMS-26", "flair", "t2", ["OMS-07", "TCGA-DU-7294"], [4, 8], 0.5),
    ("OMSL-03-s2", "t2", "t1", ["OMSL-01-s2", "OMSL-20-s2"], [4, 8], 0.5),
]


def auxiliaries(data: Path, case: str, contrast: str, others: list[str]) -> dict[str, Callable[[int], Tensor]]:
    """By name: slice number to the auxiliary of that slice."""
    own = load(data, case, contrast)
    found: dict[str, Callable[[int], Tensor]] = {
        "right": lambda n: own[n],
        "shifted by 4 pixels": lambda n: moved(own[n], 4, 0),
        "rotated by 4 degrees": lambda n: moved(own[n], 0, 4),
        "of another level": lambda n: own[(n + len(own) // 8) % len(own)],
    }
    for other in others:
        volume = load(data, other, contrast)
        share = len(volume) / len(own)
        found[f"of {other}"] = lambda n, v=volume, s=share: center_fit(v[round(n * s)], *own.shape[1:])
    return found


def measured(model: torch.nn.Module, data: Path, args: argparse.Namespace) -> list[dict[str, object]]:
    rows = []
    for case, target_name, other_name, strangers, accelerations, noise in TASKS:
        target = load(data, case, target_name)
        numbers = scored(target, 1)
        numbers = [numbers[i] for i in torch.linspace(0, len(numbers) - 1, args.slices + 2).long().tolist()[1:-1]]
        tried = {"none": None, **auxiliaries(data, case, other_name, strangers)}
        for acceleration in accelerations:
            for number in numbers:
                scan = scan_of(target[number], case, number, acceleration, noise / 100, "volume")
                try:
                    columns = folds(scan.mask[0, 0].numpy(), 1, seed_from_name(case))[0]
                except UserError:
                    continue
                fewer = without(scan, columns)
                alone = model(fewer, None).image[:, 0]
                for name, auxiliary in tried.items():
                    other = None if auxiliary is None else auxiliary(number)[None, None]
                    image = alone if auxiliary is None else model(fewer, other).image[:, 0]
                    kept_back, change = (unseen(one, columns, image) for one in (scan, told(scan, alone)))
                    rows.append({
                        "case": case, "target": target_name, "auxiliary": other_name, "acceleration": acceleration,
                        "noise_percent": noise, "slice": number, "auxiliary_is": name,
                        "error": float((reconstruct(model, scan, other) - target[number]).square().sum()),
                        "kept_back": kept_back.error.tolist(), "change": change.error.tolist(),
                    })  # fmt: skip
            print(case, target_name, f"{acceleration}x, noise of {noise}%")
            show([r for r in rows if (r["acceleration"], r["noise_percent"], r["case"], r["target"])
                  == (acceleration, noise, case, target_name)])  # fmt: skip
    return rows


def rounded(value: object) -> object:
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def told(scan: Acquisition, image: Tensor) -> Acquisition:
    """The lines that an image would give."""
    return replace(scan, lines=scan.forward(image))


def show(rows: list[dict[str, object]]) -> None:
    """Of each auxiliary the gain in true error and in that of the lines kept back, dB, and how far these confirm it."""
    sums: dict[str, list[float]] = {}
    for row in rows:
        total = sums.setdefault(str(row["auxiliary_is"]), [0.0, 0.0, 0.0])
        for place, value in enumerate((row["error"], sum(row["kept_back"]), sum(row["change"]))):
            total[place] += value
    none = sums.pop("none")
    for name, (error, kept_back, change) in sums.items():
        gains = [10 * math.log10(a / b) for a, b in zip(none, (error, kept_back), strict=False)]
        confirmed = (none[1] - kept_back + change) / (2 * change)
        print(f"    {name:24} {gains[0]:+.2f} {gains[1]:+.2f} dB, confirmed {confirmed:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=HERE / "guard.json")
    parser.add_argument("--weights", type=Path, default=HERE / "weights" / "unrolled.safetensors")
    parser.add_argument("--slices", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        rows = measured(network("unrolled", args.weights), args.data, args)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True).stdout
    kept = json.loads(args.out.read_text()) if args.out.exists() else []
    rows = [{name: rounded(value) for name, value in row.items()} for row in rows]
    kept.append({"command": " ".join(["guard.py", "DATA", *sys.argv[2:]]), "commit": commit.strip(), "rows": rows})
    args.out.write_text(json.dumps(kept) + "\n")


if __name__ == "__main__":
    main()
