"""k-space in, a network between, the measured lines back: one coil with a smooth phase, and eight coils.

    python benchmarks/kspace_in.py --data FOLDER [--seed 0] [--out FILE.json]

FOLDER holds TCGA-FG-6692 in BraTS's layout; T2 is the target, T1 the auxiliary. Scans come as magnitudes, so their
k-space is made: each slice gets a smooth phase (a polynomial of second order and a few low frequencies, several radians
over the head), is transformed, and goes through ``fsmnet.reconstruct(kspace=...)`` as a file, with the shipped network
and the masks it was trained for (4x). What no simulation here has: motion, fields that change faster than that phase,
and, with one coil, noise.

single_coil  all slices with content. ``true_phase`` is what the measured lines would bring if the phase were known; the
             command takes that of the zero-filled image.
eight_coils  smooth maps of unit energy on a ring, white noise, some slices spread over the volume; errors against the
             noise-free magnitude. ``sense`` is CG-SENSE with maps estimated from the centre lines; the network sees the
             zero-filled image (as the command does) or the SENSE image; consistency are conjugate-gradient steps from
             the network's image and the measured lines put back coil by coil. Residuals of coil images and of the
             combined image are relative l2 norms on the measured lines; one image cannot hold eight noisy k-spaces, so
             the second does not reach rounding. ``network_on_zero_filled_then`` varies the steps (10 in the command)
             and weighs the lines instead of replacing them.

PSNR is of float magnitudes, by the volume with its maximum as range, and the mean of the slices' with theirs.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from figures import rounded
from skimage.metrics import structural_similarity
from torch import Tensor

import fsmnet
from fsmnet.checkpoint import load_model, shipped_checkpoint
from fsmnet.data.pairing.names import load_pair
from fsmnet.files import write_text
from fsmnet.inference.slices import reconstruct_slices
from fsmnet.metrics import volume_metrics
from fsmnet.physics.acquisition import Acquisition, with_phase
from fsmnet.physics.coils import root_sum_of_squares
from fsmnet.physics.espirit import estimate_maps
from fsmnet.physics.fourier import fft2c, ifft2c
from fsmnet.protocols.float import FLOAT
from fsmnet.reconstruction.measured import consistent

# In bfloat16 they differ a little.
MACHINE: dict[str, Any] = {"checkpoint": "shipped-image", "device": "cpu", "precision": "float32"}
CASE = "TCGA-FG-6692"
COILS, NOISE, SLICES = 8, 0.005, 8  # noise: of each coil's image, the volume's maximum is 1
ITERATIONS, REGULARISATION = 20, 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    target, auxiliary = load_pair(*(arguments.data / CASE / f"{CASE}_{name}.nii.gz" for name in ("t2", "t1")))
    slices = FLOAT.prepare(target, auxiliary)
    with tempfile.TemporaryDirectory() as folder:
        single = single_coil(slices.target, slices.auxiliary, Path(folder), arguments.seed)
        chosen = torch.linspace(0, len(slices.numbers) - 1, SLICES + 2).round().long()[1:-1]
        multi = eight_coils(slices.target[chosen], slices.auxiliary[chosen], Path(folder), arguments.seed)
    result = {
        "command": " ".join(["python", *sys.argv]),
        "seed": arguments.seed,
        "case": CASE,
        "single_coil": single,
        "eight_coils": {"slices": [slices.numbers[n] for n in chosen.tolist()], **multi},
        "note": "The 8-coil slice of multicoil.json is not here: only 12.4% of its points are measured (Poisson-disc), "
        "so it is no reference and the command refuses it, and it comes without a second contrast.",
        "processor_seconds": time.process_time(),
    }
    text = json.dumps(rounded(result), indent=2) + "\n"
    print(text, end="")
    if arguments.out:
        write_text(arguments.out, text)


def smooth_phase(height: int, width: int, seed: int) -> Tensor:
    """Radians, ``(H, W)``: a polynomial of second order plus waves of at most two periods over the image."""
    rng = np.random.default_rng(seed)
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    phase = torch.zeros(height, width)
    for term in (torch.ones_like(x), x, y, x * x, x * y, y * y):
        phase += rng.uniform(-1.5, 1.5) * term
    for _ in range(3):
        along, across, offset = rng.uniform(-2, 2), rng.uniform(-2, 2), rng.uniform(0, 2 * math.pi)
        phase += 0.3 * torch.cos(math.pi * (along * x + across * y) + offset)
    return phase


def ring_of_coils(height: int, width: int, count: int) -> Tensor:
    """Gaussian sensitivities around the head with a phase of their own and unit energy, ``(C, H, W)``."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    maps = []
    for number in range(count):
        angle = 2 * math.pi * number / count
        distance = (y - 1.1 * math.sin(angle)) ** 2 + (x - 1.1 * math.cos(angle)) ** 2
        maps.append(torch.polar(torch.exp(-distance / 1.5), angle + 0.6 * (y * math.cos(angle) - x * math.sin(angle))))
    stack = torch.stack(maps)
    return stack / root_sum_of_squares(stack)


def with_phases(magnitude: Tensor, seed: int) -> Tensor:
    """Complex slices, each with a phase of its own."""
    phases = [smooth_phase(*magnitude.shape[-2:], 1000 * seed + number) for number in range(len(magnitude))]
    return torch.polar(magnitude, torch.stack(phases))


