"""What does it cost a map that only some slices are computed, and the others lie between them?

    python benchmarks/trust/between.py --data FOLDER --out FILE.json

Consecutive slices of a development patient (OMS-26, 1 mm apart), T2 with T1 at 4x by ``shipped``: every slice is
reconstructed without the auxiliary and from fewer lines; then only every n-th, and the changes between are means
(:mod:`fsmnet.trust.between`). Of the slices that were not computed: correlation, within the head, of the map of
influence with the one of all slices, and of the expected error with it and with the true error. ``passes`` of a slice,
on average, beside the image itself.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scans import accelerate, provenance, rounded, slices_of
from torch import Tensor

from fsmnet.checkpoint import load_model
from fsmnet.data.head import head_mask
from fsmnet.files import write_text
from fsmnet.inference.optimise import optimise
from fsmnet.physics.holdout import folds
from fsmnet.physics.masks import seed_from_name
from fsmnet.protocols.cases import Slices
from fsmnet.protocols.complex import Complex
from fsmnet.reconstruction.again import Again
from fsmnet.trust.between import between
from fsmnet.trust.error_map import expected_error, spread_over_folds
from fsmnet.trust.influence import influence
from fsmnet.trust.simulated import reconstructed

EXAM, FIRST, COUNT, ACCELERATION = ("OMS-26", "t2", "t1"), 40, 25, 4
STEPS = (1, 2, 3, 4, 6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    again, columns = reconstruction(arguments.data)
    every = list(range(COUNT))
    sets = folds(columns, 1, seed_from_name(again.name))
    change, apart = influence(again, every, every[:1]).blank, spread_over_folds(again, sets, every)
    head = torch.from_numpy(head_mask(again.result.numpy()))
    error = (again.result - again.measured.reference).abs()
    full = maps(again, change, apart, every)
    rows = []
    for step in STEPS:
        known = sorted({*range(0, COUNT, step), COUNT - 1})
        some = maps(again, change[known], apart[known], known)
        between_them = torch.ones_like(head)
        if step > 1:
            between_them[known] = False
        where = head & between_them
        rows.append(
            {
                "every": step,
                "passes": 2 * len(known) / COUNT,
                "influence_with_all": correlation(some["influence"], full["influence"], where),
                "expected_with_all": correlation(some["expected"], full["expected"], where),
                "expected_with_error": correlation(some["expected"], error, where),
                "expected_of_all_with_error": correlation(full["expected"], error, where),
            }
        )
    result = provenance(seed=0, scan=EXAM, slices=COUNT, acceleration=ACCELERATION, steps=rows)
    text = json.dumps(rounded(result), indent=1) + "\n"
    print(text, end="")
    write_text(arguments.out, text)


def reconstruction(data: Path) -> tuple[Again, Any]:
    """Consecutive slices, and the lines that were measured."""
    slices, part = slices_of(data, *EXAM), slice(FIRST, FIRST + COUNT + 2)  # its ends are left out by ``accelerate``
    some = Slices(slices.target[part], slices.auxiliary[part], slices.numbers[part])
    case = accelerate(Complex(noise=0.005), some, EXAM[0], ACCELERATION, COUNT)
    return reconstructed(EXAM[0], optimise(load_model("shipped"), "float32"), case), case.mask.columns


def maps(again: Again, change: Tensor, apart: Tensor, known: list[int]) -> dict[str, Tensor]:
    """Both maps of all slices, from some."""
    expected = expected_error(again, change, apart, known, math.nan)
    assert expected is not None
    return {"influence": between(change, known, COUNT), "expected": expected.values}


def correlation(one: Tensor, other: Tensor, where: Tensor) -> float:
    """Pearson's, mean over slices."""
    found = [
        np.corrcoef(a[w].numpy(), b[w].numpy())[0, 1] for a, b, w in zip(one, other, where, strict=True) if w.any()
    ]
    return float(np.mean(found))


if __name__ == "__main__":
    main()
