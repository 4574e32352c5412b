"""Measure the unrolled network on the two test patients; one part at a time, each adding to ``results.json``.

    python benchmarks/unrolled/evaluate.py DATA --parts psnr lesions robustness coils stability speed

Protocol ``complex``: volumes on [0, 1] by their maximum, slices with at least 10% of their pixels above zero, of
which every third is scored; a smooth random phase and complex noise (root of its mean squared modulus in percent of
the maximum), seeded by the case's name; masks ``random`` with fastMRI's centre, one for each slice, seeded by the
case's name and the slice's number, or one for the whole volume (``--masks volume``). PSNR is that of the volume's
scored slices, with the maximum 1; in the head it counts the pixels above 5% of the maximum and what they surround.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lesions import place, shares
from pack import GROUPS
from safetensors.torch import load_file
from scipy import ndimage
from skimage.metrics import structural_similarity
from torch import Tensor, nn
from train import STRIP, build, reconstruct

from fsmnet.checkpoint import open_model, trained_normalisation
from fsmnet.data.formats import read_volume
from fsmnet.inference.auxiliary import Trial, try_auxiliary
from fsmnet.models.classical import phase_constrained
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.masks import default_center_fraction, make_mask, seed_from_name
from fsmnet.physics.random_scans import Random, coil_maps, draw_coils, draw_waves, smooth
from fsmnet.physics.weighed import weighed
from fsmnet.transforms import center_fit

HERE = Path(__file__).parent
TASKS = [
    ("TCGA-FG-6692", "t2", "t1"),
    ("TCGA-FG-6692", "flair", "t1"),
    ("OMSL-04-s1", "t2", "t1"),
    ("OMSL-04-s1", "flair", "t2"),
]
EVERY = 3
Method = Callable[[Acquisition, Tensor], Tensor]


def load(data: Path, case: str, contrast: str) -> Tensor:
    """A volume on [0, 1], ``(S, H, W)``."""
    path = next(path for group in GROUPS if (path := data / group / case / f"{case}_{contrast}.nii.gz").exists())
    volume = torch.from_numpy(read_volume(path).data)
    return volume / volume.max()


def scored(target: Tensor, every: int) -> list[int]:
    return ((target > 0).float().mean((-2, -1)) >= 0.1).nonzero()[:, 0].tolist()[::every]


def generator(case: str, *more: int) -> torch.Generator:
    seed = 0
    for code in (*seed_from_name(case), *more):
        seed = (seed * 1_000_003 + code) % 2**62
    return torch.Generator().manual_seed(seed)


def phase_of(case: str, height: int, width: int) -> Tensor:
    """The smooth phase of a case, ``(H, W)``."""
    waves = draw_waves(1, Random(torch.device("cpu"), generator(case)))
    extent = max(height, width)
    rows, columns = ((torch.arange(n) - (n - 1) / 2) / extent for n in (height, width))
    return smooth(waves, rows[None, :, None], columns[None, None])[0]


def scan_of(
    image: Tensor, case: str, number: int, acceleration: float, noise: float, masks: str, maps: Tensor | None = None
) -> Acquisition:
    """The simulated scan of one slice ``(H, W)``; a batch of one, whose noise is not told."""
    seed = seed_from_name(case) if masks == "volume" else (*seed_from_name(case), number)
    columns = make_mask("random", image.shape[-1], acceleration, default_center_fraction(acceleration), seed).columns
    mask = torch.from_numpy(columns)[None, None]
    complex_image = torch.polar(image, phase_of(case, *image.shape))[None]
    scan = Acquisition.simulate(complex_image, mask, maps, noise, generator(case, number))
    return Acquisition(scan.lines, scan.mask, maps)


def head_of(reference: np.ndarray) -> np.ndarray:
    return np.stack([ndimage.binary_fill_holes(one > 0.05) for one in reference])


def spread(errors: Iterable[float]) -> list[float]:
    """Tenth and ninetieth percentile of the PSNR (dB) of slices with these mean squared errors."""
    return np.percentile(-10 * np.log10(list(errors)), [10, 90]).tolist()


def metrics(reference: Tensor, image: Tensor) -> dict[str, Any]:
    """PSNR and SSIM of slices ``(n, H, W)``, whole and within the head; and how PSNR spreads over the slices."""
    g, x = reference.numpy().astype(np.float64), image.numpy().astype(np.float64)
    head, squares = head_of(g), (g - x) ** 2
    maps = [structural_similarity(a, b, data_range=1.0, full=True) for a, b in zip(g, x, strict=True)]
    return {
        "psnr": float(-10 * np.log10(squares.mean())),
        "ssim": float(np.mean([mean for mean, _ in maps])),
        "psnr_head": float(-10 * np.log10(squares[head].mean())),
        "ssim_head": float(np.concatenate([m[h] for (_, m), h in zip(maps, head, strict=True)]).mean()),
        "psnr_slices": spread(squares.mean((1, 2))),
        "psnr_head_slices": spread(s[h].mean() for s, h in zip(squares, head, strict=True) if h.any()),
    }


def network(name: str, weights: Path) -> nn.Module:
    model, _ = build(name)
    model.load_state_dict({k: v.float() for k, v in load_file(weights).items()})
    return model.eval().to(memory_format=torch.channels_last)


def then_consistent(model: nn.Module, scan: Acquisition, auxiliary: Tensor) -> Tensor:
    """An image network of this package; its result takes the zero-filled phase, and measured lines are put back."""
    zero_filled = scan.zero_filled
    inputs = trained_normalisation(model).inputs(zero_filled.abs()[:, None], auxiliary)
    restored = inputs.normalisation.undo(model(inputs.target, inputs.auxiliary).image)[:, 0]
    return scan.consistent(torch.polar(restored, zero_filled.angle())).abs()


def methods(args: argparse.Namespace) -> dict[str, Method]:
    """Every method by name: a scan and the auxiliary ``(1, 1, H, W)`` to a magnitude ``(1, H, W)``."""
    unrolled = network("unrolled", args.weights / "unrolled.safetensors")
    found: dict[str, Method] = {
        "zero_filling": lambda scan, _: scan.zero_filled.abs(),
        "pocs": lambda scan, _: phase_constrained(scan).abs(),
        "unrolled": lambda scan, other: reconstruct(unrolled, scan, other),
        "unrolled, auxiliary left out": lambda scan, _: reconstruct(unrolled, scan, None),
    }
    for name, label in (("short", "unrolled, 47 s"), ("alone", "unrolled without auxiliary, 55 s")):
        path = args.weights / f"{name}.safetensors"
        if path.exists():
            model = network(name, path)
            found[label] = lambda scan, other, model=model, alone=name == "alone": reconstruct(
                model, scan, None if alone else other
            )
    if args.equal:
        found |= trained_alike(args.equal)
    if args.shipped:
        shipped = open_model("shipped-image").eval()
        found["shipped-image, then consistency"] = lambda scan, other: then_consistent(shipped, scan, other)
    if args.only:
        found = {name: method for name, method in found.items() if name in args.only}
    return found


def trained_alike(folders: list[Path]) -> dict[str, Method]:
    """The networks of ``equal.py``; one for images sees whole slices or strips, as was better in validation."""
    found: dict[str, Method] = {}
    for folder in folders:
        report = json.loads((folder / "equal.json").read_text())
        for name, row in report["networks"].items():
            model = network(name, folder / f"{name}.safetensors")
            spent = report.get("spent", f"{report['options']['seconds']:g} s")
            if name == "alone":
                label = f"equal: unrolled without auxiliary, {spent}"
                found[label] = lambda scan, _, model=model: reconstruct(model, scan, None)
                continue
            if name == "unrolled":
                found[f"equal: {name}, {spent}"] = lambda scan, other, model=model: reconstruct(model, scan, other)
                found[f"equal: {name}, {spent}, then weighed"] = lambda scan, other, model=model: weighed(
                    scan, reconstruct(model, scan, other)
                ).abs()
                continue
            better = row["psnr_4x_strips"] + row["psnr_8x_strips"] > row["psnr_4x"] + row["psnr_8x"]
            for after in ("consistency", "weighed"):
                options = STRIP if better else None, after == "weighed"
                found[f"equal: {name}, {spent}, then {after}"] = lambda scan, other, model=model, options=options: (
                    reconstruct(model, scan, other, *options)
                )
    return found


def part_psnr(args: argparse.Namespace) -> list[dict[str, object]]:
    rows, found = [], methods(args)
    for case, target_name, other_name in TASKS:
        if args.tasks and f"{case}:{target_name}" not in args.tasks:
            continue
        target, other = load(args.data, case, target_name), load(args.data, case, other_name)
        numbers = scored(target, args.every)
        for acceleration in args.accelerations:
            scans = [scan_of(target[n], case, n, acceleration, args.noise / 100, args.masks) for n in numbers]
            for name, method in found.items():
                began = time.process_time()
                images = torch.cat([method(scan, other[n][None, None]) for n, scan in zip(numbers, scans, strict=True)])
                work = (time.process_time() - began) / len(numbers)
                row = {
                    "case": case, "target": target_name, "auxiliary": other_name, "acceleration": acceleration,
                    "noise_percent": args.noise, "masks": args.masks, "slices": len(numbers), "method": name,
                    **metrics(target[numbers], images), "processor_seconds": work,
                }  # fmt: skip
                rows.append(row)
                print(case, target_name, other_name, f"{acceleration}x", f"{name:34}", *(f"{row[k]:.4f}" for k in
                      ("psnr", "ssim", "psnr_head", "ssim_head")), flush=True)  # fmt: skip
    return rows


def ring_contrast(difference: Tensor, lesions: Tensor) -> Tensor:
    """Mean over each lesion less the mean over a ring around it, divided by the same of the lesion itself."""
    core = lesions.abs() > 0.5 * lesions.abs().amax((-2, -1), keepdim=True)
    grown = [torch.nn.functional.max_pool2d(core.float(), 2 * r + 1, 1, r) > 0 for r in (2, 5)]
    ring = grown[1] & ~grown[0] & ~grown[0].any(0, keepdim=True)

    def mean(image: Tensor, where: Tensor) -> Tensor:
        return (image * where).sum((-2, -1)) / where.sum((-2, -1)).clamp_min(1)

    def contrast(image: Tensor) -> Tensor:
        return mean(image, core) - mean(image, ring)

    return contrast(difference[None]) / contrast(lesions)


def part_lesions(args: argparse.Namespace) -> list[dict[str, object]]:
    rows, found_methods = [], methods(args)
    for case, target_name, other_name in (TASKS[0], TASKS[2]):
        if args.tasks and f"{case}:{target_name}" not in args.tasks:
            continue
        target, other = load(args.data, case, target_name), load(args.data, case, other_name)
        numbers = scored(target, 1)
        numbers = numbers[:: max(1, len(numbers) // args.lesion_slices)]
        for acceleration in (4, 8):
            for name, method in found_methods.items():
                kept, false, kept_ring, false_ring = [], [], [], []
                for n in numbers:
                    with torch.no_grad():
                        lesions = place(target[n], 16, 7 * n, 1.0)
                        changed = (target[n] + lesions.sum(0)).clamp_min(0)
                        scan, with_lesions = (
                            scan_of(image, case, n, acceleration, args.noise / 100, args.masks)
                            for image in (target[n], changed)
                        )
                        auxiliary = other[n][None, None]
                        plain = method(scan, auxiliary)[0]
                        found = method(with_lesions, auxiliary)[0] - plain
                        kept.append(shares(found, lesions, changed - target[n]))
                        kept_ring.append(ring_contrast(found, lesions))
                        in_other = place(other[n], 16, 7 * n + 3, 1.0)
                        shown = (other[n] + in_other.sum(0)).clamp_min(0)[None, None]
                        copied = method(scan, shown)[0] - plain
                        false.append(shares(copied, in_other).abs())
                        false_ring.append(ring_contrast(copied, in_other).abs())
                k, f, kr, fr = map(torch.cat, (kept, false, kept_ring, false_ring))
                row = {
                    "case": case, "target": target_name, "auxiliary": other_name, "acceleration": acceleration,
                    "noise_percent": args.noise, "method": name, "lesions_target": len(k), "lesions_auxiliary": len(f),
                    "kept_median": float(k.median()), "kept_tenth_percentile": float(k.quantile(0.1)),
                    "kept_ring_median": float(kr.median()), "kept_ring_tenth_percentile": float(kr.quantile(0.1)),
                    "false_median": float(f.median()), "false_90th_percentile": float(f.quantile(0.9)),
                    "false_ring_90th_percentile": float(fr.quantile(0.9)),
                }  # fmt: skip
                rows.append(row)
                print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}), flush=True)
    return rows


def moved(image: Tensor, shift: float, degrees: float) -> Tensor:
    array = ndimage.rotate(image.numpy(), degrees, reshape=False, order=1)
    return torch.from_numpy(ndimage.shift(array, (shift * 0.7071, shift * 0.7071), order=1)).float()


STRANGERS = {"TCGA-FG-6692": ("TCGA-DU-7294", "OMS-07"), "OMSL-04-s1": ("OMSL-01-s2", "OMSL-20-s2")}  # all trained on


def part_robustness(args: argparse.Namespace) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    model = network("unrolled", args.weights / "unrolled.safetensors")
    for case, target_name, other_name in (TASKS[0], TASKS[2]):
        if not args.tasks or f"{case}:{target_name}" in args.tasks:
            rows += robustness_of(model, case, target_name, other_name, args)
    return rows


def robustness_of(
    model: nn.Module, case: str, target_name: str, other_name: str, args: argparse.Namespace
) -> list[dict[str, object]]:
    """One patient's target with an auxiliary that is moved, blank or somebody else's."""
    target, other = load(args.data, case, target_name), load(args.data, case, other_name)
    strangers = {name: load(args.data, name, other_name) for name in STRANGERS[case]}
    numbers = scored(target, 3 * args.every)
    changes: dict[str, Callable[[int], Tensor]] = {"as it is": lambda n: other[n]}
    for pixels in (1, 2, 3, 4):
        changes[f"shifted by {pixels} pixels"] = lambda n, p=pixels: moved(other[n], p, 0)
    for degrees in (1, 2, 3, 4):
        changes[f"rotated by {degrees} degrees"] = lambda n, d=degrees: moved(other[n], 0, d)
    changes["blank"] = lambda n: torch.zeros_like(other[n])
    for name, stranger in strangers.items():
        changes[f"of another patient, {name}"] = lambda n, v=stranger: center_fit(
            v[round(n * (len(v) - 1) / (len(other) - 1))], *other.shape[1:]
        )
    rows = []
    for acceleration in (4, 8):
        scans = [scan_of(target[n], case, n, acceleration, args.noise / 100, args.masks) for n in numbers]
        tried = {"left out": [None] * len(numbers)} | {
            name: [change(n)[None, None] for n in numbers] for name, change in changes.items()
        }
        for name, auxiliaries in tried.items():
            images = torch.cat([reconstruct(model, s, a) for s, a in zip(scans, auxiliaries, strict=True)])
            row = {"case": case, "acceleration": acceleration, "auxiliary": name, "slices": len(numbers)}
            rows.append(row | {"masks": args.masks} | metrics(target[numbers], images))
            if args.masks == "volume" and name not in ("left out", "blank"):
                trial = tried_as_reconstruct_does(model, scans, torch.cat(auxiliaries)[:, 0], case)
                rows[-1] |= {"confirmed": trial.confirmed, "used": trial.helps}
            print(case, acceleration, f"{name:30}", round(rows[-1]["psnr"], 2), rows[-1].get("confirmed"), flush=True)
    return rows


def tried_as_reconstruct_does(model: nn.Module, scans: list[Acquisition], auxiliary: Tensor, case: str) -> Trial:
    """The trial that ``fsmnet reconstruct`` makes before it uses an auxiliary ``(n, H, W)``."""
    trial = try_auxiliary(
        lambda scan, other: model(scan, None if other is None else other[None]).image[:, 0],
        lambda part: scans[part.start],
        auxiliary,
        scans[0].mask.flatten().numpy(),
        seed_from_name(case),
    )
    assert trial is not None
    return trial


def part_noise(args: argparse.Namespace) -> list[dict[str, object]]:
    """More and less noise, which the network is not told."""
    found, rows = methods(args), []
    for case, target_name, other_name in (TASKS[0], TASKS[2]):
        if not args.tasks or f"{case}:{target_name}" in args.tasks:
            volumes = load(args.data, case, target_name), load(args.data, case, other_name)
            rows += noise_of(found, case, *volumes, args)
    return rows


def noise_of(
    found: dict[str, Method], case: str, target: Tensor, other: Tensor, args: argparse.Namespace
) -> list[dict[str, object]]:
    """One patient's volumes ``(S, H, W)`` under noise of 0 to 3%."""
    numbers = scored(target, 3 * args.every)
    rows: list[dict[str, object]] = []
    for noise in (0.0, 0.5, 1.0, 2.0, 3.0):
        for acceleration in (4, 8):
            scans = [scan_of(target[n], case, n, acceleration, noise / 100, args.masks) for n in numbers]
            for name in (n for n in ("zero_filling", "pocs", "unrolled", "unrolled, auxiliary left out") if n in found):
                images = [found[name](scan, other[n][None, None]) for n, scan in zip(numbers, scans, strict=True)]
                row = {"case": case, "acceleration": acceleration, "noise_percent": noise, "method": name}
                rows.append(row | {"slices": len(numbers), **metrics(target[numbers], torch.cat(images))})
                print(case, noise, acceleration, f"{name:30}", rows[-1]["psnr"], flush=True)
    return rows


