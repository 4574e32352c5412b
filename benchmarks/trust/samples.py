"""Reconstructions whose error is known, each as one file: what estimators of the error may look at, and the error.

    python benchmarks/trust/samples.py --data FOLDER --cache FOLDER [--side development|test] [--slices 8]

FOLDER holds the examinations (see ``scans.py``) in folders of folders. Slices spread over each volume get a smooth
phase and complex noise (protocol ``complex``, one coil), random masks of two accelerations each, and are reconstructed
by the shipped network. A file holds, float32 ``(H, W)`` on the scale of the volume's maximum:

truth, image, zero_filled, auxiliary    magnitudes
blank                                   image without the auxiliary
folds    (n, H, W)                      images from the lines that the folds of the hold-out check leave
flips    (n, H, W)                      images of the mirrored scan, mirrored back, each without another fifth of lines
share                                   of the lines that was measured

``folds`` has five images and ``flips`` three in every third file, else two and none: they take most of the time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scans import DEVELOPMENT, TEST, method_of, slices_of, spread
from torch import Tensor, nn

from fsmnet.checkpoint import load_model
from fsmnet.inference.optimise import optimise
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.holdout import folds, without
from fsmnet.physics.masks import make_mask, seed_from_name
from fsmnet.protocols.complex import Complex

ACCELERATIONS = ((4, 8), (3, 6), (2, 12), (4, 8))
NOISE = (0.002, 0.005, 0.01, 0.02)
ALL = 3  # every so many files with all folds and flips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--side", choices=["development", "test"], default="development")
    parser.add_argument("--slices", type=int, default=8, help="of each patient")
    parser.add_argument("--patients", nargs="*", help="only these")
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    network = optimise(load_model("shipped"), "float32")
    made = 0
    for patient, exams in (DEVELOPMENT if arguments.side == "development" else TEST).items():
        for exam, target, auxiliary in exams if patient in (arguments.patients or [patient]) else ():
            slices = slices_of(arguments.data, exam, target, auxiliary)
            for number in spread(len(slices.numbers), arguments.slices // len(exams)):
                test = arguments.side == "test"
                for acceleration in (4, 8) if test else ACCELERATIONS[made // 2 % len(ACCELERATIONS)]:
                    file = arguments.cache / f"{patient}_{exam}_{target}_{slices.numbers[number]}_{acceleration}.npz"
                    noise = 0.005 if test else NOISE[made % len(NOISE)]
                    made += 1
                    if file.exists():
                        continue
                    images = (slices.target[number, None], slices.auxiliary[number, None])
                    seed = (acceleration, *seed_from_name(exam), slices.numbers[number])
                    sample = measured(network, images, acceleration, noise, seed, test or made % ALL == 0)
                    np.savez(file, **sample)
                    print(file.name, file=sys.stderr, flush=True)


def measured(
    network: nn.Module, images: tuple[Tensor, Tensor], acceleration: float, noise: float, seed: Any, flips: bool | None
) -> dict[str, Any]:
    """One slice, ``(1, H, W)`` of both contrasts; with ``flips`` and five folds, two folds, or (None) one."""
    target, auxiliary = images
    columns = make_mask("random", target.shape[-1], acceleration, seed=seed).columns
    scan = Complex(noise=noise).measure(target, torch.from_numpy(columns), [seed])
    method = method_of(network, scan, auxiliary)
    sets = folds(columns, 5, seed)
    of_folds = [method(without(scan, one)).abs()[0] for one in sets[: {None: 1, False: 2, True: 5}[flips]]]
    sample = {
        "truth": target[0],
        "image": method(scan).abs()[0],
        "zero_filled": scan.zero_filled.abs()[0],
        "auxiliary": auxiliary[0],
        "blank": method(scan, torch.zeros_like(auxiliary[0])).abs()[0],
        "folds": torch.stack(of_folds),
        "share": torch.tensor(columns.mean()),
        "noise": torch.tensor(noise),
    }
    if flips:
        flipped = [mirrored(method, without(scan, one), auxiliary, axes) for one, axes in zip(sets, AXES, strict=False)]
        sample["flips"] = torch.stack(flipped)
    return {name: value.float().numpy() for name, value in sample.items()}


AXES = ((-2,), (-1,), (-2, -1))


def mirrored(method: Callable[..., Tensor], scan: Acquisition, auxiliary: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The image of the mirrored scan, mirrored back. Along W, whose k-space is known, pixel n goes to -n."""

    def turn(data: Tensor) -> Tensor:
        for axis in axes:
            data = data.flip(axis)
            if axis == -1 and data.shape[-1] % 2 == 0:
                data = data.roll(1, -1)
        return data

    columns = tuple(axis for axis in axes if axis == -1)
    mask = scan.mask.flip(-1).roll(1 - scan.mask.shape[-1] % 2, -1) if columns else scan.mask
    image = method(replace(scan, lines=turn(scan.lines), mask=mask), turn(auxiliary)[0])
    return turn(image.abs())[0]


if __name__ == "__main__":
    main()
