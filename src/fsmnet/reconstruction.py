"""Reconstruct one scan: two files in, one file out in the same place, and a record of how it was made."""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fsmnet.checkpoint import header_of, load_model, shipped_checkpoint, versions
from fsmnet.config import MaskOptions, MaskRecipe, ReconstructConfig, field_types
from fsmnet.data.pairs import grid_difference, on_one_grid
from fsmnet.data.scan import Scan, check_output, read_scan, turn, write_scan
from fsmnet.data.volume import Volume, volume_stem
from fsmnet.errors import UserError
from fsmnet.evaluate import trained_recipe
from fsmnet.files import sha256, write_text
from fsmnet.inference import choose_device, reconstruct_slices
from fsmnet.kspace import data_consistency, residual, undersample
from fsmnet.masks import Mask, load_mask, save_mask
from fsmnet.metrics import volume_metrics
from fsmnet.models import recipe_of
from fsmnet.protocols import zero_fill

logger = logging.getLogger(__name__)

NOT_CLINICAL = "research use only, not for clinical use"


@dataclass(frozen=True)
class Reconstruction:
    """What :func:`reconstruct` made.

    Attributes:
        image: float32 ``(S, H, W)`` in the target's intensities.
        out: the NIfTI file or DICOM folder.
        mask: sampling mask; None for a target that was degraded before.
        sidecar: content of the JSON file beside the image.
    """

    image: npt.NDArray[np.float32]
    out: Path
    mask: Mask | None
    sidecar: dict[str, Any]


def reconstruct(target: str | Path, auxiliary: str | Path, out: str | Path, **options: Any) -> Reconstruction:
    """Reconstruct a target with the help of a fully sampled auxiliary, as ``fsmnet reconstruct`` does.

    Args:
        target: NIfTI file or DICOM folder of the contrast to reconstruct.
        auxiliary: NIfTI file or DICOM folder of the fully sampled contrast on the same grid.
        out: result, ``.nii.gz``, or a new folder for DICOM; the mask (``_mask.npz``) and a JSON record are written
            beside it.
        options: the other fields of :class:`fsmnet.config.ReconstructConfig`, e.g. ``checkpoint``, ``acceleration``.

    Raises:
        UserError: files or options that cannot be used.
    """
    for name in ("checkpoint", "mask"):
        if options.get(name) is not None:
            options[name] = Path(options[name])
    try:
        config = ReconstructConfig(target=Path(target), auxiliary=Path(auxiliary), out=Path(out), **options)
    except TypeError as error:
        raise UserError(f"reconstruct: {str(error).split('.__init__() ')[-1]}") from None
    for name, kind, _, _ in field_types(ReconstructConfig):
        if get_origin(kind) is Literal and getattr(config, name) not in get_args(kind):
            raise UserError(f"{name} is one of {', '.join(get_args(kind))}, not {getattr(config, name)!r}")
    return run(config)


