"""Does weighing help after the k-space network, too, and can the scan's own lines tell?

    python benchmarks/weighed_inside.py ../shared/data --patients development --out benchmarks/weighed.json

``shipped`` on protocol ``complex``, as in ``weighed.py``, whose file this adds to (key ``inside``): random masks with
fastMRI's centre, a smooth phase, noise of some per cent of the maximum that nobody tells, one coil and eight. Of each
scan the network's image as it is, with measured lines put back (``hard``), and weighed: as after a network for images,
by its magnitude and the phase of the centre lines (``centre``), and as ``--data-consistency weighed`` does it after a
k-space network, by its own phase and the error in lines that are kept back (``own``). PSNR and SSIM, whole and head.
``confirmed`` is the share of either change that the lines kept back confirm (:mod:`fsmnet.inference.kept_back`), None
where too few lines were measured. What is told of ``weighed`` is ``own`` where enough is confirmed, else the network.

Development scans are the network's validation patient and made-up heads; the test patients choose nothing.

**Lesions** (``--lesions``): up to 16 in a slice, in the target alone and in the auxiliary alone, as in
``unrolled/lesions.py``: medians of the share kept, and 90th percentiles of that copied.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.append(str(Path(__file__).parent / "unrolled"))
from image_scores import pair_of
from lesions import place, shares
from weighed import Situation, commit, measured

from fsmnet.checkpoint import load_model
from fsmnet.data.head import head_mask
from fsmnet.data.pairing.names import Pair
from fsmnet.data.phantom import write_subjects
from fsmnet.inference.kept_back import Comparison, compared, kept_back
from fsmnet.inference.optimise import optimise
from fsmnet.inference.slices import reconstruct_slices
from fsmnet.inference.weighing import LEAST, Weighing, try_weighing
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.holdout import without
from fsmnet.physics.masks import seed_from_name
from fsmnet.physics.weighed import weighed
from fsmnet.protocols.cases import Accelerated
from fsmnet.protocols.complex import Complex
from fsmnet.transforms import NormalisationRecipe

PATIENTS = {
    "development": ("OMS-26:t2:t1", "OMS-26:flair:t1", "phantom-0000:t2:t1", "phantom-0001:flair:t1"),
    "test": ("TCGA-FG-6692:t2:t1", "TCGA-FG-6692:flair:t1", "OMSL-04-s1:t2:t1", "OMSL-04-s1:flair:t2"),
}
HEADS = {"size": 200, "slices": 24}  # of the made-up ones
LESIONS = 16


def pass_of(network: nn.Module, scan: Acquisition, auxiliary: Tensor) -> Tensor:
    """Complex images of some slices."""
    recipe = NormalisationRecipe()  # not a k-space network's affair
    return reconstruct_slices(
        network, scan.zero_filled.abs(), auxiliary, recipe, measured=lambda part: scan[part], phase=True, batch=1
    )


def tried(network: nn.Module, case: Accelerated, name: str) -> tuple[Weighing, dict[int, Tensor]]:
    """As ``reconstruct`` tries it, and the images from fewer lines by their slices."""
    assert case.measured is not None
    auxiliary, columns = case.slices.auxiliary, case.mask.columns
    images: dict[int, Tensor] = {}

    def reconstruct(fewer: Acquisition, number: int) -> Tensor:
        images[number] = pass_of(network, fewer, auxiliary[number, None])
        return images[number]

    return try_weighing(reconstruct, case.measured, len(auxiliary), columns, seed_from_name(name)), images


def by_centre(case: Accelerated, images: dict[int, Tensor], name: str) -> float | None:
    """The share that lines kept back confirm of weighing by the magnitude and the phase of the centre lines."""
    assert case.measured is not None
    chosen = kept_back(case.measured, len(case.zero_filled), case.mask.columns, seed_from_name(name))
    if chosen is None or not images:
        return None
    found = Comparison()
    for number, image in images.items():
        scan = case.measured(slice(number, number + 1))
        fewer = without(scan, chosen[1])
        found += compared(scan, chosen[1], weighed(fewer, image.abs()), image)
    return round(found.confirmed, 4)


def scores(network: nn.Module, case: Accelerated, protocol: Complex, name: str) -> dict[str, Any]:
    """Of the network's image and what becomes of it, and what lines kept back say of the weighing."""
    target = case.slices.target
    assert case.measured is not None
    scan = case.measured(slice(0, len(target)))
    image = pass_of(network, scan, case.slices.auxiliary)
    trial, images = tried(network, case, name)
    made = {"network": image, "hard": scan.consistent(image), "centre": weighed(scan, image.abs())}
    made["own"] = weighed(scan, image, share=trial.share)
    head = head_mask(target.numpy())
    found: dict[str, Any] = {}
    for method, one in made.items():
        [whole], [inside] = protocol.score(target, one.abs()), protocol.score_inside(target, one.abs(), head)
        values = {"psnr": whole.psnr, "ssim": whole.ssim, "head_psnr": inside.psnr, "head_ssim": inside.ssim}
        found[method] = {key: round(value, 4) for key, value in values.items()}
    own = round(trial.comparison.confirmed, 4) if trial.comparison.slices else None
    return found | {"confirmed": {"own": own, "centre": by_centre(case, images, name)}, "share": trial.share}


