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
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from evaluate import load, moved, network, scan_of, scored
from torch import Tensor
from train import reconstruct

from fsmnet.errors import UserError
from fsmnet.physics.holdout import folds, unseen, without
from fsmnet.physics.masks import seed_from_name
from fsmnet.transforms import center_fit

HERE = Path(__file__).parent
TASKS = [
    ("OMS-26", "t2", "t1", ["OMS-07", "OMS-19", "TCGA-DU-7294"]),
    ("OMS-26", "flair", "t2", ["OMS-07", "TCGA-DU-7294"]),
    ("OMS-26", "t1", "t2", ["OMS-19"]),
    ("OMSL-03-s2", "t2", "t1", ["OMSL-01-s2", "OMSL-20-s2"]),
]


def auxiliaries(data: Path, case: str, contrast: str, others: list[str]) -> dict[str, Callable[[int], Tensor]]:
    """By name: slice number to the auxiliary of that slice."""
    own = load(data, case, contrast)
    found: dict[str, Callable[[int], Tensor]] = {
        "right": lambda n: own[n],
        "shifted by 2 pixels": lambda n: moved(own[n], 2, 0),
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
    for case, target_name, other_name, strangers in TASKS:
        target = load(data, case, target_name)
        numbers = scored(target, 1)
        numbers = [numbers[i] for i in torch.linspace(0, len(numbers) - 1, args.slices + 2).long().tolist()[1:-1]]
        tried = {"none": None, **auxiliaries(data, case, other_name, strangers)}
        for acceleration in args.accelerations:
            for number in numbers:
                scan = scan_of(target[number], case, number, acceleration, args.noise / 100, "volume")
                try:
                    columns = folds(scan.mask[0, 0].numpy(), 1, seed_from_name(case))[0]
                except UserError:
                    continue
                fewer = without(scan, columns)
                for name, auxiliary in tried.items():
                    other = None if auxiliary is None else auxiliary(number)[None, None]
                    kept_back = unseen(scan, columns, model(fewer, other).image[:, 0])
                    rows.append({
                        "case": case, "target": target_name, "auxiliary": other_name, "acceleration": acceleration,
                        "noise_percent": args.noise, "slice": number, "auxiliary_is": name,
                        "error": float((reconstruct(model, scan, other) - target[number]).square().sum()),
                        "kept_back": kept_back.error.tolist(),
                    })  # fmt: skip
            print(case, target_name, acceleration, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=HERE / "guard.json")
    parser.add_argument("--weights", type=Path, default=HERE / "weights" / "unrolled.safetensors")
    parser.add_argument("--accelerations", nargs="+", type=float, default=[2, 4, 8, 12])
    parser.add_argument("--noise", type=float, default=0.5, help="percent of the maximum")
    parser.add_argument("--slices", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        rows = measured(network("unrolled", args.weights), args.data, args)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True).stdout
    kept = json.loads(args.out.read_text()) if args.out.exists() else []
    kept.append({"command": " ".join(["guard.py", "DATA", *sys.argv[2:]]), "commit": commit.strip(), "rows": rows})
    args.out.write_text(json.dumps(kept) + "\n")


if __name__ == "__main__":
    main()
