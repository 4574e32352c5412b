"""Inference in float32 on a lesser processor, emulated: plain, optimised, and optimised but for a step or two.

    python benchmarks/processors.py [--features 64] [--threads 1] [--runs 3] [--out benchmarks/processors.json]

oneDNN, PyTorch and MKL are told to use AVX2 at most. Seconds are of processor time of all threads, the least of the
runs in turn; on a busy machine they are longer than on an idle one, but alike for all four. ``direct`` is optimised,
with 3x3 convolutions multiplied out; ``not fused`` is without oneDNN's fused passes, and so multiplied out as well.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import torch
from speed import SOURCE, commit

AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


def measure(features: int, threads: int, runs: int) -> dict[str, object]:
    """In the emulated process."""
    from unittest.mock import patch

    from fsmnet.benchmark.tasks import fresh, image_of, smooth_slices
    from fsmnet.inference.allocator import keep_freed_blocks, large_blocks_apart
    from fsmnet.inference.optimise import after, steps
    from fsmnet.models.kernels import winograd
    from fsmnet.models.kernels.onednn import FusedConv2d, available

    large_blocks_apart()
    torch.set_num_threads(threads)
    device = torch.device("cpu")
    plain = fresh("fsmnet_released", {"features": features}, device)
    recipe = steps(plain)
    optimised = after(plain, recipe)
    networks = {"plain": plain, "not fused": after(plain, recipe[:-1]), "direct": optimised, "optimised": optimised}
    images = smooth_slices(240, 1, device)
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for run in range(runs + 1):
        for name, network in networks.items():
            with patch.object(winograd, "pays", (lambda *_: False) if name == "direct" else winograd.pays):
                started = time.process_time()
                image_of(network, *images)
                took = time.process_time() - started
            if run:  # libraries set themselves up in the first
                seconds[name].append(took)
        keep_freed_blocks()
    least = {name: round(min(times), 3) for name, times in seconds.items()}
    return {
        "processor_seconds_per_slice": least,
        "speedup": round(least["plain"] / least["optimised"], 3),
        "fused_convolutions": sum(isinstance(m, FusedConv2d) for m in optimised.modules()),
        "available": {str(dtype): available(dtype) for dtype in (torch.float32, torch.bfloat16)},
        "capability": torch.backends.cpu.get_cpu_capability(),
    }


def processor() -> str:
    """Its name, where the system tells it."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--emulated", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.emulated:
        print(json.dumps(measure(args.features, args.threads, args.runs)))
        return
    command = [sys.executable, __file__, "--emulated", *sys.argv[1:]]
    done = subprocess.run(command, env=os.environ | AVX2, check=True, stdout=subprocess.PIPE, text=True)
    report = {"command": " ".join(sys.argv), "commit": commit(SOURCE), "processor": processor(), **AVX2}
    report |= {"torch": torch.__version__, "load": os.getloadavg()[0], **json.loads(done.stdout)}
    print(json.dumps(report, indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
