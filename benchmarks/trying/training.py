"""Trials of a training: killed at random moments, disk full at every write."""

from __future__ import annotations

import csv
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from fsmnet.data.phantom import write_subjects

from .registry import trial

STEPS = 40
OPTIONS = [
    "--model", "mdunet", "--model-options", "{features: 4, levels: 2}", "--protocol", "float", "--device", "cpu",
    "--threads", "1", "--batch", "1", "--iterations", str(STEPS), "--log-every", "1", "--save-every", "2",
    "--validation-fraction", "0.25", "--validate-every", "4", "--test-fraction", "0",
]  # fmt: skip


def command(data: Path, out: Path, *more: str) -> list[str]:
    """A training of seconds."""
    return [sys.executable, "-m", "fsmnet", "train", "--data", str(data), "--out", str(out), *OPTIONS, *more]


def rows(out: Path) -> list[dict[str, str]]:
    """Rows of a log but for their times."""
    with (out / "log.csv").open(newline="") as file:
        return [{name: text for name, text in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def same_weights(first: Path, second: Path) -> bool:
    one, other = load_file(first), load_file(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@trial("kills", "SIGKILL of a training at random moments, then `--resume`, until it is done", count=50)
def kills(folder: Path, count: int) -> dict[str, Any]:
    data, straight, killed = write_data(folder), folder / "straight", folder / "killed"
    begin = time.monotonic()
    subprocess.run(command(data, straight), check=True, capture_output=True)
    seconds = time.monotonic() - begin
    chance, done, refused = random.Random(0), 0, 0
    while done < count:
        for path in killed.glob("*"):
            path.unlink()
        ended = False
        while not ended and done < count:
            more = ["--resume"] if (killed / "resume.pt").exists() else []
            process = subprocess.Popen(command(data, killed, *more), stderr=subprocess.PIPE, text=True)
            try:
                process.communicate(timeout=chance.uniform(0.1, 1.0) * seconds)
                ended, refused = True, refused + bool(process.returncode)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                done += 1
    more = ["--resume"] if (killed / "resume.pt").exists() else []
    last = subprocess.run(command(data, killed, *more), check=False, capture_output=True, text=True)
    same = [same_weights(straight / name, killed / name) for name in ("last.safetensors", "best.safetensors")]
    left = [path.name for path in killed.iterdir() if path.name.startswith(".")]
    whole = rows(straight) == rows(killed)
    return {
        "kills": done,
        "resumptions refused": refused + bool(last.returncode),
        "weights equal bit for bit": all(same),
        "log whole": whole,
        "files left over": len(left),
        "held": all(same) and whole and not refused and not last.returncode and not left,
    }


def write_data(folder: Path) -> Path:
    """Four heads of the phantom."""
    write_subjects(folder / "heads", range(4), size=64, slices=5, voxel=3.0)
    return folder / "heads"
