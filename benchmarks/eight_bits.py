"""Would convolutions in 8-bit integers keep the image? They are simulated: inputs and kernels are rounded to 8 bits.

    python benchmarks/eight_bits.py --data DIR --case TCGA-FG-6692 [--checkpoint FILE ...] [--out FILE]

The shipped weights and the checkpoints named run on every tenth slice with content, 4x, protocol brats. Of every dense
2D convolution the kernel is rounded with a scale per output channel and the input with one scale per call, by its
largest value, as a processor's integer convolutions take them; sums stay in float32. Three choices: all of them, those
outside the frequency branch, only the residual blocks'. Written as JSON: PSNR against the full image and its change.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
from pathlib import Path

import torch
from figures import rounded
from torch import Tensor, nn

from fsmnet.checkpoint import load_model, shipped_checkpoint
from fsmnet.data.pairing.names import find_pairs
from fsmnet.inference.slices import reconstruct_slices
from fsmnet.models.blocks import FrequencyBlock, ResBlock
from fsmnet.protocols.brats import BRATS, brats_mask
from fsmnet.protocols.volumes import prepared_slices


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--case", required=True)
    parser.add_argument("--checkpoint", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    [pair] = find_pairs(arguments.data, "t2", "t1", [arguments.case])
    slices = prepared_slices(pair, BRATS)
    target, auxiliary = slices.target[::10], slices.auxiliary[::10]
    zero_filled = BRATS.zero_fill(target, torch.from_numpy(brats_mask(4).columns))

    def psnr(model: nn.Module) -> float:
        images = reconstruct_slices(model, zero_filled, auxiliary, BRATS.normalisation, finish=BRATS.finish, batch=1)
        return statistics.fmean(metrics.psnr for metrics in BRATS.score(target, images))

    shipped = shipped_checkpoint("shipped-image")
    rows = []
    for path in [*([shipped] if shipped else []), *arguments.checkpoint]:
        model = load_model(path)
        row = {"file": path, "slices": len(target), "float32": psnr(model)}
        for name, outside in CHOICES.items():
            quantised = copy.deepcopy(model)
            count = in_eight_bits(quantised, outside)
            row[name] = {"convolutions": count, "change": psnr(quantised) - row["float32"]}
        rows.append(rounded(row))
    result = {"command": " ".join(["python", *sys.argv]), "case": arguments.case, "models": rows}
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


CHOICES: dict[str, tuple[tuple[type[nn.Module], ...], tuple[type[nn.Module], ...]]] = {
    "all": ((nn.Module,), ()),
    "outside_the_frequency_branch": ((nn.Module,), (FrequencyBlock,)),
    "residual_blocks": ((ResBlock,), ()),
}


def in_eight_bits(model: nn.Module, choice: tuple[tuple[type[nn.Module], ...], tuple[type[nn.Module], ...]]) -> int:
    """Round kernels, and inputs at every call, of the dense convolutions within the one kind and without the other."""
    within, without = choice
    chosen = {m for parent in model.modules() if isinstance(parent, within) for m in parent.modules()}
    left = {m for parent in model.modules() if isinstance(parent, without) for m in parent.modules()}
    convolutions = [m for m in chosen - left if isinstance(m, nn.Conv2d) and m.groups == 1]
    for convolution in convolutions:
        largest = convolution.weight.detach().abs().amax(dim=(1, 2, 3), keepdim=True)
        convolution.weight.data = rounded_to_eight_bits(convolution.weight.detach(), largest)
        convolution.register_forward_pre_hook(lambda _, inputs: rounded_to_eight_bits(inputs[0], inputs[0].abs().max()))
    return len(convolutions)


def rounded_to_eight_bits(x: Tensor, largest: Tensor) -> Tensor:
    """The nearest of 255 evenly spaced values from minus to plus the largest."""
    step = largest.clamp_min(1e-12) / 127
    return (x / step).round() * step


if __name__ == "__main__":
    main()
