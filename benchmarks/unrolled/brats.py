"""The paper's protocol on a test patient, with the symmetry of a real image's k-space left alone, and used.

    python benchmarks/unrolled/brats.py DATA --equal runs/equal

Protocol ``brats``: real images of 240 x 240 in 8 bits, no noise, one mask (4x random with a tenth in the centre, 8x
equispaced). k-space of a real image is Hermitian, ``y(-k) = conj y(k)``: every line whose mirror image was measured is
known too, which no scanner's is. ``allowed`` means that these lines count as measured, by every method. Scores are the
protocol's, means over slices in 8 bits; image networks with the (so) known lines put back.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path

import torch
from evaluate import TASKS, Method, load, network, scored, trained_alike
from torch import Tensor
from train import reconstruct

from fsmnet.models.classical import POCS, phase_constrained, with_mirrored_lines
from fsmnet.physics.acquisition import Acquisition
from fsmnet.protocols.brats import BRATS, brats_mask

HERE = Path(__file__).parent


def with_symmetry(scan: Acquisition) -> Acquisition:
    """The lines that the symmetry tells count as measured."""
    lines, known = with_mirrored_lines(scan.lines[:, 0], scan.mask)
    return Acquisition(lines[:, None], known, real=True)


def pocs(scan: Acquisition, auxiliary: Tensor) -> Tensor:
    """What the package's POCS makes of a real image, or else of one with a smooth phase."""
    if scan.real:
        return POCS()(scan, auxiliary).image[:, 0].abs()
    return phase_constrained(scan).abs()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, default=HERE / "weights")
    parser.add_argument("--equal", type=Path, nargs="+", help="folders of equal.py: also the networks trained alike")
    parser.add_argument("--every", type=int, default=10, help="of the slices with content")
    parser.add_argument("--out", type=Path, default=HERE / "hermitian.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    case, target_name, other_name = TASKS[0]
    target, other = load(args.data, case, target_name), load(args.data, case, other_name)
    numbers = scored(target, args.every)
    grey = BRATS.precision(BRATS.frame(target[numbers]))
    images, others = grey.float() / 255, BRATS.precision(BRATS.frame(other[numbers])).float()[:, None] / 255
    model = network("unrolled", args.weights / "unrolled.safetensors")
    methods: dict[str, Method] = {
        "zero_filling": lambda scan, _: scan.zero_filled.abs(),
        "pocs": pocs,
        "unrolled": lambda scan, a: reconstruct(model, scan, a),
    }
    methods |= trained_alike(args.equal) if args.equal else {}
    rows = []
    for acceleration in (4, 8):
        mask = torch.from_numpy(brats_mask(acceleration).columns)
        plain = [
            Acquisition(s.lines, s.mask.expand(1, 1, -1)) for s in (Acquisition.simulate(x[None], mask) for x in images)
        ]
        for allowed in (False, True):
            scans = [with_symmetry(scan) for scan in plain] if allowed else plain
            for name, method in methods.items():
                with torch.no_grad():
                    found = torch.cat([method(s, a[None]) for s, a in zip(scans, others, strict=True)])
                scores = BRATS.score(grey, BRATS.finish(found))
                row = {"case": case, "target": target_name, "auxiliary": other_name, "slices": len(numbers)}
                row |= {"acceleration": acceleration, "symmetry": allowed, "lines": float(scans[0].mask.float().mean())}
                row |= {k: sum(getattr(s, k) for s in scores) / len(scores) for k in ("psnr", "ssim")}
                rows.append(row | {"method": name})
                print(acceleration, allowed, f"{name:40} {row['psnr']:.2f} {row['ssim']:.4f}", flush=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True).stdout
    report = {
        "command": " ".join(["brats.py", "DATA", *sys.argv[2:]]), "commit": commit.strip(), "torch": torch.__version__,
        "machine": f"{platform.processor() or platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "protocol": "brats", "rows": rows,
    }  # fmt: skip
    args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
