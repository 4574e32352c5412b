"""A training killed at random moments."""

from __future__ import annotations

import csv
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

import fsmnet.files
from fsmnet.data.phantom import write_subjects

from .forked import begun, ended
from .registry import trial

STEPS = 40
OPTIONS = [
    "--model", "mdunet", "--model-options", "{features: 4, levels: 2}", "--protocol", "float", "--device", "cpu",
    "--threads", "1", "--batch", "1", "--iterations", str(STEPS), "--log-every", "1", "--save-every", "2",
    "--validation-fraction", "0.25", "--validate-every", "4", "--test-fraction", "0",
]  # fmt: skip
WRITING = 0.02  # seconds that every write to the disk takes, so that kills meet it


def words(data: Path, out: Path) -> list[str]:
    """A training of seconds; goes on with what is there."""
    more = ["--resume"] if (out / "resume.pt").exists() else []
    return ["train", "--data", str(data), "--out", str(out), *OPTIONS, *more]


def write_slowly() -> None:
    synced = os.fsync

    def slow(number: int) -> None:
        time.sleep(WRITING)
        synced(number)

    fsmnet.files.os.fsync = slow


def rows(out: Path) -> list[dict[str, str]]:
    """Rows of a log but for their times."""
    with (out / "log.csv").open(newline="") as file:
        return [{name: text for name, text in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def same_weights(first: Path, second: Path) -> bool:
    one, other = load_file(first), load_file(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def same_run(first: Path, second: Path) -> bool:
    return all(same_weights(first / name, second / name) for name in ("last.safetensors", "best.safetensors"))


@trial("kills", "SIGKILL of a training at random moments, then `--resume`, until it is done; again and again", count=50)
def kills(folder: Path, count: int) -> dict[str, Any]:
    data, straight, killed, errors = write_data(folder), folder / "straight", folder / "killed", folder / "errors"
    begin = time.monotonic()
    assert ended(begun(words(data, straight), errors, write_slowly), 600) == 0
    seconds, chance = time.monotonic() - begin, random.Random(0)
    done = writing = runs = equal = whole = refused = left = 0
    while done < count or killed.exists():
        code = ended(begun(words(data, killed), errors, write_slowly), chance.uniform(0.1, 0.8) * seconds)
        if code is None:
            done += 1
            writing += any(killed.glob(".part-*"))
            continue
        runs, refused = runs + 1, refused + (code != 0)
        if not code:
            equal, whole = equal + same_run(straight, killed), whole + (rows(straight) == rows(killed))
            left += len([path for path in killed.iterdir() if path.name.startswith(".")])
        shutil.rmtree(killed)
    return {
        "kills": done,
        "of them while a file was written": writing,
        "runs that came to their end": runs,
        "with weights equal to the undisturbed run's, bit for bit": equal,
        "with the log whole": whole,
        "resumptions refused": refused,
        "files left over": left,
        "held": equal == whole == runs and not refused and not left,
    }


def write_data(folder: Path) -> Path:
    """Four heads of the phantom."""
    write_subjects(folder / "heads", range(4), size=64, slices=5, voxel=3.0)
    return folder / "heads"
