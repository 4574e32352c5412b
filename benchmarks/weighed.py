"""What to do with the measured lines after a network for images: leave them, put them back, POCS, or weigh them.

    python benchmarks/weighed.py ../shared/data --patients development --out benchmarks/weighed.json

``shipped-image`` on protocol ``complex`` (random masks with fastMRI's centre, from the file's name), some slices a
scan. Situations: one coil with a smooth phase and noise of 0 to 3%; a phase that is not smooth in one place (a bump of
2.5 rad, a twentieth of the field of view wide); rows without air, so that nothing tells the noise; evenly spaced lines;
5/8 of them (partial Fourier); eight coils. PSNR in dB and SSIM of the whole and PSNR of the head. POCS begins with the
network's image: in turn the phase of the centre lines, not negative along it, and the measured lines, 12 times. With
``--steps``, ``--across`` and ``--unseen`` (several each) variants of the weighing are compared too. The table is of
gains over hard replacement: mean over the scans, and the least in brackets.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

sys.path.append(str(Path(__file__).parent / "unrolled"))
from image_scores import pair_of

from fsmnet.checkpoint import load_model
from fsmnet.data.head import head_mask
from fsmnet.inference.optimise import optimise
from fsmnet.inference.slices import reconstruct_case
from fsmnet.physics import weighed as module
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.masks import Mask
from fsmnet.physics.options import MaskOptions
from fsmnet.physics.phase import centre_phase
from fsmnet.physics.weighed import estimated_noise, weighed
from fsmnet.protocols.cases import Accelerated
from fsmnet.protocols.complex import Complex
from fsmnet.protocols.volumes import Seeds

HERE = Path(__file__).parent
PATIENTS = {  # TCGA-FG-6692 and OMSL-04 choose nothing
    "development": ("OMS-26:t2:t1", "OMS-26:flair:t1", "OMSL-03-s2:t2:t1", "OMSL-03-s2:flair:t2", "stroke-VRD:t2:t1",
                    "OMSL-20-s2:flair:t1"),
    "test": ("TCGA-FG-6692:t2:t1", "TCGA-FG-6692:flair:t1", "OMSL-04-s1:t2:t1", "OMSL-04-s1:flair:t2"),
}  # fmt: skip
PROJECTIONS = 12


class Bump(Complex):
    """A phase that the centre lines do not tell, in one place."""

    def _image(self, magnitude: Tensor, seed: tuple[int, ...]) -> tuple[Tensor, torch.Generator]:
        image, generator = super()._image(magnitude, seed)
        height, width = magnitude.shape[-2:]
        y, x = torch.arange(height)[:, None] - 0.3 * height, torch.arange(width) - 0.5 * width
        bump = 2.5 * torch.exp(-(y**2 + x**2) / (2 * (0.05 * width) ** 2))
        return image * torch.polar(torch.ones_like(bump), bump), generator


@dataclass(frozen=True)
class Situation:
    """How scans are measured."""

    protocol: Complex
    kind: str = "random"
    share: float = 1.0  # of the lines, from one side
    air: bool = True


SITUATIONS = {
    "no noise": Situation(Complex(noise=0)),
    "noise 0.5%": Situation(Complex(noise=0.005)),
    "noise 1%": Situation(Complex()),
    "noise 3%": Situation(Complex(noise=0.03)),
    "a bump in the phase": Situation(Bump()),
    "no air": Situation(Complex(), air=False),
    "evenly spaced": Situation(Complex(), kind="equispaced"),
    "5/8": Situation(Complex(), share=5 / 8),
    "eight coils": Situation(Complex(coils=8)),
}


def measured(
    scan: Any, situation: Situation, acceleration: float, slices: int, cache: Path | None = None
) -> Accelerated:
    """A case as the situation measures it; the prepared slices are kept in a folder."""
    protocol = situation.protocol
    recipe = protocol.mask_recipe(MaskOptions(acceleration=acceleration, mask_kind=situation.kind))
    case = protocol.accelerate(scan, recipe, most=slices, cache=cache)
    columns = case.mask.columns.copy()
    columns[round(situation.share * len(columns)) :] = False
    target, auxiliary = case.slices.target, case.slices.auxiliary
    if not situation.air:
        rows = target.amax((0, 2)) > 0.25 * target.amax()
        inside = rows.nonzero()[:, 0]
        part = slice(int(inside[len(inside) // 5]), int(inside[-len(inside) // 5]))
        target, auxiliary = target[:, part], auxiliary[:, part]
    seeds: Seeds = [(0, number) for number in case.slices.numbers]
    everything = protocol.measure(target, torch.from_numpy(columns), seeds)
    return replace(
        case,
        slices=replace(case.slices, target=target, auxiliary=auxiliary),
        mask=Mask(columns, "of the benchmark"),
        zero_filled=everything.zero_filled.abs(),
        measured=lambda part: replace(everything[part], noise=None),  # nobody tells it
    )


def projected(scan: Acquisition, magnitude: Tensor) -> Tensor:
    """POCS that begins with a network's image."""
    turn = centre_phase(scan)
    image = magnitude.clamp_min(0) * turn
    for _ in range(PROJECTIONS):
        image = scan.combined(scan.replaced(turn * (image * turn.conj()).real.clamp_min(0)))
    return image


