"""Does the hold-out check know how wrong a reconstruction is? Its figures beside the true error, which is known here.

    python benchmarks/trust/holdout.py --data FOLDER --cache FOLDER [--networks NAME=FILE ...] [--slices 4]
    python benchmarks/trust/holdout.py --cache FOLDER --out FILE.json --plot FILE.png

The first reconstructs T2 (with T1) and FLAIR (with T1) of both test patients: slices spread over the volume get a
smooth phase and 0.5% complex noise (protocol ``complex``, one coil) and one random mask a volume, 2 to 12x. Methods are
the shipped k-space network with and without the auxiliary, ``shipped-image`` with measured lines weighed, POCS, and
further networks. What is done is kept in the cache, a file for each method. The second gathers. One
fold of lines is kept back, as by default:

explained      share of the energy of the lines kept back, as ``fsmnet reconstruct`` prints it
implied        ``ImpliedError`` of the record: the error of the image as a share of its norm, if lines that were never
               measured are as wrong as those kept back; within the same band of frequencies
error          ``||x' - x|| / ||x||`` of the magnitudes from all measured lines, x without noise

Spearman's rank correlation of ``implied``, and of ``explained`` (its sign turned), with ``error``: over everything, and
the mean of those within each acceleration and within each method. ``scans``: the slices of a volume pooled, as the
command does; ``slices``: each by itself. Points are no independent observations: slices of two patients.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scans import accelerated, method_of, network_of, provenance, rounded
from scipy.stats import spearmanr
from torch import Tensor

from fsmnet.files import write_text
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.holdout import folds
from fsmnet.physics.masks import seed_from_name
from fsmnet.trust.holdout import hold_out, simple_methods

ACCELERATIONS = (2, 4, 6, 8, 10, 12)
CASES = [(exam, contrast, "t1") for contrast in ("t2", "flair") for exam in ("TCGA-FG-6692", "OMSL-04-s1")]
SHIPPED = {
    "fsmnet_unrolled": "shipped",
    "fsmnet_unrolled, no auxiliary": "shipped",
    "shipped-image": "shipped-image",
}
TITLES = {
    "fsmnet_unrolled": "shipped",
    "fsmnet_unrolled, no auxiliary": "shipped, without auxiliary",
    "shipped-image": "shipped-image, lines weighed",
    "mdunet": "MDUNet",
}
Method = Callable[[Acquisition], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--slices", type=int, default=2, help="of each volume")
    parser.add_argument("--networks", nargs="*", default=[], help="further ones, NAME=CHECKPOINT, see network_of")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.out is None:
        measure(arguments)
        return
    files = sorted(arguments.cache.glob("*.jsonl"))
    points = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    scans = pooled(points)
    result = provenance(
        seed=0,
        data=[" ".join(case) for case in CASES],
        rank_correlation={"scans": relations(scans), "slices": relations(points)},
        check_over_reconstruction=by_method(points, lambda p: p["seconds_of_check"] / p["seconds"]),
        better_of_two_methods_told=better(scans),
    )
    rows = ",\n  ".join(json.dumps(rounded(point)) for point in scans)
    text = f'{json.dumps(rounded(result), indent=1)[:-2]},\n "scans": [\n  {rows}\n ]\n}}\n'
    print(text, end="")
    write_text(arguments.out, text)
    if arguments.plot:
        plot(scans, points, arguments.plot)


def measure(arguments: argparse.Namespace) -> None:
    """All points, a file for each method; goes on where it was stopped."""
    arguments.cache.mkdir(parents=True, exist_ok=True)
    named = SHIPPED | dict(one.split("=", 1) for one in arguments.networks)
    networks = {name: network_of(named[name]) if name in named else None for name in ("POCS", *named)}
    for exam in CASES:
        for name, network in networks.items():
            file = arguments.cache / f"{name.replace(', ', '_').replace(' ', '_')}.jsonl"
            lines = file.read_text().splitlines() if file.exists() else []
            done = {tuple(json.loads(line)["case"]) for line in lines}
            for acceleration in ACCELERATIONS:
                if (*exam, acceleration) in done:
                    continue
                rows = list(of_case(arguments, name, network, exam, acceleration))
                with file.open("a") as kept:
                    kept.writelines(json.dumps(rounded(row)) + "\n" for row in rows)
                print(name, *exam, acceleration, file=sys.stderr, flush=True)


def of_case(
    arguments: argparse.Namespace, name: str, network: Any, exam: tuple[str, str, str], acceleration: int
) -> Iterator[dict[str, Any]]:
    """A point for each slice."""
    case, _ = accelerated(arguments.data, exam, acceleration, arguments.slices)
    columns = case.mask.columns
    sets = folds(columns, 1, seed_from_name(exam[0]))
    for number in range(len(case.zero_filled)):
        measured = case.measured(slice(number, number + 1))
        target, auxiliary = case.slices.target[number, None], case.slices.auxiliary[number, None]
        if network is None:
            method: Method = simple_methods(measured)[name]
        else:
            method = method_of(network, measured, None if "no auxiliary" in name else auxiliary)
        started = time.process_time()
        image = method(measured)
        once = time.process_time() - started
        found = hold_out(measured, {name: method}, sets)[name]
        check = time.process_time() - started - once
        yield {
            "case": [*exam, acceleration],
            "slice": case.slices.numbers[number],
            "acceleration": acceleration,
            "method": name,
            "explained": found.explained,
            "implied": float(np.sqrt(found.missing(columns)) / image.abs().norm()),
            "error": float((image.abs() - target).norm() / target.norm()),
            "lines": int(columns.sum()),
            "seconds": once,
            "seconds_of_check": check,
            "energy": [float(found.energy.sum()), float(found.error.sum()), found.missing(columns)],
            "norms": [float(one.double().square().sum()) for one in (image.abs(), image.abs() - target, target)],
        }


def pooled(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One point for each volume, acceleration and method, as the command pools slices."""
    found = []
    for method, case in dict.fromkeys((point["method"], tuple(point["case"])) for point in points):
        some = [point for point in points if point["method"] == method and tuple(point["case"]) == case]
        energy, wrong, missing = np.sum([point["energy"] for point in some], axis=0)
        image, difference, target = np.sum([point["norms"] for point in some], axis=0)
        found.append(
            {
                "scan": " ".join(case[:3]),
                "acceleration": case[3],
                "method": method,
                "explained": 1 - wrong / energy,
                "implied": float(np.sqrt(missing / image)),
                "error": float(np.sqrt(difference / target)),
                "slices": len(some),
            }
        )
    return found


