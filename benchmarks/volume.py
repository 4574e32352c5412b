"""Seconds and memory of one whole volume by ``fsmnet reconstruct``: the shipped network, the older one, the checks.

    python benchmarks/volume.py T2.nii.gz T1.nii.gz [--runs 2] [--out benchmarks/volume.json]

Each run is a process of its own, as a user starts it: loading, reading, simulated under-sampling, the network, the
checks and everything written are counted. The variants take turns; the least of the runs counts. Those named ``avx2``
are told, with PyTorch, oneDNN and MKL, to use AVX2 at most, in float32. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from processors import AVX2
from speed import SOURCE, commit

SHORT = ["--no-trust-maps", "--no-picture"]
VARIANTS: dict[str, tuple[list[str], dict[str, str]]] = {
    "shipped": ([], {}),
    "shipped, no check": (["--check", "off", *SHORT], {}),
    "shipped, one fold, no maps": (["--check", "1", *SHORT], {}),
    "shipped, five folds": (["--check", "5"], {}),
    "shipped-image, no check": (["--checkpoint", "shipped-image", "--check", "off", *SHORT], {}),
    "shipped, no check, float32, avx2": (["--check", "off", *SHORT, "--precision", "float32"], AVX2),
    "shipped-image, no check, float32, avx2": (
        ["--checkpoint", "shipped-image", "--check", "off", *SHORT, "--precision", "float32"],
        AVX2,
    ),
}
WATCHED = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"code": done.returncode, "said": done.stderr[-2000:], "seconds": time.perf_counter() - began,
                  "processor_seconds": used.ru_utime + used.ru_stime, "peak_mib": used.ru_maxrss / 1024}))
"""


def reconstructed(target: Path, auxiliary: Path, options: list[str], told: dict[str, str]) -> dict[str, float]:
    """One run of the command in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fsmnet", "reconstruct", str(target), str(auxiliary)]
        command += ["-o", f"{folder}/result.nii.gz", "-q", *options]
        done = subprocess.run(
            [sys.executable, "-c", WATCHED, *command], env=os.environ | told, check=True, capture_output=True, text=True
        )
    figures = json.loads(done.stdout)
    if figures.pop("code"):
        raise SystemExit(figures["said"])
    del figures["said"]
    return {name: round(value, 1) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("auxiliary", type=Path)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    load, runs = os.getloadavg()[0], {name: [] for name in args.variants}
    for _ in range(args.runs):
        for name in args.variants:
            runs[name].append(reconstructed(args.target, args.auxiliary, *VARIANTS[name]))
            print(f"{name}: {runs[name][-1]}", flush=True)
    report = {
        "command": f"python benchmarks/volume.py {args.target.name} {args.auxiliary.name} --runs {args.runs}",
        "commit": commit(SOURCE),
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} processors",
        "load_before": round(load, 2),
        "date": time.strftime("%Y-%m-%d"),
        "least": {name: min(done, key=lambda run: run["seconds"]) for name, done in runs.items()},
    }
    print(json.dumps(report, indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