def images(scan: Acquisition, network: Tensor, variants: dict[str, dict[str, float]]) -> Iterator[tuple[str, Tensor]]:
    """By method, magnitudes."""
    yield "network", network
    yield "hard", scan.consistent(network).abs()
    yield "POCS", projected(scan, network).abs()
    yield "weighed", weighed(scan, network).abs()
    for name, values in variants.items():
        with patch.multiple(module, ACROSS=values["across"], UNSEEN=values["unseen"]):
            yield name, weighed(scan, network, int(values["steps"])).abs()


def gained(gains: list[tuple[float, float]]) -> str:
    """A cell of the table."""
    if not gains:
        return ""
    whole, head = zip(*gains, strict=True)
    return f"{sum(whole) / len(whole):+.1f} / {sum(head) / len(head):+.1f} ({min(whole):+.1f} / {min(head):+.1f})"


def table(rows: list[dict[str, Any]]) -> str:
    """Gains of the weighing over hard replacement, whole / head in dB: mean over the scans, and the least."""
    hard = {(r["scan"], r["situation"], r["acceleration"]): r for r in rows if r["method"] == "hard"}
    gains: dict[str, dict[float, list[tuple[float, float]]]] = {}
    for r in (r for r in rows if r["method"] == "weighed"):
        other = hard[r["scan"], r["situation"], r["acceleration"]]
        gain = (r["psnr"] - other["psnr"], r["head_psnr"] - other["head_psnr"])
        gains.setdefault(r["situation"], {}).setdefault(r["acceleration"], []).append(gain)
    accelerations = sorted({acceleration for found in gains.values() for acceleration in found})
    lines = ["| | " + " | ".join(f"{a:g}x" for a in accelerations) + " |", "|---" * (len(accelerations) + 1) + "|"]
    for situation, found in gains.items():
        cells = [gained(found.get(acceleration, [])) for acceleration in accelerations]
        lines.append(f"| {situation} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def commit() -> str:
    """That this is run at."""
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True)
    return asked.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--patients", choices=list(PATIENTS), default="development")
    parser.add_argument("--scans", nargs="+", help="some of them")
    parser.add_argument("--situations", nargs="+", choices=list(SITUATIONS), default=list(SITUATIONS))
    parser.add_argument("--accelerations", nargs="+", type=float, default=[2, 4, 8, 12])
    parser.add_argument("--slices", type=int, default=3)
    parser.add_argument("--steps", nargs="*", type=int, default=[])
    parser.add_argument("--across", nargs="*", type=float, default=[module.ACROSS])
    parser.add_argument("--unseen", nargs="*", type=float, default=[module.UNSEEN])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    variants = {
        f"{steps} steps, K {across:g}, {unseen:g}": {"steps": steps, "across": across, "unseen": unseen}
        for steps, across, unseen in product(args.steps, args.across, args.unseen)
    }
    network = optimise(load_model("shipped-image"))
    rows: list[dict[str, Any]] = []
    for name in args.scans or PATIENTS[args.patients]:
        scan = pair_of(args.data, *name.split(":"))
        for situation, acceleration in product(args.situations, args.accelerations):
            chosen = SITUATIONS[situation]
            case = measured(scan, chosen, acceleration, args.slices)
            made = reconstruct_case(network, case, chosen.protocol)
            target = case.slices.target
            head = head_mask(target.numpy())
            assert case.measured is not None
            lines = case.measured(slice(0, len(made)))
            row = {"scan": name, "situation": situation, "acceleration": acceleration}
            noise = float(estimated_noise(lines).mean())
            began = time.process_time()
            for method, image in images(lines, made, variants):
                seconds, began = (time.process_time() - began) / len(made), time.process_time()
                [whole], [inside] = (
                    chosen.protocol.score(target, image),
                    chosen.protocol.score_inside(target, image, head),
                )
                scores = {"psnr": whole.psnr, "ssim": whole.ssim, "head_psnr": inside.psnr, "seconds": seconds}
                rows.append(row | {"method": method, "noise": noise} | {k: round(v, 4) for k, v in scores.items()})
                began = time.process_time()
            own = {r["method"]: r for r in rows if all(r[k] == v for k, v in row.items())}
            told = (
                f"{m} {r['psnr'] - own['hard']['psnr']:+.2f}/{r['head_psnr'] - own['hard']['head_psnr']:+.2f}"
                for m, r in own.items()
                if m != "hard"
            )
            print(*row.values(), f"noise {noise:.4f}, hard {own['hard']['psnr']:.2f}:", *told, flush=True)
    if args.out is None:
        return
    kept = json.loads(args.out.read_text()) if args.out.exists() else {}
    command = " ".join(["weighed.py", "DATA", *sys.argv[2:]])
    runs = kept.setdefault(args.patients, [])
    runs.append({"command": command, "commit": commit(), "slices": args.slices, "rows": rows})
    args.out.write_text(json.dumps(kept) + "\n")
    print(table([row for run in runs for row in run["rows"]]))


if __name__ == "__main__":
    main()
