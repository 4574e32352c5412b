"""Does the verdict of ``fsmnet reconstruct`` flag what it should, and only that?

    python benchmarks/trust/familiarity.py --data FOLDER --cache FOLDER [--only NAME] [--slices 3] [--out FILE.json]

**Blind.** What known scans show, and how far outside it a scan may lie, comes from the checkpoints (``ship.py``), that
is from the development patients alone; no bound was set by a test patient. ``at_home`` asks the development patients:
each is judged by what the others show and by bounds from the others only, and so is each with an auxiliary of another,
or moved by 4 mm (images and relations of scans that the network reconstructed with the right auxiliary).

**Test patients.** The shipped k-space network and FSMNet of ``benchmarks/quick`` reconstruct T2 with T1 (protocol
``complex``, one coil, 0.5% noise). What they were made for must not be flagged; what they were not made for must be:
another contrast as target, both contrasts exchanged, an auxiliary of another patient or moved by 4 mm, a head with
skull for a network that saw none, another acceleration, a made-up knee. All files say that they are T2 and T1, even
where they are not. The trial of the auxiliary that a k-space network makes first is left out here, so that every
auxiliary comes to the verdict.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scans import DEVELOPMENT, QUICK, accelerate, accelerated, provenance, rounded, scan_file
from scipy import ndimage
from ship import Seen, patients, seen, speeds, suited
from torch import nn

from fsmnet.checkpoint import checkpoint_file, load_model
from fsmnet.data.appearance import appearance
from fsmnet.data.contrast import Contrast, ScanFacts
from fsmnet.files import write_text
from fsmnet.inference.optimise import optimise
from fsmnet.inference.suitability import mask_doubts, purpose_of, suitability
from fsmnet.physics.holdout import folds
from fsmnet.physics.masks import seed_from_name
from fsmnet.protocols.cases import Accelerated, Slices
from fsmnet.protocols.complex import Complex
from fsmnet.transforms import center_fit
from fsmnet.trust.calibrate import reference
from fsmnet.trust.familiar import SUITS, by_hold_out, explained_before, look, unusual
from fsmnet.trust.holdout import hold_out, simple_methods
from fsmnet.trust.simulated import reconstructed
from fsmnet.trust.verdict import verdict
from fsmnet.trust.words import BLANK, NETWORK

NETWORKS = {"shipped": "shipped", "quick": QUICK}
MOVED = 4.0  # millimetres
GLIOMA, LESIONS = ("TCGA-FG-6692", "t2", "t1"), ("OMSL-04-s1", "t2", "t1")
STRANGER = {"TCGA-FG-6692": "TCGA-DU-7294", "OMSL-04-s1": "OMSL-03-s2"}  # on the same grid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--only", choices=list(NETWORKS))
    parser.add_argument("--slices", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    home = {}
    for name in [arguments.only] if arguments.only else NETWORKS:
        network = optimise(load_model(NETWORKS[name]), "float32")
        home[name] = at_home(arguments, name)
        print(json.dumps({name: home[name]}), flush=True)
        for what, fits, case, pixel in cases(arguments, name):
            file = arguments.cache / "familiar_blind" / f"{name}_{what}.json".replace(" ", "_").replace(",", "")
            if not file.exists():
                kind, because = judged(network, case, pixel, what)
                file.parent.mkdir(exist_ok=True)
                file.write_text(
                    json.dumps({"network": name, "scan": what, "fits": fits, "verdict": kind, "because": because})
                )
            rows.append(json.loads(file.read_text()))
            print(json.dumps(rows[-1]), flush=True)
    right = [row["verdict"] == SUITS for row in rows if row["fits"]]
    wrong = [row["verdict"] != SUITS for row in rows if not row["fits"]]
    result = provenance(
        seed=0,
        flagged_though_it_fits=f"{len(right) - sum(right)} of {len(right)}",
        flagged_that_does_not_fit=f"{sum(wrong)} of {len(wrong)}",
        at_home=home,
        scans=rows,
    )
    text = json.dumps(rounded(result), indent=1) + "\n"
    print(text, end="")
    if arguments.out:
        write_text(arguments.out, text)


def cases(arguments: argparse.Namespace, name: str) -> Any:
    """What it is, whether the network was made for it, the case, and the distance of its voxels in millimetres."""
    data, most = arguments.data, arguments.slices
    image, exams = name == "quick", (GLIOMA,) if name == "quick" else (GLIOMA, LESIONS)
    for exam in exams:
        for at in (4,) if image else (2, 4, 8, 12):
            yield f"{exam[0]}, {at}x", True, *accelerated(data, exam, at, most)
        for at in (4,) if image else (4, 8):
            stranger = scan_file(data, STRANGER[exam[0]], "t1")
            yield f"{exam[0]}, auxiliary of another patient, {at}x", False, *accelerated(data, exam, at, most, stranger)
            case, pixel = accelerated(data, exam, at, most)
            for axis in (1, 2):
                moved = case.slices.auxiliary.roll(round(MOVED / pixel[axis]), axis)
                other = replace(case, slices=replace(case.slices, auxiliary=moved))
                yield f"{exam[0]}, auxiliary moved by 4 mm along axis {axis}, {at}x", False, other, pixel
    for at in (4,) if image else (4, 8):
        yield f"a knee, {at}x", False, accelerate(Complex(noise=0.005), knee(), "knee", at, most), (0.0, 0.6, 0.6)
    if image:
        yield "TCGA-FG-6692, FLAIR as target, 4x", False, *accelerated(data, ("TCGA-FG-6692", "flair", "t1"), 4, most)
        yield "TCGA-FG-6692, contrasts exchanged, 4x", False, *accelerated(data, ("TCGA-FG-6692", "t1", "t2"), 4, most)
        yield "TCGA-FG-6692, 8x", False, *accelerated(data, GLIOMA, 8, most)
        yield "OMSL-04-s1, with skull, 4x", False, *accelerated(data, LESIONS, 4, most)


def judged(network: nn.Module, case: Accelerated, pixel: Any, name: str) -> tuple[str, list[str]]:
    """The verdict as ``fsmnet reconstruct`` comes to it."""
    claimed = {"target": "t2", "auxiliary": "t1"}  # by the files' names, be they right or not
    facts = [
        ScanFacts(role, Contrast(claimed[role], "by its file's name"), appearance(one.numpy()))
        for role, one in parts(case.slices)
    ]
    purpose = purpose_of(network)
    suits = suitability(purpose, *facts, anyway=True)
    again = reconstructed(name, network, case)
    doubts = (*suits.doubts, *mask_doubts(purpose, case.mask))
    again = replace(again, refusals=suits.refusals, doubts=doubts, pixel=(0.0, *pixel[1:]), model=network)
    every = list(range(len(case.zero_filled)))
    sets = folds(case.mask.columns, 1, seed_from_name(name))
    found: dict[str, Any] = {}
    for number in every:
        lines = again.lines(number)
        blank = torch.zeros_like(case.slices.auxiliary[number])
        methods = {
            NETWORK: lambda rest, n=number: again.image(n, rest),
            BLANK: lambda rest, n=number, other=blank: again.image(n, rest, other),
            "zero-filling": simple_methods(lines)["zero-filling"],
        }
        for method, one in hold_out(lines, methods, sets).items():
            found[method] = found[method] + one if method in found else one
    said = verdict(again, every, {method: one.explained for method, one in found.items()})
    return said.kind, list(said.because)


def parts(slices: Slices) -> list[tuple[str, Any]]:
    return [("target", slices.target), ("auxiliary", slices.auxiliary)]


def knee() -> Slices:
    """A made-up sagittal knee, proton density without fat and T1: bones, cartilage, muscle, fat below the skin."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:320j, -1:1:320j]
    targets, others = [], []
    for number in range(12):
        off = 0.04 * (number - 6) / 6
        leg = np.abs(x - 0.05 * y) < 0.72 + off
        fat = leg & ~(np.abs(x - 0.05 * y) < 0.6 + off)
        femur = (((x + 0.05) / 0.34) ** 2 + ((y + 0.62) / 0.62) ** 2 < 1) | ((np.abs(x + 0.05) < 0.2) & (y < -0.5))
        tibia = (((x + 0.03) / 0.36) ** 2 + ((y - 0.62) / 0.58) ** 2 < 1) | ((np.abs(x) < 0.22) & (y > 0.5))
        patella = ((x - 0.45) / 0.1) ** 2 + ((y + 0.25) / 0.2) ** 2 < 1
        bone = (femur | tibia | patella) & leg
        joint = ndimage.binary_dilation(bone, iterations=6) & ~bone & (np.abs(y) < 0.35)
        texture = ndimage.gaussian_filter(rng.standard_normal((320, 320)), 1.5)
        texture /= texture.std()
        first = np.select([joint, bone, fat, leg], [0.9, 0.18, 0.15, 0.45], 0.0)
        second = np.select([joint, bone, fat, leg], [0.35, 0.8, 0.95, 0.4], 0.0)
        for images, image in ((targets, first), (others, second)):
            smooth = ndimage.gaussian_filter(image, 0.7) * (1 + 0.08 * texture)
            images.append(np.abs(smooth * leg + 0.01 * rng.standard_normal(image.shape)).astype(np.float32))
    stacks = [torch.from_numpy(np.stack(images)) for images in (targets, others)]
    return Slices(stacks[0] / stacks[0].max(), stacks[1] / stacks[1].max(), list(range(12)))


