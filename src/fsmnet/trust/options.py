"""Options of calibration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fsmnet.data.options import PairOptions
from fsmnet.inference.options import RunOptions
from fsmnet.options import option, required


@dataclass(kw_only=True)
class CalibrateConfig(RunOptions, PairOptions):
    """Learn from scans that a network suits how wrong it is there and what they show, for a copy of it."""

    checkpoint: str = option("shipped", "weights from 'fsmnet train', or shipped, shipped-image", group="model")
    out: Path = required("the copy, .safetensors", material=False, group="output")
    accelerations: list[float] = option([4.0, 8.0], "each scan is accelerated so many times", group="measurement")
    slices: int = option(5, "of each scan, spread over it", group="measurement")
    rate: float = option(
        0.9,
        "of patients, and of a patient's voxels, whose error must stay below the bound; 0.9 needs nine patients",
        group="measurement",
    )
    overwrite: bool = option(False, "replace an existing copy", material=False, group="output")
