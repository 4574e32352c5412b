"""The launch files of examples/: shells read them, and what they call knows their options."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fsmnet.cli.parser import parse

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "examples").rglob("*.sh"))
# What stands for the cluster's and the launcher's programs: it says what it was called with.
STUB = """#!{python}
import json, sys
print(json.dumps([{name!r}, *sys.argv[1:]]))
"""


def test_there_are_some():
    assert {path.relative_to(ROOT / "examples").as_posix() for path in SCRIPTS} == {
        "slurm/list.sh", "slurm/train.sh", "torchrun/train.sh",
    }  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.relative_to(ROOT / "examples").as_posix())
@pytest.mark.parametrize("begun", [False, True])
def test_their_commands(script, begun, tmp_path):
    import json

    subprocess.run(["bash", "-n", script], check=True)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("fsmnet", "torchrun", "srun", "scontrol"):
        (programs / name).write_text(STUB.format(python=sys.executable, name=name))
        (programs / name).chmod(0o755)
    run = tmp_path / "a run"
    if begun:
        run.mkdir()
        (run / "resume.pt").touch()
        (run / "config.yaml").write_text("model: fsmnet\ndata: DATA\nout: RUN\n")
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_NNODES": "2"}
    done = subprocess.run(
        ["bash", script, "some data", run],
        env=os.environ | environment | {"SLURM_JOB_ID": "7"}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    [words] = [json.loads(line) for line in done.stdout.splitlines()]
    if words[0] == "fsmnet":
        command, config, *_ = parse(words[1:])
        assert (command, str(config.pairs), config.out) == ("reconstruct", "some data", run)
        assert (config.cluster, config.processes) == ("slurm", 4)
        return
    words = words[words.index("torchrun") :]
    launcher, fsmnet = words[1 : words.index("-m")], words[words.index("-m") + 1 :]
    assert fsmnet[0] == "fsmnet"
    command, config, *_ = parse(fsmnet[1:])
    assert command == "train"
    assert config.resume is begun
    if not begun:
        assert (str(config.data), config.out) == ("some data", run)
    from torch.distributed.run import get_args_parser

    known = get_args_parser().parse_args([*launcher, "script"])
    assert known.nproc_per_node == "gpu"


def test_slurm_knows_the_directives():
    text = (ROOT / "examples" / "slurm" / "train.sh").read_text(encoding="utf-8")
    found = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", text, re.MULTILINE))
    assert len(found) == text.count("#SBATCH")
    assert found.keys() == {
        "job-name", "nodes", "ntasks-per-node", "gpus-per-node", "cpus-per-task", "mem", "time", "signal", "requeue",
    }  # fmt: skip
    assert shlex.split(found["signal"]) == ["B:TERM@120"]
