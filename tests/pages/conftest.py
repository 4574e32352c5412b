"""Small results of every kind, made once, and a browser to look at their pages."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from browser import chromium
from fsmnet.evaluation.compare import compare
from fsmnet.evaluation.evaluate import evaluate
from fsmnet.evaluation.options import CompareConfig, EvaluateConfig
from fsmnet.trust.check import reconstruct

NASTY = "<script>alert(1)</script>&\"' \u60a3"

OBLIQUE = np.array([[-1, 0, 0, 30], [0, -0.99, 0.3, 20], [0, 0.1, 2.98, 0], [0, 0, 0, 1]])


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("chromium") / "profile") as driver:
        yield driver


@pytest.fixture(scope="session")
def scan(tmp_path_factory, smooth, checkpoint_file):
    """A reconstruction of 60 x 48 x 7 voxels with everything beside it, whose slices are all unlike; its image."""
    folder = tmp_path_factory.mktemp("scan")
    for seed, contrast in enumerate(("t2", "t1")):
        data = smooth(seed, (60, 48, 7), 100, 3000)
        data[:8] = data[:, :5] = data[..., 0] = 0
        data *= np.linspace(0.4, 1, 7)
        nib.save(nib.Nifti1Image(data.astype(np.int16), OBLIQUE), folder / f"{contrast}.nii.gz")
    checkpoint = checkpoint_file(folder / "best.safetensors")
    out = folder / "result.nii.gz"
    reconstruct(folder / "t2.nii.gz", folder / "t1.nii.gz", out, checkpoint=checkpoint, device="cpu", acceleration=3)
    return out


@pytest.fixture(scope="session")
def evaluation(tmp_path_factory, heads):
    """A folder of ``fsmnet evaluate``."""
    out = tmp_path_factory.mktemp("evaluation") / "scores"
    evaluate(EvaluateConfig(models=["zero_filling", "pocs"], data=heads, out=out, protocol="float", device="cpu"))
    return out


@pytest.fixture(scope="session")
def comparison(tmp_path_factory, heads):
    """A folder of ``fsmnet compare`` with one trained method, and one of a name that is no HTML."""
    out = tmp_path_factory.mktemp("comparison") / "runs"
    tiny = {"model": "mdunet", "model_options": {"features": 4, "levels": 2}}
    methods = {"Zero-filling": {"model": "zero_filling"}, NASTY: {"model": "pocs"}, "U-Net": tiny}
    training = {"batch": 1, "save_every": 1, "augment": False}
    compare(
        CompareConfig(
            data=heads,
            out=out,
            protocol="float",
            methods=methods,
            reference="U-Net",
            training=training,
            iterations=2,
            test_fraction=0.75,
            validation_fraction=0.0,
            device="cpu",
        )
    )
    return out
