"""Reconstruct one scan, image or k-space: two files in, one out in the same place, and a record of how it was made."""

from __future__ import annotations

import json
import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fsmnet.checkpoint import (
    header_of,
    load_model,
    shipped_checkpoint,
    trained_normalisation,
    trained_recipe,
    versions,
)
from fsmnet.data.formats.nifti import NiftiWriter
from fsmnet.data.scan import begin_nifti, write_scan
from fsmnet.data.volume import Volume
from fsmnet.errors import NOT_CLINICAL, UserError
from fsmnet.files import sha256, write_text
from fsmnet.inference.device import choose_device
from fsmnet.inference.optimise import Precision, chosen_precision, optimise
from fsmnet.inference.slices import reconstruct_slices
from fsmnet.models import recipe_of
from fsmnet.options import build, plain_config
from fsmnet.physics.masks import Mask, MaskRecipe, load_mask, save_mask
from fsmnet.physics.options import MaskOptions
from fsmnet.protocols import get_protocol
from fsmnet.reconstruction.from_kspace import of_kspace
from fsmnet.reconstruction.inputs import Inputs, check, complex_path, input_files, mask_path, read_inputs, sidecar_path
from fsmnet.reconstruction.options import ReconstructConfig
from fsmnet.reconstruction.stream import Finishing
from fsmnet.reconstruction.undersampled import Undersampled, of_image

logger = logging.getLogger(__name__)

