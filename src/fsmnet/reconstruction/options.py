"""Options of reconstruction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fsmnet.data.voxels import DataType
from fsmnet.inference.options import (
    BATCH,
    KEEP_AUXILIARY,
    OPTIMISE,
    PRECISION,
    BatchSize,
    ListOptions,
    PrecisionChoice,
    RunOptions,
    SuitabilityOptions,
)
from fsmnet.options import option, required
from fsmnet.physics.masks import MaskKind


@dataclass(kw_only=True)
class ReconstructConfig(ListOptions, RunOptions, SuitabilityOptions, group="input"):
    """Reconstruct an accelerated contrast with the help of a fully sampled one."""

    target: Path | None = option(None, "contrast to reconstruct: a NIfTI, NumPy or fastMRI file or a DICOM folder")
    auxiliary: Path | None = option(
        None,
        "fully sampled contrast: always an image, of the same kinds of file; the shipped network does without one too",
    )
    out: Path = required(
        "result: .nii.gz; .npy or .npz for arrays and k-space; .h5 for fastMRI's form of a submission; for a DICOM "
        "target a new folder; mask, picture and JSON record come beside it",
        material=False,
        group="output",
    )
    kspace: Path | None = option(
        None,
        "complex k-space instead of --target: fastMRI or ISMRMRD (.h5, .mrd), .npy or .npz with axes (H, W), (S, H, W) "
        "or, with coils, always (S, C, H, W)",
    )
    maps: Path | None = option(
        None, "with --kspace: coil sensitivities (.npy, .npz); default: estimated from the centre lines by ESPIRiT"
    )
    dtype: DataType = option(
        "source",
        "voxels of a NIfTI result; source: the target's type and slope, finer or wider where rounding would reach a "
        "quarter of the noise; or float32",
        group="output",
    )
    complex: bool = option(
        False, "with --kspace: also write the complex image, beside the result as OUT_complex", group="output"
    )
    target_series: str | None = option(None, "DICOM: number, UID or a part of the description of the target's series")
    auxiliary_series: str | None = option(None, "DICOM: the same for the auxiliary")
    checkpoint: Path | None = option(
        None,
        "weights from 'fsmnet train', 'shipped' or 'shipped-image', or 'pocs', which needs none; default: the shipped "
        "network, for a zero-filled target the shipped one for images",
        material="content",
        group="model",
    )
    target_is: Literal["full", "zero-filled"] = option(
        "full", "full: under-sample it first, as a retrospective experiment; zero-filled: it is degraded already"
    )
    acceleration: float | None = option(
        None, "requested acceleration; default: the one the network was trained for", group="mask"
    )
    mask_kind: MaskKind | None = option(None, "kind of mask; default: the network's", group="mask")
    center_fraction: float | None = option(
        None, "share of columns always kept in the middle; default: the network's", group="mask"
    )
    mask_seed: int | Literal["name"] | None = option(
        None, "seed of the mask, or 'name'; default: the network's", group="mask"
    )
    mask: Path | None = option(
        None,
        "mask from a file (.npy, .npz) instead of drawing one; with --kspace by default 'auto': the mask that the file "
        "states, else the columns that are not empty",
        material="content",
        group="mask",
    )
    phase_encode: Literal["rows", "columns"] | None = option(
        None,
        "phase-encode axis, of which lines are left out: rows, the first in-plane axis of the file, or columns, the "
        "second; default: what the format says, else columns",
        group="mask",
    )
    data_consistency: Literal["auto", "hard", "soft", "weighed", "off"] = option(
        "auto",
        "hard: put the measured k-space lines back into the network's image; soft: by one weight; weighed: with "
        "--kspace, image and lines by what each may be wrong, after a network that takes k-space, as the shipped one, "
        "where lines that are kept back confirm it; auto: weighed with --kspace, hard with --target; after a network "
        "that takes k-space only where --target is simulated",
        group="model",
    )
    adapt: bool = option(
        False,
        "first fit 2% of the k-space network to the scan's own lines, some kept back for the fit and some to stop it; "
        "for scans unlike those of the training",
        group="model",
    )
    noise: float | None = option(
        None,
        "with --kspace: standard deviation of the complex noise in k-space, in its units, for a network that asks; "
        "default: not known",
        group="model",
    )
    noise_weight: float | None = option(
        None,
        "soft: weight w of the measured lines, (network + w measured) / (1 + w): variance of the network's error in "
        "k-space over that of the noise",
        group="model",
    )
    check: int | Literal["off"] | None = option(
        None,
        "hold-out check: keep back a fifth of the outer lines, so many times (1 to 5), and tell how much of them the "
        "network explains; on at most 16 slices; default: 1 wherever lines are known, off in a list",
        material=False,
        group="output",
    )
    trust_maps: bool = option(
        True,
        "with the check, also write images beside the result: the expected error as OUT_error, as OUT_influence "
        "what a blank auxiliary would change, as OUT_loss what small structure would lose; they take two further "
        "passes of the network, over slices 2 mm apart, and one over at most 16",
        material=False,
        group="output",
    )
    picture: bool = option(
        True, "leave a picture of one slice beside the result, OUT_picture.png", material=False, group="output"
    )
    keep_auxiliary: bool = option(False, KEEP_AUXILIARY)
    resample: bool = option(False, "bring the auxiliary onto the target's grid where they differ")
    register: Literal["none", "rigid"] = option(
        "none", "rigid: move the auxiliary onto the target by mutual information, then resample it"
    )
    batch: BatchSize = option("auto", BATCH, material="rounding", group="device")
    precision: PrecisionChoice = option("auto", PRECISION, group="device")
    optimise: bool = option(True, OPTIMISE, group="device")
    overwrite: bool = option(
        False, "replace an existing result; with --pairs also what is done and verified", material=False, group="output"
    )
    anonymise: bool = option(
        False, "DICOM: leave out of the result and its record who was scanned, where and when", group="output"
    )
    pairs: Path | None = option(
        None,
        "a whole list instead of --target and --auxiliary: table from 'fsmnet pair'; --out is then a folder",
        material=False,
        group="list",
    )
    workers: int = option(
        2, "with --pairs: threads that read the next exams and write finished ones", material=False, group="list"
    )
