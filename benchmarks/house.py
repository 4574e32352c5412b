"""Measures the layout of a checkout: imports, cycles, sizes, and the files that one slice passes through.

    git worktree add ../before COMMIT
    python benchmarks/house.py ../before . --out benchmarks/house.json

What is measured over the syntax trees is also tested (``tests/test_floors.py``). A slice's way is that of one real run
of a command on one slice of the phantom: the package's files whose functions are entered, and the calls from a file to
one on a higher floor (callbacks included, PyTorch's frames between skipped).
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import floors  # noqa: E402

# The rooms in which the files of the flat layout (to commit 9f71dbd) stand today, where their path does not say it.
FLAT = {
    "benchmark": ["benchmark", "quality"],
    "cli": ["cli", "demo", "doctor", "reconstruct_command"],
    "options": ["config"],
    "evaluation": ["compare", "evaluate", "picture", "statistics"],
    "export": ["export", "fourier_matrices", "parity"],
    "inference": ["allocator", "inference", "profile", "simplify"],
    "models": ["checkpointing"],
    "physics": ["coils", "data/sampling", "kspace", "masks"],
    "protocols": ["data/cases", "data/datasets", "data/fastmri_slices", "protocols"],
    "reconstruction": [
        *("exam_table", "exams", "finished", "finishing", "from_kspace", "reading", "reconstruction"),
        "undersampled",
    ],
    "training": ["losses", "train"],
}
ROOMS = {f"{name}.py": room for room, names in FLAT.items() for name in names}
SMALL = ["--model", "fsmnet", "--model-options", "{features: 8, blocks: 1}"]
PAIR = ["--target", "DATA/CASE/CASE_t2.nii.gz", "--auxiliary", "DATA/CASE/CASE_t1.nii.gz"]
COMMANDS = {
    "train": ["train", "--data", "DATA", "--protocol", "brats", *SMALL, "--iterations", "1"],
    "evaluate": ["evaluate", "--data", "DATA", "--cases", "CASE", "--models", "SHIPPED", "--protocol", "brats"],
    "reconstruct": ["reconstruct", *PAIR],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", nargs="*", type=Path, help="folders; default: this one")
    parser.add_argument("--out", type=Path, help="JSON to write; default: only shown")
    parser.add_argument("--no-way", action="store_true", help="leave the runs out")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(way(*arguments.child)))
        return
    measured = [measure(checkout.resolve(), arguments.no_way) for checkout in arguments.checkouts or [ROOT]]
    for name in (name for name in measured[0] if name != "ways"):
        print(f"| {name} | " + " | ".join(str(one[name]) for one in measured) + " |")
    if arguments.out:
        arguments.out.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


def measure(checkout: Path, no_way: bool = False) -> dict[str, Any]:
    package = checkout / "src" / "fsmnet"
    trees = floors.parse(package)
    edges = floors.imports(trees)
    lines = floors.lines(package)
    rooms = {file: ROOMS[file] for file in trees if file in ROOMS} if "train.py" in trees else {}
    longest = max(lines, key=lambda file: lines[file])
    git = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    result: dict[str, Any] = {
        "commit": subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip(),
        "files in the root": len([file for file in trees if "/" not in file]),
        "files": len(trees),
        "lines": sum(lines.values()),
        "lines of code, without docstrings, comments and blank lines": floors.code_lines(trees),
        "longest file": f"{longest} ({lines[longest]})",
        "lines of blocks.py": lines["models/blocks.py"],
        "import cycles": len(floors.cycles(edges)),
        "imports that point up": len(floors.upward(edges, rooms)),
        "imports between rooms of one floor": len(floors.crossing(edges, rooms)),
        "print calls outside cli": len(floors.prints(trees, rooms)),
        f"functions over complexity {floors.MAX_COMPLEXITY}": len(floors.complex_functions(package)),
    }
    if not no_way:
        result["ways"] = {}
        for command in COMMANDS:
            files, up = run_child(checkout, command)
            result[f"{command}: files that one slice passes"] = len(files)
            result[f"{command}: of them not in models"] = len([f for f in files if not f.startswith("models/")])
            result[f"{command}: from which file to one on a higher floor"] = len(up)
            result["ways"][command] = {"files": files, "up": up}
    return result


def run_child(checkout: Path, command: str) -> tuple[list[str], dict[str, int]]:
    """The way of one slice, in a process that imports the checkout's package."""
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        call = [sys.executable, __file__, "--child", command, str(checkout / "src" / "fsmnet"), folder]
        process = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    if process.returncode:
        raise SystemExit(f"{checkout}: {command}\n{process.stderr[-3000:]}")
    files, up = json.loads(process.stdout.splitlines()[-1])
    return files, up


def way(command: str, package: str, folder: str) -> tuple[list[str], dict[str, int]]:
    """Files of the package that a command's run on one slice enters, and how many calls go to a higher floor."""
    import threading

    from fsmnet.checkpoint import shipped_checkpoint
    from fsmnet.cli import main as fsmnet
    from fsmnet.data.phantom import write_subjects

    root = package + os.sep
    data = Path(folder) / "data"
    case = write_subjects(data, range(4), slices=1)[0].name
    known: dict[str, tuple[str, int] | None] = {}
    entered: set[str] = set()
    up: Counter[str] = Counter()

    def place(filename: str) -> tuple[str, int] | None:
        """Path within the package and floor."""
        if filename not in known:
            file = filename.removeprefix(root).replace(os.sep, "/") if filename.startswith(root) else ""
            room = ROOMS.get(file, floors.room_of(file)) if file else ""
            known[filename] = (file, floors.FLOOR_OF[room]) if room in floors.FLOOR_OF else None
        return known[filename]

    def profile(frame: Any, event: str, _: Any) -> None:
        here = place(frame.f_code.co_filename) if event == "call" else None
        if here is None:
            return
        entered.add(here[0])
        caller = frame.f_back
        while caller is not None and place(caller.f_code.co_filename) is None:
            caller = caller.f_back
        there = place(caller.f_code.co_filename) if caller is not None else None
        if there is not None and here[1] > there[1]:
            up[f"{there[0]} -> {here[0]}"] += 1

    named = inspect.signature(shipped_checkpoint).parameters  # not in older checkouts
    weights = shipped_checkpoint("shipped-image") if named else shipped_checkpoint()
    words = {"DATA": str(data), "CASE": case, "SHIPPED": str(weights)}
    for profiled in (False, True):  # the first run imports
        arguments = COMMANDS[command]
        for name, value in words.items():
            arguments = [word.replace(name, value) for word in arguments]
        out = Path(folder) / f"out_{profiled}{'.nii.gz' if command == 'reconstruct' else ''}"
        threading.setprofile(profile if profiled else None)
        sys.setprofile(profile if profiled else None)
        try:
            code = fsmnet([*arguments, "--out", str(out), "--device", "cpu", "--threads", "1"])
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        if code:
            raise SystemExit(f"fsmnet {' '.join(arguments)} ended with {code}")
    return sorted(entered), dict(up)


if __name__ == "__main__":
    main()