def run(config: ReconstructConfig) -> Reconstruction:
    """Reconstruct as configured."""
    started = time.perf_counter()
    _check(config)
    device = choose_device(config.device, config.threads)
    checkpoint = config.checkpoint or shipped_checkpoint()
    if checkpoint is None:
        raise UserError("this build carries no weights; give a checkpoint from 'fsmnet train' with --checkpoint")
    model = load_model(checkpoint)
    scans = [
        read_scan(config.target, config.target_series),
        read_scan(config.auxiliary, config.auxiliary_series),
    ]
    target = scans[0].volume
    auxiliary, registration = _auxiliary(config, target, scans[1].volume)
    read = time.perf_counter()
    keep = torch.from_numpy((target.data > 0).any(axis=(1, 2)))
    scaled = torch.from_numpy(target.data)[keep] / target.maximum
    helper = torch.from_numpy(auxiliary.data)[keep] / auxiliary.maximum
    mask = _mask(config, model, target)
    zero_filled = scaled if mask is None else zero_fill(scaled, torch.from_numpy(mask.columns), "float")
    image = reconstruct_slices(
        model.to(device),
        zero_filled,
        helper,
        "float",
        batch=config.batch,
        device=device,
        precision=config.precision,
        progress="reconstructing",
        name=checkpoint,
    )
    images = {"zero_filling": zero_filled, "network": image.clamp_min(0)}
    consistency = None
    if mask is not None and config.data_consistency != "off":
        image, consistency = _put_measured_back(image, scaled, mask)
        images["consistent"] = image.clamp_min(0)
    n_below_zero = int((image < 0).sum())
    image = image.clamp_min(0)  # a magnitude
    computed = time.perf_counter()
    result = np.zeros_like(target.data)
    result[keep.numpy()] = image.numpy() * target.maximum
    write_scan(result, scans[0], config.out, f"FSMNet reconstruction, {NOT_CLINICAL}", checkpoint.name)
    if mask is None:
        mask_path(config.out).unlink(missing_ok=True)  # of the result that was replaced
    else:
        save_mask(mask, mask_path(config.out))
    sidecar = {
        "Description": f"Multi-contrast MRI reconstruction; {NOT_CLINICAL}",
        "Simulation": "none; the target was degraded before"
        if mask is None
        else "retrospective, from a magnitude image",
        "Sources": [_source(scan) for scan in scans],
        "Registration": registration,
        "Model": {**recipe_of(model), "file": str(checkpoint), "sha256": sha256(checkpoint)},
        "Mask": None if mask is None else {"file": mask_path(config.out).name, **_describe(mask)},
        "Normalisation": "per slice, mean and population standard deviation of the zero-filled image, clipped to +-6",
        "DataConsistency": consistency,
        "SlicesReconstructed": int(keep.sum()),
        "VoxelsBelowZeroSetToZero": n_below_zero,
        "Metrics": None if mask is None else _metrics(scaled, images),
        "Options": {k: str(v) if isinstance(v, Path) else v for k, v in vars(config).items()},
        "Versions": versions(),
        "Device": str(device),
        "Seconds": {
            "read": round(read - started, 3),
            "network": round(computed - read, 3),
            "write": round(time.perf_counter() - computed, 3),
        },
    }
    write_text(sidecar_path(config.out), json.dumps(sidecar, indent=2) + "\n")
    return Reconstruction(result, config.out, mask, sidecar)


def mask_path(out: Path) -> Path:
    """Where the mask of a result is written."""
    return out.with_name(f"{volume_stem(out)}_mask.npz")


def sidecar_path(out: Path) -> Path:
    """Where the record of a result is written."""
    return out.with_name(f"{volume_stem(out)}.json")


def command(config: ReconstructConfig) -> int:
    """``fsmnet reconstruct``."""
    result = run(config)
    metrics = result.sidecar["Metrics"]
    if result.mask is not None:
        logger.info("mask %s", result.mask.describe())
    if metrics is not None:
        for name, values in metrics.items():
            logger.info("%-14s %.2f dB, SSIM %.3f (float, per volume)", name, values["psnr"], values["ssim"])
    logger.info("written: %s and its .json; %s", result.out, NOT_CLINICAL)
    return 0


