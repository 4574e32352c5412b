"""Turn a training run's checkpoint into the weights that the package carries.

    python benchmarks/ship_weights.py runs/quick/best.safetensors src/fsmnet/weights/fsmnet_quick_4x.safetensors \\
        --data "OMS-07, OMS-19, OMS-26 (Lesjak et al. 2017) and TCGA-DU-7294 (TCIA, TCGA-LGG), CC-BY" \\
        --scans ../shared/data --targets t2

The weights are unchanged; in the header, folders of the training machine give way to the data's source, and the scans
that were trained on are told by their voxels too, so that they are known under any name. Of weights that are shipped
already only the latter is added: source and out are then one file, and --data is left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fsmnet.checkpoint import read_checkpoint, save_checkpoint
from fsmnet.data.formats import read_volume
from fsmnet.data.volume import content_hash

CONTRASTS = ("t1", "t1ce", "t2", "flair")


def contents(scans: Path, cases: Sequence[str], targets: Sequence[str] = CONTRASTS) -> dict[str, str]:
    """Case -> hashes of those of its contrasts that were targets, see :attr:`fsmnet.data.split.Split.contents`."""
    found = {}
    for case in cases:
        files = [file for name in targets for file in sorted(scans.glob(f"*/{case}/{case}_{name}.nii.gz"))]
        if not files:
            raise SystemExit(f"{scans}: holds no scan of {case}")
        found[case] = " ".join(content_hash(read_volume(file).data) for file in files)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", help="what the weights were trained on, with its licence")
    parser.add_argument("--scans", type=Path, help="folder of the training's scans, */<case>/<case>_t2.nii.gz")
    parser.add_argument("--targets", nargs="+", default=CONTRASTS, help="contrasts that were reconstructed")
    arguments = parser.parse_args()
    state, header = read_checkpoint(arguments.source)
    if arguments.data is not None:
        header.training |= {"data": arguments.data, "out": "", "cache_folder": None, "device": "auto", "threads": None}
    if arguments.scans is not None:
        known = [case for side in ("train", "validation") for case in header.split[side]]
        header.split["contents"] = contents(arguments.scans, known, arguments.targets)
    save_checkpoint(arguments.out, state, header)


if __name__ == "__main__":
    main()
