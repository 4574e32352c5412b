"""Trials of long use: many reconstructions in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import psutil
import torch
from scipy import ndimage

import fsmnet
from fsmnet.checkpoint import Header, save_checkpoint
from fsmnet.models import create_model, recipe_of

from .registry import trial

WARM = 100  # reconstructions before anything is measured
SLOPE = 20.0  # KiB of a reconstruction that are allowed: 10 MiB in 500


@trial("long-use", "reconstructions in one process: slope of memory and handles behind the first hundred", count=500)
def long_use(folder: Path, count: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = create_model("mdunet", features=4)
    save_checkpoint(folder / "w.safetensors", model.state_dict(), Header(recipe_of(model)))
    for seed, name in enumerate(("t1", "t2")):
        noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((40, 36, 4)), 2)
        voxels = (1000 * (noise - noise.min())).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 3.0, 1.0])), folder / f"{name}.nii.gz")
    process, memory, handles = psutil.Process(), [], []
    for number in range(count):
        fsmnet.reconstruct(
            target=folder / "t2.nii.gz",
            auxiliary=folder / "t1.nii.gz",
            checkpoint=folder / "w.safetensors",
            out=folder / f"{number % 7}.nii.gz",
            acceleration=4,
            device="cpu",
            overwrite=True,
        )
        memory.append(process.memory_info().rss / 1024)
        handles.append(process.num_fds())
    behind = slice(min(WARM, count // 2), None)
    numbers = np.arange(count)[behind]
    slope = float(np.polyfit(numbers, np.array(memory)[behind], 1)[0])
    more = handles[-1] - handles[behind][0]
    return {
        "reconstructions": count,
        "KiB of memory a reconstruction": round(slope, 2),
        "MiB at the end": round(memory[-1] / 1024),
        "more handles": more,
        "held": slope < SLOPE and more <= 0,
    }
