"""A scanner's eight coils: the unrolled network by conjugate gradients, and by one gradient step each as before.

    python benchmarks/unrolled/scanner_coils.py ../shared/data/multicoil/brain_8coil_kspace.npy --out FILE.json

The file's k-space has gaps (12% of its points are measured). ``as it is``: they count as measured zeros, which no coil
maps explain; the reference is the zero-filled image. ``simulated anew``: an image from the measured points times its
maps, with white noise; the reference is that image. Maps are estimated by ESPIRiT from the centre of the lines kept;
there is no auxiliary. PSNR of the magnitude by the reference's maximum.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from evaluate import OneGradientStep
from torch import Tensor
from train import psnr

sys.path.append(str(Path(__file__).resolve().parents[1]))
from multicoil import ITERATIONS, REGULARISATION, sense_of_points

from fsmnet.checkpoint import load_model
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.coils import root_sum_of_squares
from fsmnet.physics.espirit import estimate_maps
from fsmnet.physics.fourier import fft2c, ifft2c
from fsmnet.physics.masks import default_center_fraction, make_mask


def cases(kspace: Tensor) -> Iterator[tuple[str, Acquisition, Tensor]]:
    """Name, scan, and the magnitude it is to become."""
    points = (kspace != 0).any(0)
    maps = estimate_maps(kspace, points)
    truth = sense_of_points(kspace, points, maps, ITERATIONS, REGULARISATION)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(kspace.shape, generator=generator, dtype=kspace.dtype)
    tried = {"as it is": (kspace, None)}
    tried |= {f"simulated anew, noise {n:.1%}": (fft2c(maps * truth) + n * noise, truth) for n in (0.005, 0.018)}
    every = torch.ones(kspace.shape[-1], dtype=torch.bool)
    for name, (full, image) in tried.items():
        for acceleration in (4, 8):
            centre = default_center_fraction(acceleration)
            mask = torch.from_numpy(make_mask("random", len(every), acceleration, centre, 1).columns)
            estimated = estimate_maps(full * mask, mask)
            reference = Acquisition.from_kspace(full, every, estimated).zero_filled if image is None else image
            scale = reference.abs().max()
            scan = Acquisition.from_kspace((full * mask)[None] / scale, mask, estimated[None])
            yield f"{name}, {acceleration}x", scan, reference.abs()[None] / scale


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    kspace = torch.from_numpy(np.load(args.data))
    model, found = load_model("shipped"), {}
    with torch.inference_mode():
        for name, scan, reference in cases(kspace / root_sum_of_squares(ifft2c(kspace)).max()):
            before = OneGradientStep(scan.lines, scan.mask, scan.maps)
            images = {
                "SENSE, 10 steps": scan.sense(10, REGULARISATION).abs(),
                "one gradient step each": model(before, None).image[:, 0].abs(),
                "conjugate gradients": model(scan, None).image[:, 0].abs(),
            }
            found[name] = {method: round(psnr(image, reference), 2) for method, image in images.items()}
            print(name, found[name], flush=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    if args.out is not None:
        told = {"command": "scanner_coils.py DATA", "commit": commit, "psnr": found}
        args.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
