"""The stages of a reconstruction: load the network, compute, write. A list of exams runs them side by side."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fsmnet.checkpoint import checkpoint_file, load_model, trained_normalisation, versions, warn_if_seen
from fsmnet.data.formats import is_ours
from fsmnet.data.formats.nifti import NiftiWriter
from fsmnet.data.head import RULE
from fsmnet.data.pairing.names import case_names
from fsmnet.data.scan import begin_nifti, write_scan
from fsmnet.data.volume import content_hash, slices_with_content
from fsmnet.data.voxels import chosen, for_map
from fsmnet.errors import NOT_CLINICAL, UserError
from fsmnet.files import json_text, sha256, write_text
from fsmnet.inference.auxiliary import try_auxiliary
from fsmnet.inference.device import choose_device
from fsmnet.inference.optimise import Precision
from fsmnet.inference.precision import choice_of, for_inference
from fsmnet.inference.slices import reconstruct_slices
from fsmnet.inference.suitability import mask_doubts
from fsmnet.inference.weighing import Weighing, try_weighing
from fsmnet.models import create_model, recipe_of, takes_acquisition
from fsmnet.options import portable
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.extent import interpolated
from fsmnet.physics.masks import Mask, MaskRecipe, load_mask, save_mask, seed_from_name
from fsmnet.pictures.panels import Picture
from fsmnet.reconstruction.adapt import Scan, adapt
from fsmnet.reconstruction.again import Again, Check, Map
from fsmnet.reconstruction.inputs import (
    MAPS,
    Inputs,
    beside,
    complex_path,
    input_files,
    mask_path,
    picture_path,
    sidecar_path,
)
from fsmnet.reconstruction.measured import (
    Consistency,
    Measured,
    mask_recipe,
    of_image,
    of_kspace,
    usual_consistency,
)
from fsmnet.reconstruction.options import ReconstructConfig
from fsmnet.reconstruction.picture import picture_of
from fsmnet.reconstruction.record import make_record
from fsmnet.reconstruction.stream import Finishing
from fsmnet.reconstruction.suitability import verdict

logger = logging.getLogger(__name__)

METHOD = "pocs"  # without weights, in place of a checkpoint
LEFT_OUT = "the auxiliary was left out, since measured lines that were kept back speak against it"
DESCRIPTION = f"FSMNet reconstruction, {NOT_CLINICAL}"


@dataclass(frozen=True)
class Network:
    """A network ready to compute, for any number of scans.

    Attributes:
        model: in eval mode, on ``device``.
        file: where its weights came from.
        sha256: of that file; empty for a method without weights.
        device: where it computes.
        precision: of its convolutions, unless the model itself settles that.
        seconds: time that loading took.
    """

    model: nn.Module
    file: Path
    sha256: str
    device: torch.device
    precision: Precision
    seconds: float


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


@dataclass(frozen=True)
class Computed:
    """What :func:`write` needs to finish.

    Attributes:
        inputs: what it was computed from.
        network: what computed it.
        mask: sampling mask; None for a target that was degraded before.
        result: float32 ``(S, H, W)`` in the target's intensities.
        packed: the same as NIfTI, to be saved; None for other forms.
        complex_image: the result from k-space with its phase, ``(S, H, W)``; None for an image.
        picture: of one slice; None if none is asked for.
        record: what it says of the computation.
        seconds: time by stage, see :func:`fsmnet.reconstruction.record.make_record`.
        maps: further images of the slices ``keep``, by name, see :class:`fsmnet.reconstruction.again.Map`.
        keep: bool ``(S,)``, the slices that were reconstructed.
    """

    inputs: Inputs
    network: Network
    mask: Mask | None
    result: npt.NDArray[np.float32]
    packed: NiftiWriter | None
    complex_image: npt.NDArray[np.complex64] | None
    picture: Picture | None
    record: dict[str, Any]
    seconds: dict[str, float]
    maps: Mapping[str, Map] = field(default_factory=dict)
    keep: Tensor = field(default_factory=lambda: torch.ones(0, dtype=torch.bool))


def load_network(config: ReconstructConfig) -> Network:
    """The network of a configuration, on its device."""
    started = time.perf_counter()
    device = choose_device(config.device, config.threads)
    degraded = config.target_is == "zero-filled"
    checkpoint = checkpoint_file(config.checkpoint or ("shipped-image" if degraded else "shipped"))
    classical = str(checkpoint) == METHOD
    model = (create_model(METHOD).eval() if classical else load_model(checkpoint)).to(device)
    if degraded and takes_acquisition(model):
        raise UserError(
            f"{checkpoint}: is a network for k-space, and a zero-filled target comes without it; leave --checkpoint out"
        )
    if not takes_acquisition(model) and config.auxiliary is None and config.pairs is None:
        raise UserError(
            f"{checkpoint}: this network needs --auxiliary, the fully sampled contrast; the shipped one does without"
        )
    if config.adapt and not takes_acquisition(model):
        raise UserError(f"{checkpoint}: adapt is for networks that take k-space; leave it out")
    as_it_is = classical or config.adapt  # a fitted network has gradients
    model, precision = for_inference(model, config.precision, config.optimise and not as_it_is)
    weights = "" if classical else sha256(checkpoint)
    return Network(model, checkpoint, weights, device, precision, time.perf_counter() - started)


def compute(inputs: Inputs, network: Network, progress: str = "", trust: Check | None = None) -> Computed:
    """Second stage: under-sample, reconstruct, put the measured lines back, score and compress.

    Args:
        inputs: from :func:`read_inputs`.
        network: from :func:`load_network`.
        progress: text of the predicted time and of the progress bar; neither if empty.
        trust: checks the reconstruction; its answer goes into the record.

    Raises:
        UserError: a scan that the network was not made for, or that is not what ``target_is`` says.
    """
    started = time.perf_counter()
    suits = verdict(inputs, network.model)
    config, target, auxiliary = inputs.config, inputs.target.volume, inputs.auxiliary
    keep = torch.from_numpy(slices_with_content(target.data))
    helper = None if auxiliary is None else torch.from_numpy(auxiliary.data)[keep].div_(auxiliary.maximum)
    inside = takes_acquisition(network.model)
    recipe, normalisation = mask_recipe(config, network.model), trained_normalisation(network.model)
    measured, mask_of_auxiliary = _measured(inputs, recipe, keep), None
    if progress and network.sha256:  # of one scan, once nothing is refused; a list says it once
        logger.info("network: %s", suits.purpose)
    if measured.mask is not None:
        suits = suits.doubting(*mask_doubts(suits.purpose, measured.mask))
    if inside and helper is not None:
        helper = measured.in_columns(helper)
    elif helper is not None and normalisation.auxiliary == "undersampled":  # as if accelerated too, as in the training
        mask_of_auxiliary = recipe.draw(helper.shape[-1], Path(config.auxiliary or "").name)

    def passes(zero_filled: Tensor, other: Tensor | None, lines: Callable[[slice], Acquisition], **more: Any) -> Tensor:
        masked = None
        if mask_of_auxiliary is not None and other is not None:
            masked = of_image(other, mask_of_auxiliary).zero_filled
        return reconstruct_slices(
            network.model,
            zero_filled.abs() if zero_filled.is_complex() else zero_filled,
            other,
            normalisation,
            measured=lines if inside else None,
            phase=True,
            batch=config.batch,
            device=network.device,
            precision=network.precision,
            name=network.file,
            auxiliary_zero_filled=masked,
            **more,
        )

    trying, tried = time.perf_counter(), None
    if inside and helper is not None and not config.keep_auxiliary:
        helper, tried = _helpful(passes, measured, helper, target.name, input_files(config)[0].name)
    network, fitted = _adapted(config, network, measured, helper)
    consistency = _consistency(config, inside)
    if inside and consistency == "weighed":
        consistency = _weighing(passes, measured, helper, target.name, input_files(config)[0].name)
    trying = time.perf_counter() - trying
    stored = chosen(target, config.dtype)
    packed = begin_nifti(inputs.target, config.out, DESCRIPTION, stored)
    with Finishing(
        measured,
        inputs.target,
        keep,
        packed,
        inputs.similarity or (lambda: None),
        consistency=consistency,
        inside=inside,
    ) as finishing:
        passes(measured.zero_filled, helper, measured.lines, progress=progress, each=finishing.take)
        prepare = time.perf_counter() - started - trying - finishing.network - finishing.consistency
        waiting = time.perf_counter()
        found = finishing.wait()
    written = time.perf_counter()
    checks, metrics = None, finishing.metrics()
    if trust is not None:
        name, done = input_files(config)[0].name, torch.from_numpy(finishing.result)[keep].div_(target.maximum)
        again = Again(name, measured, helper, passes, consistency, done, network.model)
        doubts = (*suits.doubts, *([] if tried is None or tried["Used"] else [LEFT_OUT]))
        again = replace(again, refusals=suits.refusals, doubts=doubts, pixel=target.pixel, scores=metrics)
        checks = trust(replace(again, seconds=finishing.network / max(len(done), 1)))
    checked = time.perf_counter()
    complex_image = None
    if inputs.kspace is not None and (phased := finishing.complex_image()) is not None:
        complex_image = np.zeros(target.data.shape, dtype=np.complex64)
        complex_image[keep.numpy()] = phased.numpy() * target.maximum
    contents = [content_hash(part) for part in (target.data, target.data[len(target.data) // 2])]  # or of a knee's file
    seen = warn_if_seen(network.model, network.file, case_names(input_files(config)[0]), contents)
    choice = choice_of(network.model, network.precision)
    record = {
        "SeenInTraining": None if seen is None else asdict(seen),
        "Simulation": measured.simulation,
        "Registration": inputs.registration | ({} if inputs.similarity is None else {"Similarity": found}),
        "Model": {**recipe_of(network.model), "file": portable(network.file), "sha256": network.sha256},
        "Suitability": suits.record(),
        "Normalisation": "the network's own" if inside else str(normalisation),
        "Coils": measured.coils,
        "AuxiliaryTrial": tried,
        "Adapted": fitted,
        "DataConsistency": finishing.record(),
        "SlicesReconstructed": int(keep.sum()),
        "Voxels": None if packed is None else stored.record(),
        "VoxelsBelowZeroSetToZero": finishing.n_below_zero,
        "Metrics": metrics,
        "Check": None if checks is None else checks.record,
        "Scored": finishing.n_scored and {"slices": finishing.n_scored, "protocol": "float, per volume", "head": RULE},
        "Versions": versions(),
        "Device": str(network.device),
        "Precision": choice.precision,
        "PrecisionWhy": choice.why,
    }
    picture = None
    if config.picture:
        numbers = np.flatnonzero(keep.numpy())
        picture = picture_of(inputs, measured, finishing.result, numbers, recipe_of(network.model), metrics)
    seconds = {"prepare": prepare, "network": finishing.network, "consistency": finishing.consistency}
    seconds |= {"check": trying + checked - written, "write": time.perf_counter() - checked + written - waiting}
    maps = {} if checks is None else checks.maps
    return Computed(
        inputs, network, measured.mask, finishing.result, packed, complex_image, picture, record, seconds, maps, keep
    )


def write(computed: Computed) -> Reconstruction:
    """Third stage: image, mask, and last the record, whose presence says that the result is complete."""
    started = time.perf_counter()
    inputs, network, mask = computed.inputs, computed.network, computed.mask
    config = inputs.config
    if computed.packed is not None:
        computed.packed.save()
    else:
        write_scan(computed.result, inputs.target, config.out, DESCRIPTION, network.file.name, config.anonymise)
    if mask is None:
        mask_path(config.out).unlink(missing_ok=True)  # of the result that was replaced
    else:
        save_mask(mask, mask_path(config.out))
    if computed.complex_image is not None and config.complex:
        write_scan(computed.complex_image, inputs.target, complex_path(config.out), DESCRIPTION)
    elif inputs.kspace is not None:
        complex_path(config.out).unlink(missing_ok=True)  # of the result that was replaced
    picture_path(config.out).unlink(missing_ok=True)  # of the result that was replaced
    if computed.picture is not None:
        computed.picture.save(picture_path(config.out))
    record = computed.record | {"Maps": _write_maps(computed)}
    seconds = {"read": inputs.seconds, "load": network.seconds, **computed.seconds}
    seconds["write"] += time.perf_counter() - started
    sidecar = make_record(inputs, mask, record, seconds)
    write_text(sidecar_path(config.out), json_text(sidecar) + "\n")
    return Reconstruction(computed.result, config.out, mask, sidecar, computed.complex_image)


def _write_maps(computed: Computed) -> dict[str, Any]:
    """Write the maps in the result's form, in the target's intensities; what the record says of them, by name."""
    config, target, written = computed.inputs.config, computed.inputs.target, {}
    for place, (name, what) in enumerate(MAPS.items(), start=2):
        path = beside(config.out, name)
        if name not in computed.maps:
            if path.is_file() and is_ours(path):
                path.unlink()  # of the result that was replaced
            continue
        one = computed.maps[name]
        data = np.zeros_like(computed.result)
        data[computed.keep.numpy()] = one.values.numpy() * target.volume.maximum
        description, weights = f"{one.short}; {NOT_CLINICAL}", computed.network.file.name
        stored = None if computed.packed is None else for_map(computed.packed.stored, data)
        hide = config.anonymise
        write_scan(data, target, path, description, weights, hide, what=what, place=place, stored=stored)
        written[name] = {"file": path.name, "sha256": sha256(path), "says": one.says}
    return written


def _helpful(
    passes: Callable[..., Tensor], measured: Measured, auxiliary: Tensor, target: str, file: str
) -> tuple[Tensor | None, dict[str, Any] | None]:
    """The auxiliary ``(n, H, W)``, or None if measured lines that are kept back speak against it.

    Args:
        passes: zero-filled images, auxiliary or None, lines -> images.
        measured: the scan.
        auxiliary: on all columns of the field of view.
        target: what a warning calls the scan.
        file: the target's file name, by which lines are drawn.

    Returns:
        What is to be used, and what the record says of it; None where too few lines were measured for a trial.
    """
    assert measured.mask is not None
    trial = try_auxiliary(
        lambda lines, other: passes(lines.zero_filled, other, lambda _: lines),
        measured.lines,
        auxiliary,
        measured.mask.columns,
        seed_from_name(file),
    )
    if trial is None:
        return auxiliary, None
    if not trial.helps:
        logger.warning("%s: %s", target, trial.why_not)
    record = {"Used": trial.helps, "ConfirmedByLinesKeptBack": round(trial.confirmed, 3), "Slices": trial.slices}
    return auxiliary if trial.helps else None, record


def _adapted(
    config: ReconstructConfig, network: Network, measured: Measured, helper: Tensor | None
) -> tuple[Network, dict[str, Any] | None]:
    """The network fitted to the scan's own lines, if asked for, and what the record says of it."""
    if not config.adapt:
        return network, None

    def scan(number: int) -> Scan:
        auxiliary = None if helper is None else helper[number, None, None].to(network.device)
        return measured.lines(slice(number, number + 1)).to(network.device), auxiliary

    name = input_files(config)[0].name
    model, fitted = adapt(network.model, scan, len(measured.zero_filled), seed_from_name(name))
    gain = fitted["HeldOutExplained"]
    logger.info(
        "%s: adapted to its own lines, %d of %d steps; lines kept back are explained by %.1f%% instead of %.1f%%",
        *(name, fitted["Steps"], fitted["StepsTried"], 100 * gain["after"], 100 * gain["before"]),
    )
    return replace(network, model=model), fitted


