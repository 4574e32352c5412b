"""Train the k-space network, its twin without auxiliary, and image networks on the same samples, one after the other.

    python benchmarks/unrolled/train.py train.npz.xz --out runs --plan unrolled=400 alone=60 fsmnet=50 mdunet=50

The data are whole volumes of 8 bits (``benchmarks/unrolled/pack.py``). They live on the device, where samples are
drawn, deformed and measured, too; on CUDA a whole step of training is one graph, so that the processor only starts it.
A plan gives each network its seconds, in which its learning rate goes up and then down to zero.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import lzma
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from lesions import place, shares
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fsmnet.cli.presets import FOLDER
from fsmnet.data.augment import Parameters, Sample, augment, draw, measure
from fsmnet.models import create_model
from fsmnet.models.blocks import FrequencyBlock
from fsmnet.models.output import Output
from fsmnet.models.unrolled import Step, UnrolledFSMNet, contrast_scale
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.random_scans import Random, draw_masks, draw_waves, smooth
from fsmnet.physics.weighed import weighed
from fsmnet.training.losses import SpatialFrequencyLoss

CONTRASTS = ("t1", "t2", "flair", "t1ce")
HELD_OUT = "OMS-26"
STRIP = 96
LOOKED_AT = 5  # last steps of the network that the loss looks at
WARM_UP = 400, 0.05  # steps, or share of the time, whichever comes first, in which the learning rate goes up
STEP = Step.forward
COMPILED = torch.compile(STEP, dynamic=False)
PATIENT_WEIGHT = {"TCGA-DU-7294": 1.5, "stroke-VRD": 0.7, "OMSL-01-s1": 0.5, "OMSL-01-s2": 0.5, "OMSL-20-s2": 0.5}
PAIR_WEIGHT = {("t2", "t1"): 2.0, ("flair", "t1"): 1.5, ("flair", "t2"): 1.5}


@dataclass(frozen=True)
class Bank:
    """Slices in the middle of equal frames, and which pairs of contrasts there are.

    Attributes:
        slices: uint8 ``(N, 4, S, S)``; zeros where a contrast is missing.
        stacks: ``(N,)``; number of the stack of neighbours that a slice is of.
        pairs: ``(M, 3)``; slice, target, auxiliary.
        cumulative: ``(M,)``; running sum of the pairs' probabilities.
    """

    slices: Tensor
    stacks: Tensor
    pairs: Tensor
    cumulative: Tensor

    @classmethod
    def build(cls, cases: dict[str, dict[str, Tensor]], size: int, planes: bool) -> Bank:
        """Slices of all cases; ``planes`` adds those of the other two planes of isotropic volumes."""
        frames, pairs, weights = [], [], []
        for case, volumes in cases.items():
            first = next(iter(volumes.values()))
            isotropic = planes and min(first.shape) > 100
            views = [((0, 1, 2), 0.5), ((1, 0, 2), 0.25), ((2, 0, 1), 0.25)] if isotropic else [((0, 1, 2), 1.0)]
            for order, share in views:
                turned = {name: volume.permute(order) for name, volume in volumes.items()}
                filled = torch.stack([(v > 12).float().mean((-2, -1)) for v in turned.values()]).amin(0) > 0.1
                start, count = sum(map(len, frames)), int(filled.sum())
                stack = torch.zeros((count, 4, size, size), dtype=torch.uint8, device=first.device)
                for name, volume in turned.items():
                    stack[:, CONTRASTS.index(name)] = centred(volume[filled], size)
                frames.append(stack)
                for target in volumes:
                    for other in volumes:
                        if target != other:
                            codes = torch.tensor([CONTRASTS.index(target), CONTRASTS.index(other)])
                            pairs.append(torch.cat([start + torch.arange(count)[:, None], codes.expand(count, 2)], 1))
                            weight = PATIENT_WEIGHT.get(case, 1.0) * PAIR_WEIGHT.get((target, other), 1.0)
                            weights.append(torch.full((count,), weight * share / len(volumes) / count))
        table = torch.cat(weights).cumsum(0)
        device = frames[0].device
        stacks = torch.repeat_interleave(torch.tensor([len(frame) for frame in frames])).to(device)
        return cls(torch.cat(frames), stacks, torch.cat(pairs).to(device), (table / table[-1]).to(device))

    def pick(self, batch: int, random: Random, neighbours: int = 0, of_target: bool = False) -> Tensor:
        """Pairs of slices drawn by weight, ``(batch, 2, S, S)`` in [0, 1].

        ``neighbours`` adds so many of the auxiliary's slices before it and after it, or of the target's; beyond the end
        the slice itself.
        """
        rows = torch.searchsorted(self.cumulative, random.uniform(batch)).clamp_max(len(self.cumulative) - 1)
        number, target, auxiliary = self.pairs[rows].unbind(-1)
        picked = [self.slices[number, target], self.slices[number, auxiliary]]
        for away in (sign * step for step in range(1, neighbours + 1) for sign in (-1, 1)):
            near = (number + away).clamp(0, len(self.slices) - 1)
            near = torch.where(self.stacks[near] == self.stacks[number], near, number)
            picked.append(self.slices[near, target if of_target else auxiliary])
        return torch.stack(picked, 1).float() / 255


def centred(volume: Tensor, size: int) -> Tensor:
    """Slices ``(n, h, w)`` in the middle of ``size`` x ``size``, cropped or surrounded by zeros."""
    for axis in (1, 2):
        spare = size - volume.shape[axis]
        if spare < 0:
            volume = volume.narrow(axis, -spare // 2, size)
    rows, columns = size - volume.shape[1], size - volume.shape[2]
    return F.pad(volume, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))


def read_cases(path: Path, device: torch.device) -> tuple[dict[str, dict[str, Tensor]], dict[str, float]]:
    """Volumes by case and contrast, and the cases' pixel sizes in millimetres."""
    raw = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
    cases: dict[str, dict[str, Tensor]] = {}
    zoom = {}
    for name, array in np.load(io.BytesIO(raw)).items():
        case, kind = name.rsplit(".", 1)
        if kind == "zoom":
            zoom[case] = float(array[0])
        else:
            cases.setdefault(case, {})[kind] = torch.from_numpy(array).to(device)
    return cases, zoom