def save(kspace: Tensor, auxiliary: Tensor, folder: Path) -> dict[str, Path]:
    """Files for the command."""
    np.save(folder / "kspace.npy", kspace.numpy())
    nib.save(nib.Nifti1Image(np.moveaxis(auxiliary.numpy(), 0, 2), np.eye(4)), folder / "auxiliary.nii.gz")
    return {"kspace": folder / "kspace.npy", "auxiliary": folder / "auxiliary.nii.gz"}


def single_coil(target: Tensor, auxiliary: Tensor, folder: Path, seed: int) -> dict[str, Any]:
    image = with_phases(target, seed)
    kspace = fft2c(image)
    files = save(kspace, auxiliary, folder)
    runs = {
        kind: fsmnet.reconstruct(
            **files, out=folder / f"{kind}.nii.gz", acceleration=4, data_consistency=kind, **MACHINE
        )
        for kind in ("off", "hard")
    }
    network, back = runs["off"], runs["hard"]
    columns = torch.from_numpy(network.mask.columns)
    magnitude = torch.from_numpy(network.image)
    known = Acquisition.from_kspace(kspace[:, None], columns).consistent(torch.polar(magnitude, image.angle()))
    images = {
        "zero_filled": ifft2c(kspace * columns).abs(),
        "network": magnitude,
        "network_then_hard": torch.from_numpy(back.image),
        "network_then_hard_true_phase": known.abs(),
    }
    share = [
        float((x.angle() - y.angle()).cos().ge(math.cos(0.1))[y.abs() > 0.1].float().mean())
        for x, y in zip(ifft2c(kspace * columns), image, strict=True)
    ]
    return {
        "slices": len(target),
        "mask": network.mask.describe() + f", centre {network.mask.center_fraction:g}",
        "model": network.sidecar["Model"],
        "scores": {name: scores(target, x) for name, x in images.items()},
        "share_of_bright_pixels_whose_phase_is_within_0.1_rad": float(np.mean(share)),
        "residual": back.sidecar["DataConsistency"],
    }


def eight_coils(target: Tensor, auxiliary: Tensor, folder: Path, seed: int) -> dict[str, Any]:
    image, maps = with_phases(target, seed + 1), ring_of_coils(*target.shape[-2:], COILS)
    generator = torch.Generator().manual_seed(seed)
    clean = fft2c(maps * image[:, None])
    kspace = clean + NOISE * torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
    files = save(kspace, auxiliary, folder)
    command = {
        kind: fsmnet.reconstruct(
            **files, out=folder / f"coils_{kind}.nii.gz", acceleration=4, data_consistency=kind, **MACHINE
        )
        for kind in ("off", "hard")
    }
    columns = torch.from_numpy(command["off"].mask.columns)
    scans = [Acquisition.from_kspace(y, columns, estimate_maps(y * columns, columns)) for y in kspace]
    sense = torch.stack([scan.sense(ITERATIONS, REGULARISATION) for scan in scans])
    # The same between: SENSE first, the network on its magnitude, its phase carried along.
    model = load_model(shipped_checkpoint("shipped-image"))
    between = reconstruct_slices(model, sense.abs(), auxiliary, FLOAT.normalisation)
    done = [consistent(scan, x, None) for scan, x in zip(scans, with_phase(between, sense), strict=True)]
    plain = [scan.consistent(x) for scan, x in zip(scans, sense, strict=True)]
    begun = torch.from_numpy(command["off"].complex_image)
    trials = {
        f"{steps} steps": [
            scan.combined(scan.replaced(scan.sense(steps, start=x))) for scan, x in zip(scans, begun, strict=True)
        ]
        for steps in (0, 2, 5, 10, 20)
    } | {
        f"soft, weight {weight:g}": [scan.consistent(x, weight) for scan, x in zip(scans, begun, strict=True)]
        for weight in (1, 10, 100)
    }
    images = {
        "zero_filled": torch.stack([scan.zero_filled for scan in scans]).abs(),
        "sense": sense.abs(),
        "sense_then_hard": torch.stack(plain).abs(),
        "network_on_zero_filled": torch.from_numpy(command["off"].image),
        "network_on_zero_filled_then_hard": torch.from_numpy(command["hard"].image),
        "network_on_sense": between.clamp_min(0),
        "network_on_sense_then_hard": torch.stack([x for x, _ in done]).abs(),
    }
    return {
        "coils": COILS,
        "noise_rms": NOISE,
        "cg_sense": {"iterations": ITERATIONS, "regularisation": REGULARISATION},
        "mask": command["hard"].mask.describe(),
        "maps": command["hard"].sidecar["Coils"],
        "scores": {name: scores(target, x) for name, x in images.items()},
        "network_on_zero_filled_then": {name: scores(target, torch.stack(x).abs()) for name, x in trials.items()},
        "residual": {
            "network_on_zero_filled_then_hard": command["hard"].sidecar["DataConsistency"],
            "network_on_sense_then_hard": {key: float(np.mean([r[key] for _, r in done])) for key in done[0][1]},
        },
    }


def scores(reference: Tensor, image: Tensor) -> dict[str, float]:
    """By the volume, the mean of the slices' own PSNR, and SSIM where the reference is above zero and where it is 0."""
    g, p = reference.numpy(), image.numpy()
    slices = [volume_metrics(x[None], y[None]).psnr for x, y in zip(g, p, strict=True)]
    maps = np.stack([structural_similarity(x, y, data_range=g.max(), full=True)[1] for x, y in zip(g, p, strict=True)])
    return {
        **volume_metrics(g, p)._asdict(),
        "psnr_mean_of_slices": float(np.mean(slices)),
        "ssim_of_head": float(maps[g > 0].mean()),
        "ssim_of_background": float(maps[g == 0].mean()),
    }


if __name__ == "__main__":
    main()
