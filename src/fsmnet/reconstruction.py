"""Reconstruct one scan, image or k-space: two files in, one out in the same place, and a record of how it was made."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fsmnet.checkpoint import header_of, load_model, shipped_checkpoint, versions
from fsmnet.config import MaskOptions, MaskRecipe, ReconstructConfig, field_types
from fsmnet.data.pairs import grid_difference, on_one_grid
from fsmnet.data.raw import KSpace, read_kspace
from fsmnet.data.register import register_rigid, similarity_in_place
from fsmnet.data.scan import Scan, check_output, read_scan, turn, warn_if_strange, write_scan
from fsmnet.data.volume import SUBMISSION, Volume, volume_stem
from fsmnet.errors import UserError
from fsmnet.evaluate import trained_recipe
from fsmnet.export import optimise
from fsmnet.files import sha256, write_text
from fsmnet.from_kspace import AUTO, complex_path, drawn_options, of_kspace, place, with_phase_of
from fsmnet.inference import choose_device, reconstruct_slices
from fsmnet.masks import Mask, load_mask, save_mask
from fsmnet.metrics import volume_metrics
from fsmnet.models import recipe_of
from fsmnet.undersampled import Undersampled, of_image

logger = logging.getLogger(__name__)

NOT_CLINICAL = "research use only, not for clinical use"


@dataclass(frozen=True)
class Reconstruction:
    """What :func:`reconstruct` made.

    Attributes:
        image: float32 ``(S, H, W)`` in the target's intensities, the phase-encode axis last.
        out: the NIfTI file or DICOM folder.
        mask: sampling mask; None for a target that was degraded before.
        sidecar: content of the JSON file beside the image.
        complex_image: complex64, from k-space; its magnitude is ``image``. None for an image.
    """

    image: npt.NDArray[np.float32]
    out: Path
    mask: Mask | None
    sidecar: dict[str, Any]
    complex_image: npt.NDArray[np.complex64] | None = None


def reconstruct(
    target: str | Path | None = None,
    auxiliary: str | Path | None = None,
    out: str | Path | None = None,
    *,
    kspace: str | Path | None = None,
    **options: Any,
) -> Reconstruction:
    """Reconstruct a target with the help of a fully sampled auxiliary, as ``fsmnet reconstruct`` does.

    Args:
        target: file or DICOM folder of the contrast to reconstruct.
        auxiliary: file or DICOM folder of the fully sampled contrast on the same grid.
        out: result, ``.nii.gz``, or a new folder for DICOM; the mask (``_mask.npz``) and a JSON record are written
            beside it.
        kspace: measured k-space instead of a target, see :func:`fsmnet.data.raw.read_kspace`.
        options: the other fields of :class:`fsmnet.config.ReconstructConfig`, e.g. ``checkpoint``, ``acceleration``.

    Raises:
        UserError: files or options that cannot be used.
    """
    if out is None:
        raise UserError("reconstruct: out is missing; name the result")
    files = {"target": target, "auxiliary": auxiliary, "out": out, "kspace": kspace}
    files |= {name: options.pop(name) for name in ("checkpoint", "mask", "maps") if name in options}
    try:
        paths: dict[str, Any] = {name: None if file is None else Path(file) for name, file in files.items()}
        config = ReconstructConfig(**paths, **options)
    except TypeError as error:
        raise UserError(f"reconstruct: {str(error).split('.__init__() ')[-1]}") from None
    for name, kind, _, _ in field_types(ReconstructConfig):
        if get_origin(kind) is Literal and getattr(config, name) not in get_args(kind):
            raise UserError(f"{name} is one of {', '.join(get_args(kind))}, not {getattr(config, name)!r}")
    return run(config)


def run(config: ReconstructConfig) -> Reconstruction:
    """Reconstruct as configured: read, compute, write."""
    check(config)
    network = load_network(config)
    return write(compute(read_inputs(config), network, progress="reconstructing"))


@dataclass(frozen=True)
class Network:
    """A network ready to compute, for any number of scans.

    Attributes:
        model: in eval mode, on ``device``.
        file: where its weights came from.
        sha256: of that file.
        device: where it computes.
    """

    model: nn.Module
    file: Path
    sha256: str
    device: torch.device


@dataclass(frozen=True)
class Inputs:
    """What :func:`compute` needs of the files.

    Attributes:
        config: the options.
        target: the scan to reconstruct.
        auxiliary: the other contrast, on the target's grid.
        kspace: what was measured of the target; None if it is an image.
        registration: how the auxiliary was moved, and how much it tells about the target.
        sources: what the record says of the files.
        seconds: time that reading took.
    """

    config: ReconstructConfig
    target: Scan
    auxiliary: Volume
    kspace: KSpace | None
    registration: dict[str, Any]
    sources: list[dict[str, Any]]
    seconds: float


@dataclass(frozen=True)
class Computed:
    """What :func:`write` needs to finish.

    Attributes:
        inputs: what it was computed from.
        network: what computed it.
        scan: what the network got.
        keep: bool ``(S,)``, the slices with content.
        images: ``(n, H, W)`` each by name, in the order they were made; the last is the result.
        complex_image: the result from k-space with its phase, ``(n, H, W)``; None for an image.
        consistency: what the record says of the measured lines; None if they were not put back.
        n_below_zero: voxels of the result that were negative and became 0.
        seconds: time that computing took.
    """

    inputs: Inputs
    network: Network
    scan: Undersampled
    keep: Tensor
    images: dict[str, Tensor]
    complex_image: Tensor | None
    consistency: dict[str, Any] | None
    n_below_zero: int
    seconds: float


def load_network(config: ReconstructConfig) -> Network:
    """The network of a configuration, on its device."""
    device = choose_device(config.device, config.threads)
    checkpoint = config.checkpoint or shipped_checkpoint()
    if checkpoint is None:
        raise UserError("this build carries no weights; give a checkpoint from 'fsmnet train' with --checkpoint")
    model = load_model(checkpoint).to(device)
    if config.optimise:
        model = optimise(model, config.precision)
    return Network(model, checkpoint, sha256(checkpoint), device)


def read_inputs(config: ReconstructConfig) -> Inputs:
    """First stage: both scans on one grid."""
    started = time.perf_counter()
    target_file, auxiliary_file = input_files(config)
    # A DICOM auxiliary says itself how it was phase-encoded, which may well be the other way.
    told = None if auxiliary_file.is_dir() else config.phase_encode
    with ThreadPoolExecutor(1) as beside:  # one file is decompressed while the other is
        reading = beside.submit(read_scan, auxiliary_file, config.auxiliary_series, told)
        if target_file.is_dir() or auxiliary_file.is_dir():
            wait([reading])  # pydicom is kept quiet by settings that all threads share
        if config.kspace is None:
            target, kspace = read_scan(target_file, config.target_series, config.phase_encode), None
            scan = reading.result()
            warn_if_strange(target, scan, registered=config.register != "none")
        else:
            kspace = read_kspace(config.kspace, config.phase_encode == "rows")
            target, scan = place(kspace, reading.result(), config.phase_encode == "rows")
    auxiliary, registration = _auxiliary(config, target.volume, scan.volume)
    sources = [_source(target), _source(scan)]
    return Inputs(config, target, auxiliary, kspace, registration, sources, time.perf_counter() - started)


def compute(inputs: Inputs, network: Network, progress: str = "") -> Computed:
    """Second stage: under-sample, reconstruct, put the measured lines back.

    Args:
        inputs: from :func:`read_inputs`.
        network: from :func:`load_network`.
        progress: text of the progress bar; none if empty.
    """
    started = time.perf_counter()
    config, target, auxiliary = inputs.config, inputs.target.volume, inputs.auxiliary
    keep = torch.from_numpy((target.data > 0).any(axis=(1, 2)))
    scaled = torch.from_numpy(target.data)[keep] / target.maximum
    helper = torch.from_numpy(auxiliary.data)[keep] / auxiliary.maximum
    if inputs.kspace is None:
        weight = config.noise_weight if config.data_consistency == "soft" else None
        scan = of_image(scaled, _mask(config, network.model, target), config.data_consistency, weight)
    else:
        drawn = partial(_drawn_mask, config, network.model, inputs.kspace.data.shape[-1])
        scan = of_kspace(inputs.kspace, config, drawn, keep, target.maximum)
    image = reconstruct_slices(
        network.model,
        scan.zero_filled.abs(),
        helper,
        "float",
        batch=config.batch,
        device=network.device,
        precision=config.precision,
        progress=progress,
        name=network.file,
    )
    images = {"zero_filling": scan.zero_filled.abs(), "network": image.clamp_min(0)}
    n_below_zero = int((image < 0).sum())
    complex_image = with_phase_of(image, scan.zero_filled) if scan.zero_filled.is_complex() else None
    consistency = None
    if scan.consistency is not None:
        image, consistency = scan.consistency(image)
        if image.is_complex():
            complex_image, images["consistent"] = image, image.abs()
        else:
            n_below_zero = int((image < 0).sum())
            images["consistent"] = image.clamp_min(0)  # a magnitude
    seconds = time.perf_counter() - started
    return Computed(inputs, network, scan, keep, images, complex_image, consistency, n_below_zero, seconds)


def write(computed: Computed) -> Reconstruction:
    """Third stage: image, mask, and last the record, whose presence says that the result is complete."""
    started = time.perf_counter()
    inputs, network, mask = computed.inputs, computed.network, computed.scan.mask
    config, target = inputs.config, inputs.target.volume
    result = np.zeros_like(target.data)
    result[computed.keep.numpy()] = list(computed.images.values())[-1].numpy() * target.maximum
    description = f"FSMNet reconstruction, {NOT_CLINICAL}"
    with ThreadPoolExecutor(1) as beside:  # scores are computed while the file is compressed
        metrics = beside.submit(_metrics, computed.scan.reference, computed.images)
        write_scan(result, inputs.target, config.out, description, network.file.name)
    if mask is None:
        mask_path(config.out).unlink(missing_ok=True)  # of the result that was replaced
    else:
        save_mask(mask, mask_path(config.out))
    complex_result = None
    if computed.complex_image is not None:
        complex_result = np.zeros(target.data.shape, dtype=np.complex64)
        complex_result[computed.keep.numpy()] = computed.complex_image.numpy() * target.maximum
    if complex_result is not None and config.complex:
        write_scan(complex_result, inputs.target, complex_path(config.out), description)
    elif inputs.kspace is not None:
        complex_path(config.out).unlink(missing_ok=True)  # of the result that was replaced
    sidecar = {
        "Description": f"Multi-contrast MRI reconstruction; {NOT_CLINICAL}",
        "Simulation": computed.scan.simulation,
        "Sources": inputs.sources,
        "Registration": inputs.registration,
        "Model": {**recipe_of(network.model), "file": str(network.file), "sha256": network.sha256},
        "Mask": None if mask is None else {"file": mask_path(config.out).name, **_describe(mask)},
        "Normalisation": "per slice, mean and population standard deviation of the zero-filled image, clipped to +-6",
        "Coils": computed.scan.coils,
        "DataConsistency": computed.consistency,
        "SlicesReconstructed": int(computed.keep.sum()),
        "VoxelsBelowZeroSetToZero": computed.n_below_zero,
        "Metrics": metrics.result(),
        "Output": {"file": config.out.name, "sha256": sha256(config.out)},
        "Options": {k: str(v) if isinstance(v, Path) else v for k, v in vars(config).items()},
        "Versions": versions(),
        "Device": str(network.device),
        "Seconds": {
            "read": round(inputs.seconds, 3),
            "network": round(computed.seconds, 3),
            "write": round(time.perf_counter() - started, 3),
        },
    }
    write_text(sidecar_path(config.out), json.dumps(sidecar, indent=2) + "\n")
    return Reconstruction(result, config.out, mask, sidecar, complex_result)


def mask_path(out: Path) -> Path:
    """Where the mask of a result is written."""
    return out.with_name(f"{volume_stem(out)}_mask.npz")


def sidecar_path(out: Path) -> Path:
    """Where the record of a result is written."""
    return out.with_name(f"{volume_stem(out)}.json")


def command(config: ReconstructConfig) -> int:
    """``fsmnet reconstruct``; the exit code: 0, or for a list 3 if an exam failed."""
    if config.pairs is not None:
        from fsmnet.exams import run_list

        return run_list(config)
    result = run(config)
    metrics = result.sidecar["Metrics"]
    if result.mask is not None:
        logger.info("mask %s", result.mask.describe())
    if metrics is not None:
        for name, values in metrics.items():
            logger.info("%-14s %.2f dB, SSIM %.3f (float, per volume)", name, values["psnr"], values["ssim"])
        if metrics["network"]["psnr"] < metrics["zero_filling"]["psnr"]:
            logger.warning("the network is worse than zero-filling here; it was trained for other scans, do not use it")
    logger.info("written: %s and its .json; %s", result.out, NOT_CLINICAL)
    return 0


def check(config: ReconstructConfig) -> None:
    """Everything that can be refused before reading."""
    if config.shard is not None:
        raise UserError("--shard is a part of a list; give --pairs, or leave it out")
    target, auxiliary = input_files(config)
    check_output(config.out, target)
    if config.complex and config.out.name.endswith(SUBMISSION):
        raise UserError(f"{config.out}: a submission holds magnitudes; leave --complex out, or end the name in .nii.gz")
    written = [config.out, mask_path(config.out), sidecar_path(config.out)]
    if config.kspace is not None:
        written.append(complex_path(config.out))
    # Another result's mask may be given, and is written as it was.
    given = [(file, path) for file in (target, auxiliary, config.maps) for path in written]
    for file, path in (*given, (config.mask, config.out)):
        if file is not None and file.exists() and path.exists() and file.samefile(path):
            raise UserError(f"{path}: is one of the inputs; choose another --out")
    for path in written:
        if path.exists() and not path.is_dir() and not config.overwrite:
            raise UserError(f"{path}: exists already; pass --overwrite to replace it, or choose another --out")
    folder = next(folder for folder in config.out.absolute().parents if folder.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise UserError(f"{config.out}: {folder} is no folder that can be written to; choose another --out")
    check_options(config)
    if target.is_file() and auxiliary.is_file() and target.samefile(auxiliary):
        raise UserError(f"{target}: is both target and auxiliary; give two contrasts of one exam")


def input_files(config: ReconstructConfig) -> tuple[Path, Path]:
    """The target's image or k-space, and the auxiliary.

    Raises:
        UserError: one is missing, or there are two targets.
    """
    if config.target is not None and config.kspace is not None:
        raise UserError("give --target, an image, or --kspace, not both")
    target = config.target or config.kspace
    if target is None or config.auxiliary is None:
        missing = "--auxiliary is" if target is not None else "--target (or --kspace) is"
        raise UserError(f"{missing} missing; reconstruct takes two contrasts of one exam")
    return target, config.auxiliary


def check_options(config: ReconstructConfig) -> None:
    """Options that no scan could be reconstructed with."""
    if config.batch < 1:
        raise UserError(f"batch must be at least 1, not {config.batch}")
    if config.acceleration is not None and not config.acceleration > 1:
        raise UserError(f"acceleration must be more than 1, not {config.acceleration:g}")
    if config.phase_encode not in (None, "rows", "columns"):
        raise UserError(f"phase_encode is rows or columns, not {config.phase_encode!r}")
    if (config.data_consistency == "soft") != (config.noise_weight is not None):
        raise UserError("--data-consistency soft and --noise-weight belong together; give both or neither")
    if config.noise_weight is not None and not (math.isfinite(config.noise_weight) and config.noise_weight > 0):
        raise UserError(f"noise_weight must be a finite number above 0, not {config.noise_weight:g}")
    if config.kspace is not None and config.pairs is not None:
        raise UserError("a list of exams names images; leave --kspace out, or --pairs")
    if config.kspace is None:
        for name, there in (("maps", config.maps is not None), ("complex", config.complex)):
            if there:
                raise UserError(f"--{name} goes with k-space, and a magnitude image has none; give --kspace")
        if config.mask == AUTO:
            raise UserError("--mask auto infers the lines from k-space; give --kspace, or a mask file")
    elif config.target_is != "full" or config.target_series is not None:
        raise UserError("--target-is and --target-series describe an image; leave them out with --kspace")
    given = config.mask is not None or drawn_options(config)
    if config.target_is == "zero-filled" and given:
        raise UserError("a zero-filled target is taken as it is; leave the mask and acceleration options out")
    if config.target_is == "zero-filled" and config.data_consistency in ("hard", "soft"):
        raise UserError(
            "a zero-filled target comes without its k-space, so no measured line can be put back; "
            "leave --data-consistency out"
        )
    if config.mask is not None and drawn_options(config):
        raise UserError("give a mask file or the options to draw one, not both")


def _mask(config: ReconstructConfig, model: nn.Module, target: Volume) -> Mask | None:
    """The mask to simulate with: from the file, or the network's own with what the user changes."""
    if config.target_is == "zero-filled":
        return None
    columns = target.data.shape[-1]
    if config.mask is not None:
        return load_mask(config.mask, columns)
    return _drawn_mask(config, model, columns)


