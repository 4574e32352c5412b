"""Train the network for images without k-space on whole slices: any contrast, 2x to 12x, with skull and without.

    python benchmarks/unrolled/image.py train.npz.xz --out runs/image --seconds 4200 \\
        --init src/fsmnet/weights/fsmnet_quick_4x.safetensors

FSMNet of 16 features learns from magnitudes of zero-filled images, each normalised over its whole slice as
``fsmnet reconstruct`` does it. Its frequency branch sees spectra whose size is the slice's, so no strips. Samples are
those of ``train.py`` with other shares: of the slices of 240 x 240 a third is measured as the protocol ``brats`` does
it, with its one mask for 4x or the one for 8x; 4 in 10 images are real, since a magnitude that somebody left lines out
of is. The seconds are the processor's, on one thread (``equal.py``), and the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from equal import CPU, Run
from safetensors.torch import load_file
from torch import Tensor
from train import Bank, Training, Variant, build, read_cases, to_millimetres

from fsmnet.data.augment import Parameters, Sample
from fsmnet.inference.allocator import large_blocks_apart
from fsmnet.models.kernels.install import install_kernels
from fsmnet.physics.acquisition import Acquisition
from fsmnet.protocols.brats import SIZE, brats_mask
from fsmnet.transforms import NormalisationRecipe

VALIDATION = ("stroke-VRD", "OMSL-20-s2")  # stripped, and with skull; the old weights saw neither
RECIPE = NormalisationRecipe(clip=None)
BRATS = {4.0: 0.22, 8.0: 0.11}  # share of each of the protocol's masks
REAL, NOISELESS, MISSING, WRONG = 0.4, 0.4, 0.05, 0.03


class Images(Training):
    """Whole slices, some of them measured as the protocol ``brats`` does it."""

    def drawn(self, parameters: Parameters) -> Parameters:
        """Other shares of what makes a scan difficult."""
        count = len(parameters.noise)

        def chance(of: float) -> Tensor:
            return torch.rand(count) < of

        mask, paper = parameters.mask, torch.zeros(count, dtype=torch.bool)
        if mask.shape[-1] == SIZE:
            kind, before = torch.rand(count), 0.0
            for acceleration, share in BRATS.items():
                chosen = (kind >= before) & (kind < before + share)
                one = torch.from_numpy(brats_mask(acceleration).columns)
                mask, paper, before = torch.where(chosen[:, None, None], one, mask), paper | chosen, before + share
        return replace(
            parameters,
            mask=mask,
            phase=parameters.phase * ~(paper | chance(REAL))[:, None, None],
            noise=parameters.noise * ~(paper | chance(NOISELESS)),
            present=~chance(MISSING),
            wrong=chance(WRONG),
        )

    def loss_of(self, sample: Sample, image: Tensor, scan: Acquisition) -> Tensor:
        """The paper's loss, of images as the network gets them."""
        inputs = RECIPE.inputs(scan.zero_filled.abs()[:, None], sample.auxiliary)
        with self.half_precision():
            output = self.model(inputs.target, inputs.auxiliary)
        return self.frequency_loss(output, RECIPE.target(sample.target[:, None], inputs.normalisation))


def kinds(cases: dict[str, dict[str, Tensor]], zoom: dict[str, float], batch: int) -> list[Variant]:
    """Batches: of five, two as BraTS has them, two in tighter frames, one of finer pixels."""
    fine = {case: volumes for case, volumes in cases.items() if zoom[case] < 0.95}
    coarse = {case: to_millimetres(v, zoom[case]) if case in fine else v for case, v in cases.items()}
    mm, detailed = Bank.build(coarse, SIZE, True), Bank.build(fine, 400, False)
    whole = Variant(mm, SIZE, batch, (30, 30), height=SIZE)
    tight = Variant(mm, 192, batch, (10, 10), height=192)
    tighter = Variant(mm, 176, batch, (10, 6), height=208)
    finer = Variant(detailed, 352, max(1, batch // 2), (16, 16), (1.5, 9.0), height=320)
    return [whole, tight, whole, finer, tighter]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=4200.0, help="of the processor")
    parser.add_argument("--turn", type=float, default=60.0, help="seconds between saved states")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--warm-up", type=int, default=100, help="steps")
    parser.add_argument("--init", type=Path, help="weights to begin with")
    parser.add_argument("--peak", type=float, default=7e-4, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    large_blocks_apart()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    cases, zoom = read_cases(args.data, CPU)
    for name in VALIDATION:
        del cases[name]
    torch.manual_seed(args.seed)
    model, _ = build("fsmnet")
    if args.init:
        model.load_state_dict({k: v.float() for k, v in load_file(args.init).items()})
    install_kernels(model)
    run = Run(Images("fsmnet", model, CPU, args.peak, args.seed), args.seconds, args.warm_up)
    state = args.out / "fsmnet.state"
    if state.exists():
        run.go_on(state)
    variants = kinds(cases, zoom, args.batch)
    t = run.training
    while run.spent < run.seconds:
        run.turn(variants, args.turn)
        run.keep(state)
        print(f"{run.spent:.0f} s, {t.steps} steps, loss {float(t.loss):.5f}", flush=True)
    told = {"processor_seconds": run.spent, "steps": t.steps, "loss": float(t.loss), "validation": VALIDATION}
    told |= {name: getattr(args, name) for name in ("batch", "warm_up", "peak", "seed")}
    (args.out / "training.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
