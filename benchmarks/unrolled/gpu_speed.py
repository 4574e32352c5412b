"""Milliseconds a slice on a GPU, of each network in each precision, compiled and as a CUDA graph.

python benchmarks/unrolled/gpu_speed.py --out speed.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Lock
from pathlib import Path

import torch
from torch import Tensor, nn

from fsmnet.models import create_model
from fsmnet.models.unrolled import UnrolledFSMNet
from fsmnet.physics.acquisition import Acquisition

turn: Lock  # of whom the GPU is while something is timed
NETWORKS = ("fsmnet_released", "fsmnet", "fsmnet_fast", "mdunet", "unrolled", "unrolled, wide")


def task(name: str, batch: int, size: int, device: torch.device) -> tuple[nn.Module, tuple[object, Tensor]]:
    """A network and its arguments."""
    images = torch.rand(2, batch, 1, size, size, device=device)
    if not name.startswith("unrolled"):
        return create_model(name).to(device).eval(), (images[0], images[1])
    model = UnrolledFSMNet(12, (48, 64, 96)) if name.endswith("wide") else UnrolledFSMNet()
    scan = Acquisition.simulate(images[0, :, 0], torch.rand(size, device=device) < 0.25)
    return model.to(device, memory_format=torch.channels_last).eval(), (scan, images[1])


def milliseconds(run: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Median of some runs after two that do not count."""
    times = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times[2:])


def graph_of(run: Callable[[], object]) -> Callable[[], object]:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def ways(model: nn.Module, arguments: tuple[object, Tensor], device: torch.device) -> dict[str, Callable[[], object]]:
    """By name: the network in float32, with TF32, in bfloat16, as a graph; compiled only where it is all real."""

    def run(tf32: bool = False, half: bool = False, network: Callable[..., object] = model) -> object:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half, cache_enabled=False):
            return network(*arguments)

    found: dict[str, Callable[[], object]] = {"float32": run, "bfloat16": lambda: run(half=True)}
    if device.type == "cuda":
        found["tf32"] = lambda: run(tf32=True)
        found["bfloat16, graph"] = lambda: run(half=True)
        if not isinstance(model, UnrolledFSMNet):
            compiled = torch.compile(model, dynamic=False)
            found["bfloat16, compiled"] = lambda: run(half=True, network=compiled)
    return found


def network_rows(name: str, args: argparse.Namespace) -> list[dict[str, object]]:
    """One network in its own process: made ready beside the others, timed while the others wait."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name_of_device = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    model, arguments = task(name, args.batch, args.size, device)
    row = {"network": name, "device": name_of_device, "batch": args.batch, "size": args.size}
    rows: list[dict[str, object]] = []
    prepared = {}
    for way, run in ways(model, arguments, device).items():
        try:
            run()
            prepared[way] = graph_of(run) if way.endswith("graph") else run
        except RuntimeError as error:  # what cannot be captured or compiled is said, and the others still run
            rows.append(row | {"way": way, "error": str(error).splitlines()[0]})
    while args.after and not args.after.exists():
        time.sleep(0.05)
    with turn:
        for way, run in prepared.items():
            time_of_slice = milliseconds(run, args.repeats, device) / args.batch
            rows.append(row | {"way": way, "milliseconds_a_slice": time_of_slice})
    return rows


def take_turns(lock: Lock) -> None:
    global turn
    turn = lock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("speed.json"))
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=240)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--after", type=Path, help="file to wait for before anything is timed")
    args = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    rows = []
    with ProcessPoolExecutor(len(args.networks), spawn, take_turns, (spawn.Lock(),)) as pool:
        for found in pool.map(network_rows, args.networks, [args] * len(args.networks)):
            rows += found
            print(*found, sep="\n", flush=True)
            args.out.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