def _check(config: ReconstructConfig) -> None:
    """Everything that can be refused before reading."""
    check_output(config.out, config.target)
    for path in (config.target, config.auxiliary):
        if path.exists() and config.out.exists() and path.samefile(config.out):
            raise UserError(f"{config.out}: is one of the inputs; choose another --out")
    for path in (config.out, mask_path(config.out), sidecar_path(config.out)):
        if path.exists() and not path.is_dir() and not config.overwrite:
            raise UserError(f"{path}: exists already; pass --overwrite to replace it, or choose another --out")
    folder = next(folder for folder in config.out.absolute().parents if folder.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise UserError(f"{config.out}: {folder} is no folder that can be written to; choose another --out")
    if config.batch < 1:
        raise UserError(f"batch must be at least 1, not {config.batch}")
    if config.acceleration is not None and not config.acceleration > 1:
        raise UserError(f"acceleration must be more than 1, not {config.acceleration:g}")
    drawn = [config.acceleration, config.mask_kind, config.center_fraction, config.mask_seed]
    given = config.mask is not None or any(value is not None for value in drawn)
    if config.target_is == "zero-filled" and given:
        raise UserError("a zero-filled target is taken as it is; leave the mask and acceleration options out")
    if config.target_is == "zero-filled" and config.data_consistency == "hard":
        raise UserError(
            "a zero-filled target comes without its k-space, so no measured line can be put back; "
            "leave --data-consistency out"
        )
    if config.mask is not None and any(value is not None for value in drawn):
        raise UserError("give a mask file or the options to draw one, not both")


def _mask(config: ReconstructConfig, model: nn.Module, target: Volume) -> Mask | None:
    """The mask to simulate with: from the file, or the network's own with what the user changes."""
    if config.target_is == "zero-filled":
        return None
    columns = target.data.shape[-1]
    if config.mask is not None:
        return load_mask(config.mask, columns)
    trained = trained_recipe(model)
    acceleration = config.acceleration or (trained.acceleration if trained else 4.0)
    if trained is not None and acceleration == trained.acceleration:
        recipe = trained
    else:
        if trained is not None:
            logger.warning("the network was trained for %gx, not %gx", trained.acceleration, acceleration)
        protocol = header_of(model).training.get("protocol", "float")
        recipe = MaskOptions(acceleration=acceleration).mask_recipe(protocol)
    given: dict[str, Any] = {
        "kind": config.mask_kind,
        "center_fraction": config.center_fraction,
        "seed": config.mask_seed,
    }
    changed: MaskRecipe = replace(recipe, **{name: value for name, value in given.items() if value is not None})
    return changed.draw(columns, config.target.name)


def _auxiliary(config: ReconstructConfig, target: Volume, auxiliary: Volume) -> tuple[Volume, dict[str, Any] | None]:
    """The auxiliary on the target's grid, and how it was moved, if it was registered."""
    if config.register == "none":
        if grid_difference(target, auxiliary) and not grid_difference(target, turn(auxiliary)):
            auxiliary = turn(auxiliary)  # the same grid, phase-encoded along the other axis
        return on_one_grid(target, auxiliary, config.resample), None
    from fsmnet.data.register import register_rigid

    moved = register_rigid(auxiliary, target)
    return moved.volume, {
        "Kind": "rigid, Mattes mutual information",
        "Transform": moved.transform.tolist(),
        "RotationDegrees": moved.rotation,
        "ShiftMillimetres": moved.shift,
        "SimilarityBefore": moved.similarity_before,
        "SimilarityAfter": moved.similarity_after,
    }


def _put_measured_back(image: Tensor, target: Tensor, mask: Mask) -> tuple[Tensor, dict[str, Any]]:
    """The image with the lines that were measured, and how far it was from them before and is after.

    The k-space was simulated from a magnitude image, so the phase is known to be zero, and the result is real again but
    for what the network got wrong in conjugate pairs of lines of which only one was measured; that part is dropped.
    """
    columns = torch.from_numpy(mask.columns)
    measured = undersample(target, columns)
    consistent = data_consistency(image + 0j, measured, columns)
    names = {"ResidualBefore": image, "ResidualAfter": consistent, "ResidualOfRealPart": consistent.real}
    residuals = {name: float(residual(x, measured, columns).mean()) for name, x in names.items()}
    return consistent.real, {"Kind": "hard: measured k-space lines replaced", **residuals}


def _metrics(reference: Tensor, images: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    return {name: volume_metrics(reference.numpy(), x.numpy())._asdict() for name, x in images.items()}


def _source(scan: Scan) -> dict[str, Any]:
    volume = scan.volume
    return {
        "file": str(volume.source),
        "series": None if scan.series is None else str(scan.series),
        "sha256": scan.sha256(),
        "shape": list(volume.shape),
        "voxels_nan_set_to_zero": volume.n_nan,
        "voxels_negative_set_to_zero": volume.n_negative,
        "maximum": volume.maximum,
    }


def _describe(mask: Mask) -> dict[str, Any]:
    return {
        "kind": mask.kind,
        "requested_acceleration": mask.acceleration,
        "achieved_acceleration": mask.achieved_acceleration,
        "center_fraction": mask.center_fraction,
        "columns": np.flatnonzero(mask.columns).tolist(),
        "of": mask.columns.size,
    }