def to_millimetres(volumes: dict[str, Tensor], zoom: float) -> dict[str, Tensor]:
    """Slices of finer pixels brought to 1 mm."""
    resized = {}
    for name, volume in volumes.items():
        size = [round(n * zoom) for n in volume.shape[-2:]]
        small = F.interpolate(volume[:, None].float(), size=size, mode="bicubic", antialias=True, align_corners=False)
        resized[name] = small[:, 0].round().clamp(0, 255).to(torch.uint8)
    return resized


@dataclass(frozen=True)
class Variant:
    """One kind of batch; every kind has shapes, and so a graph, of its own."""

    bank: Bank
    width: int
    batch: int
    reach: tuple[float, float]
    radius: tuple[float, float] = (1.2, 6.0)
    coils: int = 1
    height: int = STRIP


class Training:
    """One network: its step, its averaged weights, its learning rate."""

    neighbours = 0  # slices of the auxiliary before and after
    of_target = False  # they are the target's

    def __init__(
        self, name: str, model: nn.Module, device: torch.device, peak: float, seed: int, compiled: bool = False
    ) -> None:
        self.name, self.device, self.peak, self.seed = name, device, peak, seed
        self.model = model.to(device, memory_format=torch.channels_last)
        self.compiled = compiled
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        for p in self.parameters:
            p.grad = torch.zeros_like(p)
        self.average = [p.detach().clone() for p in self.parameters]
        self.pace = torch.tensor(0.002, device=device)  # at which the average follows
        self.rate = torch.tensor(0.0, device=device)
        on_gpu = device.type == "cuda"
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=self.rate, betas=(0.9, 0.99), weight_decay=1e-4, fused=True, capturable=on_gpu
        )
        self.loss = torch.zeros((), device=device)
        self.frequency_loss = SpatialFrequencyLoss()
        self.steps = 0

    def step(self, variant: Variant) -> None:
        """Draw a batch and learn from it; nothing here waits for the device."""
        random, size = Random(self.device), (variant.height, variant.width)
        with torch.no_grad():
            slices = variant.bank.pick(variant.batch, random, self.neighbours, self.of_target)
            parameters = self.drawn(draw(variant.batch, size, random, variant.reach, variant.radius, variant.coils))
            sample = self.sample(parameters, slices, size)
            image, scan = measure(parameters, sample.target, float(slices.shape[-1]))
        torch._foreach_zero_([p.grad for p in self.parameters])
        loss = self.loss_of(sample, image, scan)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=True)
        self.optimizer.step()
        with torch.no_grad():
            apart = torch._foreach_sub(self.parameters, self.average)
            torch._foreach_mul_(apart, self.pace)
            torch._foreach_add_(self.average, apart)
        self.loss.lerp_(loss.detach(), 0.02)

    def drawn(self, parameters: Parameters) -> Parameters:
        """What another way of training changes in the samples."""
        return parameters

    def sample(self, parameters: Parameters, slices: Tensor, size: tuple[int, int]) -> Sample:
        """The images of a batch."""
        return augment(parameters, slices, size)

    def loss_of(self, sample: Sample, image: Tensor, scan: Acquisition) -> Tensor:
        """Loss of one batch, by kind of network."""
        if isinstance(self.model, UnrolledFSMNet):
            auxiliary = None if self.name == "alone" else sample.auxiliary
            with self.half_precision():
                iterates = self.model.iterates(scan, auxiliary, sample.present)
            return unrolled_loss(iterates, image, sample)
        zero_filled = scan.zero_filled.abs()[:, None]
        spread, mean = torch.std_mean(zero_filled, (-2, -1), keepdim=True)
        other_spread, other_mean = torch.std_mean(sample.auxiliary, (-2, -1), keepdim=True)
        with self.half_precision():
            output = self.network(
                (zero_filled - mean) / (spread + 1e-3), (sample.auxiliary - other_mean) / (other_spread + 1e-3)
            )
        return self.frequency_loss(output, (sample.target[:, None] - mean) / (spread + 1e-3))

    @property
    def network(self) -> Callable[..., Output]:
        """An image network, compiled where that is asked for; of the unrolled one a step is (:func:`ready`)."""
        return self._compiled if self.compiled else self.model

    @cached_property
    def _compiled(self) -> Callable[..., Output]:
        """Around the transforms, which are complex: those run as they are."""
        torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = 1024
        for module in self.model.modules():
            if isinstance(module, FrequencyBlock):
                module.transform = torch.compiler.disable(module.transform)  # type: ignore[method-assign]
                module.inverse = torch.compiler.disable(module.inverse)  # type: ignore[method-assign]
        return torch.compile(self.model, dynamic=False)

    def half_precision(self) -> torch.autocast:
        """bfloat16; casts are not kept on a GPU, since a graph would keep those of its first step."""
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=self.device.type == "cpu")

    def averaged(self) -> nn.Module:
        """A copy with the averaged weights."""
        model = build(self.name)[0].to(self.device, memory_format=torch.channels_last)
        model.load_state_dict(self.model.state_dict())  # what is no parameter
        with torch.no_grad():
            for p, value in zip((p for p in model.parameters() if p.requires_grad), self.average, strict=True):
                p.copy_(value)
                p.grad = None
        return model.eval()


