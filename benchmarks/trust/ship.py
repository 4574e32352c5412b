"""Give shipped weights what ``fsmnet.trust`` wants to know of them, beside the same numbers in the same file.

    python benchmarks/trust/ship.py --data FOLDER --cache FOLDER [--only shipped|shipped-image] [--checkpoint FILE]
        [--error-network FILE] [--out FOLDER]

Development patients whose scans the network suits by its header (contrasts, heads) are reconstructed at the speeds it
was made for (of 2 to 12x: with T1 4 and 8, with T2 2 and 12): what these scans show, whole and cropped, and what the
hold-out check explains of them. With ``--error-network`` (of ``error_maps.py``) a network also gets that and a
calibration on the nine development patients (their samples in the cache). Beside it, for comparison only, what is
explained of the test patients, two masks each; nothing else of those is looked at. ``--checkpoint`` takes another file
in place of the shipped one (with ``--only``) and writes it to ``--out``. Passes are kept in the cache by the network's
weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from calibration import by_patient, voxels
from error_maps import estimated, read
from safetensors.torch import load_file
from scans import DEVELOPMENT, TEST, accelerated, is_there, scan_file
from torch import Tensor, nn

from fsmnet.checkpoint import SHIPPED, checkpoint_file, load_model, read_checkpoint, save_checkpoint
from fsmnet.inference.optimise import optimise
from fsmnet.inference.suitability import purpose_of
from fsmnet.physics.holdout import folds
from fsmnet.physics.masks import seed_from_name
from fsmnet.trust.calibrate import Patient, fitted, held_out, reference
from fsmnet.trust.error_map import LEARNED, error_network
from fsmnet.trust.familiar import Sight, look, look_cropped
from fsmnet.trust.simulated import reconstructed

SPAN = {"t1": (4.0, 8.0), "t2": (2.0, 12.0)}  # by auxiliary, of a network made for all between
SLICES = 3
Exam = tuple[str, str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--error-network", type=Path)
    parser.add_argument("--only", choices=list(SHIPPED))
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--out", type=Path, default=checkpoint_file("shipped").parent)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in [arguments.only] if arguments.only else SHIPPED:
        file = arguments.checkpoint or checkpoint_file(name)
        known, on_test = patients(arguments, file), tested(arguments, file)
        state, header = read_checkpoint(file)
        trust = {"familiar": reference(known) | {"explained_of_test_patients": on_test}}
        if arguments.error_network and name == "shipped":
            weights = load_file(arguments.error_network)
            header.error_network = weights
            trust["calibration"] = calibrated(arguments, known, weights)
        header.trust = header.trust | trust
        save_checkpoint(arguments.out / SHIPPED[name], state, header)
        print(name, json.dumps(header.trust))


def calibrated(arguments: argparse.Namespace, known: dict[str, Patient], weights: dict[str, Tensor]) -> dict[str, Any]:
    """On the samples of the development patients."""
    estimate, accelerations = estimated(error_network(weights)), []
    for name, of_patient in by_patient(read(arguments.cache / "development")).items():
        error, expected = voxels(of_patient, estimate)
        known[name].error, known[name].expected = [error], [expected]
        accelerations += [sample["acceleration"] for sample in of_patient]
    return fitted(known, 0.9, LEARNED, accelerations).record()


def suited(arguments: argparse.Namespace, network: nn.Module, exams: list[Exam]) -> list[tuple[Exam, float]]:
    """Those of a patient that a network was made for, T2 as auxiliary among them, and at which acceleration."""
    purpose, data = purpose_of(network), arguments.data
    first = next((exam for exam, _, _ in exams if is_there(data, exam, "t2")), None)
    further = [] if first is None else [(first, "t1", "t2"), (first, "flair", "t2")]
    return [
        (exam, at)
        for exam in [*exams, *further]
        if purpose.takes("target", exam[1])
        and purpose.takes("auxiliary", exam[2])
        and (purpose.heads != "stripped" or scan_file(data, *exam[:2]).parent.parent.name == "volumes")
        for at in (SPAN[exam[2]] if purpose.between else purpose.accelerations)
    ]


def patients(arguments: argparse.Namespace, file: Path) -> dict[str, Patient]:
    """What the development patients show."""
    network, found = load_model(file), {}
    for patient, exams in DEVELOPMENT.items():
        for exam, acceleration in suited(arguments, network, exams):
            one = found.setdefault(patient, Patient())
            scan = seen(arguments, file, exam, acceleration)
            one.explained.setdefault(acceleration, []).append(scan.explained)
            one.sights += sights(scan)
    return found


def sights(scan: Seen) -> list[Sight]:
    """What the images show, whole and cropped."""
    numbers = range(len(scan.image))
    whole = look(scan.image, scan.auxiliary, (0.0, *scan.pixel[1:]), numbers)
    return [whole, look_cropped(scan.image, scan.auxiliary, numbers)]


def tested(arguments: argparse.Namespace, file: Path) -> dict[str, list[float]]:
    """What was explained of the test patients, by acceleration."""
    asked = [one for exams in TEST.values() for one in suited(arguments, load_model(file), exams)]
    return {
        f"{at:g}": [
            round(seen(arguments, file, exam, at, draw).explained, 4)
            for exam, other in asked
            if other == at
            for draw in range(2)
        ]
        for at in sorted({at for _, at in asked})
    }


@dataclass
class Seen:
    """Some slices, reconstructed.

    Attributes:
        image: ``(n, H, W)``.
        auxiliary: likewise.
        pixel: see :class:`fsmnet.reconstruction.again.Again`.
        explained: share of the lines kept back.
    """

    image: Any
    auxiliary: Any
    pixel: Any
    explained: float


def seen(arguments: argparse.Namespace, file: Path, exam: Exam, acceleration: float, draw: int = 0) -> Seen:
    """Kept in the cache; three slices."""
    network = load_model(file)
    key = hashlib.sha256(b"".join(one.float().numpy().tobytes() for one in network.state_dict().values())).hexdigest()
    kept = arguments.cache / "seen" / f"{key[:8]}_{'_'.join(exam)}_{acceleration:g}_{draw}.npz"
    if not kept.exists():
        case, pixel = accelerated(arguments.data, exam, acceleration, SLICES, draw=draw)
        again = reconstructed(exam[0], optimise(network, "float32"), case)
        explained = held_out(again, folds(case.mask.columns, 1, seed_from_name(exam[0]))).explained
        kept.parent.mkdir(exist_ok=True)
        np.savez(kept, image=again.result, auxiliary=again.auxiliary, pixel=pixel, explained=explained)
        print(kept.name, file=sys.stderr, flush=True)
    with np.load(kept) as arrays:
        return Seen(*(arrays[name] for name in ("image", "auxiliary", "pixel")), float(arrays["explained"]))


if __name__ == "__main__":
    main()