def lesions(network: nn.Module, case: Accelerated, protocol: Complex, name: str) -> dict[str, list[float]]:
    """By method, of each lesion in the target the share kept, and of each in the auxiliary the share copied."""
    found: dict[str, list[float]] = {}
    columns, (trial, _) = torch.from_numpy(case.mask.columns), tried(network, case, name)
    slices = zip(case.slices.target, case.slices.auxiliary, case.slices.numbers, strict=True)
    for target, auxiliary, number in slices:
        added, other = place(target, LESIONS, 7 * number, 1.0), place(auxiliary, LESIONS, 7 * number + 3, 1.0)
        changed, shown = (target + added.sum(0)).clamp_min(0), (auxiliary + other.sum(0)).clamp_min(0)

        def images(target: Tensor, auxiliary: Tensor, seed: int = number) -> dict[str, Tensor]:
            scan = replace(protocol.measure(target[None], columns, [(0, seed)]), noise=None)
            image = pass_of(network, scan, auxiliary[None])
            after = {"own": weighed(scan, image, share=trial.share), "centre": weighed(scan, image.abs())}
            return {name: one[0].abs() for name, one in ({"network": image} | after).items()}

        plain, lesioned, copied = images(target, auxiliary), images(changed, auxiliary), images(target, shown)
        for method, image in plain.items():
            kept = shares(lesioned[method] - image, added, changed - target)
            found.setdefault(f"{method}: kept", []).extend(kept.tolist())
            found.setdefault(f"{method}: copied", []).extend(shares(copied[method] - image, other).abs().tolist())
    return found


def told(shares_found: dict[str, list[float]]) -> dict[str, float]:
    """The medians kept and 90th percentiles copied of many lesions, and how many there are."""
    row: dict[str, float] = {}
    for name, values in shares_found.items():
        row[name] = round(float(torch.tensor(values).quantile(0.9 if name.endswith("copied") else 0.5)), 4)
        row[f"{name.split(': ')[1]}, lesions"] = len(values)
    return row


def gains(rows: Iterable[dict[str, Any]], method: str, which: str) -> list[float]:
    """Over the network, of each scan."""
    return [row[method][which] - row["network"][which] for row in rows]


def confirmed(row: dict[str, Any], method: str, least: float) -> bool:
    """Whether lines kept back speak for it."""
    share = row["confirmed"][method]
    return share is not None and share >= least


