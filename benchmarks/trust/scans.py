"""The scans of these benchmarks, and networks as ``fsmnet reconstruct --kspace`` uses them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

sys.path.append(str(Path(__file__).resolve().parents[1]))
from figures import rounded as rounded  # for the scripts beside this one

from fsmnet.checkpoint import Header, load_model, trained_normalisation
from fsmnet.data.formats import read_volume
from fsmnet.data.pairing.names import load_pair
from fsmnet.inference.optimise import optimise
from fsmnet.inference.slices import reconstruct_slices
from fsmnet.models import create_model, takes_acquisition
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.masks import seed_from_name
from fsmnet.physics.options import MaskOptions
from fsmnet.protocols.cases import Accelerated, Slices
from fsmnet.protocols.complex import Complex
from fsmnet.reconstruction.again import Again
from fsmnet.reconstruction.measured import Measured

# FSMNet for T2 with T1 of stripped heads at 4x, which was shipped for images before.
QUICK = str(Path(__file__).resolve().parents[1] / "quick" / "fsmnet_quick_4x.safetensors")

# Patients -> examination and contrasts (target, auxiliary). Nothing is fitted to, or chosen by, those of TEST.
DEVELOPMENT = {
    "OMS-07": [("OMS-07", "t2", "t1"), ("OMS-07", "flair", "t1")],
    "OMS-19": [("OMS-19", "t2", "t1"), ("OMS-19", "flair", "t1")],
    "OMS-26": [("OMS-26", "t2", "t1"), ("OMS-26", "flair", "t1")],
    "TCGA-DU-7294": [("TCGA-DU-7294", "t2", "t1"), ("TCGA-DU-7294", "flair", "t1")],
    "stroke-VRD": [("stroke-VRD", "t2", "t1"), ("stroke-VRD", "flair", "t1")],
    "OMSL-01": [("OMSL-01-s1", "t2", "t1"), ("OMSL-01-s2", "flair", "t1")],
    "OMSL-03": [("OMSL-03-s2", "t2", "t1"), ("OMSL-03-s2", "flair", "t1")],
    "OMSL-19": [("OMSL-19-s2", "flair", "t1")],
    "OMSL-20": [("OMSL-20-s2", "flair", "t1")],
}
TEST = {
    "TCGA-FG-6692": [("TCGA-FG-6692", "t2", "t1")],
    "OMSL-04": [("OMSL-04-s1", "t2", "t1")],
}


def scan_file(data: Path, exam: str, contrast: str) -> Path:
    """One contrast of an examination, on one grid with the others, in ``data/volumes`` or ``data/native``."""
    return next(file for file in _files(data, exam, contrast) if file.exists())


def is_there(data: Path, exam: str, contrast: str) -> bool:
    """Whether an examination has a contrast."""
    return any(file.exists() for file in _files(data, exam, contrast))


def _files(data: Path, exam: str, contrast: str) -> list[Path]:
    return [data / folder / exam / f"{exam}_{contrast}.nii.gz" for folder in ("volumes", "native")]


@lru_cache(maxsize=2)
def slices_of(data: Path, exam: str, target: str, auxiliary: str) -> Slices:
    """Slices with content, both contrasts on [0, 1]."""
    return Complex().prepare(*load_pair(*(scan_file(data, exam, name) for name in (target, auxiliary))))


def spread(count: int, most: int) -> list[int]:
    """So many numbers below ``count``, evenly, without its ends."""
    return torch.linspace(0, count - 1, most + 2).round().long()[1:-1].tolist()


def network_of(checkpoint: str) -> nn.Module:
    """A network in eval mode, its kernels as ``fsmnet reconstruct`` uses them.

    Args:
        checkpoint: of this package; or, as ``mdunet:FILE``, what ``benchmarks/unrolled/equal.py`` leaves of a network:
            16 features, whole slices normalised without a limit.
    """
    name, _, file = checkpoint.rpartition(":")
    if not name:
        return optimise(load_model(checkpoint), "float32")
    model = create_model(name, features=16)
    model.load_state_dict({key: value.float() for key, value in load_file(file).items()})
    model.header = Header({}, normalisation={"clip": None})  # type: ignore[assignment]
    return optimise(model.eval(), "float32")


def method_of(network: nn.Module, measured: Acquisition, auxiliary: Tensor | None) -> Callable[..., Tensor]:
    """A network's image of lines ``(1, C, H, W)``; measured lines are put back unless it does so itself."""
    again = again_of(network, measured, auxiliary)
    return lambda acquisition, other=None: again.image(0, acquisition, other)


def again_of(network: nn.Module, measured: Acquisition, auxiliary: Tensor | None) -> Again:
    """One slice of lines ``(1, C, H, W)``, ready to be reconstructed again."""
    inside, normalisation = takes_acquisition(network), trained_normalisation(network)

    def passes(zero_filled: Tensor, other: Tensor | None, lines: Callable[[slice], Acquisition]) -> Tensor:
        return reconstruct_slices(network, zero_filled, other, normalisation, measured=lines, phase=True)

    scan = Measured(measured.zero_filled, None, None, "", lambda number: measured[number])
    return Again("", scan, auxiliary, passes, "hard" if measured.real else None if inside else "weighed")


def provenance(**more: Any) -> dict[str, Any]:
    """What a file of results says of itself."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return {
        "command": " ".join(["python", f"benchmarks/trust/{Path(sys.argv[0]).name}", *words]),
        "commit": commit,
    } | more


def accelerated(
    data: Path,
    exam: tuple[str, str, str],
    acceleration: float,
    most: int,
    auxiliary: Path | None = None,
    draw: int = 0,
) -> tuple[Accelerated, tuple[float, float, float]]:
    """Slices of an examination as protocol ``complex`` accelerates them, and the distance of its voxels in mm.

    Args:
        data: see :func:`scan_file`.
        exam: its name, target and auxiliary.
        acceleration: that is asked for.
        most: slices, spread over the volume without its ends.
        auxiliary: another file in place of the auxiliary.
        draw: another mask and noise.
    """
    target = scan_file(data, exam[0], exam[1])
    slices, pixel = _prepared(target, auxiliary or scan_file(data, exam[0], exam[2]))
    return accelerate(Complex(noise=0.005), slices, target.name + draw * "'", acceleration, most), pixel


@lru_cache(maxsize=2)
def _prepared(target: Path, auxiliary: Path) -> tuple[Slices, tuple[float, float, float]]:
    if target.parent == auxiliary.parent:
        volumes = load_pair(target, auxiliary)
    else:  # another patient's, as if it lay on the same grid
        first, second = read_volume(target), read_volume(auxiliary)
        volumes = first, replace(second, affine=first.affine)
    return Complex().prepare(*volumes), volumes[0].pixel


def accelerate(protocol: Complex, slices: Slices, name: str, acceleration: float, most: int) -> Accelerated:
    """Some of these slices, accelerated."""
    keep = spread(len(slices.numbers), most)
    some = Slices(slices.target[keep], slices.auxiliary[keep], [slices.numbers[i] for i in keep])
    mask = protocol.mask_recipe(MaskOptions(acceleration=acceleration)).draw(some.target.shape[-1], name)
    columns, seeds = torch.from_numpy(mask.columns), [(*seed_from_name(name), number) for number in some.numbers]
    zero_filled = protocol.zero_fill(some.target, columns, seeds)
    return Accelerated(
        some, zero_filled, None, mask, measured=lambda part: protocol.measure(some.target[part], columns, seeds[part])
    )
