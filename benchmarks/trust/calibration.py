"""Is the promise of a calibrated error map kept? On a population of phantoms, and on the real patients.

    python benchmarks/trust/calibration.py --data FOLDER --cache FOLDER --error-network FILE [--phantoms 60]
        [--out FILE.json]

**Phantoms**: heads of ``fsmnet.data.phantom``, T2 with T1, one slice each at 4x and at 8x (protocol ``complex``, 0.5%
noise), reconstructed by the shipped network. In each of 200 random draws half of the heads calibrate and the other
half is asked: in how many heads do at least 90% of a group's voxels lie below the bound? And how many voxels do?

**Patients**: the nine of the development side, 2 to 12x, from the samples of ``samples.py`` (``--cache``). Each is left
out once and asked with the bound of the other eight, at the highest rate that eight can promise; the two test patients
are asked with the bound of all nine, at 90%. The network was trained on eight of the nine: their errors are smaller
than those of others may be.

``shipped-image`` has no error network: its calibration is of the spread over one fold, on the reconstructions of
``ship.py``, and is asked likewise.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from error_maps import estimated, read
from safetensors.torch import load_file
from samples import measured
from scans import TEST, provenance, rounded

from fsmnet.checkpoint import checkpoint_file, load_model
from fsmnet.data.head import head_mask
from fsmnet.data.phantom import make_subject
from fsmnet.files import write_text
from fsmnet.inference.optimise import optimise
from fsmnet.trust.conformal import GROUPS, brightness, factors_of, group_edges, patient_scores, promised
from fsmnet.trust.error_map import error_network

RATE, DRAWS = 0.9, 200
Voxels = tuple[Any, Any]  # true and expected errors of a patient's head, as shares of brightness


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--error-network", type=Path, required=True)
    parser.add_argument("--phantoms", type=int, default=60)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    estimate = estimated(error_network(load_file(arguments.error_network)))
    heads = phantoms(arguments.cache / "phantoms", arguments.phantoms)
    people = {side: by_patient(read(arguments.cache / side)) for side in ("development", "test")}
    result = provenance(
        seed=0,
        rate=RATE,
        phantoms=population([voxels([sample], estimate) for sample in heads]),
        patients=left_out({name: voxels(samples, estimate) for name, samples in people["development"].items()}),
        test=asked(
            [voxels(samples, estimate) for samples in people["development"].values()],
            {name: voxels(samples, estimate) for name, samples in people["test"].items()},
            RATE,
        ),
        shipped_image=of_image_network(arguments),
    )
    text = json.dumps(rounded(result), indent=1) + "\n"
    print(text, end="")
    if arguments.out:
        write_text(arguments.out, text)


def of_image_network(arguments: argparse.Namespace) -> dict[str, Any]:
    """Of the network without an error network, by the spread alone."""
    import ship  # which imports this file

    file = checkpoint_file("shipped-image")
    known = {name: joined(one.error, one.expected) for name, one in ship.patients(arguments, file).items()}
    new = {}
    for name, exams in TEST.items():
        scans = [ship.seen(arguments, file, *one) for one in ship.suited(arguments, load_model(file), exams)]
        new[name] = joined(*zip(*map(ship.by_spread, scans), strict=True))
    return {"patients": left_out(known), "test": asked(list(known.values()), new, RATE)}


def joined(error: Sequence[Any], expected: Sequence[Any]) -> Voxels:
    return np.concatenate(error), np.concatenate(expected)


def by_patient(samples: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    names = sorted({sample["patient"] for sample in samples})
    return {name: [sample for sample in samples if sample["patient"] == name] for name in names}


def phantoms(cache: Path, count: int) -> list[dict[str, Any]]:
    """A reconstructed slice of each head; those of odd numbers at 8x."""
    cache.mkdir(parents=True, exist_ok=True)
    network = optimise(load_model("shipped"), "float32")
    for seed in range(1000, 1000 + count):
        file = cache / f"phantom-{seed}_{4 + 4 * (seed % 2)}.npz"
        if not file.exists():
            subject = make_subject(seed, slices=1)
            pair = [torch.from_numpy(subject.contrasts[name].transpose(2, 0, 1).copy()) for name in ("t2", "t1")]
            images = (pair[0] / pair[0].max(), pair[1] / pair[1].max())
            np.savez(file, **measured(network, images, 4 + 4 * (seed % 2), 0.005, (seed,), None))
    return read(cache)


def voxels(samples: Sequence[dict[str, Any]], estimate: Any) -> Voxels:
    """The head's voxels of a patient's samples, each sample scaled by its own brightness."""
    errors, expected = [], []
    for sample in samples:
        image = sample["image"].numpy()[None]
        head, unit = head_mask(image)[0], brightness(image)
        errors.append(sample["error"].numpy()[head] / unit)
        expected.append(estimate(sample).numpy()[head] / unit)
    return np.concatenate(errors), np.concatenate(expected)


def bounded(known: Sequence[Voxels], rate: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Edges and factors that patients give."""
    edges = group_edges([expected for _, expected in known])
    return edges, factors_of([patient_scores(error, expected, edges, rate) for error, expected in known], rate)


def below(one: Voxels, edges: Sequence[float], factors: Sequence[float]) -> list[float]:
    """The share of each group's voxels that lie below the bound; NaN of a group that is hardly there."""
    error, expected = one
    groups = np.digitize(expected, edges)
    kept = error <= expected * np.asarray(factors)[groups]
    return [float(kept[groups == g].mean()) if (groups == g).sum() >= 100 else np.nan for g in range(GROUPS)]


def population(heads: Sequence[Voxels]) -> dict[str, Any]:
    """Over random halves of a population."""
    rng, shares = np.random.default_rng(0), []
    for _ in range(DRAWS):
        order = rng.permutation(len(heads))
        known, new = order[: len(heads) // 2], order[len(heads) // 2 :]
        edges, factors = bounded([heads[i] for i in known], RATE)
        shares.append([below(heads[i], edges, factors) for i in new])
    table = np.array(shares)
    there = np.isfinite(table)
    return {
        "heads": len(heads),
        "calibrating": len(heads) // 2,
        "draws": DRAWS,
        "heads_that_keep_the_bound": float((table >= RATE)[there].mean()),
        "heads_that_keep_the_bound_by_group": [
            float((table[..., g] >= RATE)[there[..., g]].mean()) for g in range(GROUPS)
        ],
        "voxels_below_the_bound": float(np.nanmean(table)),
    }


def left_out(people: dict[str, Voxels]) -> dict[str, Any]:
    """Each patient by the bound of the others."""
    rate = promised(len(people) - 1)
    found = {"rate": rate, "calibrating": len(people) - 1, "voxels_below_the_bound": {}}
    for name in people:
        others = [one for other, one in people.items() if other != name]
        found["voxels_below_the_bound"][name] = below(people[name], *bounded(others, rate))
    table = np.array(list(found["voxels_below_the_bound"].values()))
    there = np.isfinite(table)
    return found | {
        "patients": len(people),
        "share_of_patients_and_groups_that_keep_the_bound": float((table >= rate)[there].mean()),
        "mean_of_voxels": float(np.nanmean(table)),
    }


def asked(known: Sequence[Voxels], people: dict[str, Voxels], rate: float) -> dict[str, Any]:
    """Patients by the bound of others."""
    edges, factors = bounded(known, rate)
    return {
        "rate": rate,
        "calibrating": len(known),
        "edges": edges,
        "factors": factors,
        "voxels_below_the_bound": {name: below(one, edges, factors) for name, one in people.items()},
    }


if __name__ == "__main__":
    main()
