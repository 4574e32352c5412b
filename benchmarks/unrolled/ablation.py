"""What each part of the unrolled network and of its training is worth: variants trained alike for equal processor time.

    python benchmarks/unrolled/ablation.py train.npz.xz --out ablation.json --states runs/ablation --seconds 200

Each variant differs from the first, ``as it is``, in one thing. Samples, turns, optimiser and schedule are those of
``equal.py``; the network is a small twin (``--steps``, ``--widths``), so that it learns something in the time. Scored
on the validation patient (T2 with T1 of OMS-26, 1% noise); nothing here looks at a test patient. Variants learn in
turns, so that what else the machine does is shared fairly; with ``--states`` the same command goes on where it was,
with other ``--seconds`` too.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
import train
from equal import CPU, Run, kinds
from torch import Tensor, nn
from train import CONTRASTS, HELD_OUT, Bank, Check, Training, Variant, read_cases, rounded

from fsmnet.data.augment import Parameters, Sample, measure
from fsmnet.inference.allocator import large_blocks_apart
from fsmnet.models.blocks import FrequencyBlock
from fsmnet.models.unrolled import LEVELS, SLOPE, Block, Step, UnrolledFSMNet
from fsmnet.physics.acquisition import Acquisition

HERE = Path(__file__).parent


# Networks: the model's page with one part changed.


class Forgetful(Step):
    """Hands no features to the next step."""

    def forward(
        self, images: Tensor, features: Tensor, others: Sequence[Tensor], scales: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        update, features = super().forward(images, features, others, scales)
        return update, torch.zeros_like(features)


class Blind(Step):
    """Does not see what the measurement said to the last step's guess."""

    def forward(
        self, images: Tensor, features: Tensor, others: Sequence[Tensor], scales: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        image, correction = images.chunk(2, 1)
        return super().forward(torch.cat([image, torch.zeros_like(correction)], 1), features, others, scales)


class Concatenation(nn.Module):
    """Target and auxiliary joined by one 1 x 1 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(2 * width, width, 1)

    def forward(self, auxiliary: Tensor, target: Tensor) -> Tensor:
        """Two ``(B, C, h, w)`` to one."""
        fused: Tensor = target + self.mix(torch.cat([auxiliary, target], 1))
        return fused


class Attention(nn.Module):
    """Block, then a factor for each channel from the channels' means (squeeze and excitation)."""

    def __init__(self, block: Block, width: int) -> None:
        super().__init__()
        self.block = block
        self.squeeze, self.excite = nn.Linear(width, width // 4), nn.Linear(width // 4, width)

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """``(B, C, h, w)`` in and out."""
        y: Tensor = self.block(x, scale)
        factors = self.excite(F.leaky_relu(self.squeeze(y.mean((-2, -1))), SLOPE)).sigmoid()
        return y * (2 * factors)[..., None, None]


class Frequency(nn.Module):
    """Block, then the paper's frequency branch (Eq. 1-2)."""

    def __init__(self, block: Block, width: int) -> None:
        super().__init__()
        self.block, self.frequency = block, FrequencyBlock(width)
        with torch.no_grad():  # tame at first, as every residual part here
            self.frequency.post.weight.mul_(0.2)

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """``(B, C, h, w)`` in and out."""
        y: Tensor = self.frequency(self.block(x, scale))
        return y


class Spectral(nn.Module):
    """Block, and beside it a 1 x 1 convolution of real and imaginary parts of the spectrum (Chi et al. 2020)."""

    def __init__(self, block: Block, width: int) -> None:
        super().__init__()
        self.block, self.mix, self.back = block, nn.Conv2d(2 * width, 2 * width, 1), nn.Conv2d(2 * width, 2 * width, 1)
        nn.init.zeros_(self.back.weight)
        nn.init.zeros_(self.back.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """``(B, C, h, w)`` in and out."""
        spectrum = torch.fft.rfft2(x.float(), norm="ortho")
        parts = self.back(F.leaky_relu(self.mix(torch.cat([spectrum.real, spectrum.imag], 1)), SLOPE)).float()
        beside = torch.fft.irfft2(torch.complex(*parts.chunk(2, 1)), x.shape[-2:], norm="ortho")
        y: Tensor = self.block(x, scale) + beside.to(x.dtype)
        return y


class Untold(UnrolledFSMNet):
    """Blocks are not modulated: neither the share of the lines nor the noise nor the step's number is told to them."""

    def _modulation(self, known: Tensor) -> list[tuple[Tensor, ...]]:
        factors = super()._modulation(known)
        return [tuple(torch.ones_like(one) for one in step) for step in factors]


class Abreast(Step):
    """Sees three slices at once: along the batch the middle ones, those before, those after."""

    def forward(
        self, images: Tensor, features: Tensor, others: Sequence[Tensor], scales: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        mine = [scale[: len(features)] for scale in scales]
        update, features = super().forward(torch.cat(images.chunk(3), 1), features, others, mine)
        return torch.cat(update.chunk(3, 1)), features


class Slab(UnrolledFSMNet):
    """Reconstructs three slices together (:func:`abreast`), each beside its own measurement, for the middle one."""

    def iterates(
        self, acquisition: Acquisition, auxiliary: Tensor | None = None, present: Tensor | None = None
    ) -> list[Tensor]:
        """The middle slices after each step; there is an auxiliary of these alone."""
        other = None if auxiliary is None else auxiliary.repeat(3, 1, 1, 1)
        there = None if present is None else present.repeat(3)
        return [image.chunk(3)[0] for image in super().iterates(acquisition, other, there)]

    def _features(self, image: Tensor, auxiliary: Tensor | None, present: Tensor) -> tuple[Tensor, list[Tensor]]:
        middle = None if auxiliary is None else auxiliary.chunk(3)[0]
        return super()._features(image.chunk(3)[0], middle, present.chunk(3)[0])


class Ones(nn.Module):
    """Every line is put back as it was measured."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, mask: Tensor, known: Tensor) -> Tensor:
        """``(B, W)`` to ``(B, K, W)``."""
        return torch.ones((len(mask), self.steps, mask.shape[-1]), dtype=known.dtype, device=known.device)


def of_class(model: UnrolledFSMNet, kind: type[nn.Module]) -> UnrolledFSMNet:
    """The same weights computed by another class, of the network or of its steps."""
    for module in [model] if issubclass(kind, UnrolledFSMNet) else model.steps:
        module.__class__ = kind
    return model


def hard(model: UnrolledFSMNet) -> UnrolledFSMNet:
    model.lines = Ones(len(model.steps))  # type: ignore[assignment]
    return model


def fused_by_concatenation(model: UnrolledFSMNet) -> UnrolledFSMNet:
    for step in model.steps:
        step.fuse = nn.ModuleList(Concatenation(width) for width in model.widths)
    return model


def with_blocks(
    model: UnrolledFSMNet, kind: Callable[[Block, int], nn.Module], levels: Sequence[int]
) -> UnrolledFSMNet:
    for step in model.steps:
        for level in levels:
            step.blocks[level] = kind(step.blocks[level], model.widths[level])
    return model


def shared(model: UnrolledFSMNet) -> UnrolledFSMNet:
    """One set of weights for all steps; the modulation of the blocks still tells them apart."""
    for number in range(1, len(model.steps)):
        model.steps[number] = model.steps[0]
    return model


# Ways of training.


class Plain(Training):
    """Without what changes a sample beyond its place, its scan and its noise."""

    def drawn(self, parameters: Parameters) -> Parameters:
        p = parameters
        identity = torch.eye(2).expand(*p.frame.shape[:2], 2, 2)
        shift = p.frame[:, :1, :, 2:].expand(-1, 2, -1, -1)
        return replace(
            p,
            frame=torch.cat([identity, shift], -1),
            curve=torch.linspace(0, 1, p.curve.shape[-1]).expand_as(p.curve),
            shading=torch.zeros_like(p.shading),
            contrast=torch.zeros_like(p.contrast),
            wrong=torch.zeros_like(p.wrong),
            blur=torch.zeros_like(p.blur),
            grain=torch.zeros_like(p.grain),
        )


class Neighbours(Training):
    """The auxiliary's slice before and the one after are channels beside it, deformed and changed as it is."""

    neighbours = 1

    def sample(self, parameters: Parameters, slices: Tensor, size: tuple[int, int]) -> Sample:
        """The images of a batch, the auxiliary ``(B, 3, h, w)``."""
        sampled = super().sample
        middle, *beside = (sampled(parameters, slices[:, [0, i]], size) for i in (1, 2, 3))
        return replace(middle, auxiliary=torch.cat([one.auxiliary for one in (middle, *beside)], 1))


def three_slices(model: UnrolledFSMNet) -> UnrolledFSMNet:
    """The auxiliary's encoder takes three channels of 2 x 2 pixels."""
    old = model.auxiliary.enter[0]
    model.auxiliary.enter[0] = nn.Conv2d(3 * old.in_channels, old.out_channels, old.kernel_size, padding=old.padding)
    return model


@dataclass(frozen=True)
class Beside(Sample):
    """A sample, and scans of the target's slices before and after it."""

    scans: list[Acquisition]


class TargetNeighbours(Training):
    """The target's slice before and the one after are measured too, deformed as it is, with its mask."""

    neighbours, of_target = 1, True

    def sample(self, parameters: Parameters, slices: Tensor, size: tuple[int, int]) -> Sample:
        """The images of a batch."""
        sampled = super().sample
        middle, *beside = (sampled(parameters, slices[:, [i, 1]], size) for i in (0, 2, 3))
        scans = [measure(parameters, one.target, float(slices.shape[-1]))[1] for one in beside]
        return Beside(**vars(middle), scans=scans)

    def loss_of(self, sample: Sample, image: Tensor, scan: Acquisition) -> Tensor:
        assert isinstance(sample, Beside)
        return super().loss_of(sample, image, abreast([scan, *sample.scans]))


def abreast(scans: Sequence[Acquisition]) -> Acquisition:
    """Scans of one mask and one noise as one, along the batch."""
    first = scans[0]
    noise = first.noise.repeat(len(scans)) if isinstance(first.noise, Tensor) else first.noise
    lines, mask = torch.cat([scan.lines for scan in scans]), first.mask.repeat(len(scans), 1, 1)
    return replace(first, lines=lines, mask=mask, noise=noise)


def slab(model: UnrolledFSMNet) -> UnrolledFSMNet:
    """Every step takes and changes three images."""
    for step in model.steps:
        enter, leave = step.enter, step.leave
        step.enter = nn.Conv2d(3 * enter.in_channels, enter.out_channels, enter.kernel_size, padding=enter.padding)
        step.leave = nn.Conv2d(leave.in_channels, 3 * leave.out_channels, leave.kernel_size, padding=leave.padding)
        nn.init.zeros_(step.leave.weight)
        nn.init.zeros_(step.leave.bias)
    return of_class(of_class(model, Abreast), Slab)


class NoLesions(Training):
    """Without structures that only one contrast shows."""

    def drawn(self, parameters: Parameters) -> Parameters:
        return replace(parameters, contrast=torch.zeros_like(parameters.contrast))


class UnweightedLesions(Training):
    """Structures are there, the loss does not look at them."""

    def loss_of(self, sample: Sample, image: Tensor, scan: Acquisition) -> Tensor:
        return super().loss_of(replace(sample, contrast=torch.zeros_like(sample.contrast)), image, scan)


class LastOnly(Training):
    """The loss looks at the last step alone."""

    def loss_of(self, sample: Sample, image: Tensor, scan: Acquisition) -> Tensor:
        looked_at, train.LOOKED_AT = train.LOOKED_AT, 1
        try:
            return super().loss_of(sample, image, scan)
        finally:
            train.LOOKED_AT = looked_at


def t2_with_t1(variants: list[Variant]) -> list[Variant]:
    """Batches of one pair of contrasts."""
    wanted = torch.tensor([CONTRASTS.index("t2"), CONTRASTS.index("t1")])

    def only(bank: Bank) -> Bank:
        mine = (bank.pairs[:, 1:] == wanted).all(-1)
        shares = bank.cumulative.diff(prepend=torch.zeros(1)) * mine
        table = shares.cumsum(0)
        return replace(bank, cumulative=table / table[-1])

    banks = {id(v.bank): only(v.bank) for v in variants}
    return [replace(v, bank=banks[id(v.bank)]) for v in variants]


@dataclass(frozen=True)
class Way:
    """One variant: what is done to the network, how it is trained, on which batches, with how many steps."""

    change: Callable[[UnrolledFSMNet], UnrolledFSMNet] = lambda model: model
    training: type[Training] = Training
    batches: Callable[[list[Variant]], list[Variant]] = lambda variants: variants
    steps: int = 0  # more than usual
    whole: bool = False  # whole slices
    seed: int = 0  # more than usual


EVERY_LEVEL = range(LEVELS)
WAYS = {
    "as it is": Way(),
    "another seed": Way(seed=1),
    "a third seed": Way(seed=2),
    "whole slices, one in a batch, in place of strips": Way(whole=True),
    "two steps fewer": Way(steps=-2),
    "two steps more": Way(steps=2),
    "one set of weights for all steps": Way(shared),
    "no features handed on": Way(lambda m: of_class(m, Forgetful)),
    "scan and step not told to the blocks": Way(lambda m: of_class(m, Untold)),
    "T2 with T1 alone": Way(batches=t2_with_t1),
    "no augmentation": Way(training=Plain),
    "no lesions put in": Way(training=NoLesions),
    "loss does not look at lesions": Way(training=UnweightedLesions),
    "concatenation in place of selective fusion": Way(fused_by_concatenation),
    "the paper's frequency branch, lowest level": Way(lambda m: with_blocks(m, Frequency, EVERY_LEVEL[-1:])),
    "spectral convolution, every level": Way(lambda m: with_blocks(m, Spectral, EVERY_LEVEL)),
    "channel attention": Way(lambda m: with_blocks(m, Attention, EVERY_LEVEL)),
    "loss on the last step alone": Way(training=LastOnly),
    "hard consistency": Way(hard),
    "correction not seen": Way(lambda m: of_class(m, Blind)),
    "neighbouring slices of the auxiliary": Way(three_slices, training=Neighbours),
    "neighbouring slices of the target": Way(slab, training=TargetNeighbours),
}  # fmt: skip


def build(way: Way, args: argparse.Namespace, seed: int) -> UnrolledFSMNet:
    torch.manual_seed(seed)
    return way.change(UnrolledFSMNet(args.steps + way.steps, args.widths))


def scores(training: Training, check: Check) -> dict[str, float]:
    """Those of the averaged weights, which take the place of the last ones."""
    with torch.no_grad():
        for p, value in zip(training.parameters, training.average, strict=True):
            p.copy_(value)
    return check.scores(training.model.eval(), alone=False)


def begun(name: str, args: argparse.Namespace) -> Run:
    way = WAYS[name]
    seed = args.seed + way.seed
    training = way.training("unrolled", build(way, args, seed), CPU, args.peak, seed)
    run, state = Run(training, args.seconds, args.warm_up), state_of(name, args)
    if state and state.exists():
        run.go_on(state)
    return run


def state_of(name: str, args: argparse.Namespace) -> Path | None:
    """Where a variant's state is kept."""
    return args.states / f"{name.replace(' ', '_')}.state" if args.states else None


def checks(volumes: dict[str, Tensor], every: int) -> dict[type[Training], Check]:
    """The validation slices, with those beside them for the networks that see these; structures show in these too."""
    middle = Check.of(volumes, CPU, every=every)

    def beside(contrast: str) -> list[Check]:  # of other noise
        rolled = [volumes | {contrast: volumes[contrast].roll(away, 0)} for away in (1, -1)]
        return [Check.of(one, CPU, every=every, seed=seed) for seed, one in enumerate(rolled, 3)]

    auxiliaries = [middle, *beside("t1")]
    three = {
        name: torch.cat([getattr(one, name) for one in auxiliaries], 1)
        for name in ("auxiliary", "auxiliary_with_lesions")
    }
    scans = {name: [scan, *(one.scans[name] for one in beside("t2"))] for name, scan in middle.scans.items()}
    with_lesions = {}
    for name, (scan, *others) in scans.items():
        seen = middle.with_lesions[name].lines - scan.lines  # of the structures; the noise of both is the same
        with_lesions[name] = [middle.with_lesions[name], *(replace(one, lines=one.lines + seen) for one in others)]
    return {
        Training: middle,
        Neighbours: replace(middle, **three),
        TargetNeighbours: replace(
            middle,
            scans={name: abreast(all_three) for name, all_three in scans.items()},
            with_lesions={name: abreast(all_three) for name, all_three in with_lesions.items()},
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=HERE / "ablation.json", help="a JSON file")
    parser.add_argument("--states", type=Path, help="a folder, to go on from")
    parser.add_argument("--variants", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--seconds", type=float, default=120.0, help="processor seconds of each")
    parser.add_argument("--turn", type=float, default=10.0, help="processor seconds of a turn")
    parser.add_argument("--steps", type=int, default=6, help="of the small twin")
    parser.add_argument("--widths", type=int, nargs=3, default=[16, 24, 32], help="of the small twin")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--peak", type=float, default=1.5e-3, help="highest learning rate")
    parser.add_argument("--warm-up", type=int, default=50, help="steps")
    parser.add_argument("--every", type=int, default=10, help="slices of the validation patient, every so many")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    large_blocks_apart()
    torch.set_num_threads(1)
    cases, zoom = read_cases(args.data, CPU)
    check = checks(cases.pop(HELD_OUT), args.every)
    if args.states:
        args.states.mkdir(parents=True, exist_ok=True)
    strips = kinds(cases, zoom, args.batch, train.STRIP)
    whole = [replace(v, height=240, batch=max(1, v.batch // 2)) for v in strips]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True).stdout
    report = {
        "command": " ".join(["ablation.py", "DATA", *sys.argv[2:]]), "commit": commit.strip(),
        "torch": torch.__version__, "validation": HELD_OUT,
        "machine": f"{platform.processor() or platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
    }  # fmt: skip
    runs = {name: begun(name, args) for name in args.variants}
    batches = {name: WAYS[name].batches(whole if WAYS[name].whole else strips) for name in args.variants}
    while unfinished := [name for name, run in runs.items() if run.spent < run.seconds]:
        for name in unfinished:
            runs[name].turn(batches[name], args.turn)
            if state := state_of(name, args):
                runs[name].keep(state)
        print({name: runs[name].training.steps for name in unfinished}, flush=True)
    rows = []
    for name, run in runs.items():
        t = run.training
        row = {"variant": name, "parameters": sum(p.numel() for p in t.parameters), "steps": t.steps}
        row |= {"processor_seconds": run.spent, "loss": float(t.loss)}
        rows.append(row | scores(t, check.get(type(t), check[Training])))
        print(name, json.dumps(rounded({k: v for k, v in rows[-1].items() if k != "variant"})), flush=True)
        args.out.write_text(json.dumps(report | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
