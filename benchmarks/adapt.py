"""What ``reconstruct --adapt`` costs and brings for scans unlike the training's, the shipped network.

    python benchmarks/adapt.py --data ../shared/data [--out benchmarks/adapt.json]

A FLAIR of a patient of the training (OMS-19) with 8% and 1% noise, the phantom at 4x and 8x with one coil and with 8,
the brain of 8 coils, whose gaps count as measured zeros: two slices each where there are two, masks random with
fastMRI's centre. PSNR of the magnitudes of these slices before and after, share of the kept-back lines that is
explained, seconds of processor time on one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speed import SOURCE, commit
from torch import Tensor, nn

from fsmnet.checkpoint import load_model
from fsmnet.data.pairing.names import find_pairs
from fsmnet.data.phantom import write_subjects
from fsmnet.metrics import volume_metrics
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.espirit import estimate_maps
from fsmnet.physics.masks import make_mask
from fsmnet.protocols.complex import Complex
from fsmnet.protocols.volumes import prepared_slices
from fsmnet.reconstruction.adapt import adapt

Case = tuple[str, Acquisition, Tensor | None, Tensor]  # name, lines, auxiliary (n, 1, H, W), truth (n, H, W)


def simulated(root: Path, case: str, target: str, noise: float, acceleration: float, name: str, coils: int = 1) -> Case:
    """Two slices of a pair."""
    protocol = Complex(noise=noise, coils=coils)
    [pair] = find_pairs(root, target, "t1", [case])
    slices = prepared_slices(pair, protocol)
    keep = [len(slices.numbers) // 3, 2 * len(slices.numbers) // 3]
    truth = slices.target[keep]
    mask = torch.from_numpy(make_mask("random", truth.shape[-1], acceleration, seed=1).columns)
    scan = protocol.measure(truth, mask, [(0, number) for number in keep])
    return f"{name}, {acceleration:g}x, noise {noise:.0%}", scan, slices.auxiliary[keep, None], truth


def cases(data: Path) -> Iterator[Case]:
    """All of them."""
    with tempfile.TemporaryDirectory() as folder:
        write_subjects(Path(folder), [0], size=160, slices=4, voxel=1.5)
        for acceleration in (4, 8):
            for coils, name in ((1, "phantom"), (8, "phantom, 8 coils")):
                yield simulated(Path(folder), "phantom-0000", "t2", 0.01, acceleration, name, coils)
    for noise in (0.01, 0.08):
        yield simulated(data / "volumes", "OMS-19", "flair", noise, 4, "OMS-19, FLAIR")
    kspace = torch.from_numpy(np.load(data / "multicoil" / "brain_8coil_kspace.npy")).to(torch.complex64)
    kspace = kspace.reshape(-1, *kspace.shape[-2:])
    every = torch.ones(kspace.shape[-1], dtype=torch.bool)
    for acceleration in (4, 8):
        mask = torch.from_numpy(make_mask("random", len(every), acceleration, seed=1).columns)
        maps = estimate_maps(kspace * mask, mask)
        truth = Acquisition.from_kspace(kspace, every, maps).zero_filled.abs()
        scale = truth.max()
        scan = Acquisition.from_kspace(kspace[None] / scale, mask, maps[None])
        yield f"brain, 8 coils, {acceleration}x, no auxiliary", scan, None, truth[None] / scale


def psnr(model: nn.Module, scan: Acquisition, auxiliary: Tensor | None, truth: Tensor) -> float:
    """Of the magnitudes, dB."""
    with torch.inference_mode():
        image = model(scan, auxiliary).image[:, 0].abs()
    return round(volume_metrics(truth.numpy(), image.numpy(), 1.0).psnr, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", default="", help="cases whose name begins so; the others in --out stay")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model("shipped")
    kept = bool(args.only) and args.out is not None and args.out.exists()
    rows: dict[str, Any] = json.loads(args.out.read_text())["cases"] if kept else {}
    for name, scan, auxiliary, truth in cases(args.data):
        if not name.startswith(args.only):
            continue
        started = time.process_time()
        scans = [(scan[n : n + 1], None if auxiliary is None else auxiliary[n, None]) for n in range(len(truth))]
        fitted, record = adapt(model, scans.__getitem__, len(truth), (1,))
        seconds = time.process_time() - started
        before, after = (psnr(one, scan, auxiliary, truth) for one in (model, fitted))
        rows[name] = {"psnr": before, "adapted": after, "processor_seconds": round(seconds, 1), **record}
        print(name, rows[name], flush=True)
        if args.out is not None:
            report = {"command": " ".join(sys.argv), "commit": commit(SOURCE), "cases": rows}
            args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
