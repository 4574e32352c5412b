"""Give the shipped weights what ``fsmnet.trust`` wants to know of them, beside the same numbers in the same file.

    python benchmarks/trust/ship.py --data FOLDER --cache FOLDER --error-network FILE [--out FOLDER]

``shipped`` gets the error network of ``error_maps.py``; a calibration on the nine development patients (their samples
in the cache); what these scans show; and what the hold-out check explains of them at 4x and 8x. ``shipped-image``,
which was trained for T2 with T1 of four stripped heads at 4x, gets what these four show. Beside it, for comparison
only, what was explained of the test patients. Nothing else of those is looked at.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from calibration import by_patient, voxels
from error_maps import estimated, read
from safetensors.torch import load_file
from scans import DEVELOPMENT, TEST, accelerated

from fsmnet.checkpoint import SHIPPED, checkpoint_file, load_model, read_checkpoint, save_checkpoint
from fsmnet.inference.optimise import optimise
from fsmnet.physics.holdout import folds
from fsmnet.physics.masks import seed_from_name
from fsmnet.trust.calibrate import Patient, fitted, held_out, reference
from fsmnet.trust.error_map import LEARNED, error_network
from fsmnet.trust.familiar import Sight, look
from fsmnet.trust.simulated import reconstructed

IMAGE_PATIENTS = ("OMS-07", "OMS-19", "OMS-26", "TCGA-DU-7294")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--error-network", type=Path, required=True)
    parser.add_argument("--slices", type=int, default=3)
    parser.add_argument("--out", type=Path, default=checkpoint_file("shipped").parent)
    parser.add_argument("--only-passes", action="store_true", help="fill the cache and write nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    known = {name: patients(arguments, name) for name in SHIPPED}
    on_test = tested(arguments)
    if arguments.only_passes:
        return
    weights = load_file(arguments.error_network)
    estimate = estimated(error_network(weights))
    samples = by_patient(read(arguments.cache / "development"))
    for name, of_patient in samples.items():
        error, expected = voxels(of_patient, estimate)
        known["shipped"][name].error, known["shipped"][name].expected = [error], [expected]
    accelerations = [sample["acceleration"] for of_patient in samples.values() for sample in of_patient]
    for name, found in known.items():
        state, header = read_checkpoint(checkpoint_file(name))
        header.trust = {"familiar": reference(found) | {"explained_of_test_patients": on_test[name]}}
        if name == "shipped":
            header.error_network = weights
            header.trust["calibration"] = fitted(found, 0.9, LEARNED, accelerations).record()
        save_checkpoint(arguments.out / SHIPPED[name], state, header)
        print(name, json.dumps(header.trust))


def patients(arguments: argparse.Namespace, name: str) -> dict[str, Patient]:
    """What a network's own patients show."""
    found = {}
    for patient, exams in DEVELOPMENT.items():
        if name == "shipped-image" and patient not in IMAGE_PATIENTS:
            continue
        found[patient] = Patient()
        for exam in exams if name == "shipped" else exams[:1]:
            for acceleration in (4, 8) if name == "shipped" else (4,):
                explained, sight = seen(arguments, name, exam, acceleration)
                found[patient].explained.setdefault(acceleration, []).append(explained)
                found[patient].sights.append(sight)
    return found


def tested(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was explained of the test patients, by acceleration."""
    exams = {"shipped": [one for exams in TEST.values() for one in exams], "shipped-image": TEST["TCGA-FG-6692"]}
    return {
        name: {
            f"{at}": [round(seen(arguments, name, exam, at)[0], 4) for exam in exams[name]]
            for at in ((4, 8) if name == "shipped" else (4,))
        }
        for name in SHIPPED
    }


def seen(
    arguments: argparse.Namespace, name: str, exam: tuple[str, str, str], acceleration: float
) -> tuple[float, Any]:
    """Share explained of lines kept back, and what slices of the reconstruction show; kept in the cache."""
    file = arguments.cache / "seen" / f"{name}_{'_'.join(exam)}_{acceleration:g}.json"
    if not file.exists():
        network = optimise(load_model(name), "float32")
        case, pixel = accelerated(arguments.data, exam, acceleration, arguments.slices)
        again = reconstructed(exam[0], network, case)
        every = list(range(len(case.zero_filled)))
        sets = folds(case.mask.columns, 1, seed_from_name(exam[0]))
        sight = look(np.asarray(again.result), np.asarray(again.auxiliary), (0.0, *pixel[1:]), every)
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps([held_out(again, sets).explained, vars(sight)]))
    explained, sight = json.loads(file.read_text())
    return explained, Sight(**sight)


if __name__ == "__main__":
    main()