def at_home(arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    """How many development patients are flagged by what the others show, as they are and with a wrong auxiliary."""
    file = checkpoint_file(NETWORKS[name])
    found, network = patients(arguments, file), load_model(file)
    scans = {
        patient: [
            seen(arguments, file, exam, at) for exam in suited(arguments, network, exams) for at in speeds(network)
        ]
        for patient, exams in DEVELOPMENT.items()
        if patient in found
    }
    flagged: dict[str, dict[str, list[str]]] = {"as they are": {}, "another's auxiliary": {}, "auxiliary moved": {}}
    asked = dict.fromkeys(flagged, 0)
    for number, (patient, one) in enumerate(found.items()):
        others = {other: p for other, p in found.items() if other != patient}
        known = reference(others)
        reasons = [reason for sight in one.sights for reason in unusual(sight, known)]
        for at, shares in one.explained.items():
            before, factor = explained_before(known, at), known["unexplained_factor"]
            reasons += [reason for share in shares for reason in by_hold_out({NETWORK: share}, before, factor)[1]]
        stranger = scans[list(others)[number % len(others)]][0]
        wrong = {"as they are": [reasons], "another's auxiliary": [], "auxiliary moved": []}
        for scan in scans[patient]:
            foreign = center_fit(torch.from_numpy(stranger.auxiliary), *scan.image.shape[-2:]).numpy()
            wrong["another's auxiliary"].append(told_of(scan, foreign, known))
            for axis in (1, 2):
                steps = round(MOVED / float(scan.pixel[axis]))
                wrong["auxiliary moved"].append(told_of(scan, np.roll(scan.auxiliary, steps, axis), known))
        for what, judged_so in wrong.items():
            asked[what] += len(judged_so)
            hits = [sorted(set(one)) for one in judged_so if one]
            if hits:
                flagged[what][patient] = [f"{len(hits)} of {len(judged_so)}", *hits[0]]
    return {
        what: {"asked": asked[what], "flagged": sum(int(one[0].split()[0]) for one in some.values()), "why": some}
        for what, some in flagged.items()
    }


def told_of(scan: Seen, auxiliary: Any, known: dict[str, Any]) -> list[str]:
    """What speaks against a scan with another auxiliary."""
    return unusual(look(scan.image, auxiliary, (0.0, *scan.pixel[1:]), range(len(scan.image))), known)


if __name__ == "__main__":
    main()
