"""Does the verdict of ``fsmnet reconstruct`` flag what it should, and only that?

    python benchmarks/trust/familiarity.py --data FOLDER --cache FOLDER [--only NAME] [--slices 2] [--out FILE.json]

**At home.** What known scans show, and how far from it a scan may lie, comes from the checkpoints (``ship.py``), that
is from the development patients alone. Each of them is judged by what the others show and by bounds from the others
only, and so is each with an auxiliary of another, or moved by 4 mm (images and relations of scans that the network
reconstructed with the right auxiliary). Which numbers are compared, and how, was chosen by these and by the made-up
strangers of ``strangers.to_set_by``.

**Test patients and kept strangers.** The shipped networks and FSMNet of ``benchmarks/quick`` reconstruct (protocol
``complex``, one coil, 0.5% noise). What they were made for must not be flagged; what they were not made for must be:
another contrast as target, both contrasts exchanged, an auxiliary of another patient or moved by 4 mm, a head with
skull for a network that saw none, another acceleration, and what is no head: ``strangers.to_ask`` and a made-up knee
(the knee was asked before the scans were compared as they are now, the others were not). All files say that they
are T2 and T1, even where they are not, unless the network takes any. The trial of the auxiliary that a k-space
network makes first is left out here, so that every auxiliary comes to the verdict. **Made-up heads**
(``fsmnet.data.phantom``) are neither: how many are called unusual.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scans import DEVELOPMENT, QUICK, accelerate, accelerated, provenance, rounded, scan_file
from scipy import ndimage
from ship import Seen, patients, seen, suited
from strangers import to_ask, to_set_by
from torch import nn

from fsmnet.checkpoint import checkpoint_file, load_model
from fsmnet.data.appearance import appearance
from fsmnet.data.contrast import Contrast, ScanFacts
from fsmnet.data.phantom import make_subject
from fsmnet.files import write_text
from fsmnet.inference.optimise import optimise
from fsmnet.inference.suitability import mask_doubts, purpose_of, suitability
from fsmnet.physics.holdout import folds
from fsmnet.physics.masks import seed_from_name
from fsmnet.protocols.cases import Accelerated, Slices
from fsmnet.protocols.complex import Complex
from fsmnet.transforms import center_fit
from fsmnet.trust.calibrate import reference
from fsmnet.trust.familiar import SUITS, by_hold_out, enough, explained_before, look, unusual
from fsmnet.trust.holdout import hold_out, simple_methods
from fsmnet.trust.simulated import reconstructed
from fsmnet.trust.verdict import verdict
from fsmnet.trust.words import BLANK, NETWORK

NETWORKS = {"shipped": "shipped", "shipped-image": "shipped-image", "quick": QUICK}
MOVED = 4.0  # millimetres
GLIOMA, LESIONS = ("TCGA-FG-6692", "t2", "t1"), ("OMSL-04-s1", "t2", "t1")
STRANGER = {"TCGA-FG-6692": "TCGA-DU-7294", "OMSL-04-s1": "OMSL-03-s2"}  # on the same grid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--only", choices=list(NETWORKS))
    parser.add_argument("--slices", type=int, default=2)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows, home = [], {}
    for name in [arguments.only] if arguments.only else NETWORKS:
        network = optimise(load_model(NETWORKS[name]), "float32")
        kept = arguments.cache / f"at_home_{name}.json"
        if not kept.exists():
            kept.write_text(json.dumps(at_home(arguments, name, network)))
        home[name] = json.loads(kept.read_text())
        print(json.dumps({name: home[name]}), flush=True)
        for kind, what, case, pixel, said in cases(arguments, name):
            file = arguments.cache / "judged" / f"{name}_{what}.json".replace(" ", "_").replace(",", "")
            if not file.exists():
                found, because = judged(network, case, pixel, what, said)
                file.parent.mkdir(exist_ok=True)
                row = {"network": name, "kind": kind, "scan": what, "verdict": found, "because": because}
                file.write_text(json.dumps(row))
            rows.append(json.loads(file.read_text()))
            print(json.dumps(rows[-1]), flush=True)
    result = provenance(seed=0, flagged=flagged(rows), at_home=home, scans=rows)
    text = json.dumps(rounded(result), indent=1) + "\n"
    print(text, end="")
    if arguments.out:
        write_text(arguments.out, text)


def flagged(rows: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """How many of each network and kind are not called suitable."""
    found: dict[str, dict[str, str]] = {}
    for network, kind in dict.fromkeys((row["network"], row["kind"]) for row in rows):
        some = [row["verdict"] != SUITS for row in rows if (row["network"], row["kind"]) == (network, kind)]
        found.setdefault(network, {})[kind] = f"{sum(some)} of {len(some)}"
    return found


FITS, ANOTHER, MOVED_BY, NO_HEAD, OTHERWISE, PHANTOM = (
    "made for it",
    "auxiliary of another patient",
    "auxiliary moved by 4 mm",
    "no head",
    "another contrast, acceleration or head",
    "made-up head",
)
Case = tuple[str, str, Accelerated, Any, tuple[str, str]]


def cases(arguments: argparse.Namespace, name: str) -> Iterator[Case]:
    """Kind, what it is, the case, the distance of its voxels in millimetres, and what its files say that it is."""
    data, most, said = arguments.data, arguments.slices, ("t2", "t1")
    image, exams = name == "quick", (GLIOMA,) if name == "quick" else (GLIOMA, LESIONS)
    for exam in exams:
        for at in (4,) if image else (2, 4, 8, 12):
            yield FITS, f"{exam[0]}, {at}x", *accelerated(data, exam, at, most), said
        for other in () if image else (("t1", "t2"), ("flair", "t2")):
            yield FITS, f"{exam[0]}, {other[0]} with T2, 6x", *accelerated(data, (exam[0], *other), 6, most), other
        for at in (4,) if image else (4, 8):
            stranger = scan_file(data, STRANGER[exam[0]], "t1")
            yield ANOTHER, f"{exam[0]}, {ANOTHER}, {at}x", *accelerated(data, exam, at, most, stranger), said
            case, pixel = accelerated(data, exam, at, most)
            for axis in (1, 2):
                moved = case.slices.auxiliary.roll(round(MOVED / pixel[axis]), axis)
                other_case = replace(case, slices=replace(case.slices, auxiliary=moved))
                yield MOVED_BY, f"{exam[0]}, {MOVED_BY} along axis {axis}, {at}x", other_case, pixel, said
    no_heads = [("a knee", knee(), (0.0, 0.6, 0.6)), *((what, one, NOWHERE) for what, one in to_ask())]
    for at in (4,) if image else (4, 8):
        for what, slices, pixel in no_heads:
            yield NO_HEAD, f"{what}, {at}x", made_up(slices, what, at, most), pixel, said
        for seed in range(3):
            yield PHANTOM, f"phantom {seed}, {at}x", made_up(head(seed), f"phantom {seed}", at, most), NOWHERE, said
    if image:
        glioma, what = GLIOMA[0], OTHERWISE
        yield what, f"{glioma}, FLAIR as target, 4x", *accelerated(data, (glioma, "flair", "t1"), 4, most), said
        yield what, f"{glioma}, contrasts exchanged, 4x", *accelerated(data, (glioma, "t1", "t2"), 4, most), said
        yield what, f"{glioma}, 8x", *accelerated(data, GLIOMA, 8, most), said
        yield what, f"{LESIONS[0]}, with skull, 4x", *accelerated(data, LESIONS, 4, most), said


NOWHERE = (0.0, 0.0, 0.0)  # distances that are not known


def made_up(slices: Slices, name: str, acceleration: float, most: int) -> Accelerated:
    return accelerate(Complex(noise=0.005), slices, name, acceleration, most)


def head(seed: int) -> Slices:
    """A made-up head as ``fsmnet demo`` and the gallery use them."""
    subject = make_subject(seed, slices=6)
    stacks = [torch.from_numpy(subject.contrasts[name].transpose(2, 0, 1).copy()) for name in ("t2", "t1")]
    return Slices(stacks[0] / stacks[0].max(), stacks[1] / stacks[1].max(), list(range(6)))


def judged(
    network: nn.Module, case: Accelerated, pixel: Any, name: str, said: tuple[str, str]
) -> tuple[str, list[str]]:
    """The verdict as ``fsmnet reconstruct`` comes to it; ``said`` by the files' names, be they right or not."""
    parts = (("target", case.slices.target), ("auxiliary", case.slices.auxiliary))
    facts = [
        ScanFacts(role, Contrast(word, "by its file's name"), appearance(one.numpy()))
        for (role, one), word in zip(parts, said, strict=True)
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
            **simple_methods(lines, case.slices.auxiliary[number, None]),
        }
        for method, one in hold_out(lines, methods, sets).items():
            found[method] = found[method] + one if method in found else one
    explained = {method: one.explained for method, one in found.items()} if enough(sets) else {}
    one = verdict(again, every, explained)
    return one.kind, list(one.because)


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


