"""A network with its weights in a file of its own, for use without this package, and compared with the original."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

from torch import nn

from fsmnet.checkpoint import checkpoint_file, load_model, versions
from fsmnet.data.contrast import ScanFacts, told_contrast
from fsmnet.errors import UserError
from fsmnet.export import parity
from fsmnet.export.folder import is_ours, write_folder
from fsmnet.export.onnx_file import as_onnx
from fsmnet.export.options import ExportConfig
from fsmnet.export.torch_file import MULTIPLE, Save, as_pt2
from fsmnet.files import atomic_folder, atomic_path, sha256
from fsmnet.inference.alone import only_one
from fsmnet.inference.suitability import purpose_of, suitability
from fsmnet.models import recipe_of, takes_acquisition
from fsmnet.models.unrolled import UnrolledFSMNet

logger = logging.getLogger(__name__)

NORMALISATION = (
    "target: zero-filled slice minus its mean, over its population standard deviation plus 1e-11, clipped to +-6; "
    "auxiliary: likewise by its own statistics; image: times the target's deviation, plus its mean"
)

LINES = "none; the image is in the units of the lines, whose transform is centred and orthonormal along W"


def export(config: ExportConfig) -> list[parity.Parity]:
    """Write a network with its weights as ``.pt2`` (torch.export) or ``.onnx``, and compare it with the original.

    Both take float32 of any H and W that are multiples of 8, one slice at a time. ONNX runtimes know no complex
    numbers, so there the transforms are products of real matrices, equal to rounding.

    Returns:
        How well the written file agrees with the model: on noise, and on the slices of a scan if one was given. The
        file's metadata says the same under ``parity``.

    Raises:
        UserError: options that cannot be used, another process that writes the same file, or a written file that does
            not give the model's image.
    """
    _check(config)
    with only_one(config.out.absolute().parent, (config.out.name,), config.out.name):
        _check(config)  # again: another may have written it meanwhile
        return _export(config)


def _check(config: ExportConfig) -> None:
    """Refuse options that cannot be used."""
    if config.format != "file":
        if config.out.exists() and not (config.overwrite and is_ours(config.out)):
            raise UserError(
                f"{config.out}: exists already; choose another --out, or pass --overwrite for a folder of export"
            )
    elif config.out.suffix not in (".pt2", ".onnx"):
        raise UserError(f"{config.out}: the format follows the ending; choose .pt2 or .onnx")
    if config.format == "file" and config.out.exists() and not config.overwrite:
        raise UserError(f"{config.out}: exists already; pass --overwrite to replace it, or choose another --out")
    if (config.target is None) != (config.auxiliary is None):
        missing = "--auxiliary" if config.auxiliary is None else "--target"
        raise UserError(f"{missing} is missing; a comparison on real slices needs both contrasts")


def _export(config: ExportConfig) -> list[parity.Parity]:
    checkpoint = checkpoint_file(config.checkpoint or "shipped-image")
    model = load_model(checkpoint)
    lines = takes_acquisition(model)
    if lines and not isinstance(model, UnrolledFSMNet):
        raise UserError(
            f"{checkpoint}: is a network for k-space of your own, which no .pt2 or .onnx holds; export "
            "fsmnet_unrolled, or a network for images"
        )
    purpose, inputs = purpose_of(model), [parity.noise(lines)]
    logger.info("network: %s", purpose)
    if config.target is not None and config.auxiliary is not None:
        target = told_contrast(config.target, config.target_contrast, "by --target-contrast")
        auxiliary = told_contrast(config.auxiliary, config.auxiliary_contrast, "by --auxiliary-contrast")
        facts = ScanFacts(str(config.target), target), ScanFacts(str(config.auxiliary), auxiliary)
        suitability(purpose, *facts, config.anyway).enforce()
        inputs.append(parity.of_scan(model, config.target, config.auxiliary))
    metadata = {
        "model": json.dumps(recipe_of(model)),
        "weights_sha256": sha256(checkpoint),
        "normalisation": LINES if lines else NORMALISATION,
        "multiple": str(MULTIPLE),
        "use": "research use only, not for clinical use",
        "versions": json.dumps(versions()),
    }
    logger.info("tracing %s; this takes a minute or two", recipe_of(model)["name"])
    save = (as_onnx if config.out.suffix == ".onnx" else as_pt2)(model)
    if config.format == "file":
        with atomic_path(config.out) as path:
            checks = _checked(config, model, path, inputs, save, metadata)
            save(path, metadata | {"parity": json.dumps([asdict(check) for check in checks])})
        return checks
    with atomic_folder(config.out) as folder:
        graph = write_folder(folder, config.format, model, checkpoint, metadata, config.scores)
        checks = _checked(config, model, graph, inputs, save, metadata)
        save(graph, metadata | {"parity": json.dumps([asdict(check) for check in checks])})
    return checks


def _checked(
    config: ExportConfig,
    model: nn.Module,
    path: Path,
    inputs: list[parity.Inputs],
    save: Save,
    metadata: dict[str, str],
) -> list[parity.Parity]:
    """Write the graph and compare it with the model."""
    save(path, metadata)
    checks = [parity.compare(path, model, each) for each in inputs]
    for check in checks:
        logger.info("%s", check)
        if not check.beyond_rounding <= config.tolerance:
            raise UserError(
                f"{config.out}: not written; its image of {check.of} differs from the model's by "
                f"{check.largest_difference:.2g}, more than --tolerance {config.tolerance:g}; a newer PyTorch, which "
                "writes it, may do it right"
            )
    return checks
