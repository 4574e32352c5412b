"""Reading fastMRI files: memory over many slices, slices per second, and how long a training waits for them.

    python benchmarks/fastmri_reading.py --data KNEE --pairs knee_pairs.csv [--out FILE.json]
    python benchmarks/fastmri_reading.py --simulate FOLDER [--out FILE.json]

--simulate writes a tree of full size (640 x 368 k-space, 6 pairs of 20 slices, 0.5 GB) with the tests' generator and
reads that; it fits in the operating system's cache, so that the figures are about the code and not about the disk.

memory   2,000 samples of training are drawn by two workers, two k-space slices and two references each. At every
         tenth of them: the memory that belongs to each process alone (USS), in MB.
speed    samples per second, and slices of k-space per second, which are twice as many, by 0, 1 and 2 workers. Opening a
         file and starting the workers count, the first sample does not.
waiting  a training's steps with the quick network: the share of the time in which the step had to wait for its batch.
index    seconds to read all headers, and again from the index.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import torch
from figures import rounded, timed
from torch.utils.data import DataLoader

from fsmnet.data.pairing.fastmri_lists import read_pairs
from fsmnet.data.pairing.fastmri_tree import read_tree
from fsmnet.files import write_text
from fsmnet.models import create_model
from fsmnet.physics.options import MaskOptions
from fsmnet.protocols.fastmri import FASTMRI
from fsmnet.protocols.fastmri_slices import FastMRISlices
from fsmnet.protocols.slices import RunSampler, Sample
from fsmnet.training.losses import SpatialFrequencyLoss

SLICES = 2000
BATCH = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--simulate", type=Path)
    parser.add_argument("--steps", type=int, default=12, help="of training")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    root, pairs = (arguments.data, arguments.pairs) if arguments.simulate is None else simulate(arguments.simulate)
    index = (arguments.out or pairs).with_name("fastmri_index.json")
    index.unlink(missing_ok=True)
    first, again = (timed(lambda: read_tree(root, index)) for _ in range(2))
    index.unlink()
    found = read_pairs(pairs, first[0].files)
    recipe = FASTMRI.mask_recipe(MaskOptions())
    data = FastMRISlices(found, recipe)
    result = {
        "command": " ".join(["python", *sys.argv]).replace(str(arguments.simulate or ""), "FOLDER"),
        "cores": len(os.sched_getaffinity(0)),
        "data": {
            "simulated": arguments.simulate is not None,
            "pairs": len(found),
            "slices": len(data),
            "kspace": list(found[0].target.shape[1:]),
        },
        "index_seconds": {"headers": first[1], "again": again[1]},
        "memory": memory(data),
        "speed": {f"{workers} workers": speed(data, workers) for workers in (0, 1, 2)},
        "waiting": {f"{workers} workers": waiting(data, workers, arguments.steps) for workers in (0, 2)},
    }
    text = json.dumps(rounded(result), indent=2) + "\n"
    print(text, end="")
    if arguments.out:
        write_text(arguments.out, text)


def simulate(folder: Path) -> tuple[Path, Path]:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from fastmri_tree import write_knees

    pairs = folder / "pairs.csv"
    if not pairs.exists():
        names = write_knees(folder / "KNEE", range(6), size=160, slices=20)
        write_text(pairs, "".join(f"{auxiliary},{target}\n" for auxiliary, target in names))
    return folder / "KNEE", pairs


def batches(data: FastMRISlices, workers: int) -> Iterator[Sample]:
    return iter(DataLoader(data, batch_sampler=RunSampler(len(data), BATCH, 0), num_workers=workers))


def memory(data: FastMRISlices) -> dict[str, Any]:
    """The memory of the main process and of the two workers along the way."""
    loader = batches(data, 2)
    process = psutil.Process()
    main_process, workers = [], []
    for number, _ in enumerate(islice(loader, SLICES // BATCH), 1):
        if number % (SLICES // BATCH // 10) == 0:
            main_process.append(megabytes(process))
            workers.append([megabytes(child) for child in process.children()])
    largest = [max(values) for values in workers]
    return {
        "samples": SLICES,
        "main_MB": main_process,
        "workers_MB": workers,
        "growth_after_the_first_tenth_MB": {
            "main": main_process[-1] - main_process[0],
            "larger worker": largest[-1] - largest[0],
        },
    }


def speed(data: FastMRISlices, workers: int, samples: int = 200) -> dict[str, float]:
    loader = batches(data, workers)
    next(loader)
    begin = time.perf_counter()
    for _ in islice(loader, samples // BATCH):
        pass
    rate = samples / (time.perf_counter() - begin)
    return {"samples_per_second": rate, "kspace_slices_per_second": 2 * rate}


def waiting(data: FastMRISlices, workers: int, steps: int) -> dict[str, float]:
    torch.manual_seed(0)
    model = create_model("fsmnet", features=16, blocks=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss_of = SpatialFrequencyLoss()
    loader = batches(data, workers)
    waited, begin = 0.0, 0.0
    for step in range(steps + 1):
        if step == 1:  # the first step warms up
            waited, begin = 0.0, time.perf_counter()
        asked = time.perf_counter()
        batch = next(loader)
        waited += time.perf_counter() - asked
        optimizer.zero_grad()
        loss_of(model(batch.zero_filled, batch.auxiliary), batch.target, batch.auxiliary).backward()
        optimizer.step()
    seconds = time.perf_counter() - begin
    return {"steps": steps, "seconds_per_step": seconds / steps, "share_waiting": waited / seconds}


def megabytes(process: psutil.Process) -> float:
    return process.memory_full_info().uss / 1e6


if __name__ == "__main__":
    main()
