"""A list and a training on a Slurm that is started for it, one job cancelled, one stopped."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from fsmnet.data.phantom import write_subjects

from .registry import trial
from .site import PATIENCE, site, until

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "slurm"
FSMNET = [sys.executable, "-m", "fsmnet"]
STEPS = 300
# The example is for four GPUs a node and the paper's network.
SMALL = (
    "--model mdunet --model-options '{features: 4, levels: 2}' --protocol float --device cpu --threads 1 "
    f"--iterations {STEPS} --batch 2 --save-every 10 --log-every 1 --validation-fraction 0 --test-fraction 0"
)
OVERRIDES = ["--nodes=1", "--gpus-per-node=0", "--cpus-per-task=2", "--mem=4G", "--time=20"]
OUTPUT = ["--open-mode=append", "--output=said"]


@trial(
    "slurm", "a list on two Slurm jobs, one of them cancelled; a training told that its time is over, and queued again"
)
def slurm(folder: Path, count: int) -> dict[str, Any]:
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    write_subjects(folder / "heads", range(8), size=64, slices=5, voxel=3.0)
    subprocess.run([*FSMNET, "pair", "heads", "--out", "pairs.csv"], cwd=folder, check=True, capture_output=True)
    with site(folder / "slurm"):
        listed, trained = _list(folder), _training(folder)
    return listed | trained | {"held": listed["held"] and trained["held"]}


def _list(folder: Path) -> dict[str, Any]:
    job = yaml.safe_load((EXAMPLES / "jobqueue.yaml").read_text(encoding="utf-8"))
    prologue = [f"export PYTHONPATH={os.environ['PYTHONPATH']} OMP_NUM_THREADS=1"]
    job["jobqueue"]["slurm"] |= {
        "cores": 1, "memory": "3GB", "queue": None, "job-extra-directives": [], "job-script-prologue": prologue,
    }  # fmt: skip
    (folder / "conf").mkdir()
    (folder / "conf" / "jobqueue.yaml").write_text(yaml.safe_dump(job))
    words = [*FSMNET, "reconstruct", "--pairs", "pairs.csv", "--out", "out", "--device", "cpu", "--threads", "1"]
    run = subprocess.Popen(
        [*words, "--cluster", "slurm", "--processes", "2"],
        cwd=folder,
        env=os.environ | {"DASK_CONFIG": str(folder / "conf")},
    )
    until(lambda: any((folder / "out").glob("*.nii.gz")))
    jobs = [line.split()[0] for line in said("squeue", "-h", "-o", "%i %j").splitlines() if "dask" in line]
    subprocess.run(["scancel", jobs[0]], check=True)
    code = run.wait(PATIENCE)
    with (folder / "out" / "exams.csv").open(newline="") as table:
        done = [row["case"] for row in csv.DictReader(table) if row["status"] == "done"]
    held = code == 0 and len(done) == len(set(done)) == 8
    return {"exams": 8, "exams done": len(set(done)), "jobs": len(jobs), "cancelled": 1, "held": held}


def _training(folder: Path) -> dict[str, Any]:
    text = (EXAMPLES / "train.sh").read_text(encoding="utf-8")
    text = text.replace("--nproc-per-node gpu", "--nproc-per-node 2").replace("--config paper", SMALL)
    text = text.replace(" --workers 4)", ")")
    (folder / "train.sh").write_text(text)
    job = said("sbatch", "--parsable", *OVERRIDES, *OUTPUT, "train.sh", "heads", "run", cwd=folder).strip()
    log = folder / "run" / "log.csv"
    until(lambda: log.exists() and len(log.read_text().splitlines()) > 20)
    subprocess.run(["scancel", "--signal=TERM", "--batch", job], check=True)
    until(lambda: "to go on" in (folder / "said").read_text())
    stopped = re.search(r"stopped at step (\d+)", (folder / "said").read_text())
    until(lambda: not said("squeue", "-h", "-j", job).strip())
    steps = [int(row["step"]) for row in csv.DictReader(log.open(newline=""))]
    whole = steps == list(range(1, STEPS + 1))
    step = int(stopped[1]) if stopped else 0
    return {
        "stopped and saved at step": step,
        "went on to step": steps[-1],
        "log whole": whole,
        "held": whole and step > 0,
    }


def said(*words: str, cwd: Path | None = None) -> str:
    return subprocess.run(words, cwd=cwd, check=True, capture_output=True, text=True).stdout
