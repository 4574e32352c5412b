"""Turn the trained weights into those that the package carries: the same numbers, and a header that says what they are.

    python benchmarks/unrolled/ship.py benchmarks/unrolled/weights/unrolled.safetensors \\
        src/fsmnet/weights/fsmnet_unrolled.safetensors
    python benchmarks/ship_weights.py src/fsmnet/weights/fsmnet_unrolled.safetensors \\
        src/fsmnet/weights/fsmnet_unrolled.safetensors --scans ../shared/data

The second tells the training's scans by their voxels.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import load_file

from fsmnet.checkpoint import Header, load_weights, save_checkpoint, versions
from fsmnet.models import create_model, recipe_of
from fsmnet.physics.masks import MaskRecipe, default_center_fraction

SPLIT = {
    "train": [
        "OMS-07",
        "OMS-19",
        "TCGA-DU-7294",
        "stroke-VRD",
        "OMSL-01-s1",
        "OMSL-01-s2",
        "OMSL-03-s2",
        "OMSL-19-s2",
        "OMSL-20-s2",
    ],
    "validation": ["OMS-26"],
    "test": ["TCGA-FG-6692", "OMSL-04-s1"],
}
DATA = (
    "OMS and OMSL: Lesjak et al., CC-BY; TCGA-DU-7294: The Cancer Imaging Archive, TCGA-LGG (Pedano et al.), "
    "CC-BY 3.0; stroke-VRD: neurolabusc/VolumeRenderingData, MIT"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    model = create_model("fsmnet_unrolled")
    state = load_file(arguments.source)
    load_weights(model, state, arguments.source)
    header = Header(
        recipe_of(model),
        training={"data": DATA, "script": "benchmarks/unrolled/train.py"},
        split=SPLIT,
        versions=versions(),
        protocol="complex",
        contrasts={"target": "any", "auxiliary": "any"},
        mask=asdict(MaskRecipe("random", 4.0, default_center_fraction(4), "name", span=(2.0, 12.0))),
    )
    save_checkpoint(arguments.out, state, header)


if __name__ == "__main__":
    main()
