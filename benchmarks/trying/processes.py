"""Trials of several processes: two starts on one folder, a training on 2 and 4, a worker of a cluster killed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fsmnet.data.phantom import write_subjects
from fsmnet.files import sha256

from .registry import trial

FSMNET = [sys.executable, "-m", "fsmnet"]
SMALL = ["--device", "cpu", "--threads", "1", "--protocol", "float"]
TRAINING = [
    "--model", "fsmnet", "--model-options", "{features: 8, blocks: 1}", *SMALL, "--batch", "4", "--log-every", "1",
    "--validation-fraction", "0", "--test-fraction", "0",
]  # fmt: skip


def started(words: list[str], folder: Path, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **more)


def exams(folder: Path, count: int) -> list[str]:
    """A list of heads, and the command that reconstructs it into ``out``."""
    write_subjects(folder / "heads", range(count), size=64, slices=5, voxel=3.0)
    subprocess.run([*FSMNET, "pair", "heads", "--out", "pairs.csv"], cwd=folder, check=True, capture_output=True)
    return [*FSMNET, "reconstruct", "--pairs", "pairs.csv", "--out", "out", "--device", "cpu", "--threads", "1"]


@trial("two-starts", "every command started a second time on its folder, then again after the first was killed")
def two_starts(folder: Path, count: int) -> dict[str, Any]:
    listed = exams(folder, 4)
    data = ["--data", "heads", "--out", "out", *SMALL]
    scans = [
        f"--{role}=heads/phantom-0000/phantom-0000_{c}.nii.gz" for role, c in (("target", "t2"), ("auxiliary", "t1"))
    ]
    unet = "{U-Net: {model: mdunet}}"
    commands = {
        "train": [*FSMNET, "train", "--out", "out", "--data", "heads", *TRAINING, "--iterations", "500"],
        "compare": [*FSMNET, "compare", *data, "--methods", unet, "--reference", "U-Net", "--iterations", "500"],
        "evaluate": [*FSMNET, "evaluate", *data, "--models", "zero_filling", "pocs"],
        "reconstruct": [*FSMNET, "reconstruct", *scans, "--out", "out/t2.nii.gz", "--device", "cpu"],
        "reconstruct --pairs": listed,
        "demo": [*FSMNET, "demo", "--out", "out", "--device", "cpu"],
        "calibrate": [*FSMNET, "calibrate", "heads", "--out", "out/own.safetensors", "--rate", "0.5"],
        "export": [*FSMNET, "export", "--out", "out/shipped.onnx"],
    }
    refused, taken = [], []
    for name, words in commands.items():
        for path in sorted((folder / "out").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        first = started(words, folder)
        until(lambda: any((folder / "out").glob(".*.lock")), first)
        first.send_signal(signal.SIGSTOP)  # it holds its lock for as long as the second takes
        second = started(words, folder)
        said = second.communicate()[1]
        if second.returncode == 2 and f"process {first.pid} on" in said and len(said.splitlines()) == 1:
            refused.append(name)
        first.kill()
        first.communicate()
        third = started(words, folder)
        assert third.stderr is not None
        if any("has ended; taken over" in line for line in third.stderr):
            taken.append(name)
        third.kill()
        third.communicate()
    everyone = len(commands)
    return {
        "commands": everyone,
        "second_starts_refused_in_words": len(refused),
        "locks_of_killed_ones_taken_over": len(taken),
        "not_so": sorted({*commands} - ({*refused} & {*taken})) or "none",
        "held": len(refused) == len(taken) == everyone,
    }


@trial("processes", "a training by torchrun (gloo) on 2 and 4 processes beside one; then one of them killed")
def processes(folder: Path, count: int) -> dict[str, Any]:
    write_subjects(folder / "heads", range(4), size=64, slices=5, voxel=3.0)
    curves = {}
    for world in (1, 2, 4):
        words = train(folder, world, "--iterations", "5")
        subprocess.run(words, cwd=folder, check=True, capture_output=True)
        curves[world] = curve(folder / f"run{world}")
    figures: dict[str, Any] = {}
    for world in (2, 4):
        pairs = zip(curves[world], curves[1], strict=True)
        figures[f"largest_difference_on_{world}"] = float(f"{max(abs(a / b - 1) for a, b in pairs):.1e}")
    seconds = []
    for world in (2, 4):
        out = folder / f"killed{world}"
        words = train(folder, world, "--iterations", "100000", "--save-every", "1", out=out.name)
        launcher = started(words, folder, start_new_session=True)
        until(lambda out=out: (out / "resume.pt").exists(), launcher)
        ranks = [child for child in children(launcher.pid) if "fsmnet" in child[1]]
        os.kill(ranks[-1][0], signal.SIGKILL)
        begin = time.monotonic()
        launcher.communicate()
        until(lambda ranks=ranks: not any(Path(f"/proc/{pid}").exists() for pid, _ in ranks))
        seconds.append(time.monotonic() - begin)
    figures["seconds_until_all_had_ended_after_a_kill"] = [round(value, 1) for value in seconds]
    held = all(figures[f"largest_difference_on_{world}"] < 1e-3 for world in (2, 4)) and max(seconds) < 60
    return figures | {"held": held}


@trial(
    "worker-killed",
    "a list on a scheduler and three workers of dask.distributed, one of them killed by SIGKILL",
    count=3,
)
def worker_killed(folder: Path, count: int) -> dict[str, Any]:
    from distributed import Client

    words, done, tables, again, twice = exams(folder, 9), 0, 0, 0, 0
    for number in range(count):
        file = folder / f"scheduler{number}.json"
        scheduler = ["--scheduler-file", str(file), "--no-dashboard"]
        options = [*scheduler, "--no-nanny", "--nthreads", "1", "--local-directory", str(folder)]
        programs = [["-m", "distributed.cli.dask_scheduler", "--port", "0", *scheduler], ["-c", DIES, *options]]
        programs += [["-m", "distributed.cli.dask_worker", *options]] * 2
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        beside = [subprocess.Popen([sys.executable, *program], **quiet) for program in programs]
        out = folder / f"out{number}"
        run = [*words[: words.index("out")], out.name, *words[words.index("out") + 1 :], "--cluster", file.name]
        until(file.exists)
        with Client(scheduler_file=str(file)) as client:
            client.wait_for_workers(3)
        subprocess.run(run, cwd=folder, check=True, capture_output=True)
        killed = beside[1].wait(60) == -signal.SIGKILL
        for process in beside:
            process.kill()
            process.wait()
        with (out / "exams.csv").open(newline="") as table:
            rows = list(csv.DictReader(table))
        records = [json.loads(path.read_text()) for path in out.glob("*.json")]
        whole = [r for r in records if sha256(out / r["Output"]["file"]) == r["Output"]["sha256"]]
        done += killed and len(whole)
        twice += len(rows) - len({row["case"] for row in rows})
        again += sum(row["reason"].startswith("done again") for row in rows)
        tables += len(list(out.glob("*.csv")))
    figures = {"kills": count, "exams": 9 * count, "exams_done": done, "exams_twice": twice}
    held = (done, twice, again, tables) == (9 * count, 0, count, count)
    return figures | {"done_again_by_another_worker": again, "tables": tables, "held": held}


# A worker that is killed where an exam's record would get its name.
DIES = """
import os, signal, sys
replace = os.replace
def die(source, target, **options):
    if str(target).endswith("json"):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target, **options)
os.replace = die
from distributed.cli.dask_worker import main
main(sys.argv[1:])
"""


def train(folder: Path, world: int, *more: str, out: str = "") -> list[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world)]
    begin = [sys.executable, *(launcher if world > 1 else []), "-m", "fsmnet", "train"]
    return [*begin, "--data", "heads", "--out", out or f"run{world}", *TRAINING, *more]


def curve(run: Path) -> list[float]:
    """Loss and gradient norm of every step."""
    with (run / "log.csv").open(newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file) for name in ("loss", "gradient_norm")]


def children(pid: int) -> list[tuple[int, str]]:
    """Processes below one, with their command lines."""
    import psutil

    return [(child.pid, " ".join(child.cmdline())) for child in psutil.Process(pid).children(recursive=True)]


def until(so: Any, process: subprocess.Popen[str] | None = None) -> None:
    while not so():
        if process is not None and process.poll() is not None:
            raise RuntimeError(process.communicate()[1])
        time.sleep(0.02)
