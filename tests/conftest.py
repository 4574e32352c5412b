"""Shared set-up: one thread per test process, since the suite runs in several; small volumes and folders of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import settings
from scipy import ndimage

from fsmnet.checkpoint import Header, save_checkpoint
from fsmnet.data.phantom import write_subjects
from fsmnet.models import create_model, recipe_of

torch.set_num_threads(1)

# Few examples, the same ones in every run; no deadline, since the machine may be busy.
settings.register_profile("suite", max_examples=20, deadline=None, derandomize=True)
settings.load_profile("suite")


def smooth_array(seed: int, shape: tuple[int, ...], low: float = 50, high: float = 1000) -> np.ndarray:
    """Smooth random float32 values from ``low`` to ``high``, never the same twice."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2, mode="wrap")
    unit = (noise - noise.min()) / (noise.max() - noise.min())
    return (low + (high - low) * unit).astype(np.float32)


@pytest.fixture(scope="session")
def smooth() -> Callable[..., np.ndarray]:
    """The function :func:`smooth_array`, for test modules."""
    return smooth_array


@pytest.fixture
def write_nifti() -> Callable[..., Path]:
    """Function (path, array in file order, affine) -> path; makes the folders on the way."""

    def write(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
        return path

    return write


@pytest.fixture
def brats_folder(tmp_path, write_nifti) -> Path:
    """Three cases ``case-1 ...`` of the older naming with T1, T2 and FLAIR, 84 x 80 x (4, 5, 6) voxels, all above 0.

    84 x 80 pixels are just over 10% of the 240 x 240 frame, so the BraTS protocol keeps every slice.
    """
    root = tmp_path / "brats"
    for number in (1, 2, 3):
        for offset, contrast in enumerate(("t1", "t2", "flair")):
            array = smooth_array(10 * number + offset, (84, 80, 3 + number)).astype(np.int16)
            write_nifti(root / f"case-{number}" / f"case-{number}_{contrast}.nii.gz", array)
    return root


@pytest.fixture(scope="session")
def heads(tmp_path_factory) -> Path:
    """Four heads of the phantom, T1 and T2, 64 x 64 x 5 voxels of 3 mm; for reading only."""
    root = tmp_path_factory.mktemp("phantom") / "heads"
    write_subjects(root, range(4), size=64, slices=5, voxel=3.0)
    return root


@pytest.fixture(scope="session")
def checkpoint_file() -> Callable[..., Path]:
    """Function (path, model, training header, seed, **options) -> path of a checkpoint with random weights; tiny."""

    def save(path: Path, model: str = "fsmnet", training: dict | None = None, seed: int = 0, **options: Any) -> Path:
        torch.manual_seed(seed)
        network = create_model(model, **(options or {"features": 8, "blocks": 1}))
        save_checkpoint(path, network.state_dict(), Header(recipe_of(network), training or {}))
        return path

    return save
