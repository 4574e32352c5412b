"""How many lines must be kept back for a verdict that does not hang on which ones they are?

    python benchmarks/trust/few_lines.py --data FOLDER [--draws 6] [--slices 2] [--out FILE.json]

Two slices of development patients (see ``scans.py``), none of a test patient, are made coarse by cropping k-space, so
that few lines are there. Each is accelerated (protocol ``complex``, 0.5% noise) by several masks of one kind,
reconstructed by the shipped network with its right auxiliary, and judged by the lines kept back alone
(:func:`fsmnet.trust.familiar.by_hold_out`, against the scans that the checkpoint knows). All suit the network, so that
a doubt is a false one. Told by columns and by lines kept back: in how many draws a doubt is raised.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from scans import DEVELOPMENT, accelerate, provenance, rounded, slices_of, spread
from torch import Tensor

from fsmnet.checkpoint import header_of, load_model
from fsmnet.errors import UserError
from fsmnet.files import write_text
from fsmnet.inference.optimise import optimise
from fsmnet.physics.holdout import folds
from fsmnet.physics.masks import seed_from_name
from fsmnet.protocols.cases import Slices
from fsmnet.protocols.complex import Complex
from fsmnet.trust.familiar import FACTOR, by_hold_out, explained_before
from fsmnet.trust.holdout import hold_out, simple_methods
from fsmnet.trust.simulated import reconstructed
from fsmnet.trust.words import BLANK, NETWORK

PATIENTS = ("OMS-26", "TCGA-DU-7294", "stroke-VRD")
WIDTHS = (40, 56, 80, 112, 160)
ACCELERATIONS = (4, 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=6)
    parser.add_argument("--slices", type=int, default=2)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    network = optimise(load_model("shipped"), "float32")
    known = header_of(network).trust["familiar"]
    rows: list[dict[str, Any]] = []
    for patient in PATIENTS:
        exam = DEVELOPMENT[patient][0]
        whole = slices_of(arguments.data, *exam)
        keep = spread(len(whole.numbers), arguments.slices)
        for width in WIDTHS:
            target, auxiliary = (coarse(one[keep], width) for one in (whole.target, whole.auxiliary))
            slices = Slices(target, auxiliary, [whole.numbers[number] for number in keep])
            for acceleration in ACCELERATIONS:
                for draw in range(arguments.draws):
                    name = f"{exam[0]} {width} {draw}"
                    rows.append({"scan": patient, "width": width, "acceleration": acceleration})
                    rows[-1] |= judged(network, known, slices, name, acceleration)
                    print(json.dumps(rows[-1]), flush=True)
    text = json.dumps(rounded(provenance(doubted=by_size(rows), draws=rows)), indent=1) + "\n"
    print(text.partition('"draws"')[0], end="")
    if arguments.out:
        write_text(arguments.out, text)


def coarse(images: Tensor, width: int) -> Tensor:
    """Magnitudes ``(n, H, W)`` of the middle of k-space, with ``width`` columns, on [0, 1]."""
    height = round(images.shape[-2] * width / images.shape[-1])
    lines = torch.fft.fftshift(torch.fft.fft2(images), dim=(-2, -1))
    top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
    middle = lines[..., top : top + height, left : left + width]
    found = torch.fft.ifft2(torch.fft.ifftshift(middle, dim=(-2, -1))).abs()
    return found / found.max()


def judged(network: Any, known: dict[str, Any], slices: Slices, name: str, acceleration: float) -> dict[str, Any]:
    """What one draw of lines says."""
    case = accelerate(Complex(noise=0.005), slices, name, acceleration, len(slices.numbers))
    try:
        sets = folds(case.mask.columns, 1, seed_from_name(name))
    except UserError as error:
        return {"lines": 0, "doubts": [str(error)]}
    again, found = reconstructed(name, network, case), {}
    for number in range(len(case.zero_filled)):
        lines, blank = again.lines(number), torch.zeros_like(case.slices.auxiliary[number])
        methods = {
            NETWORK: lambda rest, n=number: again.image(n, rest),
            BLANK: lambda rest, n=number, other=blank: again.image(n, rest, other),
            **simple_methods(lines, case.slices.auxiliary[number, None]),
        }
        for method, one in hold_out(lines, methods, sets).items():
            found[method] = found[method] + one if method in found else one
    explained = {method: one.explained for method, one in found.items()}
    factor = float(known.get("unexplained_factor", FACTOR))
    refused, doubted = by_hold_out(explained, explained_before(known, case.mask.acceleration or acceleration), factor)
    return {"lines": int(sets[0].sum()), "explained": explained[NETWORK], "doubts": [*refused, *doubted]}


def by_size(rows: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """By columns, then by lines kept back: in how many draws a doubt is raised."""
    counted: dict[str, dict[str, list[bool]]] = {}
    for row in sorted(rows, key=lambda row: (row["width"], row["lines"])):
        if row["lines"]:
            of_width = counted.setdefault(f"{row['width']} columns", {})
            of_width.setdefault(f"{row['lines']} lines", []).append(bool(row["doubts"]))
    return {
        width: {lines: f"{sum(some)} of {len(some)}" for lines, some in of_width.items()}
        for width, of_width in counted.items()
    }


if __name__ == "__main__":
    main()