def unrolled_loss(iterates: list[Tensor], image: Tensor, sample: Sample) -> Tensor:
    """Charbonnier distance of complex image and magnitude after every step, later steps weighing more.

    Structures that one contrast alone shows weigh seven times as much, and for each of them the mean error over it,
    relative to its size, is added: what is left of its contrast, or was copied from the other one.
    """
    scale = contrast_scale(sample.target).clamp_min(0.1)
    shown = (sample.contrast != 0).float()
    only_one = shown.amax(-1) * (1 - shown.amin(-1))
    weight = 1 + 6 * (sample.profiles * only_one[..., None, None]).amax(1)
    weight = weight / weight.mean()
    total = image.real.new_zeros(())
    sum_of_shares = 0.0
    for number, result in enumerate(reversed(iterates[-LOOKED_AT:])):
        share = 0.6**number
        error = (result[:, 0] - image) / scale
        error_of_magnitude = (result[:, 0].abs() - sample.target) / scale
        distance = (torch.view_as_real(error).square().sum(-1) + 4e-4).sqrt()
        distance = distance + (error_of_magnitude.square() + 4e-4).sqrt() - 0.04
        total = total + share * 0.5 * (weight * distance).mean()
        if number < 3:
            amount = sample.contrast.abs().amax(-1) / scale[:, 0]
            mean = torch.einsum("bhw,blhw->bl", error_of_magnitude, sample.profiles)
            mean = mean / sample.profiles.square().sum((-2, -1)).clamp_min(1.0)
            relative = ((mean / amount.clamp_min(0.1)).square() + 1e-2).sqrt()
            total = total + share * 0.02 * (relative * shown.amax(-1)).mean() * 2
        sum_of_shares += share
    return total / sum_of_shares


