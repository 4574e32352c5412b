"""A folder with exams, their table, and commands over it."""

from __future__ import annotations

import csv
from pathlib import Path

from fsmnet.data.pairing.tables import COLUMNS

SHAPE = (32, 32, 3)


class Place:
    """A folder with exams ``case-01 ...``, their table, and commands over it."""

    def __init__(self, root: Path, n_cases: int, write_nifti, smooth, checkpoint: Path, shape=SHAPE) -> None:
        self.root, self.out, self.table, self.checkpoint = root, root / "out", root / "pairs.csv", checkpoint
        self.write, self.smooth = write_nifti, smooth
        self.cases = [f"case-{number:02d}" for number in range(1, n_cases + 1)]
        for seed, case in enumerate(self.cases):
            for offset, contrast in enumerate(("t1", "t2")):
                write_nifti(self.file(case, contrast), smooth(2 * seed + offset, shape))
        self.list([[case, f"data/{case}_t2.nii.gz", f"data/{case}_t1.nii.gz"] for case in self.cases])

    def file(self, case: str, contrast: str) -> Path:
        return self.root / "data" / f"{case}_{contrast}.nii.gz"

    def list(self, rows: list[list[str]]) -> None:
        with self.table.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *([*row, "accepted", ""] for row in rows)])

    def command(self, *more: str) -> list[str]:
        files = ["--pairs", str(self.table), "--out", str(self.out), "--checkpoint", str(self.checkpoint)]
        return ["reconstruct", *files, "--device", "cpu", "--threads", "1", *more]

    def rows(self, name: str = "exams.csv") -> dict[str, tuple[str, str]]:
        """Status and reason by case."""
        with (self.out / name).open(newline="") as file:
            return {row["case"]: (row["status"], row["reason"]) for row in csv.DictReader(file)}

    def statuses(self, name: str = "exams.csv") -> list[str]:
        return [status for status, _ in self.rows(name).values()]

    def record(self, case: str) -> Path:
        return self.out / f"{case}.json"

    def results(self) -> dict[str, tuple[int, bytes]]:
        """When each file of a result was written, and what is in it."""
        there = sorted(path for path in self.out.rglob("*") if path.is_file() and path.suffix != ".csv")
        return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in there}

    def break_three(self) -> list[str]:
        """A file cut short, two grids, a file that is missing."""
        short = self.file("case-02", "t2")
        short.write_bytes(short.read_bytes()[:-500])
        self.write(self.file("case-05", "t1"), self.smooth(99, (32, 30, 3)))
        self.file("case-11", "t1").unlink()
        return ["case-02", "case-05", "case-11"]
