"""Turn a training run's checkpoint into the weights that the package carries.

    python benchmarks/ship_weights.py runs/quick/best.safetensors src/fsmnet/weights/fsmnet_quick_4x.safetensors \\
        --data "OMS-07, OMS-19, OMS-26 (Lesjak et al. 2017) and TCGA-DU-7294 (TCIA, TCGA-LGG), CC-BY"

The weights are unchanged; in the header, folders of the training machine give way to the data's source.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fsmnet.checkpoint import read_checkpoint, save_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", required=True, help="what the weights were trained on, with its licence")
    arguments = parser.parse_args()
    state, header = read_checkpoint(arguments.source)
    header.training |= {"data": arguments.data, "out": "", "cache_folder": None, "device": "auto", "threads": None}
    save_checkpoint(arguments.out, state, header)


if __name__ == "__main__":
    main()