def _weighing(
    passes: Callable[..., Tensor], measured: Measured, auxiliary: Tensor | None, target: str, file: str
) -> Weighing | None:
    """How a k-space network's image is weighed; None, with a warning, where its lines do not speak for that.

    Args:
        passes: zero-filled images, auxiliary or None, lines -> images.
        measured: the scan.
        auxiliary: on all columns of the field of view; None without one.
        target: what a warning calls the scan.
        file: the target's file name, by which lines are drawn.
    """
    assert measured.mask is not None

    def reconstruct(lines: Acquisition, number: int) -> Tensor:
        other = None if auxiliary is None else auxiliary[number, None]
        return passes(lines.zero_filled, other, lambda _: lines)

    count, seed = len(measured.zero_filled), seed_from_name(file)
    weighing = try_weighing(reconstruct, measured.lines, count, measured.mask.columns, seed)
    if not weighing.helps:
        logger.warning("%s: %s", target, weighing.why_not)
    return weighing if weighing.helps else None


def _consistency(config: ReconstructConfig, inside: bool) -> Consistency:
    """What is done with measured lines after the network, as far as the options say."""
    if config.data_consistency == "auto":
        return usual_consistency(inside, config.kspace is None)
    if config.data_consistency == "soft":
        return config.noise_weight
    return None if config.data_consistency == "off" else config.data_consistency


def _measured(inputs: Inputs, recipe: MaskRecipe, keep: Tensor) -> Measured:
    """What was measured of the target's slices with content."""
    config, target = inputs.config, inputs.target.volume
    if inputs.kspace is not None:
        return of_kspace(inputs.kspace, config, recipe, keep, target.maximum)
    columns, mask = target.data.shape[-1], None
    if config.mask is not None:
        mask = load_mask(config.mask, columns)
    elif config.target_is == "full":
        mask = recipe.draw(columns, input_files(config)[0].name)
    measured = of_image(torch.from_numpy(target.data)[keep].div_(target.maximum), mask)
    if mask is None:
        return measured
    if doubt := interpolated(target.name, target.data, mask.columns, target.acquired):
        logger.warning(doubt, extra={"kind": "interpolated"})
        measured = replace(measured, simulation=f"{measured.simulation}; {doubt}")
    return measured
