"""A Slurm of one's own: a controller, one node and munge, run on this machine for as long as it is needed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .registry import AbsentError

PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
# Neither cgroups nor systemd are needed.
CGROUPS = """
CgroupAutomount=no
ConstrainCores=no
ConstrainRAMSpace=no
IgnoreSystemd=yes
"""
CONFIGURATION = """
ClusterName=trial
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
"""
PATIENCE = 600.0


@contextmanager
def site(folder: Path) -> Iterator[None]:
    """Slurm's commands meet this one, by ``SLURM_CONF``; it ends with the context, with its jobs.

    Raises:
        AbsentError: programs of Debian's slurm-wlm and munge are not there, or this is not root.
    """
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing or os.geteuid():
        raise AbsentError(f"needs root, and Debian's slurm-wlm and munge (not there: {', '.join(missing) or 'root'})")
    folder.mkdir(mode=0o755)
    host, memory = socket.gethostname().split(".")[0], os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    controller, node = free_ports(2)
    text = CONFIGURATION.format(
        host=host, controller=controller, node=node, folder=folder, cores=os.cpu_count(), memory=int(0.8 * memory)
    )
    (folder / "slurm.conf").write_text(text)
    (folder / "cgroup.conf").write_text(CGROUPS)
    subprocess.run(["mungekey", "--create", f"--keyfile={folder}/key"], check=True)
    munge = [f"--{kind}-file={folder}/munge.{kind}" for kind in ("pid", "log", "seed")]
    programs = (
        ["munged", "--foreground", "--force", f"--key-file={folder}/key", f"--socket={folder}/munge", *munge],
        ["slurmctld", "-D"],
        ["slurmd", "-D"],
    )
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    running = []
    try:
        for words in programs:
            with (folder / f"{words[0]}.said").open("w") as stream:
                running.append(subprocess.Popen(words, stdout=stream, stderr=stream))
            if words[0] == "munged":
                until((folder / "munge").exists)
        until(lambda: "idle" in subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True).stdout)
        yield
    finally:
        subprocess.run(["scancel", "--user", "root"], capture_output=True)
        for process in reversed(running):
            process.terminate()
            process.wait(PATIENCE)
        del os.environ["SLURM_CONF"]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def until(so: Callable[[], Any]) -> None:
    """Wait for something.

    Raises:
        TimeoutError: it did not come.
    """
    late = time.monotonic() + PATIENCE
    while not so():
        if time.monotonic() > late:
            raise TimeoutError
        time.sleep(0.2)