@dataclass(frozen=True)
class Check:
    """Slices of a patient that training does not see, measured once."""

    target: Tensor
    auxiliary: Tensor
    scans: dict[str, Acquisition]
    with_lesions: dict[str, Acquisition]
    auxiliary_with_lesions: Tensor
    lesions: list[Tensor]
    changed: Tensor

    @classmethod
    def of(cls, volumes: dict[str, Tensor], device: torch.device, every: int = 10, seed: int = 2) -> Check:
        """T2 with T1, every tenth axial slice, 4x and 8x, 1% noise, of which ``seed`` is."""
        t2, t1 = (centred(volumes[k][8::every], 224).float() / 255 for k in ("t2", "t1"))
        random = Random(device, torch.Generator(device).manual_seed(1))
        places_ = torch.arange(224, device=device)[None] / 224 - 0.5
        phase = smooth(draw_waves(len(t2), random), places_[..., None], places_[:, None])
        lesions = [place(image, 8, seed, 1.0) for seed, image in enumerate(t2)]
        total = torch.stack([one.sum(0) for one in lesions])
        changed, other = (t2 + total).clamp_min(0), (t1 + total).clamp_min(0)
        scans, with_lesions = {}, {}
        for acceleration in (4, 8):
            mask = draw_masks(len(t2), 224, random, acceleration, acceleration, partial=0)
            for kept, image in ((scans, t2), (with_lesions, changed)):
                noise = torch.Generator(device).manual_seed(seed)
                scan = Acquisition.simulate(torch.polar(image, phase), mask, noise=0.01, generator=noise)
                kept[f"{acceleration}x"] = Acquisition(scan.lines, scan.mask)
        return cls(t2, t1[:, None], scans, with_lesions, other[:, None], lesions, changed)

    @torch.no_grad()
    def scores(self, model: nn.Module, alone: bool) -> dict[str, float]:
        """PSNR with and without auxiliary, share of lesions kept (median) and copied (90th percentile)."""
        result = {}
        for name, scan in self.scans.items():
            image = reconstruct(model, scan, None if alone else self.auxiliary)
            result[f"psnr_{name}"] = psnr(image, self.target)
            if not isinstance(model, UnrolledFSMNet):
                strips = reconstruct(model, scan, self.auxiliary, STRIP)
                result[f"psnr_{name}_strips"] = psnr(strips, self.target)
                continue
            if not alone:
                result[f"psnr_{name}_blank"] = psnr(reconstruct(model, scan, None), self.target)
            found = reconstruct(model, self.with_lesions[name], None if alone else self.auxiliary) - image
            copied = reconstruct(model, scan, None if alone else self.auxiliary_with_lesions) - image
            true = self.changed - self.target
            kept = [shares(*one) for one in zip(found, self.lesions, true, strict=True)]
            false = [shares(*one).abs() for one in zip(copied, self.lesions, strict=True)]
            result[f"kept_{name}"] = float(torch.cat(kept).median())
            result[f"false_{name}"] = float(torch.cat(false).quantile(0.9))
        return result


