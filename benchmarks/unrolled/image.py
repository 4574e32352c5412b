"""Train the network for images without k-space on whole slices: any contrast, 2x to 12x, with skull and without.

    python benchmarks/unrolled/image.py train.npz.xz --out runs/image --seconds 1700 \\
        --init benchmarks/quick/fsmnet_quick_4x.safetensors

FSMNet of 16 features learns from magnitudes of zero-filled images, each normalised over its whole slice as
``fsmnet reconstruct`` does it. Its frequency branch sees spectra whose size is the slice's, so no strips. Samples are
those of ``train.py`` with other shares: 4 in 10 images are real, since a magnitude that somebody left lines out of is,
and a third of the steps are the task of the paper's protocol ``brats``, which the weights before knew alone: T2 with
T1 (or T1 with T2) of stripped heads, its one mask for 4x, most of them not deformed. Of the other slices of 240 x 240
some have that mask too, or the protocol's for 8x. The seconds are the processor's, on one thread (``equal.py``); the
same command goes on where it was, and another number of seconds shortens or prolongs it. What is written at the end is
a checkpoint in half precision; ``benchmarks/ship_weights.py`` tells it the scans by their voxels,
``benchmarks/trust/ship.py`` what they show.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from equal import CPU, Run, first
from ship import DATA, SPLIT
from torch import Tensor, nn
from train import Bank, Training, Variant, read_cases, to_millimetres

from fsmnet.checkpoint import Header, save_checkpoint, versions
from fsmnet.data.augment import NODES, Parameters, Sample
from fsmnet.inference.allocator import large_blocks_apart
from fsmnet.models import recipe_of
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.masks import MaskRecipe, default_center_fraction
from fsmnet.protocols.brats import SIZE, brats_mask
from fsmnet.transforms import NormalisationRecipe

VALIDATION = ("stroke-VRD", "OMSL-20-s2")  # stripped, and with skull; the old weights saw neither
RECIPE = NormalisationRecipe(clip=None)
BRATS = {4.0: 0.1, 8.0: 0.15}  # share of each of the protocol's masks
AS_IT_IS = 0.7  # of the slices of the protocol's own task
REAL, NOISELESS, MISSING, WRONG = 0.4, 0.4, 0.05, 0.03


@dataclass(frozen=True)
class Own(Variant):
    """Batches of the protocol's own task."""


class Images(Training):
    """Whole slices, some of them measured as the protocol ``brats`` does it."""

    own = False

    def step(self, variant: Variant) -> None:
        """Draw a batch and learn from it."""
        self.own = isinstance(variant, Own)
        super().step(variant)

    def drawn(self, parameters: Parameters) -> Parameters:
        """Other shares of what makes a scan difficult."""
        count = len(parameters.noise)

        def chance(of: float) -> Tensor:
            return torch.rand(count) < of

        if self.own:
            parameters = plain(parameters, chance(AS_IT_IS))
        mask, paper = parameters.mask, torch.zeros(count, dtype=torch.bool)
        if mask.shape[-1] == SIZE:
            kind, before = torch.rand(count), 0.0
            for acceleration, share in ({4.0: 1.0} if self.own else BRATS).items():
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


def plain(parameters: Parameters, chosen: Tensor) -> Parameters:
    """Some samples only shifted: their slices as they are, contrasts aligned."""

    def where(one: Tensor, other: Tensor) -> Tensor:
        return torch.where(chosen.view(-1, *[1] * (one.dim() - 1)), one, other)

    frame = torch.cat(
        [torch.eye(2).expand(len(chosen), 2, 2, 2), parameters.frame[:, :1, :, 2:].expand(-1, 2, -1, -1)], -1
    )
    return replace(
        parameters,
        frame=where(frame, parameters.frame),
        curve=where(torch.linspace(0, 1, NODES).expand_as(parameters.curve), parameters.curve),
        shading=where(torch.zeros_like(parameters.shading), parameters.shading),
        contrast=where(torch.zeros_like(parameters.contrast), parameters.contrast),
        blur=where(torch.zeros_like(parameters.blur), parameters.blur),
        grain=where(torch.zeros_like(parameters.grain), parameters.grain),
    )


def kinds(cases: dict[str, dict[str, Tensor]], zoom: dict[str, float], batch: int) -> list[Variant]:
    """Batches: of six, two of the protocol's own task, one as BraTS has them, two in tighter frames, one finer."""
    fine = {case: volumes for case, volumes in cases.items() if zoom[case] < 0.95}
    coarse = {case: to_millimetres(v, zoom[case]) if case in fine else v for case, v in cases.items()}
    mm, detailed = Bank.build(coarse, SIZE, True), Bank.build(fine, 400, False)
    whole = Variant(mm, SIZE, batch, (30, 30), height=SIZE)
    tight = Variant(mm, 192, batch, (10, 10), height=192)
    tighter = Variant(mm, 176, batch, (10, 6), height=208)
    finer = Variant(detailed, 352, max(1, batch // 2), (16, 16), (1.5, 9.0), height=320)
    pairs = {case: {name: v[name] for name in ("t1", "t2")} for case, v in cases.items() if case not in fine}
    own = Own(Bank.build(pairs, SIZE, False), SIZE, batch, (8, 8), height=SIZE)
    return [own, tight, whole, own, finer, tighter]


def checkpoint(model: nn.Module, cases: list[str], training: dict[str, object]) -> tuple[dict[str, Tensor], Header]:
    """Weights in half precision, and what they are for."""
    header = Header(
        recipe_of(model),
        training=training,
        split={"train": cases, "validation": [*VALIDATION], "test": SPLIT["test"]},
        versions=versions(),
        protocol="complex",
        normalisation=asdict(RECIPE),
        contrasts={"target": "any", "auxiliary": "any"},
        mask=asdict(MaskRecipe("random", 4.0, default_center_fraction(4), "name", span=(2.0, 12.0))),
    )
    return {name: value.half() for name, value in model.state_dict().items()}, header


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=1700.0, help="of the processor")
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
    model, _ = first("fsmnet", args.seed, args.init)
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
    told = {"data": DATA, "script": "benchmarks/unrolled/image.py", "processor_seconds": round(run.spent)}
    told |= {"steps": t.steps, **{name: getattr(args, name) for name in ("batch", "warm_up", "peak", "seed")}}
    save_checkpoint(args.out / "fsmnet_image.safetensors", *checkpoint(t.averaged(), sorted(cases), told))


if __name__ == "__main__":
    main()
