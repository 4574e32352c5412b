"""Mutual information of pairs in place, moved, registered, and of two patients: where a warning has to begin.

    python benchmarks/similarity.py --data DIR --out benchmarks/similarity.json

Of every case, T2 and T1 as they lie; the T1 rotated by 5 degrees and shifted by 8 mm as in ``registration.py``, before
and after registration; and the T1 of the next case, registered. The warning begins at ``fsmnet.data.register.LOW``.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from registration import head_points, movement

from fsmnet.checkpoint import versions
from fsmnet.data.grid import resample_to
from fsmnet.data.pairing.names import find_pairs, load_pair
from fsmnet.data.register import LOW, register_rigid, similarity
from fsmnet.files import write_text


def main() -> None:
    """Measure all cases of a folder and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    pairs = find_pairs(arguments.data, "t2", "t1")
    rows: dict[str, dict[str, float | str]] = {}
    for pair, other in zip(pairs, [*pairs[1:], *pairs[:1]], strict=True):
        target, auxiliary = load_pair(pair.target, pair.auxiliary)
        motion = movement(head_points(target).mean(axis=1))
        moved = resample_to(replace(auxiliary, affine=motion @ auxiliary.affine), auxiliary)
        registered = register_rigid(moved, target)
        _, strange = load_pair(other.target, other.auxiliary)
        rows[pair.case] = {
            "in_place": similarity(target, auxiliary),
            "moved": registered.similarity_before,
            "registered": registered.similarity_after,
            "other_patient": other.case,
            "other_patient_registered": register_rigid(strange, target).similarity_after,
        }
    result = {
        "unit": "nats",
        "warning_below": LOW,
        "cases": rows,
        "versions": versions() | {"SimpleITK": version("SimpleITK")},
    }
    text = json.dumps(result, indent=2) + "\n"
    print(text, end="")
    write_text(arguments.out, text)


if __name__ == "__main__":
    main()
