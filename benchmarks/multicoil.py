"""Eight coils, 4x: zero-filling against CG-SENSE with ESPIRiT maps from the centre lines, and hard consistency.

    python benchmarks/multicoil.py --data FILE.npy [--seed 0] [--out FILE.json]

FILE holds complex k-space (coils, H, W). If it has gaps (the SigPy tutorial's brain slice has: 12% of its points are
measured, Poisson-disc with a dense centre), a fully sampled reference does not exist, and three experiments stand in:

as_file      the zeros count as measured: the reference is the file's own zero-filled, map-combined image. The lines'
             mask is applied on top.
resimulated  an image from all measured points (CG-SENSE) times its maps, white noise with the rms of the outermost
             measured points added: fully sampled k-space of known truth. Maps are estimated again from the
             under-sampled centre lines alone; but the truth obeys the model exactly, which a scan never does.
held_out     no reference at all: 20% of the measured points outside the centre are withheld and predicted; the energy
             of the error relative to theirs. The zero-filled image's own prediction is beside it.

Errors are of magnitudes over the whole slice, PSNR by the reference's maximum; the references are zero where there are
no maps, and the root sum of squares pays for its noise there. Residuals are relative l2 norms on
the measured points. Seconds are of one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from figures import rounded, timed
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from fsmnet.files import write_text
from fsmnet.metrics import nmse
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.coils import combine, conjugate_gradients, root_sum_of_squares
from fsmnet.physics.espirit import estimate_maps
from fsmnet.physics.fourier import fft2c, ifft2c
from fsmnet.physics.masks import make_mask

ACCELERATION, CENTER_FRACTION = 4, 0.08
ITERATIONS, REGULARISATION = 20, 0.01
CENTRE = 24  # rows and columns of the centre that are never withheld
WITHHELD = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kspace = torch.from_numpy(np.load(arguments.data))
    kspace = kspace / root_sum_of_squares(ifft2c(kspace)).max()
    drawn = make_mask("random", kspace.shape[-1], ACCELERATION, CENTER_FRACTION, arguments.seed)
    mask = torch.from_numpy(drawn.columns)
    points = (kspace != 0).any(0)
    result = {
        "command": " ".join(["python", *sys.argv]),
        "seed": arguments.seed,
        "mask": drawn.describe() + f", centre {CENTER_FRACTION:g}",
        "acquired_columns": torch.nonzero(mask)[:, 0].tolist(),
        "cg_sense": {"iterations": ITERATIONS, "regularisation": REGULARISATION},
        "data": {
            "file": arguments.data.name,
            "shape": list(kspace.shape),
            "measured_points": int(points.sum()),
            "measured_share": float(points.float().mean()),
        },
        "as_file": as_file(kspace, mask),
        "resimulated": resimulated(kspace, points, mask, arguments.seed),
        "held_out": held_out(kspace, points, arguments.seed),
    }
    text = json.dumps(rounded(result), indent=2) + "\n"
    print(text, end="")
    if arguments.out:
        write_text(arguments.out, text)


def as_file(kspace: Tensor, mask: Tensor) -> dict[str, Any]:
    maps, seconds = timed(lambda: estimate_maps(kspace * mask))
    reference = combine(ifft2c(kspace), maps).abs()
    return {"seconds_maps": seconds, **compare(kspace * mask, mask, maps, reference)}


def resimulated(kspace: Tensor, points: Tensor, mask: Tensor, seed: int) -> dict[str, Any]:
    true_maps = estimate_maps(kspace, points)
    truth = sense_of_points(kspace, points, true_maps, ITERATIONS, REGULARISATION)
    height, width = points.shape
    y, x = (torch.arange(n) / (n // 2) - 1 for n in (height, width))
    outermost = points & (y[:, None] ** 2 + x**2 > 0.9**2)
    noise = float(kspace[:, outermost].abs().square().mean().sqrt())
    generator = torch.Generator().manual_seed(seed)
    full = fft2c(true_maps * truth)
    full = full + noise * torch.randn(full.shape, generator=generator, dtype=full.dtype)
    maps, seconds = timed(lambda: estimate_maps(full * mask, mask))
    return {"noise_rms": noise, "seconds_maps": seconds, **compare(full * mask, mask, maps, truth.abs())}


def held_out(kspace: Tensor, points: Tensor, seed: int) -> dict[str, Any]:
    centre = torch.zeros_like(points)
    top, left = (n // 2 - CENTRE // 2 for n in points.shape)
    centre[top : top + CENTRE, left : left + CENTRE] = True
    chance = torch.rand(points.shape, generator=torch.Generator().manual_seed(seed))
    withheld = points & ~centre & (chance < WITHHELD)
    kept = points & ~withheld
    maps = estimate_maps(kspace, kept)

    def missed(image: Tensor) -> float:
        left = withheld * (fft2c(maps * image) - kspace)
        return float(left.abs().square().sum() / (withheld * kspace).abs().square().sum())

    return {
        "points": int(withheld.sum()),
        "zero_filled": missed(combine(ifft2c(kspace * kept), maps)),
        "cg_sense": missed(sense_of_points(kspace, kept, maps, ITERATIONS, REGULARISATION)),
        "cg_sense_by_iterations_and_regularisation": {
            f"{iterations}, {regularisation:g}": missed(sense_of_points(kspace, kept, maps, iterations, regularisation))
            for regularisation in (0, 0.001, 0.01, 0.03)
            for iterations in (5, 10, 20, 40)
        },
    }


def sense_of_points(kspace: Tensor, points: Tensor, maps: Tensor, iterations: int, regularisation: float) -> Tensor:
    """CG-SENSE from points instead of lines, with the transform in two dimensions."""
    right = combine(ifft2c(kspace * points), maps)
    return conjugate_gradients(
        lambda x: combine(ifft2c(points * fft2c(maps * x)), maps),
        right,
        torch.zeros_like(right),
        iterations,
        regularisation,
    )


def compare(kspace: Tensor, mask: Tensor, maps: Tensor, reference: Tensor) -> dict[str, Any]:
    """Scores of all reconstructions from the under-sampled k-space, and residuals around hard consistency."""
    scan = Acquisition.from_kspace(kspace, mask, maps)
    image, seconds = timed(lambda: scan.sense(ITERATIONS, REGULARISATION))
    images = scan.replaced(image)
    combined = scan.combined(images)
    reconstructions = {
        "zero_filled_rss": root_sum_of_squares(ifft2c(kspace)),
        "zero_filled_maps": scan.zero_filled.abs(),
        "cg_sense": image.abs(),
        "cg_sense_then_hard_consistency": combined.abs(),
    }
    return {
        "seconds_cg_sense": seconds,
        "share_of_pixels_with_maps": float((maps != 0).any(0).float().mean()),
        "scores": {name: score(reference, magnitude) for name, magnitude in reconstructions.items()},
        "residual": {
            "cg_sense_before": float(scan.residual(image)),
            "coil_images_after_hard_consistency": float(scan.coil_residual(images)),
            "combined_image_after_hard_consistency": float(scan.residual(combined)),
        },
    }


def score(reference: Tensor, image: Tensor) -> dict[str, float]:
    g, p = reference.numpy(), image.numpy()
    return {"nmse": nmse(g, p), "psnr": float(peak_signal_noise_ratio(g, p, data_range=g.max()))}


if __name__ == "__main__":
    main()
