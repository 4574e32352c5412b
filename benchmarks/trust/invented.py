"""Lost and invented structure: lesions that only one contrast shows, in phantoms and in real scans.

    python benchmarks/trust/invented.py --data FOLDER --scans phantom|TCGA-FG-6692|OMSL-04-s1 --cache FOLDER --slices 10
    python benchmarks/trust/invented.py --cache FOLDER --out FILE.json

The first reconstructs T2 (with T1) of slices at 4x and 8x (protocol ``complex``, one coil, 0.5% noise) three times: as
it is, with lesions in the T2 only, and with lesions in the T1 only. A lesion is an ellipse with a soft rim, 2 to 12 mm
across, as many bright as dark, of 0.3 of the maximum (what would be negative is 0); a slice gets up to 40 that do not
touch. What is done is kept in the cache, a file for each scan and method, so that a further network (``--networks
NAME=CHECKPOINT``) costs its own passes only. The second gathers:

kept     share of the contrast of a lesion in the T2 only that the image shows; 1 is right
false    contrast of a lesion in the T1 only that the image shows, as a share of its own; 0 is right

as in ``benchmarks/unrolled/lesions.py``. **The map of influence**, ``||x| - |x'||`` with x' from a blank T1: its mean
in a lesion over its mean in the ring around it (``map``), for lesions in the T2 of which less than half was kept, for
those in the T1 of which more than a tenth was copied, and for the same places without a lesion; and what is kept of the
lesions in the T2 when the T1 is blank.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scans import method_of, network_of, provenance, rounded, slices_of, spread
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parents[1] / "unrolled"))
from lesions import shares

from fsmnet.data.augment import ellipses, places
from fsmnet.data.phantom import make_subject
from fsmnet.files import write_text
from fsmnet.physics.masks import make_mask, seed_from_name
from fsmnet.protocols.complex import Complex
from fsmnet.trust.holdout import simple_methods

SIZE = 0.3  # of the maximum
ACROSS = (2.0, 12.0)  # millimetres
EACH, BINS = 40, ((2, 4), (4, 8), (8, 12))
PIXEL = {"OMSL-04-s1": 0.6}  # millimetres; 1 of all others
SHIPPED = {"shipped-image": "shipped-image", "fsmnet_unrolled": "shipped"}
SIMPLE = ("zero-filling", "POCS")  # of :func:`fsmnet.trust.holdout.simple_methods`, one coil
MAPPED = "fsmnet_unrolled"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--scans", help="phantom, or the name of an examination")
    parser.add_argument("--slices", type=int, default=20)
    parser.add_argument("--networks", nargs="*", default=[], help="further ones, NAME=CHECKPOINT, see network_of")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.out is None:
        reconstructed(arguments)
        return
    rows = [
        json.loads(line) for file in sorted(arguments.cache.glob("*.jsonl")) for line in file.read_text().splitlines()
    ]
    text = json.dumps(rounded(provenance(seed=0, **tables(rows))), indent=1) + "\n"
    print(text, end="")
    write_text(arguments.out, text)


def reconstructed(arguments: argparse.Namespace) -> None:
    """All lesions of a scan, a file for each method, a line of JSON for each lesion; goes on where it was stopped."""
    arguments.cache.mkdir(parents=True, exist_ok=True)
    named = SHIPPED | dict(one.split("=", 1) for one in arguments.networks)
    for name in [*SIMPLE, *named]:
        file = arguments.cache / f"{arguments.scans}_{name}.jsonl"
        done = {json.loads(line)["slice"] for line in file.read_text().splitlines()} if file.exists() else set()
        network = None if name in SIMPLE else network_of(named[name])
        for number, target, auxiliary in pairs(arguments):
            if number in done:
                continue
            rows = [
                row
                for acceleration in (4, 8)
                for row in one_slice(arguments.scans, number, target, auxiliary, acceleration, name, network)
            ]
            with file.open("a") as lines:
                lines.writelines(json.dumps(rounded(row)) + "\n" for row in rows)
            print(arguments.scans, name, number, file=sys.stderr, flush=True)


def pairs(arguments: argparse.Namespace) -> Any:
    """Number, target and auxiliary ``(H, W)`` of slices."""
    if arguments.scans == "phantom":
        for seed in range(2000, 2000 + arguments.slices):
            subject = make_subject(seed, size=192, slices=1)
            images = [torch.from_numpy(subject.contrasts[name][..., 0].copy()) for name in ("t2", "t1")]
            yield (seed, *(image / image.max() for image in images))
        return
    slices = slices_of(arguments.data, arguments.scans, "t2", "t1")
    for place in spread(len(slices.numbers), arguments.slices):
        yield slices.numbers[place], slices.target[place], slices.auxiliary[place]


def placed(image: Tensor, pixel: float, seed: tuple[int, ...]) -> tuple[Tensor, list[float]]:
    """Lesions ``(n, H, W)`` inside the head, apart from one another, bright and dark in turn; and their size in mm."""
    rng = np.random.default_rng(seed)
    head = image > 0.1
    free = head & (F.avg_pool2d(head.float()[None], 9, 1, 4)[0] > 0.8)
    rows, columns = places((image.shape[-2], image.shape[-1]), image.device)
    found, sizes = [], []
    for number in range(EACH):
        spots = (free & (image > 0.15) if number % 2 else free).nonzero()  # dark ones need something to darken
        if not len(spots):
            break
        row, column = spots[int(rng.integers(len(spots)))].tolist()
        size = float(rng.uniform(*ACROSS))
        radii = size / 2 / pixel * np.array([1.0, rng.uniform(0.7, 1.0)])
        shape = torch.tensor([*radii, rng.uniform(0, np.pi), 0.5], dtype=torch.float32)
        lesion = ellipses(torch.stack([rows[row, 0], columns[0, column]]), shape, rows, columns)
        found.append((-1 if number % 2 else 1) * SIZE * lesion)
        sizes.append(size)
        away = (rows - rows[row]).square() + (columns - columns[:, column]).square()
        free = free & (away.expand_as(free) > (size / pixel + 8 / pixel) ** 2)
    return torch.stack(found), sizes


def one_slice(
    scan: str, number: int, target: Tensor, auxiliary: Tensor, acceleration: float, name: str, network: Any
) -> list[dict[str, Any]]:
    """A row for each lesion, by the method of this name: a network, or one of :data:`SIMPLE`."""
    seed = (acceleration, *seed_from_name(scan), number)
    mask = torch.from_numpy(make_mask("random", target.shape[-1], acceleration, seed=seed).columns)
    pixel, protocol = PIXEL.get(scan, 1.0), Complex(noise=0.005)
    in_target, sizes = placed(target, pixel, (*seed[1:], 0))
    in_other, sizes_other = placed(auxiliary, pixel, (*seed[1:], 1))
    changed = (target + in_target.sum(0)).clamp_min(0)
    shown = (auxiliary + in_other.sum(0)).clamp_min(0)
    plain, with_lesions = (protocol.measure(image[None], mask, [seed]) for image in (target, changed))
    rows: list[dict[str, Any]] = []

    def put(kind: str, values: dict[str, Tensor], lesions: Tensor, across: list[float]) -> None:
        for k, size in enumerate(across):
            sign = "bright" if lesions[k].sum() > 0 else "dark"
            place = {"scan": scan, "slice": number, "acceleration": acceleration, "method": name}
            rows.append(place | {"in": kind, "sign": sign, "size": size} | {n: float(v[k]) for n, v in values.items()})

    if network is None:
        simple = simple_methods(plain)[name]
        difference = (simple(with_lesions).abs() - simple(plain).abs())[0]
        put("target", {"share": shares(difference, in_target, changed - target)}, in_target, sizes)
        return rows
    method = method_of(network, plain, auxiliary[None])
    first, lesioned = (method(one)[0].abs() for one in (plain, with_lesions))
    copied = method(plain, shown)[0].abs()
    kept = {"share": shares(lesioned - first, in_target, changed - target)}
    false = {"share": shares(copied - first, in_other, shown - auxiliary)}
    if name == MAPPED:
        blank = torch.zeros_like(auxiliary)
        without, lesioned_without = (method(one, blank)[0].abs() for one in (plain, with_lesions))
        kept["blank"] = shares(lesioned_without - without, in_target, changed - target)
        kept["map"] = stands_out((lesioned - lesioned_without).abs(), in_target)
        kept["map_before"] = stands_out((first - without).abs(), in_target)
        false["map"] = stands_out((copied - without).abs(), in_other)
        false["map_before"] = stands_out((first - without).abs(), in_other)
    put("target", kept, in_target, sizes)
    put("auxiliary", false, in_other, sizes_other)
    return rows


def stands_out(image: Tensor, lesions: Tensor) -> Tensor:
    """Mean of an image in each lesion over its mean in the ring around it."""
    core = lesions.abs() > 0.5 * lesions.abs().amax((-2, -1), keepdim=True)
    grown = [F.max_pool2d(core.float(), 2 * r + 1, 1, r) > 0 for r in (2, 6)]
    ring = grown[1] & ~grown[0].any(0, keepdim=True)
    means = [(image * where).sum((-2, -1)) / where.sum((-2, -1)).clamp_min(1) for where in (core, ring)]
    return means[0] / means[1].clamp_min(1e-6)


def tables(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians and tails by scan, acceleration, method, side, sign, and size."""
    found: dict[str, Any] = {"lesions": {}, "map_of_influence": {}}
    for domain, chosen in (("phantom", lambda r: r["scan"] == "phantom"), ("real", lambda r: r["scan"] != "phantom")):
        here = [row for row in rows if chosen(row)]
        for acceleration in (4, 8):
            at = [row for row in here if row["acceleration"] == acceleration]
            name = f"{domain}, {acceleration}x"
            found["lesions"][name] = {
                side: {
                    method: by_kind([row for row in at if row["in"] == side and row["method"] == method])
                    for method in dict.fromkeys(row["method"] for row in at if row["in"] == side)
                }
                for side in ("target", "auxiliary")
            }
            mapped = [row for row in at if "map" in row]
            found["map_of_influence"][name] = {
                "lost: less than half kept": shown_by_map(mapped, lambda r: r["in"] == "target" and r["share"] < 0.5),
                "copied: more than a tenth": shown_by_map(
                    mapped, lambda r: r["in"] == "auxiliary" and abs(r["share"]) > 0.1
                ),
                "kept with a blank auxiliary": percentiles([r["blank"] for r in mapped if r["in"] == "target"]),
            }
    return found


def by_kind(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found = {sign: percentiles([abs_of(row) for row in rows if row["sign"] == sign]) for sign in ("bright", "dark")}
    for low, high in BINS:
        found[f"{low} to {high} mm"] = percentiles([abs_of(row) for row in rows if low <= row["size"] < high])
    return found


def abs_of(row: dict[str, Any]) -> float:
    """What is kept with its sign, what is false without."""
    return float(row["share"] if row["in"] == "target" else abs(row["share"]))


def shown_by_map(rows: Sequence[dict[str, Any]], chosen: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    some = [row for row in rows if chosen(row)]
    return {name: percentiles([row[name] for row in some]) for name in ("map", "map_before")}


def percentiles(values: Sequence[float]) -> dict[str, Any]:
    if not values:
        return {"lesions": 0}
    low, middle, high = np.percentile(values, [10, 50, 90]).tolist()
    return {"lesions": len(values), "10th": low, "median": middle, "90th": high}


if __name__ == "__main__":
    main()
