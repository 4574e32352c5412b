"""Speed and memory, before and after: every figure about speed that the documentation gives.

    python benchmarks/speed.py --baseline DIR --data ../shared/data/volumes [--parts inference memory ...] [--tiny]

``DIR`` is a checkout of an older commit (``git worktree add DIR COMMIT``), whose eager float32 network is the one to
compare with; without it, this version's. What is compared runs in turn, each version in a process of its own, so that a
change of the machine meets all of them. Written to ``--out`` after each part; the parts that it holds already are left
out unless they are named, so that a run that was stopped goes on. ``--tiny`` tries all parts at sizes of no meaning.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from figures import wherever
from torch import Tensor

SOURCE = Path(__file__).resolve().parents[1] / "src"
Request = dict[str, Any]
RELEASED = "fsmnet_released"


# -- in the process of one version ------------------------------------------------------------------------------------


def child(request: Request) -> None:
    """Build what is asked for; then for every line on stdin do it once, and answer with time, value and peak memory."""
    allocator = ("fsmnet.inference.allocator", "fsmnet.allocator")
    large_blocks_apart = wherever(*(f"{place}:large_blocks_apart" for place in allocator))
    if large_blocks_apart:
        large_blocks_apart()
    torch.set_num_threads(request["threads"])
    before = peak()
    torch.manual_seed(0)
    task = {"inference": inference, "training": training}[request["task"]](request)
    import fsmnet

    print(json.dumps({"code": str(Path(fsmnet.__file__).parent), "peak_before": before}), flush=True)
    for number, _ in enumerate(sys.stdin):
        if number == 1:
            after_first_pass()
        started = time.perf_counter()
        value = task(number)
        answer = {"seconds": time.perf_counter() - started, "value": value, "peak": peak()}
        if request.get("trim") and sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)  # two versions' feature maps at once would be more than there is
        print(json.dumps(answer), flush=True)


def after_first_pass() -> None:
    """What the commands of a version do after the first pass of a network."""
    keep_freed_blocks = wherever("fsmnet.inference.allocator:keep_freed_blocks", "fsmnet.allocator:keep_freed_blocks")
    if keep_freed_blocks:
        keep_freed_blocks()


def peak() -> int:
    """Largest resident memory of this process so far, in bytes: ``peak_memory`` of the package, for any version."""
    status = Path("/proc/self/status")
    if status.exists():
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return 1024 * int(line.split()[1])
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else 1024 * largest


def inference(request: Request) -> Callable[[int], float]:
    from fsmnet.models import create_model

    model = create_model(RELEASED, features=request["features"]).eval().requires_grad_(False)
    if request["precision"] is not None:
        model = optimised(model, request["precision"])
    images = {size: smooth_images(request.get("batch", 1), size) for size in request.get("sizes", [request["size"]])}

    def run(number: int) -> float:
        size = list(images)[number % len(images)]
        with torch.inference_mode():
            return float(model(*images[size]).image.sum())

    return run


def optimised(model: torch.nn.Module, precision: str) -> torch.nn.Module:
    places = ("fsmnet.inference.optimise", "fsmnet.export.write", "fsmnet.export")
    return wherever(*(f"{place}:optimise" for place in places))(model, precision)


def training(request: Request) -> Callable[[int], float]:
    from fsmnet.models import create_model

    model = create_model(RELEASED, features=request["features"])
    install_kernels = wherever("fsmnet.models.kernels.install:install_kernels")
    if install_kernels:
        install_kernels(model)
    if request["channels_last"]:
        for parameter in model.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    if request.get("checkpointing"):
        wherever(
            "fsmnet.models.kernels.recompute:recompute_activations",
            "fsmnet.models.kernels.checkpointing:checkpoint_activations",
            "fsmnet.checkpointing:checkpoint_activations",
        )(model)
    if request.get("compile"):
        blocks = wherever(
            "fsmnet.models.kernels.recompute:recomputed_blocks",
            "fsmnet.models.kernels.checkpointing:blocks_to_checkpoint",
            "fsmnet.checkpointing:blocks_to_checkpoint",
        )(model)
        for block in blocks:
            block.compile(dynamic=False)
    options = wherever("fsmnet.training.options:TrainConfig", "fsmnet.config:TrainConfig")(data=Path(), out=Path())
    optimizer = wherever("fsmnet.training.setup:make_optimizer", "fsmnet.train:_optimizer")(options, model)
    loss = wherever("fsmnet.training.losses:SpatialFrequencyLoss", "fsmnet.losses:SpatialFrequencyLoss")()
    half = request["precision"] == "bfloat16"
    batches = [
        smooth_images(request["batch"], request["size"], seed=seed, blurred=True)
        for seed in range(request.get("batches", 1))
    ]

    def run(number: int) -> float:
        zero_filled, target = batches[number % len(batches)]
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16) if half else nullcontext():
            output = model(zero_filled, target.flip(2))
        value = loss(output, target)
        value.backward()
        optimizer.step()
        return float(value.detach())

    return run


def smooth_images(batch: int, size: int, seed: int = 0, blurred: bool = False) -> tuple[Tensor, Tensor]:
    """Two contrasts ``(batch, 1, size, size)`` of deviation 1, always the same; or a blurred one and what it was."""
    noise = torch.randn(2 * batch, 1, size, size, generator=torch.Generator().manual_seed(seed))
    first, second = (smooth(noise, 5) / smooth(noise, 5).std()).split(batch)
    return (smooth(second, 5), second) if blurred else (first, second)


def smooth(images: Tensor, width: int) -> Tensor:
    margin = width // 2
    padded = torch.nn.functional.pad(images, (margin,) * 4, mode="circular")
    return torch.nn.functional.avg_pool2d(padded, width, stride=1)


# -- in the process that compares -------------------------------------------------------------------------------------


class Version:
    """A process that does one thing, again and again when asked."""

    def __init__(self, source: Path, request: Request) -> None:
        command = [sys.executable, __file__, "--child", json.dumps(request)]
        environment = {**os.environ, "PYTHONPATH": str(source)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.first = self._answer()
        if Path(self.first["code"]).parent != source:
            raise SystemExit(f"{self.first['code']} was imported instead of {source}")

    def run(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a process of the comparison ended with code {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


class Bench:
    """The parts; each returns what the result file is to hold of it."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.tiny = arguments.tiny
        self.older = (arguments.baseline.resolve() / "src") if arguments.baseline else SOURCE
        self.size = 48 if self.tiny else 240
        self.wide = 16 if self.tiny else 64
        self.narrow = 8 if self.tiny else 16

    @contextmanager
    def versions(self, requests: dict[str, Request]) -> Iterator[dict[str, Version]]:
        """One process each; ``baseline`` of the older code, the others of this one."""
        common = {"threads": self.arguments.threads, "size": self.size}
        with ExitStack() as stack:
            started = {}
            for name, request in requests.items():
                source = self.older if name.startswith("baseline") else SOURCE
                started[name] = Version(source, {**common, **request})
                stack.callback(started[name].close)
            yield started

    def in_turn(self, requests: dict[str, Request], rounds: int) -> dict[str, Any]:
        """Seconds of each, after a first run that does not count; ratios of the first one's median to the others'."""
        runs: dict[str, list[float]] = {name: [] for name in requests}
        with self.versions(requests) as versions:
            for _ in range(2 if self.tiny else rounds + 1):
                for name, version in versions.items():
                    runs[name].append(version.run()["seconds"])
        times = {name: values[1:] for name, values in runs.items()}
        medians = {name: statistics.median(values) for name, values in times.items()}
        reference = medians[next(iter(requests))]
        return {
            name: {
                "seconds": round(medians[name], 4),
                "first": round(runs[name][0], 4),
                "least": round(min(times[name]), 4),
                "most": round(max(times[name]), 4),
                "runs": len(times[name]),
                "times_faster": round(reference / medians[name], 3),
            }
            for name in requests
        }

    def like_for_like(self) -> dict[str, Any]:
        """The same work by both versions at their best: how many times as fast, and the share of memory."""
        look = {"task": "inference", "features": self.wide}
        step = {"task": "training", "features": self.narrow, "batch": 2, "channels_last": True}
        result = {}
        for kind, request in {"inference": look, "training": step}.items():
            for precision in ("float32", "bfloat16"):
                both = {name: {**request, "precision": precision} for name in ("baseline", "this")}
                times = self.in_turn(both, rounds=9 if kind == "inference" else 5)
                memory = {name: self.peak_of(name, one) for name, one in both.items()}
                result[f"{kind}_{precision}"] = {
                    "speed": times["this"]["times_faster"],
                    "memory": round(memory["this"] / memory["baseline"], 3),
                    "seconds": {name: time["seconds"] for name, time in times.items()},
                    "megabytes": {name: round(value) for name, value in memory.items()},
                }
        return result

    def inference(self) -> dict[str, Any]:
        """A slice of the released network at its released width."""
        plain = {"task": "inference", "features": self.wide, "precision": None}
        return self.in_turn(
            {
                "baseline_float32": plain,
                "plain_float32": plain,
                "optimised_float32": {**plain, "precision": "float32"},
                "optimised_bfloat16": {**plain, "precision": "bfloat16"},
            },
            rounds=9,
        )

    def training_small(self) -> dict[str, Any]:
        """A step of the released network at the quick width."""
        step = {"task": "training", "features": self.narrow, "batch": 2, "channels_last": True, "precision": "float32"}
        return self.in_turn(
            {"baseline_float32": step, "float32": step, "bfloat16": {**step, "precision": "bfloat16"}}, rounds=9
        )

    def compiled(self) -> dict[str, Any]:
        """A step of the released network at the quick width, with and without its blocks handed to torch.compile."""
        step = {"task": "training", "features": self.narrow, "batch": 2, "channels_last": True, "precision": "bfloat16"}
        return self.in_turn({"eager": step, "compiled": {**step, "compile": True}}, rounds=5)

    def training(self) -> dict[str, Any]:
        """A step of the released network at its released width."""
        step = {"task": "training", "features": self.wide, "batch": 1 if self.tiny else 4, "trim": True}
        fast = {**step, "channels_last": True, "precision": "bfloat16"}
        return self.in_turn(
            {
                "baseline_float32": {**step, "channels_last": False, "precision": "float32"},
                "bfloat16": fast,
                "bfloat16_checkpointing": {**fast, "checkpointing": True},
            },
            rounds=2,
        )

    def peak_of(self, name: str, request: Request) -> float:
        """Peak resident memory of two runs above what it was before the network was built, in MB."""
        with self.versions({name: request}) as versions:
            version = versions[name]
            version.run()
            return (version.run()["peak"] - version.first["peak_before"]) / 1e6

    def memory(self) -> dict[str, Any]:
        """Memory of inference and of training steps, in MB and as shares of the baseline's."""
        look = {"task": "inference", "features": self.wide, "precision": None}
        step = {"task": "training", "features": self.wide, "batch": 1 if self.tiny else 4}
        fast = {**step, "channels_last": True, "precision": "bfloat16"}
        result: dict[str, Any] = {}
        looks = {
            "baseline_float32": look,
            "plain_float32": look,
            "optimised_float32": {**look, "precision": "float32"},
            "optimised_bfloat16": {**look, "precision": "bfloat16"},
        }
        for kind, requests in {
            "inference": looks,
            "inference_batch_4": {name: {**request, "batch": 4} for name, request in looks.items()},
            "training": {
                "baseline_float32": {**step, "channels_last": False, "precision": "float32"},
                "bfloat16": fast,
                "bfloat16_checkpointing": {**fast, "checkpointing": True},
            },
        }.items():
            figures = {}
            for name, request in requests.items():
                figures[name] = self.peak_of(name, request)
            result[kind] = {
                name: {"megabytes": round(value), "share_of_baseline": round(value / figures["baseline_float32"], 3)}
                for name, value in figures.items()
            }
        return result

    def curves(self) -> dict[str, Any]:
        """Losses of 200 steps on small images at the released and at the quick width, and the pictures of them."""
        return {
            f"features_{features}": self._curves(features, batch)
            for features, batch in ((self.wide, 1 if self.tiny else 4), (self.narrow, 2))
        }

    def _curves(self, features: int, batch: int) -> dict[str, Any]:
        step = {
            "task": "training", "features": features, "batch": batch, "size": 48 if self.tiny else 64, "batches": 8,
            "channels_last": True, "precision": "float32",
        }  # fmt: skip
        half = {**step, "precision": "bfloat16"}
        requests = {"baseline_float32": step, "float32": step, "baseline_bfloat16": half, "bfloat16": half}
        losses: dict[str, list[float]] = {name: [] for name in requests}
        with self.versions(requests) as versions:
            for _ in range(8 if self.tiny else 200):
                for name, version in versions.items():
                    losses[name].append(version.run()["value"])
        title = f"released FSMNet, {features} features, batches of {batch}"
        draw(losses, title, self.arguments.out.with_name(f"{self.arguments.out.stem}_loss_{features}.png"))
        reference = losses["baseline_float32"]
        apart = {
            name: [abs(loss / other - 1) for loss, other in zip(values, reference, strict=True)]
            for name, values in losses.items()
        }
        return {
            name: {
                "first": round(values[0], 5),
                "mean_of_last_20": round(statistics.fmean(values[-20:]), 5),
                "largest_relative_difference_first_30": float(f"{max(apart[name][:30]):.2g}"),
                "largest_relative_difference": float(f"{max(apart[name]):.2g}"),
                "losses": [float(f"{loss:.5g}") for loss in values],
            }
            for name, values in losses.items()
        }

    def quality(self) -> list[dict[str, Any]]:
        """PSNR on every tenth slice with trained weights: against the full image, and of optimised against plain."""
        from fsmnet.checkpoint import load_model, shipped_checkpoint
        from fsmnet.inference.slices import reconstruct_slices
        from fsmnet.models import recipe_of
        from fsmnet.protocols.brats import BRATS, brats_mask

        target, auxiliary = self.slices()
        zero_filled = BRATS.zero_fill(target, torch.from_numpy(brats_mask(4).columns))
        shipped = shipped_checkpoint("shipped-image")
        rows = []
        for path in [*([shipped] if shipped else []), *self.arguments.checkpoint]:
            model = load_model(path)

            def images(network: torch.nn.Module) -> Tensor:
                return reconstruct_slices(
                    network, zero_filled, auxiliary, BRATS.normalisation, finish=BRATS.finish, batch=1
                )

            def psnr(reference: Tensor, image: Tensor) -> float:
                return statistics.fmean(metrics.psnr for metrics in BRATS.score(reference, image))

            plain = images(model)
            row = {"weights": Path(path).name, "model": recipe_of(model), "slices": len(target)}
            row["plain_float32"] = psnr(target, plain)
            for precision in ("float32", "bfloat16"):
                fast = images(optimised(model, precision))
                row[f"change_{precision}"] = psnr(target, fast) - row["plain_float32"]
                error = (fast.double() - plain.double()).square().mean().item()
                row[f"psnr_between_{precision}"] = 10 * math.log10(255**2 / error) if error else None
            rows.append(row)
        return rows

    def slices(self) -> tuple[Tensor, Tensor]:
        from fsmnet.data.pairing.names import find_pairs
        from fsmnet.protocols.brats import BRATS
        from fsmnet.protocols.volumes import prepared_slices

        [pair] = find_pairs(self.arguments.data, "t2", "t1", [self.arguments.case])
        slices = prepared_slices(pair, BRATS)
        every = 40 if self.tiny else 10
        return slices.target[::every], slices.auxiliary[::every]

    def volume(self) -> dict[str, Any]:
        """A whole volume by ``fsmnet reconstruct`` with the shipped network: seconds by stage, and of the process.

        ``around`` is what the process took before its slices were prepared and after they were written: its start,
        imports, reading and loading, its end. ``start`` is what Python and the import of PyTorch alone take.
        ``processor_seconds`` are of all threads.
        """
        case = self.arguments.data / self.arguments.case
        rows: dict[str, Any] = {}
        start = min(duration([sys.executable, "-c", "import torch"]) for _ in range(3))
        for precision in ("float32",) if self.tiny else ("float32", "bfloat16"):
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "out.nii.gz"
                files = [f for kind in ("t2", "t1") for f in sorted(case.glob(f"*_{kind}.nii*"))]
                command = [sys.executable, "-m", "fsmnet", "reconstruct", "--threads", str(self.arguments.threads)]
                command += ["--target", str(files[0]), "--auxiliary", str(files[1]), "--out", str(out)]
                command += ["--check", "off"]  # the time without it is what is compared
                started, used = time.perf_counter(), processor_seconds()
                environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
                subprocess.run([*command, "--precision", precision], check=True, env=environment)
                wall, used = time.perf_counter() - started, processor_seconds() - used
                record = json.loads((Path(folder) / "out.json").read_text())
            seconds = record["Seconds"]
            inside = sum(seconds[stage] for stage in ("prepare", "network", "consistency", "write"))
            rows[precision] = {
                "shape": record["Sources"][0]["shape"],
                "slices": record["SlicesReconstructed"],
                "seconds": seconds,
                "start": round(start, 3),
                "around": round(wall - inside, 3),
                "process": round(wall, 3),
                "processor_seconds": round(used, 3),
                "share_outside_the_network_of_the_process": round(1 - seconds["network"] / wall, 4),
                "share_outside_the_network_after_the_start": round(1 - seconds["network"] / (wall - start), 4),
            }
        return rows

    def scaling(self) -> dict[str, Any]:
        """Seconds of the optimised network against pixels and against batch, and the exponents of a fit."""
        request = {"task": "inference", "features": self.wide, "precision": "bfloat16"}
        sizes = [48, 64] if self.tiny else [120, 160, 240, 320, 400, 480]
        rounds = 1 if self.tiny else 3
        by_size: dict[int, list[float]] = {size: [] for size in sizes}
        with self.versions({"fast": {**request, "sizes": sizes}}) as versions:
            for count in range(rounds + 1):
                for size in sizes:
                    seconds = versions["fast"].run()["seconds"]
                    if count:
                        by_size[size].append(seconds)
        batches = [1, 2] if self.tiny else [1, 2, 4, 8]
        by_batch: dict[int, list[float]] = {batch: [] for batch in batches}
        with self.versions({str(batch): {**request, "batch": batch} for batch in batches}) as versions:
            for count in range(rounds + 1):
                for batch in batches:
                    seconds = versions[str(batch)].run()["seconds"]
                    if count:
                        by_batch[batch].append(seconds)
        pixels = {size**2: statistics.median(values) for size, values in by_size.items()}
        slices = {batch: statistics.median(values) for batch, values in by_batch.items()}
        return {
            "seconds_by_size": {size: round(pixels[size**2], 4) for size in sizes},
            "exponent_of_pixels": round(exponent(pixels), 3),
            "seconds_by_batch": {batch: round(value, 4) for batch, value in slices.items()},
            "exponent_of_batch": round(exponent(slices), 3),
        }

    def startup(self) -> dict[str, Any]:
        """Seconds until the package is imported and until the command line has helped."""
        commands = {"import": ["-c", "import fsmnet"], "help": ["-m", "fsmnet", "--help"]}
        result = {}
        for name, source in {"baseline": self.older, "now": SOURCE}.items():
            for kind, command in commands.items():
                times = []
                for _ in range(2 if self.tiny else 6):
                    times.append(duration([sys.executable, *command], {"PYTHONPATH": str(source)}))
                result[f"{name}_{kind}"] = round(statistics.median(times[1:]), 3)
        return result


