"""How far a network's result depends on the precision of the computer: float32 against float64, and a nudged input.

    python benchmarks/precision.py --data DIR --case TCGA-FG-6692 [--checkpoint FILE ...]

Fresh networks of both variants (16 features, seed 0) and the checkpoints named are run on every tenth slice with
content, 4x, protocol brats. Printed as JSON, in units of the normalised image: rms and largest difference of the image
between float32 and float64, and rms change in float64 when the target is scaled by 1 + 1e-6.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from fsmnet.checkpoint import load_model
from fsmnet.data.pairing.names import find_pairs
from fsmnet.models import create_model
from fsmnet.protocols.brats import BRATS, brats_mask
from fsmnet.protocols.volumes import prepared_slices


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--case", required=True)
    parser.add_argument("--checkpoint", nargs="*", default=[])
    arguments = parser.parse_args()
    [pair] = find_pairs(arguments.data, "t2", "t1", [arguments.case])
    slices = prepared_slices(pair, BRATS)
    mask = torch.from_numpy(brats_mask(4).columns)
    target, auxiliary = slices.target[::10, None], slices.auxiliary[::10, None]
    inputs = BRATS.normalisation.inputs(BRATS.zero_fill(target, mask), auxiliary)
    models: dict[str, nn.Module] = {}
    for name in ("fsmnet", "fsmnet_released"):
        torch.manual_seed(0)
        models[f"{name}, fresh"] = create_model(name, features=16, blocks=2).eval()
    for path in arguments.checkpoint:
        models[f"{load_model(path).recipe['name']}, {path}"] = load_model(path)
    print(json.dumps([measure(name, m, inputs.target, inputs.auxiliary) for name, m in models.items()], indent=2))


@torch.inference_mode()
def measure(name: str, model: nn.Module, x: Tensor, y: Tensor) -> dict[str, float | str | int]:
    def run(x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([model(a[None], b[None]).image for a, b in zip(x, y, strict=True)]).double()

    single = run(x, y)
    model.double()
    x, y = x.double(), y.double()
    double, nudged = run(x, y), run(x * (1 + 1e-6), y)
    return {
        "model": name,
        "slices": len(x),
        "float32_rms": float((single - double).square().mean().sqrt()),
        "float32_largest": float((single - double).abs().max()),
        "nudge_rms": float((nudged - double).square().mean().sqrt()),
        "residual_rms": float((double - x).square().mean().sqrt()),
    }


if __name__ == "__main__":
    main()
