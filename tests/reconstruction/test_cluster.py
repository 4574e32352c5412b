"""A list on several processes and on a cluster: the same results, whoever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from exam_list import Place
from fsmnet.cli import main
from fsmnet.files import sha256

ROOT = Path(__file__).resolve().parents[2]

# Of three workers the one that is told so dies as by ``kill -9`` where an exam's record would get its name: its image
# is there by then. The others wait there until it is dead, or they might have done the list before it begins.
WORKER = """
import os, pathlib, signal, sys, time
dead, dies, *words = sys.argv[1:]
replace = os.replace
def held(source, target, **options):
    if str(target).endswith("json"):
        if dies == "dies":
            pathlib.Path(dead).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        while not os.path.exists(dead):
            time.sleep(0.05)
    replace(source, target, **options)
os.replace = held
from distributed.cli.dask_worker import main
main(words)
"""


def assert_whole(exams: Place, processes: int) -> None:
    """Every exam once, in one table; records that belong to their images; no network loaded for each exam."""
    assert exams.statuses() == ["done"] * len(exams.cases)
    assert list(exams.rows()) == exams.cases
    records = [json.loads(exams.record(case).read_text()) for case in exams.cases]
    assert all(sha256(exams.out / r["Output"]["file"]) == r["Output"]["sha256"] for r in records)
    assert len({record["Seconds"]["load"] for record in records}) <= processes
    assert not list(exams.out.glob(".*"))
    assert [path.name for path in exams.out.glob("*.csv")] == ["exams.csv"]


@pytest.fixture
def images():
    """Function (list) -> the images that this process alone makes of it: name -> bytes."""

    def make(exams: Place) -> dict[str, bytes]:
        out, exams.out = exams.out, exams.root / "alone"
        assert main(exams.command()) == 0
        files = {path.name: path.read_bytes() for path in exams.out.glob("*.nii.gz")}
        exams.out = out
        return files

    return make


def test_processes_make_what_one_makes(place, images, capsys, caplog):
    exams = place(4)
    alone = images(exams)
    exams.file("case-02", "t1").unlink()
    assert main(exams.command("--processes", "2")) == 3
    assert exams.statuses() == ["done", "failed", "done", "done"]
    assert exams.rows()["case-02"][1].endswith("case-02_t1.nii.gz: no such file")
    made = {path.name: path.read_bytes() for path in exams.out.glob("*.nii.gz")}
    assert made == {name: data for name, data in alone.items() if "case-02" not in name}
    assert capsys.readouterr().out.splitlines()[-1] == "4 exams: 3 done, 0 skipped, 1 failed"
    assert any("is T2 (by its name), but its fluid is dark" in message for message in caplog.messages)  # from there


@pytest.fixture
def start():
    """Function (*words) -> a Python process, ended afterwards."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*words: str) -> subprocess.Popen[bytes]:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started.append(subprocess.Popen([sys.executable, *words], **quiet))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def test_a_scheduler_and_three_workers_of_which_one_is_killed(place, images, start):
    distributed = pytest.importorskip("distributed")
    exams = place(9)
    alone = images(exams)
    file = exams.root / "scheduler.json"
    scheduler = ("--scheduler-file", str(file))
    start("-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", *scheduler)
    while not file.exists():
        time.sleep(0.05)
    options = (*scheduler, "--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", str(exams.root))
    dead = str(exams.root / "dead")
    dying = start("-c", WORKER, dead, "dies", *options)
    for _ in range(2):
        start("-c", WORKER, dead, "lives", *options)
    with distributed.Client(scheduler_file=str(file)) as client:
        client.wait_for_workers(3)
    assert main(exams.command("--cluster", str(file))) == 0
    assert dying.wait() == -signal.SIGKILL
    assert_whole(exams, 3)
    reasons = [reason for _, reason in exams.rows().values()]
    assert sorted(reasons) == [*[""] * 8, "done again, since it has no record"]
    assert {path.name: path.read_bytes() for path in exams.out.glob("*.nii.gz")} == alone
    assert main(exams.command()) == 0
    assert exams.statuses() == ["skipped"] * 9


@pytest.mark.slow
def test_workers_that_are_made_for_the_list(place, images, caplog):
    pytest.importorskip("distributed")
    exams = place(5)
    alone = images(exams)
    assert main(exams.command("--cluster", "local:2")) == 0
    assert_whole(exams, 2)
    assert {path.name: path.read_bytes() for path in exams.out.glob("*.nii.gz")} == alone
    assert any("2 workers of local:2; dashboard: http://" in message for message in caplog.messages)


# -- Slurm, as far as it can be seen without one ----------------------------------------------------------------------


@pytest.fixture
def jobs():
    """The configuration of dask-jobqueue is the repository's example."""
    dask = pytest.importorskip("dask")
    pytest.importorskip("dask_jobqueue")
    given = yaml.safe_load((ROOT / "examples" / "slurm" / "jobqueue.yaml").read_text(encoding="utf-8"))
    with dask.config.set({f"jobqueue.slurm.{name}": value for name, value in given["jobqueue"]["slurm"].items()}):
        yield


def test_the_job_of_a_slurm_worker(jobs, tmp_path):
    from fsmnet.inference.cluster import slurm_cluster

    with slurm_cluster() as cluster:
        script = cluster.job_script()
        address = cluster.scheduler_address
    lines = script.splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    directives = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")}
    assert directives >= {"-n 1", "--cpus-per-task=8", "--mem=30G", "-t 04:00:00", "-p gpu", "--gres=gpu:1"}
    assert "source .venv/bin/activate" in lines
    worker = lines[-1].split()
    assert worker[:3] == [sys.executable, "-m", "distributed.cli.dask_worker"]
    assert worker[3] == address
    options = dict(pairwise(worker))
    assert (options["--nthreads"], options["--death-timeout"]) == ("8", "300")
    assert "--nworkers" not in options  # one of a job
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


SBATCH = """#!/bin/bash
# A queue that begins every job at once.
bash "$1" >> {folder}/jobs.log 2>&1 &
echo "Submitted batch job $!"
"""


@pytest.mark.slow
def test_jobs_that_are_submitted(place, jobs, monkeypatch):
    import dask

    exams = place(4)
    folder = exams.root / "bin"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH.format(folder=exams.root), "scancel": '#!/bin/bash\nkill "$@"\n'}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.chdir(exams.root)
    given = {"jobqueue.slurm.job-script-prologue": [], "jobqueue.slurm.cores": 1, "jobqueue.slurm.memory": "4GB"}
    with dask.config.set(given):
        assert main(exams.command("--cluster", "slurm", "--processes", "2")) == 0
    assert_whole(exams, 2)