def table(rows: list[dict[str, Any]]) -> str:
    """What ``weighed`` gains, whole / head in dB: mean over the scans, and the least."""
    taken = [row | {"weighed": row["own" if confirmed(row, "own", LEAST) else "network"]} for row in rows]
    accelerations = sorted({row["acceleration"] for row in rows})
    lines = ["| | " + " | ".join(f"{a:g}x" for a in accelerations) + " |", "|---" * (len(accelerations) + 1) + "|"]
    for coils, noise in sorted({(row["coils"], row["noise"]) for row in rows}):
        cells = []
        for acceleration in accelerations:
            own = [r for r in taken if (r["coils"], r["noise"], r["acceleration"]) == (coils, noise, acceleration)]
            whole, head = gains(own, "weighed", "psnr"), gains(own, "weighed", "head_psnr")
            cells.append(summary(whole, head) if own else "")
        lines.append(f"| noise {noise:g}%, {coils} coil{'s' * (coils > 1)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(whole: list[float], head: list[float]) -> str:
    """Means, and the least in brackets."""
    means = f"{sum(whole) / len(whole):+.2f} / {sum(head) / len(head):+.2f}"
    return f"{means} ({min(whole):+.2f} / {min(head):+.2f})"


def rules(rows: list[dict[str, Any]], method: str) -> str:
    """What it would bring to weigh only where at least so much is confirmed, and what is foregone elsewhere."""
    lines = []
    for least in (-math.inf, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        fires = [row for row in rows if confirmed(row, method, least)]
        rest = [row for row in rows if not confirmed(row, method, least)]
        told = f"{method}, confirmed >= {least:g}: {len(fires)} of {len(rows)}"
        for name, part in (("there", fires), ("elsewhere", rest)):
            if part:
                told += f"; {name} {summary(gains(part, method, 'psnr'), gains(part, method, 'head_psnr'))}"
        lines.append(told)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--patients", choices=list(PATIENTS), default="development")
    parser.add_argument("--scans", nargs="+", help="some of them")
    parser.add_argument("--noise", nargs="+", type=float, default=[0, 0.5, 1, 3], help="per cent of the maximum")
    parser.add_argument("--coils", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--accelerations", nargs="+", type=float, default=[2, 3, 4, 6, 8, 12])
    parser.add_argument("--slices", type=int, default=2)
    parser.add_argument("--lesions", action="store_true", help="these instead of scores")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    network = optimise(load_model("shipped"))
    began, rows = commit(), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for noise, coils, acceleration in product(args.noise, args.coils, args.accelerations):
            found: dict[str, list[float]] = {}
            for scan in args.scans or PATIENTS[args.patients]:
                protocol = Complex(noise=noise / 100, coils=coils)
                pair = scan_pair(args.data, folder, scan)
                case = measured(pair, Situation(protocol), acceleration, args.slices, folder)
                if args.lesions:
                    for key, values in lesions(network, case, protocol, pair.target.name).items():
                        found.setdefault(key, []).extend(values)
                    continue
                row = {"scan": scan, "noise": noise, "coils": coils, "acceleration": acceleration}
                rows.append(row | scores(network, case, protocol, pair.target.name))
                told_gains = [f"{m} {gains(rows[-1:], m, 'psnr')[0]:+.2f}" for m in ("hard", "centre", "own")]
                print(*row.values(), *told_gains, rows[-1]["confirmed"], flush=True)
            if args.lesions:
                rows.append({"noise": noise, "coils": coils, "acceleration": acceleration} | told(found))
                print(rows[-1], flush=True)
            if args.out is not None:
                keep(args.out, args.patients, began, args.slices, rows)
    if not args.lesions:
        print(table(rows), rules(rows, "own"), rules(rows, "centre"), sep="\n")


def scan_pair(data: Path, folder: Path, scan: str) -> Pair:
    """A patient's files, or those of a made-up head, which are written to a folder."""
    case, target, auxiliary = scan.split(":")
    if not case.startswith("phantom"):
        return pair_of(data, case, target, auxiliary)
    [place] = write_subjects(folder, [int(case.split("-")[1])], (target, auxiliary), **HEADS)
    return Pair(case, place / f"{case}_{target}.nii.gz", place / f"{case}_{auxiliary}.nii.gz")


def keep(out: Path, patients: str, began: str, slices: int, rows: list[dict[str, Any]]) -> None:
    """Add a run to the results, or renew it while it goes on."""
    results = json.loads(out.read_text()) if out.exists() else {}
    runs = results.setdefault("inside", {}).setdefault(patients, [])
    command = " ".join(["weighed_inside.py", "DATA", *sys.argv[2:]])
    runs[:] = [run for run in runs if run["command"] != command]
    runs.append({"command": command, "commit": began, "slices": slices, "rows": rows})
    out.write_text(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
