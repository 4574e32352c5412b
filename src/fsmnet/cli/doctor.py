"""Checks of an installation: what is here, and whether it computes what it should."""

from __future__ import annotations

import importlib.util
import logging
import os
import platform
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from fsmnet.checkpoint import SHIPPED, load_model, shipped_checkpoint, versions
from fsmnet.cli.options import DoctorConfig
from fsmnet.cli.terminal import answer
from fsmnet.data.find import absence, files_below, require_folder
from fsmnet.data.formats import volume_stem
from fsmnet.data.formats.nifti import NIFTI
from fsmnet.data.pairing.fastmri_tree import read_tree
from fsmnet.errors import UserError, listed
from fsmnet.files import json_text
from fsmnet.inference.cost import human_bytes
from fsmnet.models import create_model
from fsmnet.physics.fourier import fft2c, ifft2c
from fsmnet.protocols.brats import brats_mask

# Package -> what needs it, and the extra that installs it.
OPTIONAL = {
    "nilearn": ("the demo's head and the viewer of reports", "report"),
    "tensorboard": ("train --tensorboard", "tensorboard"),
    "pydicom": ("DICOM", "dicom"),
    "SimpleITK": ("DICOM and registration", "dicom"),
    "ismrmrd": ("ISMRMRD files", "raw"),
    "dask": ("--cluster", "cluster"),
    "distributed": ("--cluster", "cluster"),
    "dask_jobqueue": ("--cluster slurm", "cluster"),
    "bokeh": ("the dashboard of --cluster", "cluster"),
    "onnx": ("export to .onnx", "export"),
    "onnxscript": ("export to .onnx", "export"),
    "onnxruntime": ("export to .onnx", "export"),
}


@dataclass(frozen=True)
class Check:
    """One finding: ``ok``, ``missing`` (optional) or ``failed``."""

    name: str
    state: str
    detail: str


def examine(data: Path | None = None) -> list[Check]:
    """All checks, and a look through a data folder if one is given."""
    checks = [Check("versions", "ok", ", ".join(f"{name} {version}" for name, version in versions().items()))]
    checks.append(Check("machine", "ok", _machine()))
    for package, (use, extra) in OPTIONAL.items():
        found = importlib.util.find_spec(package) is not None
        detail = "installed" if found else f"needed for {use}; pip install 'fsmnet[{extra}]'"
        checks.append(Check(package, "ok" if found else "missing", detail))
    computations: dict[str, Callable[[], str]] = {
        "fourier transform": _fourier,
        "masks": _masks,
        "network": _network,
        "shipped weights": _weights,
    }
    if data is not None:
        computations["data"] = lambda: _data(data)
    for name, compute in computations.items():
        try:
            checks.append(Check(name, "ok", compute()))
        except UserError as error:
            checks.append(Check(name, "failed", str(error)))
        except Exception as error:  # a broken installation fails in its own ways
            checks.append(Check(name, "failed", f"{type(error).__name__}: {' '.join(str(error).split())}"))
    return checks


def command(config: DoctorConfig) -> int:
    """``fsmnet doctor``; exit code 1 if something failed."""
    log = logging.getLogger("fsmnet")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        checks = examine(config.data)
    finally:
        log.setLevel(level)
    if config.json:
        answer(*json_text([asdict(check) for check in checks]).splitlines())
    else:
        for check in checks:
            answer(f"{check.state:8} {check.name}: {check.detail}")
    return 1 if any(check.state == "failed" for check in checks) else 0


def _machine() -> str:
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    free = human_bytes(shutil.disk_usage(Path.cwd()).free)
    where = f"GPU {', '.join(gpus)}" if gpus else "no GPU, the CPU will do"
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {where}, {free} free on this disk"


def _fourier() -> str:
    image = torch.randn(3, 24, 31, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    error = float((ifft2c(fft2c(image)).real - image).abs().max())
    if error > 1e-12:
        raise UserError(f"there and back changes an image by {error:.2g}; this PyTorch build is not to be trusted")
    return f"there and back within {error:.1g}"


def _masks() -> str:
    kept = [int(brats_mask(acceleration).columns.sum()) for acceleration in (4, 8)]
    first = brats_mask(4).columns.nonzero()[0][:4].tolist()
    if kept != [59, 30] or first != [1, 9, 12, 35]:
        raise UserError(
            f"seed 1337 gives {kept} columns beginning {first}; this NumPy draws other masks than published"
        )
    return "as published (59 and 30 of 240 columns)"


def _network() -> str:
    torch.manual_seed(0)
    model = create_model("fsmnet", features=8, blocks=1).eval()
    x, y = torch.randn(2, 1, 1, 33, 40)
    with torch.inference_mode():
        single = model(x, y).image
        double = model.double()(x.double(), y.double()).image
    error = float((single - double).abs().max())
    if not error < 1e-3:
        raise UserError(f"float32 and float64 differ by {error:.2g}")
    return f"float32 and float64 agree within {error:.1g}"


def _weights() -> str:
    paths = [path for name in SHIPPED if (path := shipped_checkpoint(name)) is not None]
    sizes = {path.name: sum(p.numel() for p in load_model(path).parameters()) for path in paths}
    told = ", ".join(f"{name}, {size:,} parameters" for name, size in sizes.items())
    return told or "none in this build; train with 'fsmnet train'"


def _data(folder: Path) -> str:
    require_folder(folder, "give the folder that holds the cases")
    names: Counter[str] = Counter()
    absent: list[str] = []
    for found in files_below(folder, NIFTI):
        stem, case = volume_stem(found.place), found.place.parent.name
        if stem.startswith(case):
            names[stem[len(case) + 1 :]] += 1
            if why := absence(found.file):
                absent.append(f"{found.file.relative_to(folder).as_posix()} {why}")
    if not names and files_below(folder, (".h5",)):
        tree = read_tree(folder)
        names.update(f"{file.acquisition} in {file.folder}" for file in tree.files)
        names.update({"unusable": len(tree.skipped)} if tree.skipped else {})
    if not names:
        raise UserError(
            f"{folder}: no file named <case>/<case>_<contrast>.nii.gz; other layouts need patterns, see the docs"
        )
    told = f"; {len(absent)} of them cannot be read: {listed(absent)}" if absent else ""
    return f"{folder}: " + ", ".join(f"{count} x {name}" for name, count in sorted(names.items())) + told
