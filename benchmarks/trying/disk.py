"""Disks that are full at some write of a command."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import onnx
import pydicom
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from fsmnet.checkpoint import Header, save_checkpoint
from fsmnet.data.phantom import write_subjects
from fsmnet.files import sha256
from fsmnet.models import create_model, recipe_of

from .forked import begun, ended
from .registry import AbsentError, trial

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from dicom_study import Plan, write
from fastmri_tree import write_knees

DEVICE = ["--device", "cpu", "--threads", "1"]
WEIGHTS = ["--checkpoint", "w.safetensors"]
MODEL = ["--model", "mdunet", "--model-options", "{features: 4, levels: 2}"]
TRAIN = ["--iterations", "4", "--validation-fraction", "0.25", "--test-fraction"]
SCANS = [
    "--target",
    "heads/phantom-0000/phantom-0000_t2.nii.gz",
    "--auxiliary",
    "heads/phantom-0000/phantom-0000_t1.nii.gz",
]
RECONSTRUCT = ["reconstruct", *SCANS, *WEIGHTS, *DEVICE]
STUDY = ["reconstruct", "--target", "study", "--auxiliary", "study", *WEIGHTS, *DEVICE, "--anyway"]
EXPORT = ["export", *WEIGHTS]
METHODS = "{one: {model: mdunet, model_options: {features: 4, levels: 2}}, two: {model: zero_filling}}"

# Words by name; what is written goes into OUT, on the full disk.
COMMANDS = {
    "train": ["train", "heads", "--out", "OUT/run", "--tensorboard", "--pictures", *MODEL,
        "--protocol", "float", *DEVICE, "--batch", "1", *TRAIN, "0", "--save-every", "2"],
    "reconstruct": [*RECONSTRUCT, "--out", "OUT/run/a.nii.gz", "--report"],
    "reconstruct DICOM": [*STUDY, "--out", "OUT/run/a", "--target-series", "T2", "--auxiliary-series", "T1"],
    "reconstruct --pairs": ["reconstruct", "--pairs", "pairs.csv", "--out", "OUT/run", *WEIGHTS, *DEVICE],
    "evaluate": ["evaluate", "heads", "--models", "zero_filling", "w.safetensors", "--out", "OUT/run",
        *DEVICE, "--report"],
    "compare": ["compare", "heads", "--methods", METHODS, "--reference", "one", "--out", "OUT/run", *DEVICE,
        *TRAIN, "0.25"],
    "pair": ["pair", "heads", "--out", "OUT/pairs.csv"],
    "fastMRI pair": ["pair", "knees", "--layout", "fastmri", "--out", "OUT/knees.csv"],
    "fastMRI evaluate": ["evaluate", "knees", "--protocol", "fastmri", "--pairs", "knees.csv",
        "--models", "zero_filling", "--out", "OUT/run", "--submission", "OUT/sent", *DEVICE],
    "mask": ["mask", "--out", "OUT/mask.npz"],
    "export .onnx": [*EXPORT, "--out", "OUT/a.onnx"],
    "export .pt2": [*EXPORT, "--out", "OUT/a.pt2"],
    "export hub": [*EXPORT, "--format", "hub", "--out", "OUT/a"],
    "export monai": [*EXPORT, "--format", "monai", "--out", "OUT/a"],
    "calibrate": ["calibrate", "heads", *WEIGHTS, "--out", "OUT/b.safetensors", "--rate", "0.5",
        "--accelerations", "2", *DEVICE],
    "demo": ["demo", "--out", "OUT/demo", "--device", "cpu"],
    "report": ["report", "done/a.nii.gz", "--out", "OUT/a.html"],
    "report --figure": ["report", "done/scored", "--out", "OUT/a.html", "--figure", "OUT/a.pdf"],
    "benchmark": ["benchmark", "--model", "mdunet", "--features", "8", "--size", "32", "--runs", "1", "--no-memory",
        "--out", "OUT/run", *DEVICE],
}  # fmt: skip
REPLACED = ("reconstruct", "evaluate", "mask", "export .onnx", "export hub", "report")
ANYWAY = ("evaluate",)  # replace without being asked to
EVERYTHING = 256 << 10  # KiB that are enough for each
BALLAST = "ballast"
PAGE = 4  # KiB, what a file system in memory gives at once


def full_disk(name: str, folder: Path, count: int) -> dict[str, Any]:
    """On file systems in memory, which only root can make."""
    prepare(folder)
    return summed({name: tried(folder, name, EVERYTHING)})


for name in COMMANDS:
    what = f"`{name}`: the disk is full where a file begins, and in the middle of it, for every file that is written"
    trial("full-disk-" + name.replace(" --", "-").replace(" .", "-").replace(" ", "-"), what)(partial(full_disk, name))


@trial(
    "full-disk-replacing", "six commands, where a result is there that is to be replaced: it, or the new one, is whole"
)
def full_disk_replacing(folder: Path, count: int) -> dict[str, Any]:
    prepare(folder)
    return summed({name: tried(folder, name, EVERYTHING, replaced=True) for name in REPLACED})


def summed(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The figures of all commands together."""
    wrong = {name: one["wrong"] for name, one in found.items() if one["wrong"]}
    for name, lines in wrong.items():
        sys.stderr.write("".join(f"{name}: {line}\n" for line in lines))
    tried = sum(one["tried"] for one in found.values())
    kinds = Counter(line.split(":")[0] for lines in wrong.values() for line in lines)
    return {
        "sizes tried": tried,
        "met at": ", ".join(sorted({place for one in found.values() for place in one["met"]})),
        **{
            kind: kinds.get(kind, 0)
            for kind in ("wrong_exit_code", "not_one_sentence", "half_written", "left_over", "mixed")
        },
        "held": not wrong and all(one["tried"] for one in found.values()),
    }