def _drawn_mask(config: ReconstructConfig, model: nn.Module, columns: int) -> Mask:
    """The mask that the network was trained for, with what the user changes."""
    trained = trained_recipe(model)
    acceleration = config.acceleration or (trained.acceleration if trained else 4.0)
    mixed = {} if trained is None else dict(trained.mixed)
    if trained is not None and acceleration in mixed:
        recipe = replace(trained, acceleration=acceleration, center_fraction=mixed[acceleration])
    elif trained is not None and acceleration == trained.acceleration:
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
    return changed.draw(columns, input_files(config)[0].name)


def _auxiliary(config: ReconstructConfig, target: Volume, auxiliary: Volume) -> tuple[Volume, dict[str, Any]]:
    """The auxiliary on the target's grid, how it was moved, and how much it tells about the target."""
    if config.register == "none":
        if grid_difference(target, auxiliary) and not grid_difference(target, turn(auxiliary)):
            auxiliary = turn(auxiliary)  # the same grid, phase-encoded along the other axis
        moved = on_one_grid(target, auxiliary, config.resample)
        resampled = moved is not auxiliary
        # One of them may have no place in space; they have one grid in any case.
        found = similarity_in_place(replace(moved, affine=target.affine), target, resampled)
        kind = "none; resampled where the headers place it" if resampled else "none; the grids agree"
        return moved, {"Kind": kind, "Similarity": found}
    registered = register_rigid(auxiliary, target)
    return registered.volume, {
        "Kind": "rigid, Mattes mutual information",
        "Transform": registered.transform.tolist(),
        "RotationDegrees": registered.rotation,
        "ShiftMillimetres": registered.shift,
        "SimilarityBefore": registered.similarity_before,
        "SimilarityAfter": registered.similarity_after,
    }


def _metrics(reference: Tensor | None, images: dict[str, Tensor]) -> dict[str, dict[str, float]] | None:
    if reference is None:
        return None
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