def reconstruct(
    model: nn.Module, scan: Acquisition, auxiliary: Tensor | None, rows: int | None = None, weigh: bool = False
) -> Tensor:
    """Magnitudes ``(B, H, W)``; an image network's result is made consistent with the measured lines.

    ``rows`` lets an image network see strips of so many rows, as in training, and not the whole slice; ``weigh`` weighs
    its result against the lines, as ``fsmnet reconstruct --kspace`` does, in place of putting these back.
    """
    if isinstance(model, UnrolledFSMNet):
        return model(scan, auxiliary).image[:, 0].abs()
    assert auxiliary is not None
    zero_filled = scan.zero_filled
    magnitude = zero_filled.abs()[:, None]
    restored = translated(model, magnitude, auxiliary) if rows is None else in_strips(model, magnitude, auxiliary, rows)
    if weigh:
        return weighed(scan, restored.abs()).abs()
    return scan.consistent(torch.polar(restored, zero_filled.angle())).abs()


def translated(model: nn.Module, magnitude: Tensor, auxiliary: Tensor) -> Tensor:
    """What an image network makes of zero-filled magnitudes ``(B, 1, H, W)``: ``(B, H, W)``."""
    spread, mean = torch.std_mean(magnitude, (-2, -1), keepdim=True)
    other_spread, other_mean = torch.std_mean(auxiliary, (-2, -1), keepdim=True)
    output = model((magnitude - mean) / (spread + 1e-3), (auxiliary - other_mean) / (other_spread + 1e-3)).image
    return (output * (spread + 1e-3) + mean)[:, 0]