def tried(folder: Path, name: str, enough: int, replaced: bool = False) -> dict[str, Any]:
    """A command on disks that end where a file begins, and in the middle of it, for every file that it writes."""
    found: dict[str, Any] = {"tried": 0, "wrong": [], "met": set()}
    place, errors, kept = folder / "OUT", folder / "errors", folder / "kept"
    words = [*COMMANDS[name], *(["--overwrite"] if replaced and name not in ANYWAY else [])]
    with disk(place, enough):
        assert run(folder, COMMANDS[name]) == 0, errors.read_text()
        files = sorted((path for path in place.rglob("*") if path.is_file()), key=lambda path: path.stat().st_mtime_ns)
        pages = [-(-path.stat().st_size // (PAGE << 10)) for path in files]
        if replaced:
            shutil.copytree(place, kept)
    begins = [sum(pages[:number]) for number in range(len(pages))]
    ends = {PAGE * (begin + part) for begin, size in zip(begins, pages, strict=True) for part in (0, size // 2)}
    for size in sorted(ends):
        with disk(place, enough if replaced else size + PAGE) as resized:
            if replaced:
                shutil.copytree(kept, place, dirs_exist_ok=True)
                resized(size + used(place))
            else:
                (place / BALLAST).write_bytes(bytes(PAGE << 10))  # no such disk has less than a page
            code = run(folder, words)
            if code:
                look(place, code, errors.read_text(), found, f"{size} KiB")
    shutil.rmtree(kept, ignore_errors=True)
    return found


def look(place: Path, code: int, said: str, found: dict[str, Any], where: str) -> None:
    """Count what came of a disk that was too small."""
    found["tried"] += 1
    mistakes = [line for line in said.splitlines() if ": error: " in line]
    lines = [line for line in said.splitlines() if "no space left on device" in line]
    listed = "exams.csv" in said or code == 3  # a list goes on with the next exam
    if code != 2 and not (code == 3 and listed):
        found["wrong"].append(f"wrong_exit_code: {code} at {where}")
    if "Traceback" in said or not lines or (len(mistakes) != 1 and code == 2):
        found["wrong"].append(f"not_one_sentence: {where}: {said[-1500:]}")
    found["met"] |= {Path(line.split(": cannot be written")[0].split(": ")[-1]).name for line in lines}
    for path in sorted(path for path in place.rglob("*") if path.is_file() and path.name != BALLAST):
        if path.name.startswith(".") or any(
            part.name.startswith((".", "tmp")) for part in path.parents if place in part.parents
        ):
            found["wrong"].append(f"left_over: {path.relative_to(place)} at {where}")
        elif "tfevents" not in path.name and (fault := broken(path)):
            found["wrong"].append(f"half_written: {path.relative_to(place)} at {where}: {fault}")
    found["wrong"] += [f"mixed: {path} at {where}" for path in mixed(place)]


def broken(path: Path) -> str:
    """What is wrong with a file; empty if nothing is."""
    try:
        READ.get(path.suffix, Path.read_text)(path)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def mixed(place: Path) -> Iterator[str]:
    """Records whose files are others than the record says."""
    for path in place.rglob("*.json"):
        record = json.loads(path.read_text())
        if isinstance(record, dict) and "Output" in record:
            for named in (record["Output"], *(record.get("Maps") or {}).values()):
                file = path.parent / named["file"]
                if not file.exists() or sha256(file) != named["sha256"]:
                    yield f"{path.name} and {file.name}"


def _rows(path: Path) -> None:
    widths = {len(row) for row in csv.reader(io.StringIO(path.read_text())) if row}
    assert len(widths) == 1, f"rows of {widths} cells"


def _archive(path: Path) -> None:
    assert zipfile.ZipFile(path).testzip() is None


def _page(path: Path) -> None:
    assert path.read_text().rstrip().endswith("</html>")


READ: dict[str, Any] = {
    ".gz": lambda path: nib.load(path).get_fdata(),
    ".nii": lambda path: nib.load(path).get_fdata(),
    ".json": lambda path: json.loads(path.read_text()),
    ".yaml": lambda path: yaml.safe_load(path.read_text()),
    ".png": lambda path: Image.open(path).load(),
    ".csv": _rows,
    ".npz": _archive,
    ".pt2": _archive,
    ".pt": lambda path: torch.load(path, weights_only=True),
    ".h5": lambda path: dict(h5py.File(path)),
    ".onnx": onnx.load,
    ".dcm": lambda path: pydicom.dcmread(path).pixel_array,
    ".safetensors": load_file,
    ".pdf": lambda path: path.read_bytes().rstrip().endswith(b"%%EOF") or 1 / 0,
    ".html": _page,
}


def run(folder: Path, words: list[str]) -> int | None:
    """Run a command in the folder; its exit code."""
    errors = folder / "errors"
    errors.write_text("")
    return ended(begun(words, errors, partial(os.chdir, folder)), 600)


@contextmanager
def disk(place: Path, size: int) -> Iterator[Any]:
    """A file system of so many KiB; yields a function that changes its size.

    Raises:
        AbsentError: this is not root.
    """
    if os.geteuid():
        raise AbsentError("needs root, which alone can make file systems in memory")
    place.mkdir(exist_ok=True)

    def mount(options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(place)], check=True)

    mount(f"size={size}k")
    try:
        yield lambda size: mount(f"remount,size={size}k")
    finally:
        subprocess.run(["umount", str(place)], check=True)


def used(place: Path) -> int:
    """KiB that are taken."""
    return shutil.disk_usage(place).used >> 10


def prepare(folder: Path) -> None:
    """What the commands read."""
    write_subjects(folder / "heads", range(4), size=64, slices=5, voxel=3.0)
    torch.manual_seed(0)
    model = create_model("mdunet", features=4, levels=2)
    training = {"protocol": "float", "target": "t2", "auxiliary": "t1", "acceleration": 4.0}
    save_checkpoint(folder / "w.safetensors", model.state_dict(), Header(recipe_of(model), training))
    write(folder / "study", Plan(shape=(3, 48, 40)))
    write(folder / "study", Plan(7, "T1 fl3d", (3, 48, 40), seed=5), prefix="XX")
    write_knees(folder / "knees", range(2), size=48, slices=2, rows=64, columns=48, recon=48)
    places = {
        "pair": "pairs.csv",
        "fastMRI pair": "knees.csv",
        "reconstruct": "done/a.nii.gz",
        "evaluate": "done/scored",
    }
    for name, out in places.items():
        words = [word.replace(COMMANDS[name][COMMANDS[name].index("--out") + 1], out) for word in COMMANDS[name]]
        assert run(folder, words) == 0, (folder / "errors").read_text()
