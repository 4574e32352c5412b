"""Does the hold-out check know how wrong a reconstruction is? Its figure beside the true error, which is known here.

    python benchmarks/trust/holdout.py --data FOLDER [FOLDER ...] [--slices 3] [--folds 1] [--seed 0] [--out FILE.json]

Each FOLDER holds one patient's ``NAME_t2.nii.gz`` and ``NAME_t1.nii.gz``. T2 is the target: slices spread over the
volume get a smooth phase and 0.5% complex noise (protocol ``complex``, one coil) and random masks of 2 to 12x; the
shipped networks and zero-filling reconstruct them from all measured lines, and from those that the check leaves.

explained      share of the energy of lines that were measured and kept back, as ``fsmnet reconstruct`` prints it
truly          the same of all lines that were not measured, which only the simulation knows
error          ``||x' - x|| / ||x||`` of the magnitudes from all measured lines, x without noise

Spearman's rank correlation is given over everything, within each network (over slices and accelerations), and within
each acceleration (over slices and networks). ``better_network_chosen``: the share of slices and accelerations in which
the network that explains more has the lower error. Points are no independent observations: slices of few patients.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scans import method_of, rounded
from scipy.stats import spearmanr
from torch import Tensor, nn

from fsmnet.checkpoint import load_model
from fsmnet.data.pairing.names import load_pair
from fsmnet.files import write_text
from fsmnet.inference.optimise import optimise
from fsmnet.physics.holdout import folds, unseen
from fsmnet.physics.masks import make_mask, seed_from_name
from fsmnet.protocols.complex import Complex
from fsmnet.trust.holdout import hold_out, simple_methods

ACCELERATIONS = (2, 3, 4, 6, 8, 12)
NETWORKS = {"fsmnet": "shipped-image", "fsmnet_unrolled": "shipped"}
PROTOCOL = Complex(noise=0.005)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--slices", type=int, default=3)
    parser.add_argument("--folds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    networks = {name: optimise(load_model(file), "float32") for name, file in NETWORKS.items()}
    points: list[dict[str, Any]] = []
    for folder in arguments.data:
        slices = PROTOCOL.prepare(*load_pair(*(folder / f"{folder.name}_{name}.nii.gz" for name in ("t2", "t1"))))
        chosen = torch.linspace(0, len(slices.numbers) - 1, arguments.slices + 2).round().long()[1:-1].tolist()
        for number in chosen:
            place = {"patient": folder.name, "slice": slices.numbers[number]}
            target, auxiliary = slices.target[number, None], slices.auxiliary[number, None]
            for acceleration in ACCELERATIONS:
                seed = (arguments.seed, acceleration, *seed_from_name(folder.name), slices.numbers[number])
                found = compared(networks, target, auxiliary, acceleration, seed, arguments.folds)
                points += [place | {"acceleration": acceleration} | one for one in found]
            print(place, file=sys.stderr, flush=True)
    result: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "commit": subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip(),
        "data": [folder.name for folder in arguments.data],
        "seed": arguments.seed,
        "folds": arguments.folds,
        **relations(points),
        "points": points,
    }
    rows = ",\n  ".join(json.dumps(rounded(point)) for point in result.pop("points"))
    text = f'{json.dumps(rounded(result), indent=1)[:-2]},\n "points": [\n  {rows}\n ]\n}}\n'
    print(text, end="")
    if arguments.out:
        write_text(arguments.out, text)


def compared(
    networks: dict[str, nn.Module], target: Tensor, auxiliary: Tensor, acceleration: float, seed: Any, count: int
) -> list[dict[str, Any]]:
    """One slice ``(1, H, W)`` at one acceleration: a point for each method."""
    width = target.shape[-1]
    columns = make_mask("random", width, acceleration, seed=seed).columns
    everything = PROTOCOL.measure(target, torch.ones(width, dtype=torch.bool), [seed])
    measured = PROTOCOL.measure(target, torch.from_numpy(columns), [seed])
    methods = {name: method_of(network, measured, auxiliary) for name, network in networks.items()}
    methods |= simple_methods(measured)
    sets = folds(columns, count, seed)
    points = []
    for name, method in methods.items():
        started = time.perf_counter()
        image = method(measured)
        once = time.perf_counter() - started
        explained = hold_out(measured, {name: method}, sets)[name].explained
        check = time.perf_counter() - started - once
        points.append(
            {
                "method": name,
                "explained": explained,
                "truly": unseen(everything, ~columns, image).explained,
                "error": float((image.abs() - target).norm() / target.norm()),
                "lines": int(columns.sum()),
                "seconds": once,
                "seconds_of_check": check,
            }
        )
    return points


def relations(points: list[dict[str, Any]]) -> dict[str, Any]:
    """Rank correlations, and how often the check chooses the better network."""
    learned = [point for point in points if point["method"] in NETWORKS]
    right = []
    for first, second in zip(learned[::2], learned[1::2], strict=True):  # the same slice and acceleration
        right.append((first["explained"] > second["explained"]) == (first["error"] < second["error"]))
    return {
        "rank_correlation": {
            "everything": correlation(points),
            "networks": correlation(learned),
            **{name: correlation([p for p in points if p["method"] == name]) for name in NETWORKS},
            **{f"networks at {r}x": correlation([p for p in learned if p["acceleration"] == r]) for r in ACCELERATIONS},
        },
        "better_network_chosen": float(np.mean(right)),
        "of": len(right),
        "explained_less_truly": {
            name: float(np.mean([p["explained"] - p["truly"] for p in points if p["method"] == name]))
            for name in NETWORKS
        },
        "check_over_reconstruction": {
            name: sum(p["seconds_of_check"] for p in points if p["method"] == name)
            / sum(p["seconds"] for p in points if p["method"] == name)
            for name in NETWORKS
        },
    }


def correlation(points: list[dict[str, Any]]) -> dict[str, Any]:
    """Spearman's, of the share explained with the share truly explained, and with the error (its sign turned)."""
    explained, truly, error = (np.array([point[name] for point in points]) for name in ("explained", "truly", "error"))
    return {
        "with_truly_explained": float(spearmanr(explained, truly).statistic),
        "with_error": float(-spearmanr(explained, error).statistic),
        "points": len(points),
    }


if __name__ == "__main__":
    main()