def in_strips(model: nn.Module, magnitude: Tensor, auxiliary: Tensor, rows: int) -> Tensor:
    """The same from overlapping strips; every row is taken from the strip in whose middle it is most."""
    height = magnitude.shape[-2]
    count = -(-height // rows)
    result = torch.empty_like(magnitude[:, 0])
    starts = torch.linspace(0, height - rows, count).round().long().tolist() if count > 1 else [0]
    for number, start in enumerate(starts):
        part = slice(start, start + rows)
        begin = 0 if number == 0 else (starts[number - 1] + rows + start) // 2
        strip = translated(model, magnitude[..., part, :], auxiliary[..., part, :])
        result[:, begin : start + rows] = strip[:, begin - start :]
    return result


def psnr(image: Tensor, target: Tensor) -> float:
    """PSNR of the whole stack, dB."""
    return float(10 * torch.log10(target.max() ** 2 / (image - target).square().mean()))


def build(name: str) -> tuple[nn.Module, float]:
    """A network of the plan and its highest learning rate.

    ``unrolled``, ``alone``, ``short``: the shipped size; ``wide``: the preset ``unrolled_wide``; ``paper``: FSMNet with
    64 features; others by their name, in the sizes and with the rate of the preset ``compare_small``.
    """
    if name in ("unrolled", "alone", "short"):
        return UnrolledFSMNet(), 1.5e-3
    if name == "wide":
        preset = yaml.safe_load((FOLDER / "unrolled_wide.yaml").read_text())
        return create_model(preset["model"], **preset["model_options"]), preset["learning_rate"]
    if name == "paper":  # the paper's width
        return create_model("fsmnet", features=64), 1e-3
    options = {"fsmnet": {"features": 16}, "mdunet": {"features": 16}, "dcamsr": {"nf": 16}}.get(name, {})
    return create_model(name, **options), 1e-3


def captured(step: Callable[[], None], pool: object) -> Callable[[], None]:
    """A step as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        step()
    return graph.replay


def ready(training: Training, variant: Variant, eager: bool, pool: object) -> Callable[[], None]:
    """A step on one kind of batch, on CUDA a graph; after an error in it the process is of no more use."""

    def step() -> None:
        training.step(variant)

    if training.device.type != "cuda" or eager:
        return step
    Step.forward = COMPILED if training.compiled else STEP
    try:
        return captured(step, pool)
    finally:
        Step.forward = STEP


def prepare(training: Training, variants: list[Variant], args: argparse.Namespace) -> dict[int, Callable[[], None]]:
    """Each kind of batch made ready, by its identity."""
    began = time.monotonic()
    on_gpu = training.device.type == "cuda"
    training.rate.fill_(1e-5)
    pool = torch.cuda.graph_pool_handle() if on_gpu else None
    run: dict[int, Callable[[], None]] = {}
    for variant in {id(v): v for v in variants}.values():
        run[id(variant)] = ready(training, variant, args.eager, pool)
        if on_gpu:
            torch.cuda.synchronize()
            started = time.monotonic()
            for _ in range(5):
                run[id(variant)]()
            torch.cuda.synchronize()
            now = time.monotonic()
            print(
                f"{training.name}: {variant.batch} strips of {variant.width}, {variant.coils} coils: "
                f"{(now - started) * 200:.1f} ms a step, {torch.cuda.max_memory_allocated() / 1e9:.1f} GB, "
                f"ready after {now - began:.1f} s",
                flush=True,
            )
    return run


def train(
    training: Training, variants: list[Variant], seconds: float, check: Check, out: Path, args: argparse.Namespace
) -> dict[str, float]:
    """Train for some seconds, in which compiling and capturing do not count; writes averaged weights and a log."""
    on_gpu = training.device.type == "cuda"
    run = prepare(training, variants, args)
    wait(training.name, args)
    began = time.monotonic()
    next_save = args.every
    rows = []
    with (out / f"{training.name}_log.csv").open("w") as file:
        log = csv.writer(file)
        log.writerow(["seconds", "steps", "rate", "loss"])
        while True:
            passed = time.monotonic() - began
            if passed >= seconds or (args.steps and training.steps >= args.steps):
                break
            share = passed / seconds
            warm = min(1.0, max((training.steps + 1) / WARM_UP[0], share / WARM_UP[1]))
            rate = training.peak * warm * 0.5 * (1 + math.cos(math.pi * share))
            training.rate.fill_(rate)
            training.pace.fill_(max(0.002, 9 / (10 + training.steps)))  # few steps: a mean over the last tenth
            run[id(variants[training.steps % len(variants)])]()
            training.steps += 1
            if training.steps % 16 == 0 and on_gpu:
                torch.cuda.synchronize()  # or the processor would be minutes ahead of the clock
            if training.steps % 200 == 0 or args.steps:
                log.writerow([f"{passed:.1f}", training.steps, f"{rate:.2e}", f"{float(training.loss):.5f}"])
                if not math.isfinite(float(training.loss)):
                    raise SystemExit(f"{training.name}: loss is not finite after {training.steps} steps")
            if passed > next_save and passed < seconds - 5:
                next_save += args.every
                rows.append({"seconds": passed, "steps": training.steps, **save(training, check, out, args.unscored)})
                print(training.name, json.dumps(rounded(rows[-1])), f"loss {float(training.loss):.5f}", flush=True)
    if on_gpu:
        torch.cuda.synchronize()
    rows.append(
        {"seconds": time.monotonic() - began, "steps": training.steps, **save(training, check, out, args.unscored)}
    )
    if on_gpu:
        rows[-1]["gigabytes"] = torch.cuda.max_memory_allocated() / 1e9
    print(training.name, "done", json.dumps(rounded(rows[-1])), f"loss {float(training.loss):.5f}", flush=True)
    device = torch.cuda.get_device_name() if on_gpu else "cpu"
    return {"rows": rows, "compiled": training.compiled, "graph": on_gpu and not args.eager, "device": device}


def wait(name: str, args: argparse.Namespace) -> None:
    """Say by a file that all is ready, and wait for another file: several processes train one after the other."""
    if args.ready:
        args.ready.touch()
    while args.after and not args.after.exists():
        time.sleep(0.05)
    print(f"{name}: begins", flush=True)


def rounded(row: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in row.items()}


def save(training: Training, check: Check, out: Path, unscored: bool = False) -> dict[str, float]:
    """Averaged weights to a file; their scores."""
    model = training.averaged()
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    if training.device.type == "cuda" or not isinstance(model, UnrolledFSMNet):  # to be carried, or for comparison only
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    part = out / f"{training.name}.part"
    save_file(state, part)
    part.rename(out / f"{training.name}.safetensors")
    return {} if unscored else check.scores(model, training.name == "alone")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--plan", nargs="+", default=["unrolled=400"], help="network=seconds ...")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=0, help="stop each network after so many steps")
    parser.add_argument("--batch", type=float, default=1.0, help="factor of the batch sizes")
    parser.add_argument("--every", type=float, default=60.0, help="seconds between saved weights")
    parser.add_argument("--init", type=Path, help="weights the first network begins with")
    parser.add_argument("--peak", type=float, help="highest learning rate of the first network")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--unscored", action="store_true", help="no scores; equal.py --score gives them later")
    parser.add_argument("--ready", type=Path, help="file to make when the first network is compiled and captured")
    parser.add_argument("--after", type=Path, help="file to wait for before the first network trains")
    parser.add_argument("--kinds", nargs="+", default=["whole", "detailed", "coils", "tight"], help="of batches")
    parser.add_argument("--eager", action="store_true", help="no CUDA graphs, nothing compiled")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    device = torch.device(args.device)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    torch._dynamo.config.automatic_dynamic_shapes = False
    if device.type == "cuda":
        print(torch.cuda.get_device_name(), torch.__version__, flush=True)
        torch.backends.cudnn.benchmark = True
    began = time.monotonic()
    cases, zoom = read_cases(args.data, device)
    check = Check.of(cases.pop(HELD_OUT), device)
    fine = {case: volumes for case, volumes in cases.items() if zoom[case] < 0.95}
    coarse = {case: to_millimetres(v, zoom[case]) if case in fine else v for case, v in cases.items()}
    banks = {"mm": Bank.build(coarse, 240, True), "fine": Bank.build(fine, 400, False)}
    print({k: (len(b.slices), len(b.pairs)) for k, b in banks.items()}, f"{time.monotonic() - began:.1f} s", flush=True)
    n = lambda batch: max(1, round(batch * args.batch))  # noqa: E731
    kinds = {
        "whole": Variant(banks["mm"], 240, n(64), (45, 25)),
        "detailed": Variant(banks["fine"], 352, n(40), (110, 12), (1.5, 9.0)),
        "coils": Variant(banks["mm"], 240, n(64), (45, 25), coils=6),
        "tight": Variant(banks["mm"], 192, n(80), (45, 10)),
    }
    report = {}
    for number, item in enumerate(args.plan):
        name, seconds = item.split("=")
        model, peak = build(name)
        if number == 0 and args.init:
            model.load_state_dict({k: v.float() for k, v in load_file(args.init).items()})
        peak = args.peak if number == 0 and args.peak else peak
        training = Training(name, model, device, peak, args.seed, args.compile and not args.eager)
        order = ["whole", "detailed", "whole", "coils", "whole", "detailed", "whole", "tight"]
        if "coils" not in args.kinds or not isinstance(model, UnrolledFSMNet):  # image networks know nothing of coils
            order[order.index("coils")] = "whole"
        variants = [kinds[kind] for kind in order if kind in args.kinds]
        report[name] = train(training, variants, float(seconds), check, args.out, args)
        report[name]["parameters"] = sum(p.numel() for p in training.parameters)
        (args.out / "training.json").write_text(json.dumps(report, indent=1))
        del training, model
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
