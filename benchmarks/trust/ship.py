"""Give shipped weights what ``fsmnet.trust`` wants to know of them, beside the same numbers in the same file.

    python benchmarks/trust/ship.py --data FOLDER --cache FOLDER [--only shipped|shipped-image] [--checkpoint FILE]
        [--error-network FILE] [--out FOLDER]

Development patients whose scans the network suits by its header (contrasts, heads) are reconstructed at the speeds it
was made for (of 2 to 12x: with T1 4 and 8, with T2 2 and 12): what these scans show, whole and cropped, and what the
hold-out check explains of them. ``shipped`` gets the error network of ``error_maps.py`` (``--error-network``; without
it, what it has stays) and a calibration on the nine development patients (their samples in the cache),
``shipped-image`` a calibration of the spread over one fold, on these reconstructions. Beside it, for comparison only,
what is explained of the test patients, two masks each; nothing else of those is looked at. ``--checkpoint`` takes
another file in place of the shipped one (with ``--only``) and writes it, by its name, to ``--out``. Passes are kept in
the cache by the network's weights.
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
from calibration import RATE, Voxels, by_patient, voxels
from error_maps import estimated, read
from safetensors.torch import load_file
from scans import DEVELOPMENT, TEST, accelerated, is_there, scan_file
from torch import Tensor, nn

from fsmnet.checkpoint import SHIPPED, checkpoint_file, header_of, load_model, read_checkpoint, save_checkpoint
from fsmnet.data.head import head_mask
from fsmnet.inference.optimise import optimise
from fsmnet.inference.suitability import purpose_of
from fsmnet.physics.holdout import folds
from fsmnet.physics.masks import seed_from_name
from fsmnet.trust.calibrate import Patient, fitted, held_out, reference
from fsmnet.trust.conformal import brightness, needed
from fsmnet.trust.error_map import BY_SPREAD, LEARNED, error_network, expected_error, spread_over_folds
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
        if not header.error_network and name != "shipped" and len(known) >= needed(RATE):
            trust["calibration"] = fitted(known, RATE, BY_SPREAD, known_at(known)).record()
        elif arguments.error_network and name == "shipped":
            weights = load_file(arguments.error_network)
            header.error_network = weights
            trust["calibration"] = calibrated(arguments, known, weights)
        header.trust = header.trust | trust
        save_checkpoint(
            arguments.out / (arguments.checkpoint.name if arguments.checkpoint else SHIPPED[name]), state, header
        )
        print(name, json.dumps(header.trust))


def calibrated(arguments: argparse.Namespace, known: dict[str, Patient], weights: dict[str, Tensor]) -> dict[str, Any]:
    """On the samples of the development patients."""
    estimate, accelerations = estimated(error_network(weights)), []
    for name, of_patient in by_patient(read(arguments.cache / "development")).items():
        error, expected = voxels(of_patient, estimate)
        known[name].error, known[name].expected = [error], [expected]
        accelerations += [sample["acceleration"] for sample in of_patient]
    return fitted(known, RATE, LEARNED, accelerations).record()


def known_at(known: dict[str, Patient]) -> list[float]:
    return sorted({at for patient in known.values() for at in patient.explained})


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
            error, expected = by_spread(scan)
            one.error.append(error)
            one.expected.append(expected)
    return found


def sights(scan: Seen) -> list[Sight]:
    """What the images show, whole and cropped."""
    numbers = range(len(scan.image))
    whole = look(scan.image, scan.auxiliary, (0.0, *scan.pixel[1:]), numbers)
    return [whole, look_cropped(scan.image, scan.auxiliary, numbers)]


def by_spread(scan: Seen) -> Voxels:
    """True and expected errors of the head's voxels, as shares of brightness; nothing of what an older cache holds."""
    if scan.expected is None:
        return np.zeros(0), np.zeros(0)
    head, unit = head_mask(scan.image), brightness(scan.image)
    return np.abs(scan.image - scan.truth)[head] / unit, scan.expected[head] / unit


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
        truth: ``(n, H, W)``.
        expected: error by the spread over one fold, likewise; None where the checkpoint has an error network.
    """

    image: Any
    auxiliary: Any
    pixel: Any
    explained: float
    truth: Any = None
    expected: Any = None


def seen(arguments: argparse.Namespace, file: Path, exam: Exam, acceleration: float, draw: int = 0) -> Seen:
    """Kept in the cache; three slices."""
    network = load_model(file)
    key = hashlib.sha256(b"".join(one.float().numpy().tobytes() for one in network.state_dict().values())).hexdigest()
    kept = arguments.cache / "seen" / f"{key[:8]}_{'_'.join(exam)}_{acceleration:g}_{draw}.npz"
    if not kept.exists():
        case, pixel = accelerated(arguments.data, exam, acceleration, SLICES, draw=draw)
        again = reconstructed(exam[0], optimise(network, "float32"), case)
        sets, every = folds(case.mask.columns, 1, seed_from_name(exam[0])), range(len(case.zero_filled))
        unseen = held_out(again, sets)
        found = {"image": again.result, "auxiliary": again.auxiliary, "pixel": pixel, "explained": unseen.explained}
        if not header_of(network).error_network:
            apart = spread_over_folds(again, sets, every)
            expected = expected_error(again, None, apart, every, unseen.missing(case.mask.columns))
            found |= {"truth": case.slices.target, "expected": None if expected is None else expected.values}
        kept.parent.mkdir(exist_ok=True)
        np.savez(kept, **{name: value for name, value in found.items() if value is not None})
        print(kept.name, file=sys.stderr, flush=True)
    with np.load(kept) as arrays:
        more = [arrays.get(name) for name in ("truth", "expected")]
        return Seen(*(arrays[name] for name in ("image", "auxiliary", "pixel")), float(arrays["explained"]), *more)


if __name__ == "__main__":
    main()
