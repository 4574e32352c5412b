"""Identifiers planted in every field of every format, and looked for in everything that every command writes."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from fsmnet.checkpoint import Header, save_checkpoint
from fsmnet.models import create_model, recipe_of

from .forked import begun, ended
from .registry import trial

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from dicom_study import Plan, write
from fastmri_tree import fft2c, write_knees
from ismrmrd_scan import Plan as Scan
from ismrmrd_scan import write as write_scan
from planting import BIRTHDAY, SECRET, found, plant_arrays, plant_dicom, plant_hdf5, plant_nifti

TABLES = ("pairs.csv", "knees.csv", "study.csv")
HOME, HOST = "home-of-somebody", "host-of-somebody"
DEVICE = ["--device", "cpu", "--threads", "1"]
MODEL = ["--model", "mdunet", "--model-options", "{features: 4, levels: 2}"]
TRAIN = ["--iterations", "2", "--batch", "1", "--tensorboard", "--pictures", "--no-augment", *DEVICE]
WEIGHTS = ["--checkpoint", "w.safetensors", *DEVICE]
METHODS = "{one: {model: mdunet, model_options: {features: 4, levels: 2}}, two: {model: zero_filling}}"
KNEES = ["knees", "--protocol", "fastmri", "--pairs", "knees.csv"]
STUDY = ["reconstruct", "--target", "study", "--target-series", "3", "--auxiliary", "study", "--auxiliary-series", "5"]

# Words by what they try; everything is written into OUT.
COMMANDS = {
    "pair": ["pair", "heads", "--out", "pairs.csv"],
    "train": ["train", "heads", "--out", "OUT/run", *MODEL, *TRAIN, "--protocol", "float",
        "--validation-fraction", "0.25"],
    "reconstruct": ["reconstruct", "heads/c0/c0_t2.nii.gz", "heads/c0/c0_t1.nii.gz", "--out", "OUT/a.nii.gz",
        "--report", "--checkpoint", "OUT/run/best.safetensors", *DEVICE],
    "reconstruct .npz": ["reconstruct", "t2.npz", "t1.npz", "--out", "OUT/b.npz", *WEIGHTS],
    "reconstruct --pairs": ["reconstruct", "--pairs", "pairs.csv", "--out", "OUT/list", *WEIGHTS],
    "evaluate": ["evaluate", "heads", "--models", "zero_filling", "OUT/run/best.safetensors", "--out", "OUT/scores",
        *DEVICE, "--report"],
    "compare": ["compare", "heads", "--methods", METHODS, "--reference", "one", "--out", "OUT/table", *DEVICE,
        "--iterations", "2", "--report"],
    "calibrate": ["calibrate", "heads", "--checkpoint", "OUT/run/best.safetensors", "--out", "OUT/c.safetensors",
        "--rate", "0.5", "--accelerations", "2", "3", *DEVICE],
    "export hub": ["export", "OUT/run/best.safetensors", "--format", "hub", "--out", "OUT/hub"],
    "export monai": ["export", "OUT/run/best.safetensors", "--format", "monai", "--out", "OUT/monai"],
    "export .onnx": ["export", "OUT/run/best.safetensors", "--out", "OUT/d.onnx"],
    "report": ["report", "OUT/a.nii.gz", "OUT/scores", "OUT/table", "--out", "OUT/page.html"],
    "fastMRI pair": ["pair", "knees", "--layout", "fastmri", "--out", "knees.csv"],
    "fastMRI train": ["train", *KNEES, "--out", "OUT/knee", *MODEL, *TRAIN],
    "fastMRI evaluate": ["evaluate", *KNEES, "--models", "zero_filling", "--out", "OUT/knee_scores", *DEVICE],
    "fastMRI reconstruct": ["reconstruct", "--kspace", "knee.h5", "--auxiliary", "knee.npz", "--out", "OUT/k.h5",
        "--acceleration", "4", *WEIGHTS],
    "ISMRMRD reconstruct": ["reconstruct", "--kspace", "scan.mrd", "--auxiliary", "scan.npz", "--out", "OUT/s.nii.gz",
        "--acceleration", "4", *WEIGHTS],
    "DICOM pair": ["pair", "study", "--auxiliary", "t1ce", "--out", "study.csv"],
    "DICOM to NIfTI": [*STUDY, "--out", "OUT/d.nii.gz", *WEIGHTS],
    "DICOM --anonymise": [*STUDY, "--out", "OUT/new", "--anonymise", *WEIGHTS],
}  # fmt: skip


@trial("identifiers", "identifiers planted in every field of every format, looked for in everything that is written")
def identifiers(folder: Path, count: int) -> dict[str, Any]:
    """The machine's name and the folder's are looked for too; what a command says is one of its files."""
    home, out = folder / HOME, folder / HOME / "OUT"
    out.mkdir(parents=True)
    fields = planted(home)
    failed, hits = [], []
    for name, words in COMMANDS.items():
        said = out / f"{name.replace(' ', '_')}.said"
        logged = [*words, "--log", f"OUT/{said.stem}.log"]
        if ended(begun(logged, said, partial(elsewhere, home)), 600) != 0:
            failed.append(name)
            sys.stderr.write(f"{name}: {said.read_text()}\n")
    for table in TABLES:  # beside the scans, whose places they hold relative to them
        shutil.copy(home / table, out)
    for hit in found(out, SECRET, SECRET[:10], SECRET.upper(), BIRTHDAY, HOME, HOST):
        hits.append(hit)
        sys.stderr.write(f"{hit}\n")
    files = [path for path in out.rglob("*") if path.is_file()]
    kinds = sorted({path.suffix for path in files if path.suffix})
    return {
        "fields planted": fields,
        "commands": len(COMMANDS),
        "failed": ", ".join(failed) or "none",
        "files written": len(files),
        "of kinds": " ".join(kinds),
        "MiB searched": round(sum(path.stat().st_size for path in files) / 2**20),
        "identifiers found": len(hits),
        "held": not hits and not failed,
    }


def elsewhere(home: Path) -> None:
    """Work in this folder, on a machine of another name."""
    os.chdir(home)
    socket.gethostname = lambda: HOST


def smooth(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2, mode="wrap")
    return 50 + 950 * (noise - noise.min()) / np.ptp(noise)


def planted(home: Path) -> int:
    """Scans of every format; how many fields hold an identifier."""
    fields = 0
    for case in range(4):
        target, other = smooth(2 * case, (40, 36, 4)), smooth(2 * case + 1, (40, 36, 4))
        fields += plant_nifti(home / "heads" / f"c{case}" / f"c{case}_t2.nii.gz", target)
        fields += plant_nifti(home / "heads" / f"c{case}" / f"c{case}_t1.nii.gz", np.sqrt(target) * 30 + other / 5)
    target = smooth(20, (3, 40, 36)).astype(np.float32)
    for name, image in (("t2", target), ("t1", np.sqrt(target) * 30)):
        fields += plant_arrays(home / f"{name}.npz", image=image)
    write_knees(home / "knees", range(3), size=48, slices=2, rows=64, columns=48, recon=48)
    for path in (home / "knees").rglob("*.h5"):
        fields += plant_hdf5(path)
    shutil.copyfile(path, home / "knee.h5")
    fields += plant_arrays(home / "knee.npz", image=np.sqrt(smooth(21, (2, 48, 48))).astype(np.float32))
    images = smooth(22, (2, 48, 48))
    write_scan(home / "scan.mrd", Scan(fft2c(images).astype(np.complex64)[:, None]))
    fields += plant_hdf5(home / "scan.mrd", "dataset", "dataset/xml")
    fields += plant_arrays(home / "scan.npz", image=np.sqrt(images).astype(np.float32))
    counted: list[int] = []

    def plant(number: int, dataset: Any) -> None:
        if dataset.SeriesNumber == 5:
            dataset.EchoTime, dataset.RepetitionTime = 10, 500
        counted.append(plant_dicom(dataset, described=False))

    for plan in (Plan(shape=(4, 36, 40)), Plan(5, "T1 se tra", (4, 36, 40), seed=7)):
        write(home / "study", plan, plant, prefix=f"IM{plan.number}_")
    torch.manual_seed(0)
    model = create_model("mdunet", features=4)
    save_checkpoint(home / "w.safetensors", model.state_dict(), Header(recipe_of(model)))
    return fields + sum(counted)
