"""Every trial of faults with its figure: kills, full disks, damaged files, planted identifiers, long use.

    python benchmarks/trials.py [--only NAME ...] [--count N] [--out benchmarks/trials.json] [--page docs/trials.md]

Data are made by the trials. What ``--out`` holds of other trials stays; ``--page`` writes the table into the page. A
trial is a function in ``benchmarks/trying``; ``held`` says whether nothing broke that should not. One whose programs or
rights are not there says so and is left out.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from trying import disk, files, identifiers, long, processes, signals, slurm, training  # noqa: F401 - they register their trials
from trying.registry import TRIALS, AbsentError

from fsmnet.files import json_text, write_text

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- trials -->\n", "<!-- end of trials -->\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TRIALS, default=list(TRIALS), metavar="NAME")
    parser.add_argument("--count", type=int, help="repetitions, in place of each trial's own number")
    parser.add_argument("--out", type=Path, default=HERE / "trials.json")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "trials.md")
    arguments = parser.parse_args()
    for name in arguments.only:
        try:
            result = tried(name, arguments.count)
        except AbsentError as reason:
            print(f"{name} is left out: {reason}", file=sys.stderr, flush=True)
            continue
        results = load(arguments.out) | {name: result}  # others may have been tried meanwhile
        write_text(arguments.out, json_text(dict(sorted(results.items()))) + "\n")
        write_text(arguments.page, with_table(arguments.page.read_text(encoding="utf-8"), results))
        print(name, json_text(result["figures"]), file=sys.stderr, flush=True)


def load(out: Path) -> dict[str, Any]:
    return json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}


def tried(name: str, count: int | None) -> dict[str, Any]:
    trial = TRIALS[name]
    count = trial.count if count is None else count
    with tempfile.TemporaryDirectory() as folder:
        figures = trial.work(Path(folder), count)
    return {
        "what": trial.what,
        "command": f"python benchmarks/trials.py --only {name}" + (f" --count {count}" if count != trial.count else ""),
        "count": count,
        "seed": 0,
        "commit": commit(),
        "python": platform.python_version(),
        "figures": figures,
    }


def commit() -> str:
    """The commit that is checked out; "-dirty" where a tracked file but those that this program writes differs."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=True, cwd=HERE.parent).stdout

    written = [f":(exclude,top){path}" for path in ("benchmarks/trials.json", "docs/trials.md")]
    return git("rev-parse", "HEAD").strip() + "-dirty" * bool(git("diff", "--name-only", "HEAD", "--", ".", *written))


def with_table(page: str, results: dict[str, Any]) -> str:
    """The page with the table of these results in the place of the one it has."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table(results) + END + after


def table(results: dict[str, Any]) -> str:
    rows = ["| trial | what | figures | held | repeat |", "|---|---|---|---|---|"]
    for name, result in sorted(results.items()):
        figures = {key: value for key, value in result["figures"].items() if key != "held"}
        shown = "; ".join(f"{key.replace('_', ' ')} {_shown(value)}" for key, value in figures.items())
        held = "yes" if result["figures"]["held"] else "**no**"
        rows.append(f"| {name} | {result['what']} | {shown} | {held} | `{result['command']}` |")
    return "\n".join(rows) + "\n"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(one)}" for key, one in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
