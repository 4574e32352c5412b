"""Does a checkout still compute what an older one computed?

Both get the same small inputs, made here from the phantom, and run the same commands, each in a process of its own:
reconstructions of NIfTI, DICOM, multi-coil k-space, a list and a fastMRI file, scores of three protocols, and a
few steps of training. Records and masks must be equal but for versions and times; images, scores and weights within
TOLERANCE of the largest value. With ``--data`` the shipped weights are scored on a real patient too, against the digits
in ``benchmarks/quick``.

    git worktree add ../before COMMIT
    python benchmarks/unchanged.py --before ../before --data ../shared/data/volumes --out benchmarks/unchanged.json
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

TOLERANCE = 1e-5  # of the largest value of an image, of a score, of a weight tensor; whole numbers of an image: 1 step
# What is left of the measured lines after they were put back is rounding itself: compared as a share of their energy.
SHARES = {"ResidualAfter"}
# What says when, how fast and by which version; and the check sum of a file whose content is compared itself.
IGNORED = {"Check", "check", "Seconds", "Versions", "seconds", "versions", "sha256"}
# Parts that differ from commit 9f71dbd and earlier on purpose: the largest difference, and why.
EXPLAINED = {
    "scores_fastmri_hard": (
        0.01,
        "a negative magnitude counts as 0 where it gets the measured phase, as in reconstruct; it had turned it round",
    )
}
PUBLISHED = ROOT / "benchmarks" / "quick" / "metrics.csv"
ABSENT = "(absent)"
PATIENT = "TCGA-FG-6692"

NETWORK = "../inputs/network.safetensors"
EXACT = ["--device", "cpu", "--threads", "1", "--precision", "float32"]
SCAN = ["--auxiliary", "../inputs/heads/CASE/CASE_t1.nii.gz", "--checkpoint", NETWORK, *EXACT]
STUDY = ["--auxiliary", "../inputs/study", "--auxiliary-series", "T1", "--checkpoint", NETWORK, *EXACT]
LARGE = ["--data", "../inputs/large", *EXACT]
SMALL_MODEL = ["--model", "fsmnet", "--model-options", "{features: 8, blocks: 1}"]
BOTH = ["--models", "zero_filling", NETWORK, "../inputs/fast.safetensors"]
KNEE = ["--data", "../inputs/knee", "--pairs", "../inputs/knee.csv", "--protocol", "fastmri", *EXACT]
COMMANDS = {
    "nifti": ["reconstruct", "--target", "../inputs/heads/CASE/CASE_t2.nii.gz", *SCAN, "--out", "nifti/t2.nii.gz"],
    "dicom": ["reconstruct", "--target", "../inputs/study", "--target-series", "T2", *STUDY, "--out", "dicom/series"],
    "kspace": ["reconstruct", "--kspace", "../inputs/kspace.npy", *SCAN, "--complex", "--out", "kspace/t2.nii.gz"],
    "fastmri": ["reconstruct", "--kspace", "../inputs/scan.h5", *SCAN, "--out", "fastmri/t2.nii.gz"],
    "list": ["reconstruct", "--pairs", "../inputs/pairs.csv", "--checkpoint", NETWORK, *EXACT, "--out", "list"],
    "pair": ["pair", "../inputs/heads", "--out", "pair/pairs.csv"],
    "mask": ["mask", "--columns", "64", "--acceleration", "4", "--seed", "3", "--out", "mask/mask.npz"],
    "scores_brats": ["evaluate", *BOTH, *LARGE, "--protocol", "brats", "--out", "scores_brats"],
    "scores_float": ["evaluate", *BOTH, *LARGE, "--protocol", "float", "--out", "scores_float"],
    "scores_fastmri": ["evaluate", *BOTH, *KNEE, "--out", "scores_fastmri"],
    "scores_fastmri_hard": ["evaluate", *BOTH, *KNEE, "--data-consistency", "hard", "--out", "scores_fastmri_hard"],
    "training": [
        "train",
        "--protocol",
        "brats",
        *SMALL_MODEL,
        *LARGE,
        "--iterations",
        "3",
        "--batch",
        "2",
        "--out",
        "training",
    ],
    "quick": [
        *(
            "evaluate",
            "--models",
            "zero_filling",
            NETWORK,
            "--target",
            "t2",
            "--auxiliary",
            "t1",
            "--acceleration",
            "4",
        ),
        *("--protocol", "brats", "--cases", PATIENT, "--out", "quick", "--data", "DATA", "--device", "cpu"),
    ],
}

# Run by the older checkout: heads of the phantom, and networks that need no training.
MAKE = """
import shutil, sys
from pathlib import Path
import torch
from fsmnet.checkpoint import Header, save_checkpoint, shipped_checkpoint
from fsmnet.data.phantom import write_subjects
from fsmnet.models import create_model, recipe_of
out = Path(sys.argv[1])
write_subjects(out / "heads", range(3), size=64, slices=5, voxel=3.0)
write_subjects(out / "large", range(4), slices=2)
shutil.copy(shipped_checkpoint(), out / "network.safetensors")
torch.manual_seed(0)
network = create_model("fsmnet_fast")
save_checkpoint(out / "fast.safetensors", network.state_dict(), Header(recipe_of(network), {}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="checkout of the older commit")
    parser.add_argument("--after", type=Path, default=ROOT, help="checkout to be compared with it; default: this one")
    parser.add_argument("--data", type=Path, help="folder with the patients of benchmarks/quick")
    parser.add_argument(
        "--parts", nargs="*", choices=COMMANDS, help="default: all that need no --data, and quick with it"
    )
    parser.add_argument("--work", type=Path, help="folder to leave inputs and results in; default: a temporary one")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    sides = {"before": arguments.before.resolve(), "after": arguments.after.resolve()}
    parts = arguments.parts or [part for part in COMMANDS if part != "quick" or arguments.data]
    with tempfile.TemporaryDirectory() as temporary:
        work = (arguments.work or Path(temporary)).resolve()
        case = make_inputs(work / "inputs", sides["before"])
        found: dict[str, Any] = {}
        for part in parts:
            for side, checkout in sides.items():
                data = str(arguments.data.resolve()) if arguments.data else ""
                words = [word.replace("CASE", case).replace("DATA", data) for word in COMMANDS[part]]
                run(checkout, work / side, words)
            found[part] = compare(work / "before" / part, work / "after" / part)
            if found[part]["differences"] and found[part]["largest_difference"] < EXPLAINED.get(part, (0, ""))[0]:
                found[part]["explained"] = EXPLAINED[part][1]
            if part == "quick":
                found[part]["published"] = published(work / "after" / part / "metrics.csv")
            print(part, json.dumps(found[part]), flush=True)
    document = {
        **{side: commit(checkout) for side, checkout in sides.items()},
        "tolerance": TOLERANCE,
        "unchanged": all(
            (not part["differences"] or "explained" in part) and part.get("published", "equal") == "equal"
            for part in found.values()
        ),
        "parts": found,
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print("unchanged" if document["unchanged"] else "NOT unchanged")
    return 0 if document["unchanged"] else 1


def run(checkout: Path, folder: Path, command: list[str]) -> None:
    """``fsmnet COMMAND`` of a checkout, in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    whole = [sys.executable, "-m", "fsmnet", *command]
    process = subprocess.run(whole, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if process.returncode:
        raise SystemExit(f"{checkout}: fsmnet {' '.join(command)}\n{process.stderr[-3000:]}")


def commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


# -- inputs ------------------------------------------------------------------------------------------------------------


def make_inputs(folder: Path, checkout: Path) -> str:
    """Writes everything that the commands read; returns the name of a head."""
    import nibabel as nib

    from dicom_study import Plan
    from dicom_study import write as write_series
    from fastmri_tree import write_knees, write_volume

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    subprocess.run([sys.executable, "-c", MAKE, str(folder)], env=environment, check=True)
    cases = sorted(path.name for path in (folder / "heads").iterdir())
    for number, contrast in enumerate(("T1", "T2")):
        plan = Plan(number=number, description=contrast, shape=(4, 40, 32), seed=number)
        write_series(folder / "study", plan, prefix=contrast)
    image = np.asarray(nib.load(folder / "heads" / cases[0] / f"{cases[0]}_t2.nii.gz").dataobj)
    image = np.moveaxis(image, 2, 0).astype(np.float64)
    rows, columns = image.shape[1:]
    mask = np.zeros(columns, dtype=bool)
    mask[::4] = mask[columns // 2 - 4 : columns // 2 + 4] = True
    sizes = {"rows": rows, "columns": columns, "recon": rows}
    write_volume(folder / "scan.h5", image, mask=mask, seed=1, **sizes)
    import h5py

    write_volume(folder / "coils.h5", image, mask=mask, coils=4, seed=2, **sizes)
    with h5py.File(folder / "coils.h5") as file:
        np.save(folder / "kspace.npy", file["kspace"][()])
    with (folder / "pairs.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["case", "target", "auxiliary"])
        for case in cases[:3]:
            place = folder / "heads" / case
            writer.writerow([case, place / f"{case}_t2.nii.gz", place / f"{case}_t1.nii.gz"])
    pairs = write_knees(
        folder / "knee", range(2), size=32, slices=3, rows=48, columns=40, recon=32, folder="singlecoil_val"
    )
    with (folder / "knee.csv").open("w", newline="") as table:
        csv.writer(table).writerows(pairs)
    return cases[0]


# -- comparison --------------------------------------------------------------------------------------------------------


def compare(before: Path, after: Path) -> dict[str, Any]:
    """Every file of two result folders, by its kind."""
    ours, theirs = names(before), names(after)
    differences = [f"only before: {name}" for name in sorted(ours - theirs)]
    differences += [f"only after: {name}" for name in sorted(theirs - ours)]
    largest = 0.0
    kinds: dict[str, int] = {}
    new: list[str] = []  # what the older version did not say
    for name in sorted(ours & theirs):
        a, b = (content(folder / name) for folder in (before, after))
        kind = name.split(".", 1)[-1] if "." in name else "file"
        kinds[kind] = kinds.get(kind, 0) + 1
        for place, x, y in walk(a, b, name):
            share = place.rsplit("/", 1)[-1] in SHARES and isinstance(x, float) and isinstance(y, float)
            difference = abs(x - y) if share else apart(x, y)
            largest = max(largest, difference if math.isfinite(difference) else 0)
            if isinstance(x, str) and x == ABSENT:
                new.append(f"{place}: {short(y)}")
            elif difference > TOLERANCE:
                differences.append(f"{place}: {short(x)} -> {short(y)}")
    return {"files": kinds, "largest_difference": largest, "differences": differences, "new": new}


def names(folder: Path) -> set[str]:
    """Files of a result, without pictures and what a run goes on from."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".pt", ".png", ".log"))
    return {path.relative_to(folder).as_posix() for path in files}


def content(path: Path) -> Any:
    """What a file says, as nested dicts, lists, arrays, numbers and texts."""
    if path.name.endswith((".nii.gz", ".nii")):
        import nibabel as nib

        image = nib.load(path)
        return {"image": np.asarray(image.dataobj), "affine": image.affine, "header": str(image.header)}
    if path.suffix in (".npy", ".npz"):
        loaded = np.load(path, allow_pickle=False)
        return dict(loaded) if path.suffix == ".npz" else loaded
    if path.suffix == ".json":
        return json.loads(path.read_text())
    if path.suffix in (".yaml", ".yml"):
        return yaml.safe_load(path.read_text())
    if path.suffix == ".csv":
        with path.open(newline="") as table:
            return list(csv.DictReader(table))
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "np") as file:
            return {"weights": {key: file.get_tensor(key) for key in file.keys()}}  # noqa: SIM118 - not a dict
    if path.suffix == ".dcm":
        import pydicom

        dataset = pydicom.dcmread(path)
        changing = ("UID", "Date", "Time", "SoftwareVersions", "PixelData")
        tags = {e.keyword: str(e.value) for e in dataset if e.keyword and not e.keyword.endswith(changing)}
        return {"image": dataset.pixel_array, "tags": tags}
    return path.read_text()


def walk(a: Any, b: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """Pairs of leaves with their place, but for what may differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *(k for k in b if k not in a)]:
            if key not in IGNORED:
                yield from walk(a.get(key, ABSENT), b.get(key, ABSENT), f"{place}/{key}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for number, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from walk(x, y, f"{place}/{number}")
    else:
        yield place, a, b


def apart(x: Any, y: Any) -> float:
    """0 for the same; for numbers the difference over the largest value; else infinity."""
    try:
        p, q = (np.asarray(value, dtype=complex if np.iscomplexobj(value) else float) for value in (x, y))
    except (TypeError, ValueError):
        return 0.0 if str(x) == str(y) else math.inf
    if p.shape != q.shape:
        return math.inf
    if np.array_equal(p, q, equal_nan=True):
        return 0.0
    if all(isinstance(value, np.ndarray) and value.dtype.kind in "iu" for value in (x, y)) and np.abs(p - q).max() <= 1:
        return TOLERANCE
    difference = np.abs(p - q).max() / max(np.abs(p).max(), 1e-30)
    return float(difference) if np.isfinite(difference) else math.inf


def short(value: Any) -> str:
    return f"array {value.shape}" if isinstance(value, np.ndarray) and value.size > 4 else str(value)[:200]


def published(scores: Path) -> str:
    """The scores per slice against those of ``benchmarks/quick``, to the digits its table prints."""
    with PUBLISHED.open(newline="") as table:
        expected = [row for row in csv.DictReader(table) if "released" not in row["model"]]
    with scores.open(newline="") as table:
        found = list(csv.DictReader(table))
    if len(found) != len(expected):
        return f"{len(found)} rows instead of {len(expected)}"
    for model in ("zero_filling", "safetensors"):
        for measure, digits in (("psnr", 2), ("ssim", 3), ("nmse", 4)):
            means = [
                np.mean([float(row[measure]) for row in rows if row["model"].endswith(model)])
                for rows in (expected, found)
            ]
            if round(means[0], digits) != round(means[1], digits):
                return f"{model}, {measure}: {means[1]:.{digits}f} instead of {means[0]:.{digits}f}"
    return "equal"


if __name__ == "__main__":
    sys.exit(main())