def relations(points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Rank correlations of both figures with the error."""
    return {
        figure: {
            "everything": correlation(points, figure),
            "within each acceleration": within(points, figure, "acceleration"),
            "within each method": within(points, figure, "method"),
        }
        for figure in ("implied", "explained")
    } | {"points": len(points)}


def correlation(points: Sequence[dict[str, Any]], figure: str) -> float:
    """Spearman's; of the share explained with its sign turned."""
    said, error = ([point[name] for point in points] for name in (figure, "error"))
    return float(spearmanr(said, error).statistic) * (-1 if figure == "explained" else 1)


def within(points: Sequence[dict[str, Any]], figure: str, what: str) -> dict[str, float]:
    """Of the points that share an acceleration or a method, and the mean of these."""
    groups = sorted({point[what] for point in points})
    found = {str(one): correlation([p for p in points if p[what] == one], figure) for one in groups}
    return {"mean": float(np.mean(list(found.values())))} | found


def better(scans: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of any two methods on the same scan and acceleration: has that with the smaller implied error the smaller one?"""
    right = []
    for place in dict.fromkeys((point["scan"], point["acceleration"]) for point in scans):
        some = [point for point in scans if (point["scan"], point["acceleration"]) == place]
        right += [
            (one["implied"] < other["implied"]) == (one["error"] < other["error"])
            for number, one in enumerate(some)
            for other in some[:number]
        ]
    return {"share": float(np.mean(right)), "pairs": len(right)}


def by_method(points: Sequence[dict[str, Any]], figure: Callable[[dict[str, Any]], float]) -> dict[str, float]:
    """The median of a figure for each method."""
    methods = dict.fromkeys(point["method"] for point in points)
    return {name: float(np.median([figure(p) for p in points if p["method"] == name])) for name in methods}


def plot(scans: Sequence[dict[str, Any]], points: Sequence[dict[str, Any]], file: Path) -> None:
    """Implied against true error, small the slices and large the scans."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FixedLocator, NullFormatter, StrMethodFormatter

    figure, axes = plt.subplots(figsize=(6.4, 4.8), layout="constrained")
    for number, method in enumerate(dict.fromkeys(point["method"] for point in scans)):
        for some, size, alpha in ((points, 8, 0.35), (scans, 42, 0.9)):
            x, y = ([p[name] for p in some if p["method"] == method] for name in ("error", "implied"))
            label = TITLES.get(method, method) if some is scans else None
            axes.scatter(x, y, s=size, alpha=alpha, color=f"C{number}", label=label, linewidths=0)
    ends = [min(p["error"] for p in points), max(p["error"] for p in points)]
    axes.plot(ends, ends, color="0.5", linewidth=0.8, label="as large as it is")
    axes.set(xscale="log", yscale="log", xlabel="true error of the image, share of its norm")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
        axis.set_major_locator(FixedLocator([0.03, 0.05, 0.1, 0.2, 0.4, 1.0, 2.0]))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_ylabel("error implied by lines kept back")
    axes.legend(fontsize=8)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