DESCRIPTION = f"FSMNet reconstruction, {NOT_CLINICAL}"


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
        kspace: measured k-space instead of a target, see :func:`fsmnet.read_kspace`.
        options: the other fields of :class:`fsmnet.reconstruction.options.ReconstructConfig`, e.g. ``checkpoint``.

    Raises:
        UserError: files or options that cannot be used.
    """
    if out is None:
        raise UserError("out is missing; name the result")
    files = {"target": target, "auxiliary": auxiliary, "out": out, "kspace": kspace}
    return run(build(ReconstructConfig, files | options))


def run(config: ReconstructConfig) -> Reconstruction:
    """Reconstruct as configured: read, compute, write."""
    check(config)
    with ThreadPoolExecutor(1) as beside:  # the files are decompressed while the network is loaded
        return finish(config, beside.submit(read_inputs, config))


def finish(config: ReconstructConfig, reading: Future[Inputs]) -> Reconstruction:
    """The rest of :func:`run`, once the files are being read."""
    network = load_network(config)
    return write(compute(reading.result(), network, progress="reconstructing"))


@dataclass(frozen=True)
class Network:
    """A network ready to compute, for any number of scans.

    Attributes:
        model: in eval mode, on ``device``.
        file: where its weights came from.
        sha256: of that file.
        device: where it computes.
        precision: of its convolutions.
        seconds: time that loading took.
    """

    model: nn.Module
    file: Path
    sha256: str
    device: torch.device
    precision: Precision
    seconds: float


@dataclass(frozen=True)
class Computed:
    """What :func:`write` needs to finish.

    Attributes:
        inputs: what it was computed from.
        network: what computed it.
        scan: what the network got.
        result: float32 ``(S, H, W)`` in the target's intensities.
        packed: the same as NIfTI, to be saved; None for other forms.
        complex_image: the result from k-space with its phase, ``(S, H, W)``; None for an image.
        record: what it says of the computation.
        seconds: time by stage, see :func:`write`.
    """

    inputs: Inputs
    network: Network
    scan: Undersampled
    result: npt.NDArray[np.float32]
    packed: NiftiWriter | None
    complex_image: npt.NDArray[np.complex64] | None
    record: dict[str, Any]
    seconds: dict[str, float]


def load_network(config: ReconstructConfig) -> Network:
    """The network of a configuration, on its device."""
    started = time.perf_counter()
    device = choose_device(config.device, config.threads)
    precision = chosen_precision(config.precision, device, config.optimise)
    checkpoint = config.checkpoint or shipped_checkpoint()
    if checkpoint is None:
        raise UserError("this build carries no weights; give a checkpoint from 'fsmnet train' with --checkpoint")
    model = load_model(checkpoint).to(device)
    if config.optimise:
        model = optimise(model, precision)
    return Network(model, checkpoint, sha256(checkpoint), device, precision, time.perf_counter() - started)


def compute(inputs: Inputs, network: Network, progress: str = "") -> Computed:
    """Second stage: under-sample, reconstruct, put the measured lines back, score and compress.

    Args:
        inputs: from :func:`read_inputs`.
        network: from :func:`load_network`.
        progress: text of the predicted time and of the progress bar; neither if empty.
    """
    started = time.perf_counter()
    config, target, auxiliary = inputs.config, inputs.target.volume, inputs.auxiliary
    keep = torch.from_numpy((target.data > 0).any(axis=(1, 2)))
    scaled = torch.from_numpy(target.data)[keep].div_(target.maximum)
    helper = torch.from_numpy(auxiliary.data)[keep].div_(auxiliary.maximum)
    if inputs.kspace is None:
        weight = config.noise_weight if config.data_consistency == "soft" else None
        scan = of_image(scaled, _mask(config, network.model, target), config.data_consistency, weight)
    else:
        drawn = partial(_drawn_mask, config, network.model, inputs.kspace.data.shape[-1])
        scan = of_kspace(inputs.kspace, config, drawn, keep, target.maximum)
    packed = begin_nifti(inputs.target, config.out, DESCRIPTION)
    with Finishing(scan, inputs.target, keep, packed, inputs.similarity or (lambda: None)) as finishing:
        reconstruct_slices(
            network.model,
            scan.zero_filled.abs() if scan.zero_filled.is_complex() else scan.zero_filled,
            helper,
            trained_normalisation(network.model),
            batch=config.batch,
            device=network.device,
            precision=network.precision,
            progress=progress,
            name=network.file,
            each=finishing.take,
        )
        prepare = time.perf_counter() - started - finishing.network - finishing.consistency
        waiting = time.perf_counter()
        found = finishing.wait()
    complex_image = None
    if (phased := finishing.complex_image()) is not None:
        complex_image = np.zeros(target.data.shape, dtype=np.complex64)
        complex_image[keep.numpy()] = phased.numpy() * target.maximum
    record = {
        "Registration": inputs.registration | ({} if inputs.similarity is None else {"Similarity": found}),
        "DataConsistency": finishing.record(),
        "SlicesReconstructed": int(keep.sum()),
        "VoxelsBelowZeroSetToZero": finishing.n_below_zero,
        "Metrics": finishing.metrics(),
    }
    seconds = {"prepare": prepare, "network": finishing.network, "consistency": finishing.consistency}
    seconds["write"] = time.perf_counter() - waiting
    return Computed(inputs, network, scan, finishing.result, packed, complex_image, record, seconds)


def write(computed: Computed) -> Reconstruction:
    """Third stage: image, mask, and last the record, whose presence says that the result is complete.

    ``Seconds`` in the record is time on the clock: ``read`` both files until they lie on one grid; ``load`` the network
    (beside the reading; for a list once); ``prepare`` scale, under-sample, normalise; ``network`` its passes alone;
    ``consistency`` measured lines put back; ``write`` what scoring, compressing and writing took after the last slice.
    Beside the network run the scores and the compression of the slices before, and the similarity.
    """
    started = time.perf_counter()
    inputs, network, mask = computed.inputs, computed.network, computed.scan.mask
    config, record = inputs.config, computed.record
    if computed.packed is not None:
        computed.packed.save()
    else:
        write_scan(computed.result, inputs.target, config.out, DESCRIPTION, network.file.name)
    if mask is None:
        mask_path(config.out).unlink(missing_ok=True)  # of the result that was replaced
    else:
        save_mask(mask, mask_path(config.out))
    if computed.complex_image is not None and config.complex:
        write_scan(computed.complex_image, inputs.target, complex_path(config.out), DESCRIPTION)
    elif inputs.kspace is not None:
        complex_path(config.out).unlink(missing_ok=True)  # of the result that was replaced
    output = {"file": config.out.name, "sha256": sha256(config.out)}
    seconds = {"read": inputs.seconds, "load": network.seconds, **computed.seconds}
    seconds["write"] += time.perf_counter() - started
    sidecar = {
        "Description": f"Multi-contrast MRI reconstruction; {NOT_CLINICAL}",
        "Simulation": computed.scan.simulation,
        "Sources": inputs.sources,
        "Registration": record["Registration"],
        "Model": {**recipe_of(network.model), "file": str(network.file), "sha256": network.sha256},
        "Mask": None if mask is None else {"file": mask_path(config.out).name, **_describe(mask)},
        "Normalisation": str(trained_normalisation(network.model)),
        "Coils": computed.scan.coils,
        **record,
        "Output": output,
        "Options": plain_config(config),
        "Versions": versions(),
        "Device": str(network.device),
        "Precision": network.precision,
        "Seconds": {stage: round(value, 3) for stage, value in seconds.items()},
    }
    write_text(sidecar_path(config.out), json.dumps(sidecar, indent=2) + "\n")
    return Reconstruction(computed.result, config.out, mask, sidecar, computed.complex_image)


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
        protocol = get_protocol(header_of(model).protocol or "float")
        recipe = protocol.mask_recipe(MaskOptions(acceleration=acceleration))
    given: dict[str, Any] = {
        "kind": config.mask_kind,
        "center_fraction": config.center_fraction,
        "seed": config.mask_seed,
    }
    changed: MaskRecipe = replace(recipe, **{name: value for name, value in given.items() if value is not None})
    return changed.draw(columns, input_files(config)[0].name)


def _describe(mask: Mask) -> dict[str, Any]:
    return {
        "kind": mask.kind,
        "requested_acceleration": mask.acceleration,
        "achieved_acceleration": mask.achieved_acceleration,
        "center_fraction": mask.center_fraction,
        "columns": np.flatnonzero(mask.columns).tolist(),
        "of": mask.columns.size,
    }