def duration(command: list[str], environment: dict[str, str] | None = None) -> float:
    """Seconds that a program takes from its start to its end."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=os.environ | (environment or {}))
    return time.perf_counter() - started


def processor_seconds() -> float:
    """Of the processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def exponent(times: dict[int, float]) -> float:
    """Slope of the straight line through the logarithms."""
    x, y = zip(*((math.log(n), math.log(t)) for n, t in times.items()), strict=True)
    return statistics.linear_regression(x, y).slope


def draw(losses: dict[str, list[float]], title: str, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, values in losses.items():
        axes.plot(range(1, len(values) + 1), values, label=name.replace("_", " "), linewidth=1)
    axes.set(xlabel="step", ylabel="loss", yscale="log", title=title)
    axes.legend()
    figure.savefig(path, dpi=150)


PARTS = (
    "inference",
    "training_small",
    "training",
    "memory",
    "volume",
    "quality",
    "scaling",
    "curves",
    "compiled",
    "startup",
    "like_for_like",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", type=Path, help="checkout of an older commit")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/volumes"))
    parser.add_argument("--case", default="TCGA-FG-6692")
    parser.add_argument("--checkpoint", type=Path, nargs="*", default=[], help="further trained weights for quality")
    parser.add_argument("--parts", nargs="*", choices=PARTS)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child)
        return
    torch.set_num_threads(arguments.threads)
    result = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    commits = result.pop("commits", {})
    bench = Bench(arguments)
    for part in arguments.parts or [part for part in PARTS if part not in result]:
        print(f"{time.strftime('%H:%M:%S')} {part}", file=sys.stderr, flush=True)
        result[part] = getattr(bench, part)()
        commits[part] = {"baseline": commit(bench.older), "this": commit(SOURCE)}
        result |= {"threads": arguments.threads, "torch": torch.__version__, "commits": commits}
        temporary = arguments.out.with_suffix(".tmp")
        temporary.write_text(json.dumps(result, indent=1) + "\n")
        temporary.replace(arguments.out)
        print(json.dumps({part: shown(result[part])}), flush=True)


def commit(source: Path) -> str:
    """The commit of a checkout, marked if files of it were changed since."""
    run = partial(subprocess.run, cwd=source, check=True, capture_output=True, text=True)
    changed = run(["git", "status", "--porcelain", "--untracked-files=no", "."]).stdout.strip()
    return run(["git", "rev-parse", "--short", "HEAD"]).stdout.strip() + (" and changes" if changed else "")


def shown(value: Any) -> Any:
    """The figures without the long lists."""
    if isinstance(value, dict):
        return {name: shown(v) for name, v in value.items() if name != "losses"}
    return value


if __name__ == "__main__":
    main()