def at_home(arguments: argparse.Namespace, name: str, network: nn.Module) -> dict[str, Any]:
    """How many development patients are flagged by what the others show, as they are and with a wrong auxiliary."""
    file = checkpoint_file(NETWORKS[name])
    found = patients(arguments, file)
    scans = {
        patient: [seen(arguments, file, *one) for one in suited(arguments, network, DEVELOPMENT[patient])]
        for patient in found
    }
    result: dict[str, Any] = {"as they are": {"asked": len(found), "flagged": {}}}
    wrong: dict[str, list[bool]] = {"another's auxiliary": [], "auxiliary moved": []}
    for number, (patient, one) in enumerate(found.items()):
        others = {other: p for other, p in found.items() if other != patient}
        known = reference(others)
        reasons = [reason for sight in one.sights for reason in unusual(sight, known)]
        for at, shares in one.explained.items():
            before, factor = explained_before(known, at), known["unexplained_factor"]
            reasons += [reason for share in shares for reason in by_hold_out({NETWORK: share}, before, factor)[1]]
        if reasons:
            result["as they are"]["flagged"][patient] = sorted(set(reasons))[:3]
        stranger = scans[list(others)[number % len(others)]][0]
        for scan in scans[patient]:
            foreign = center_fit(torch.from_numpy(stranger.auxiliary), *scan.image.shape[-2:]).numpy()
            wrong["another's auxiliary"].append(bool(told_of(scan, foreign, known)))
            for axis in (1, 2):
                steps = round(MOVED / float(scan.pixel[axis]))
                wrong["auxiliary moved"].append(bool(told_of(scan, np.roll(scan.auxiliary, steps, axis), known)))
    wrong["no head, to choose by"] = of_strangers(arguments, name, network, reference(found))
    return result | {what: f"{sum(some)} of {len(some)}" for what, some in wrong.items()}


def of_strangers(arguments: argparse.Namespace, name: str, network: nn.Module, known: dict[str, Any]) -> list[bool]:
    """Which strangers are flagged by their images alone; kept in the cache."""
    found = []
    for what, slices in to_set_by():
        for at in (4,) if name == "quick" else (4, 8):
            kept = arguments.cache / "strangers" / f"{name}_{what}_{at}.npz".replace(" ", "_")
            if not kept.exists():
                kept.parent.mkdir(exist_ok=True)
                again = reconstructed(what, network, made_up(slices, what, at, arguments.slices))
                np.savez(kept, image=again.result, auxiliary=again.auxiliary)
            with np.load(kept) as arrays:
                image, auxiliary = arrays["image"], arrays["auxiliary"]
            found.append(bool(unusual(look(image, auxiliary, NOWHERE, range(len(image))), known)))
    return found


def told_of(scan: Seen, auxiliary: Any, known: dict[str, Any]) -> list[str]:
    """What speaks against a scan with another auxiliary."""
    return unusual(look(scan.image, auxiliary, (0.0, *scan.pixel[1:]), range(len(scan.image))), known)


if __name__ == "__main__":
    main()
