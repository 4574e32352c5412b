"""Train networks on the same samples for an equal number of processor seconds, on one thread, in turns.

    python benchmarks/unrolled/equal.py train.npz.xz --out runs/equal --seconds 80 \\
        --networks unrolled alone mdunet dcamsr fsmnet fsmnet_fast

The budget of each network is time that the processor spends in its steps (``time.process_time``), drawing the samples
included; reading, saving and scoring are not counted. Turns of 20 s share what else the machine does fairly. Two
processes may train different networks into one folder. Step n of every network sees the sample of step n of the others.
The learning rate stays until the last third of the budget, in which it goes down to zero, so that a run that was
stopped before may be prolonged: the same command goes on where it was, with other ``--seconds`` too.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from train import HELD_OUT, Bank, Check, Training, Variant, build, read_cases, rounded, save, to_millimetres

from fsmnet.data.augment import Parameters
from fsmnet.inference.allocator import keep_freed_blocks, large_blocks_apart
from fsmnet.models.kernels.install import install_kernels

HERE = Path(__file__).parent
CPU = torch.device("cpu")
DECAY = 1 / 3  # share of the budget in which the learning rate goes down
NETWORKS = ["unrolled", "alone", "mdunet", "dcamsr", "fsmnet", "fsmnet_fast"]


@dataclass
class Run:
    """One network and how much of its budget is spent.

    Attributes:
        training: the network.
        seconds: its budget.
        warm_up: steps until the learning rate is at its highest.
        spent: seconds of its budget so far.
    """

    training: Training
    seconds: float
    warm_up: int
    spent: float = 0.0

    def turn(self, variants: list[Variant], seconds: float) -> None:
        """Train for some processor seconds, or until the budget is spent."""
        training, end = self.training, min(self.spent + seconds, self.seconds)
        while self.spent < end:
            began = time.process_time()
            left = (1 - self.spent / self.seconds) / DECAY
            training.rate.fill_(training.peak * min(1.0, left, (training.steps + 1) / self.warm_up))
            training.pace.fill_(max(0.002, 9 / (10 + training.steps)))  # few steps: a mean over the last tenth
            torch.manual_seed(training.seed * 1_000_003 + training.steps)
            training.step(variants[training.steps % len(variants)])
            training.steps += 1
            keep_freed_blocks()
            self.spent += time.process_time() - began
        if not math.isfinite(float(training.loss)):
            raise SystemExit(f"{training.name}: loss is not finite after {training.steps} steps")

    def keep(self, path: Path) -> None:
        """Everything needed to go on."""
        t = self.training
        state = {
            "model": t.model.state_dict(), "optimizer": t.optimizer.state_dict(), "average": t.average,
            "loss": t.loss, "steps": t.steps, "spent": self.spent,
        }  # fmt: skip
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.rename(path)

    def go_on(self, path: Path) -> None:
        """Where :meth:`keep` left it."""
        state, t = torch.load(path, weights_only=True), self.training
        t.model.load_state_dict(state["model"])
        t.optimizer.load_state_dict(state["optimizer"])
        t.rate = torch.tensor(0.0)
        t.optimizer.param_groups[0]["lr"] = t.rate
        t.average, t.loss, t.steps, self.spent = state["average"], state["loss"], state["steps"], state["spent"]


class Apart(Training):
    """With other shares of samples whose auxiliary is of another patient, or missing."""

    wrong = missing = 0.0

    def drawn(self, parameters: Parameters) -> Parameters:
        """Draw anew which samples have a wrong auxiliary and which none."""
        chance: list[Tensor] = [torch.rand(len(parameters.wrong)) < share for share in (self.wrong, self.missing)]
        return replace(parameters, wrong=chance[0], present=~chance[1])


def kinds(cases: dict[str, dict[str, Tensor]], zoom: dict[str, float], batch: int, strip: int) -> list[Variant]:
    """Batches of half of the pixels 1 mm wide, a quarter finer, a quarter in a tight frame, one coil."""
    fine = {case: volumes for case, volumes in cases.items() if zoom[case] < 0.95}
    coarse = {case: to_millimetres(v, zoom[case]) if case in fine else v for case, v in cases.items()}
    mm, detailed = Bank.build(coarse, 240, True), Bank.build(fine, 400, False)
    whole = Variant(mm, 240, batch, (45, 25), height=strip)
    finer = Variant(detailed, 352, max(1, round(batch * 0.6)), (110, 12), (1.5, 9.0), height=strip)
    return [whole, finer, whole, Variant(mm, 192, batch, (45, 10), height=strip)]


def first(name: str, seed: int, init: Path | None) -> tuple[nn.Module, float]:
    """A network as its training begins, the same for the same seed or file, and its highest learning rate."""
    torch.manual_seed(seed)
    model, peak = build(name)
    if init:
        model.load_state_dict({k: v.float() for k, v in load_file(init).items()})
    install_kernels(model)
    return model, peak


def begin(name: str, args: argparse.Namespace) -> Run:
    model, peak = first(name, args.seed, args.init)
    kind = Training if args.wrong is None else Apart
    training = kind(name, model, CPU, args.peak or peak, args.seed)
    if isinstance(training, Apart):
        training.wrong, training.missing = args.wrong, args.missing
    run = Run(training, args.seconds, args.warm_up)
    state = args.out / f"{name}.state"
    if state.exists():
        run.go_on(state)
    return run


def score(folder: Path, check: Check) -> None:
    """``equal.json`` of the weights and records that ``benchmarks/gpu.sh`` brought back into one folder."""
    rows, found = {}, {}
    for path in sorted(folder.glob("[0-9]*.json")):
        for name, record in json.loads(path.read_text()).items():
            model, _ = build(name)
            model.load_state_dict({k: v.float() for k, v in load_file(folder / f"{name}.safetensors").items()})
            last = record["rows"][-1]
            row = {"seconds_on_the_gpu": last["seconds"], "steps": last["steps"], "parameters": record["parameters"]}
            rows[name] = row | check.scores(model.eval(), name == "alone")
            found = {"machine": record["device"], "options": {"seconds": round(last["seconds"])}}
            print(name, json.dumps(rounded(rows[name])), flush=True)
    commit = next(line for line in (folder / "gpu.log").read_text().splitlines() if "commit" in line).split()[-1]
    spent = f"{found['options']['seconds']} s of a GPU"
    report = {"commit": commit, "precision": "bfloat16", **found, "spent": spent, "validation": HELD_OUT}
    report["networks"] = rows
    (folder / "equal.json").write_text(json.dumps(report, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--seconds", type=float, default=80.0, help="processor seconds of each network")
    parser.add_argument("--turn", type=float, default=20.0, help="processor seconds of a turn")
    parser.add_argument("--batch", type=int, default=2, help="strips in a batch")
    parser.add_argument("--strip", type=int, default=96, help="rows of a strip")
    parser.add_argument("--warm-up", type=int, default=50, help="steps")
    parser.add_argument("--init", type=Path, help="weights to begin with")
    parser.add_argument("--peak", type=float, help="highest learning rate")
    parser.add_argument("--wrong", type=float, help="share of samples whose auxiliary is of another; 0.05 by default")
    parser.add_argument("--missing", type=float, default=0.12, help="share without auxiliary; only with --wrong")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--score", action="store_true", help="only score what a GPU trained, in OUT")
    args = parser.parse_args()
    large_blocks_apart()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    cases, zoom = read_cases(args.data, CPU)
    check = Check.of(cases.pop(HELD_OUT), CPU, every=30)
    if args.score:
        score(args.out, check)
        return
    runs = [begin(name, args) for name in args.networks]
    variants = kinds(cases, zoom, args.batch, args.strip) if any(run.spent < run.seconds for run in runs) else []
    while unfinished := [run for run in runs if run.spent < run.seconds]:
        for run in unfinished:
            run.turn(variants, args.turn)
            run.keep(args.out / f"{run.training.name}.state")
            t = run.training
            print(f"{t.name}: {run.spent:.0f} s, {t.steps} steps, loss {float(t.loss):.5f}", flush=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True).stdout
    report = {
        "commit": commit.strip(), "torch": torch.__version__, "threads": 1, "precision": "bfloat16",
        "machine": f"{platform.processor() or platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "options": {name: getattr(args, name) for name in ("seconds", "turn", "batch", "strip", "warm_up", "seed")},
        "validation": HELD_OUT,
    }  # fmt: skip
    report_file = args.out / "equal.json"
    for run in runs:
        t = run.training
        row = {"processor_seconds": run.spent, "steps": t.steps, "loss": float(t.loss)}
        row |= {"parameters": sum(p.numel() for p in t.parameters), **save(t, check, args.out)}
        print(t.name, json.dumps(rounded(row)), flush=True)
        before = json.loads(report_file.read_text()) if report_file.exists() else {}  # of a second process, too
        networks = before.get("networks", {}) | {t.name: row}
        report_file.write_text(json.dumps(report | {"networks": networks}, indent=1) + "\n")


if __name__ == "__main__":
    main()
