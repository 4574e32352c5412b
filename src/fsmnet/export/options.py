"""Options of export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fsmnet.inference.options import SuitabilityOptions
from fsmnet.options import option, required


@dataclass(kw_only=True)
class ExportConfig(SuitabilityOptions):
    """Write a network with its weights for use without this package, and check that it gives the same image."""

    out: Path = required(
        "file to write: .pt2 (torch.export) or .onnx; any height and width that are multiples of 8; or a folder, see "
        "--format",
        group="output",
    )
    format: Literal["file", "hub", "monai"] = option(
        "file",
        "hub: a folder as Hugging Face has them; monai: a MONAI bundle; both with weights, graph and card",
        group="output",
    )
    scores: Path | None = option(
        None, "summary.json of 'fsmnet evaluate', whose scores the folder's card gets", group="output"
    )
    checkpoint: Path | None = option(
        None, "weights from 'fsmnet train'; default: the shipped network for images", group="model"
    )
    target: Path | None = option(
        None,
        "also compare on every tenth slice of this fully sampled scan, which is under-sampled as the network was "
        "trained for",
    )
    auxiliary: Path | None = option(None, "the other contrast of that scan")
    tolerance: float = option(1e-3, "largest difference from the model's image, in deviations of the target")
    overwrite: bool = option(False, "replace an existing file", material=False, group="output")
