"""Scores of networks for zero-filled images, by contrast, acceleration, phase and skull; nothing is put back.

    python benchmarks/unrolled/image_scores.py ../shared/data --networks OLD.safetensors NEW.safetensors \\
        --cases stroke-VRD:t2:t1 OMSL-20-s2:flair:t1 --out benchmarks/unrolled/image.json

``complex`` has a smooth phase and 0.5% noise, ``float`` a real image without noise; random masks with fastMRI's
centre, drawn from the file's name. ``brats`` is the paper's protocol: 8 bits, one mask for all. PSNR (dB) and SSIM are
of the volume's scored slices, in ``brats`` the mean over them. Of each scan as many slices, evenly spread.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from pack import GROUPS
from tables import image_table

from fsmnet.checkpoint import load_model
from fsmnet.data.head import head_mask
from fsmnet.data.pairing.names import Pair
from fsmnet.inference.optimise import optimise
from fsmnet.inference.slices import reconstruct_case
from fsmnet.physics.options import MaskOptions
from fsmnet.protocols.brats import BRATS
from fsmnet.protocols.complex import Complex
from fsmnet.protocols.float import FLOAT

HERE = Path(__file__).parent
PROTOCOLS = {"complex": Complex(noise=0.005), "float": FLOAT, "brats": BRATS}


def pair_of(data: Path, case: str, target: str, auxiliary: str) -> Pair:
    """Two contrasts of a case, in any of the data's folders."""
    folder = next(data / group / case for group in GROUPS if (data / group / case).exists())
    return Pair(case, folder / f"{case}_{target}.nii.gz", folder / f"{case}_{auxiliary}.nii.gz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--networks", nargs="+", required=True)
    parser.add_argument("--cases", nargs="+", required=True, help="case:target:auxiliary ...")
    parser.add_argument("--protocols", nargs="+", choices=list(PROTOCOLS), default=list(PROTOCOLS))
    parser.add_argument("--accelerations", nargs="+", type=float, default=[2, 4, 8, 12])
    parser.add_argument("--slices", type=int, default=6)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    networks = {Path(name).stem: optimise(load_model(name), args.precision) for name in args.networks}
    rows: list[dict[str, Any]] = []
    for scan in args.cases:
        pair = pair_of(args.data, *scan.split(":"))
        for name in args.protocols:
            protocol = PROTOCOLS[name]
            for acceleration in args.accelerations:
                if name == "brats" and acceleration not in (4, 8):
                    continue  # not in the protocol
                recipe = protocol.mask_recipe(MaskOptions(acceleration=acceleration))
                case = protocol.accelerate(pair, recipe, most=args.slices)
                head = head_mask(case.slices.target.numpy())
                row = {"scan": scan, "protocol": name, "acceleration": acceleration, "slices": args.slices}
                images = {"zero_filling": case.zero_filled}
                seconds = {}
                for network, model in networks.items():
                    began = time.process_time()
                    images[network] = reconstruct_case(model, case, protocol, precision=args.precision)
                    seconds[network] = (time.process_time() - began) / args.slices
                for network, image in images.items():
                    scores = protocol.score(case.slices.target, image)
                    inside = protocol.score_inside(case.slices.target, image, head)
                    found = {
                        "psnr": sum(one.psnr for one in scores) / len(scores),
                        "ssim": sum(one.ssim for one in scores) / len(scores),
                        "head_psnr": sum(one.psnr for one in inside) / len(inside),
                        "processor_seconds": seconds.get(network, 0.0),
                    }
                    rows.append(row | {"network": network} | {k: round(v, 4) for k, v in found.items()})
                told = "  ".join(f"{r['network']} {r['psnr']:.2f}" for r in rows[-len(images) :])
                print(f"{scan} {name} {acceleration:g}x: {told}", flush=True)
    print(image_table(rows))
    if args.out is None:
        return
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True).stdout
    kept = json.loads(args.out.read_text()) if args.out.exists() else []
    machine = f"{platform.processor() or platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
    command = " ".join(["image_scores.py", "DATA", *sys.argv[2:]])
    kept.append({"command": command, "commit": commit.strip(), "machine": machine, "rows": rows})
    args.out.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
