"""A list of exams shared by several processes: which part is whose, and one table in the end.

A process takes every n-th exam: its shard comes from ``--shard``, or from the environment that ``accelerate launch``
and ``torchrun`` set. No two processes write the same file, the common table apart, which is put together by who comes
last.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch

from fsmnet.errors import UserError
from fsmnet.reconstruction.exam_table import Row, read_rows, write_rows
from fsmnet.reconstruction.options import ReconstructConfig

TABLE = "exams.csv"


@dataclass(frozen=True)
class Shard:
    """Which part of the list is this process's.

    Attributes:
        index: from 0.
        count: number of parts.
        together: whether the processes were launched together and can wait for each other.
    """

    index: int = 0
    count: int = 1
    together: bool = False

    @property
    def table(self) -> str:
        """Name of this part's table; :data:`TABLE` if there is one part only."""
        return TABLE if self.count == 1 else _table_of(self.index, self.count)


def shard_of(config: ReconstructConfig) -> Shard:
    """The part of the list that is asked for, or that a launcher's environment gives to this process."""
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if config.shard is None:
        return Shard(int(os.environ.get("RANK", "0")), launched, launched > 1 and "MASTER_ADDR" in os.environ)
    if launched > 1:
        raise UserError("accelerate launch gives every process its own part of the list; leave --shard out")
    match = re.fullmatch(r"(\d+)/(\d+)", config.shard)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"shard is a part and their number, such as 1/4 to 4/4, not {config.shard!r}")
    return Shard(int(match[1]) - 1, int(match[2]))


def device_of(name: str) -> str:
    """The GPU of this process on its node, where a launcher has started one for each."""
    if name == "auto" and os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true":
        return "cpu"
    local = os.environ.get("LOCAL_RANK")
    own = local is not None and name in ("auto", "cuda") and torch.cuda.is_available()
    return f"cuda:{local}" if own else name


def merge(rows: list[Row], cases: list[str], folder: Path, shard: Shard) -> list[Row]:
    """The rows this process has to tell of, after writing the table of all, if all are there.

    A launcher ends all processes when one leaves with another exit code than 0, so of those that were launched
    together the first one waits for the others and tells of all. Shards started by hand may run one after the other, on
    different machines; whichever finds the tables of all of them puts these together, and each tells of its own.
    """
    if shard.together:
        found = _gathered(rows, shard.count)
    else:
        found = [row for i in range(shard.count) for row in read_rows(folder / _table_of(i, shard.count))]
    by_case = {row.case: row for row in found}
    if not set(cases) <= by_case.keys() or (shard.together and shard.index > 0):
        return rows
    everyone = [by_case[case] for case in cases]
    write_rows(everyone, folder / TABLE)
    return everyone if shard.together else rows


def _gathered(rows: list[Row], processes: int) -> list[Row]:
    from torch import distributed

    # Only now: nothing is exchanged before, and a connection would idle for hours.
    distributed.init_process_group("gloo", timeout=timedelta(days=30))
    gathered: list[list[Row]] = [[]] * processes
    distributed.all_gather_object(gathered, rows)
    distributed.destroy_process_group()
    return [row for part in gathered for row in part]


def _table_of(index: int, parts: int) -> str:
    return f"exams.{index + 1}-of-{parts}.csv"
