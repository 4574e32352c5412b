"""Partial Fourier, simulated with a smooth phase and noise: zero-filling, POCS, and both shipped networks.

    python benchmarks/partial_fourier.py --data ../shared/data/volumes --case OMS-26 [--slices 8] [--out FILE.json]

5/8, 6/8, 7/8 and all of the lines, each with and without 4x (random, fastMRI's centre, the unmeasured side left out).
After the network for images the measured lines are put back with the zero-filled image's phase, or both are weighed, as
``fsmnet reconstruct --kspace`` does it. PSNR of the magnitudes in dB.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speed import SOURCE, commit
from torch import Tensor

from fsmnet.checkpoint import load_model, trained_normalisation
from fsmnet.data.pairing.names import find_pairs
from fsmnet.inference.optimise import optimise
from fsmnet.inference.slices import reconstruct_slices
from fsmnet.metrics import volume_metrics
from fsmnet.models.classical import phase_constrained
from fsmnet.physics.acquisition import Acquisition, with_phase
from fsmnet.physics.masks import make_mask
from fsmnet.physics.weighed import weighed
from fsmnet.protocols.complex import Complex
from fsmnet.protocols.volumes import prepared_slices

SHARES = (5 / 8, 6 / 8, 7 / 8, 1.0)


def masks(width: int) -> dict[str, Tensor]:
    """Name -> columns."""
    every = np.ones(width, dtype=bool)
    found = {}
    for name, drawn in (("", every), (", 4x", make_mask("random", width, 4, seed=0).columns)):
        for share in SHARES:
            if name or share < 1:
                found[f"{share:g}{name}"] = torch.from_numpy(drawn & (np.arange(width) < round(share * width)))
    return found


def magnitudes(scan: Acquisition, auxiliary: Tensor, networks: dict[str, Any]) -> dict[str, Tensor]:
    """By method, ``(n, H, W)``."""
    zero_filled = scan.zero_filled
    found = {"zero-filled": zero_filled.abs(), "POCS": phase_constrained(scan).abs()}
    found["network"] = reconstruct_slices(
        networks["shipped"], zero_filled.abs(), auxiliary, networks["normalisation"], measured=lambda part: scan[part]
    )
    made = reconstruct_slices(networks["shipped-image"], zero_filled.abs(), auxiliary, networks["normalisation"])
    found["image network"] = scan.consistent(with_phase(made, zero_filled)).abs()
    found["image network, weighed"] = weighed(replace(scan, noise=None), made).abs()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--case", required=True)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    protocol = Complex()
    [pair] = find_pairs(args.data, "t2", "t1", [args.case])
    slices = prepared_slices(pair, protocol)
    keep = np.linspace(0, len(slices.numbers) - 1, args.slices + 2).round().astype(int)[1:-1]
    target, auxiliary = slices.target[keep], slices.auxiliary[keep]
    networks: dict[str, Any] = {name: optimise(load_model(name)) for name in ("shipped", "shipped-image")}
    networks["normalisation"] = trained_normalisation(load_model("shipped-image"))
    rows = {}
    for name, columns in masks(target.shape[-1]).items():
        scan = protocol.measure(target, columns, [(0, int(number)) for number in keep])
        images = magnitudes(scan, auxiliary, networks)
        rows[name] = {m: round(volume_metrics(target.numpy(), x.numpy(), 1.0).psnr, 2) for m, x in images.items()}
        print(name, rows[name], flush=True)
    if args.out is not None:
        report = {
            "command": " ".join(sys.argv),
            "commit": commit(SOURCE),
            "slices": args.slices,
            "noise": protocol.noise,
        }
        args.out.write_text(json.dumps(report | {"phase": protocol.phase, "psnr": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
