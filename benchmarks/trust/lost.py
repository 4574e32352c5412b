"""Does anything show a lesion that was lost? Measures of one scan, asked of lesions that only the target shows.

    python benchmarks/trust/lost.py --data FOLDER --cache FOLDER [--side development|test] [--slices 3]
    python benchmarks/trust/lost.py --cache FOLDER --out FILE.json

The first reconstructs T2 (with T1) at 8x with ``shipped``, with and without the lesions of ``invented.py`` (up to 40 a
slice, 2 to 12 mm), a file for each side; the second gathers. *Lost*: less than half of the contrast kept; *kept*: more
than three quarters. For each measure, a map of the slice with the lesions:

stands_out   its mean in a lost lesion over its mean in the ring around, median; ``before``: the same places without one
lost_or_none chance that this ratio is larger where a lesion was lost than at the same place without it; 0.5 is a guess
lost_or_kept chance that the map is larger in a lost lesion than in a kept one

``loss`` is the map of :mod:`fsmnet.trust.probe`, by one pass and by three; ``scans``: by slice, the median that it says
is kept beside what the lesions kept. Measures were tried on the development side.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from invented import placed, stands_out
from lesions import shares
from scans import again_of, method_of, network_of, provenance, rounded, slices_of, spread
from scipy import ndimage
from scipy.stats import rankdata
from torch import Tensor

from fsmnet.checkpoint import header_of
from fsmnet.files import write_text
from fsmnet.models.classical import phase_constrained
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.holdout import folds, without
from fsmnet.physics.masks import make_mask, seed_from_name
from fsmnet.protocols.complex import Complex
from fsmnet.trust.error_map import error_network, looked_at, smoothed
from fsmnet.trust.error_map import spread as spread_of
from fsmnet.trust.probe import probe

SCANS = {"development": ("OMS-07", "OMS-26", "OMSL-03-s2"), "test": ("TCGA-FG-6692", "OMSL-04-s1")}
NATIVE = 0.6  # millimetres, of OMSL; 1 of all others
ACCELERATION = 8
LOST, KEPT = 0.5, 0.75
PASSES = (1, 3)  # of the probe
Method = Callable[..., Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--side", choices=list(SCANS), default="development")
    parser.add_argument("--slices", type=int, default=3, help="of each scan")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.out is None:
        measured(arguments)
        return
    sides = {file.stem: [json.loads(line) for line in file.open()] for file in sorted(arguments.cache.glob("*.jsonl"))}
    found = {side: tables(rows) for side, rows in sides.items()}
    text = json.dumps(rounded(provenance(seed=0, acceleration=ACCELERATION, **found)), indent=1) + "\n"
    print(text, end="")
    write_text(arguments.out, text)


def measured(arguments: argparse.Namespace) -> None:
    """A line of JSON for each lesion; goes on where it was stopped."""
    arguments.cache.mkdir(parents=True, exist_ok=True)
    file = arguments.cache / f"{arguments.side}.jsonl"
    done = {(row["scan"], row["slice"]) for row in map(json.loads, file.open())} if file.exists() else set()
    network = network_of("shipped")
    for scan in SCANS[arguments.side]:
        slices = slices_of(arguments.data, scan, "t2", "t1")
        for place in spread(len(slices.numbers), arguments.slices):
            number = slices.numbers[place]
            if (scan, number) in done:
                continue
            rows = list(one_slice(network, scan, number, slices.target[place], slices.auxiliary[place]))
            with file.open("a") as lines:
                lines.writelines(json.dumps(rounded(row)) + "\n" for row in rows)
            print(scan, number, file=sys.stderr, flush=True)


def one_slice(network: Any, scan: str, number: int, target: Tensor, auxiliary: Tensor) -> Iterator[dict[str, Any]]:
    """A row for each lesion."""
    seed = (ACCELERATION, *seed_from_name(scan), number)
    columns = make_mask("random", target.shape[-1], ACCELERATION, seed=seed).columns
    pixel = NATIVE if scan.startswith("OMSL") else 1.0
    lesions, sizes = placed(target, pixel, (*seed[1:], 0))
    changed = (target + lesions.sum(0)).clamp_min(0)
    images = []
    for image in (target, changed):
        lines = Complex(noise=0.005).measure(image[None], torch.from_numpy(columns), [seed])
        method = method_of(network, lines, auxiliary[None])
        images.append((lines, method, method(lines)[0]))
    kept = shares(images[1][2].abs() - images[0][2].abs(), lesions, changed - target)
    found = [maps(network, lines, method, image, auxiliary, columns) for lines, method, image in images]
    ratios = [{name: stands_out(one, lesions) for name, one in some.items()} for some in found]
    core = lesions.abs() > 0.5 * lesions.abs().amax((-2, -1), keepdim=True)
    found[1] |= losses(network, images[1][0], images[1][2], auxiliary, f"{scan} {number}", pixel)
    means = {name: (one * core).sum((-2, -1)) / core.sum((-2, -1)) for name, one in found[1].items()}
    for k, size in enumerate(sizes):
        row = {"scan": scan, "slice": number, "size": size, "kept": float(kept[k])}
        ratio = [{name: float(one[k]) for name, one in some.items()} for some in ratios]
        yield row | {"before": ratio[0], "with": ratio[1], "mean": {name: float(one[k]) for name, one in means.items()}}


def maps(
    network: Any, lines: Acquisition, method: Method, image: Tensor, auxiliary: Tensor, columns: Any
) -> dict[str, Tensor]:
    """All measures of a slice but the probe, ``(H, W)`` each."""
    shown = image.abs()
    blank = method(lines, torch.zeros_like(auxiliary))[0].abs()
    [kept_back] = folds(columns, 1, (0,))
    fewer = method(without(lines, kept_back))[0]
    pocs, zero_filled = phase_constrained(lines)[0].abs(), lines.zero_filled[0].abs()
    residual = lines.lines - lines.forward(image[None])
    unseen = (lines.lines - lines.forward(fewer[None])) * torch.from_numpy(kept_back)
    apart, change = smoothed(spread_of(shown, fewer.abs()[None])), smoothed(shown - blank)
    seen, unit = looked_at(*(one[None] for one in (shown, zero_filled, auxiliary, change, apart)))
    with torch.inference_mode():
        learned = error_network(header_of(network).error_network)(seen, torch.tensor([float(columns.mean())]))
    return {
        "influence": (shown - blank).abs(),
        "contrast lost against a blank auxiliary": (contrast(blank) - contrast(shown)).clamp_min(0),
        "contrast lost against POCS": (contrast(pocs) - contrast(shown)).clamp_min(0),
        "distance from zero-filling, low-passed": blurred(shown - zero_filled, 2).abs(),
        "distance from POCS, low-passed": blurred(shown - pocs, 2).abs(),
        "residual of measured lines": smoothed(replace(lines, lines=residual * lines.mask).zero_filled.abs())[0],
        "residual of lines kept back": smoothed(replace(lines, lines=unseen).zero_filled.abs())[0],
        "spread over one fold": apart,
        "error network": (learned * unit)[0],
    }


def losses(
    network: Any, lines: Acquisition, image: Tensor, auxiliary: Tensor, name: str, pixel: float
) -> dict[str, Tensor]:
    """The map of the probe, by so many passes of other spots each."""
    again = replace(again_of(network, lines, auxiliary[None]), result=image.abs()[None], pixel=(0.0, pixel, pixel))
    found = [probe(replace(again, name=f"{name} {draw}"), [0]) for draw in range(max(PASSES))]
    lost = torch.stack([one.map().values[0] / one.contrast for one in found])
    return {f"loss, {count} pass{'es' * (count > 1)}": lost[:count].mean(0) for count in PASSES}


def contrast(image: Tensor) -> Tensor:
    """How much an image stands out from what is around, without sign."""
    return (blurred(image, 1) - blurred(image, 5)).abs()


def blurred(image: Tensor, pixels: float) -> Tensor:
    return torch.from_numpy(ndimage.gaussian_filter(image.numpy(), pixels))


def tables(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What each measure says of lost and kept lesions."""
    lost, kept = [row for row in rows if row["kept"] < LOST], [row for row in rows if row["kept"] > KEPT]
    measures = {}
    for name in rows[0]["mean"]:
        found = {"lost_or_kept": larger([row["mean"][name] for row in lost], [row["mean"][name] for row in kept])}
        if name in rows[0]["with"]:
            ratios, before = ([row[which][name] for row in lost] for which in ("with", "before"))
            found["lost_or_none"] = larger(ratios, before)
            found["stands_out"], found["before"] = float(np.median(ratios)), float(np.median(before))
        measures[name] = found
    scans = []
    for scan, number in dict.fromkeys((row["scan"], row["slice"]) for row in rows):
        some = [row for row in rows if (row["scan"], row["slice"]) == (scan, number)]
        said = {name: 1 - median(some, name) for name in rows[0]["mean"] if name.startswith("loss")}
        scans.append({"scan": scan, "slice": number, "kept": float(np.median([row["kept"] for row in some]))} | said)
    return {"lesions": len(rows), "lost": len(lost), "kept": len(kept), "measures": measures, "scans": scans}


def median(rows: Sequence[dict[str, Any]], name: str) -> float:
    return float(np.median([row["mean"][name] for row in rows]))


def larger(some: Sequence[float], others: Sequence[float]) -> float:
    """Chance that one of the first is larger than one of the second: the area under the curve."""
    ranks = rankdata([*some, *others])[: len(some)]
    return float((ranks.sum() - len(some) * (len(some) + 1) / 2) / (len(some) * len(others)))


if __name__ == "__main__":
    main()