class OneGradientStep(Acquisition):
    """As the network took several coils before: one step of gradient descent in place of conjugate gradients."""

    def correction(self, image: Tensor, belief: Tensor, steps: int) -> Tensor:
        """The measurement's correction, one step of descent towards it."""
        return self.adjoint((self.lines - self.forward(image)) * belief)


def part_coils(args: argparse.Namespace) -> list[dict[str, object]]:
    """Eight coils, and one; by ``--tasks`` also of OMS-26, which validated the network."""
    model, rows = network("unrolled", args.weights / "unrolled.safetensors"), []
    for case, target_name, other_name in (("OMS-26", "t2", "t1"), TASKS[0], TASKS[2]):
        if args.tasks and f"{case}:{target_name}" not in args.tasks:
            continue
        target, other = load(args.data, case, target_name), load(args.data, case, other_name)
        numbers = scored(target, 1)
        numbers = numbers[len(numbers) // 10 :: max(1, len(numbers) // 5)]
        rows_, columns = ((torch.arange(n) - (n - 1) / 2) / max(target.shape[1:]) for n in target.shape[1:])
        parameters = draw_coils(1, 8, Random(torch.device("cpu"), generator(case, 8)), fewest=8)
        maps = coil_maps(parameters, rows_[None, :, None], columns[None, None])
        level = args.noise / 100
        for acceleration in args.accelerations:
            one, eight = (
                [scan_of(target[n], case, n, acceleration, level, args.masks, coils) for n in numbers]
                for coils in (None, maps)
            )
            for name, method in of_coils(model, level).items():
                began = time.process_time()
                scans = one if name.startswith("one coil") else eight
                images = torch.cat([method(s, other[n][None, None]) for s, n in zip(scans, numbers, strict=True)])
                row = {"case": case, "coils": 1 if scans is one else 8, "acceleration": acceleration, "method": name}
                row |= {"noise_percent": args.noise, "slices": len(numbers), **metrics(target[numbers], images)}
                rows.append(row | {"processor_seconds": (time.process_time() - began) / len(numbers)})
                print(case, acceleration, f"{name:40}", round(rows[-1]["psnr"], 2), flush=True)
    return rows


def of_coils(model: nn.Module, noise: float) -> dict[str, Method]:
    """What is done with coils, and with one."""

    def stepping(scan: Acquisition, auxiliary: Tensor) -> Tensor:
        return reconstruct(model, OneGradientStep(scan.lines, scan.mask, scan.maps), auxiliary)

    return {
        "one coil: zero-filling": lambda scan, _: scan.zero_filled.abs(),
        "one coil: unrolled": lambda scan, a: reconstruct(model, scan, a),
        "SENSE, 20 steps of conjugate gradients, regularised": lambda scan, _: scan.sense(20, 0.01).abs(),
        "unrolled, one gradient step each as before": stepping,
        "the same, then consistency of weight 4": lambda scan, a: scan.consistent(
            model(OneGradientStep(scan.lines, scan.mask, scan.maps), a).image[:, 0], 4.0
        ).abs(),
        "unrolled": lambda scan, a: reconstruct(model, scan, a),
        "unrolled, noise told": lambda scan, a: reconstruct(model, replace(scan, noise=noise), a),
        "unrolled, auxiliary left out": lambda scan, _: reconstruct(model, scan, None),
        "unrolled, then hard consistency": lambda scan, a: scan.consistent(model(scan, a).image[:, 0]).abs(),
    }


def part_stability(args: argparse.Namespace) -> list[dict[str, object]]:
    """What rounding does to an image: largest change, and change of the PSNR."""
    model, rows = network("unrolled", args.weights / "unrolled.safetensors"), []
    for case, target_name, other_name in (TASKS[0], TASKS[2]):
        target, other = load(args.data, case, target_name), load(args.data, case, other_name)
        numbers = scored(target, 1)
        for n in numbers[len(numbers) // 6 :: len(numbers) // 3]:
            rows += stability_of(model, case, n, target[n], other[n], args)
    return rows


def stability_of(
    model: nn.Module, case: str, n: int, target: Tensor, other: Tensor, args: argparse.Namespace
) -> list[dict[str, object]]:
    """One slice's ``(H, W)``."""
    rows: list[dict[str, object]] = []
    for acceleration in (4, 8):
        scan = scan_of(target, case, n, acceleration, args.noise / 100, args.masks)
        auxiliary = other[None, None]
        torch.set_num_threads(1)
        reference = reconstruct(model, scan, auxiliary)
        drawn = torch.view_as_complex(torch.randn(*scan.lines.shape, 2, generator=generator(case)))
        touched = Acquisition(scan.lines + 1e-6 * scan.lines.abs().max() * drawn * scan.mask, scan.mask)
        results = {"input changed by 1e-6 of its largest line": reconstruct(model, touched, auxiliary)}
        with torch.autocast("cpu", torch.bfloat16):
            results["bfloat16"] = reconstruct(model, scan, auxiliary)
        double = Acquisition(scan.lines.to(torch.complex128), scan.mask)
        results["float64 against float32"] = reconstruct(copy.deepcopy(model).double(), double, auxiliary.double())
        torch.set_num_threads(2)
        results["2 threads against 1"] = reconstruct(model, scan, auxiliary)
        torch.set_num_threads(args.threads)
        for name, image in results.items():
            before, after = (metrics(target[None], x)["psnr"] for x in (reference, image))
            row = {"case": case, "slice": n, "acceleration": acceleration, "change": name}
            rows.append(row | {"largest": float((image - reference).abs().max()), "psnr": after - before})
            print(rows[-1], flush=True)
    return rows


def part_speed(args: argparse.Namespace) -> list[dict[str, object]]:
    """Seconds for one slice of 240 x 240, the least and the median of ten, and the processor's own time for it."""
    model = network("unrolled", args.weights / "unrolled.safetensors")
    scan = Acquisition.simulate(torch.rand(1, 240, 240), torch.rand(1, 1, 240) < 0.25)
    auxiliary = torch.rand(1, 1, 240, 240)
    rows = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for half in (False, True):
            times, work = [], []
            for _ in range(11):
                started, worked = time.perf_counter(), time.process_time()
                with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
                    model(scan, auxiliary)
                times.append(time.perf_counter() - started)
                work.append(time.process_time() - worked)
            precision = "bfloat16" if half else "float32"
            rows.append({"threads": threads, "precision": precision, "least": min(times[1:])})
            rows[-1] |= {"median": statistics.median(times[1:]), "processor": min(work[1:])}
            print(rows[-1], flush=True)
    torch.set_num_threads(args.threads)
    return rows


PARTS = {
    "psnr": part_psnr,
    "lesions": part_lesions,
    "robustness": part_robustness,
    "noise": part_noise,
    "coils": part_coils,
    "stability": part_stability,
    "speed": part_speed,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--weights", type=Path, default=HERE / "weights")
    parser.add_argument("--equal", type=Path, nargs="+", help="folders of equal.py: also the networks trained alike")
    parser.add_argument("--shipped", action="store_true", help="also the image network that the package ships")
    parser.add_argument("--noise", type=float, default=0.5, help="percent of the maximum")
    parser.add_argument("--masks", choices=["slice", "volume"], default="slice")
    parser.add_argument("--accelerations", nargs="+", type=float, default=[2, 4, 6, 8, 12])
    parser.add_argument("--tasks", nargs="+", help="case:target ..., all by default")
    parser.add_argument("--only", nargs="+", help="methods")
    parser.add_argument("--every", type=int, default=EVERY)
    parser.add_argument("--lesion-slices", type=int, default=14)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True).stdout
    circumstances = {
        "command": " ".join(["evaluate.py", "DATA", *sys.argv[2:]]),
        "commit": commit.strip(),
        "torch": torch.__version__,
        "machine": f"{platform.processor() or platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "threads": args.threads,
    }
    for part in args.parts:
        with torch.no_grad():
            rows = PARTS[part](args)
        kept = json.loads(args.out.read_text()) if args.out.exists() else {}
        kept.setdefault(part, []).append({**circumstances, "rows": rows})
        args.out.write_text(json.dumps(kept, indent=1) + "\n")
    if "psnr" in kept:
        table = [row for run in kept["psnr"] for row in run["rows"]]
        with args.out.with_suffix(".csv").open("w", newline="") as file:
            writer = csv.DictWriter(
                file, list(dict.fromkeys(key for row in table for key in row))
            )  # later runs say more
            writer.writeheader()
            writer.writerows(table)


if __name__ == "__main__":
    main()
