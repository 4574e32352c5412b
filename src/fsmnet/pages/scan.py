"""What is shown of a reconstruction: its layers on one grid, read from the files that its record names."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fsmnet.data.formats import read_volume
from fsmnet.data.scan import read_scan
from fsmnet.data.volume import Array, slices_with_content, turn
from fsmnet.errors import UserError
from fsmnet.models.titles import title_of
from fsmnet.options import build, options_of
from fsmnet.physics.masks import Mask, MaskRecipe, load_mask
from fsmnet.pictures.panels import window
from fsmnet.reconstruction.inputs import MAPS, Inputs, beside, mask_path, read_inputs, read_record, sidecar_path
from fsmnet.reconstruction.measured import of_image, of_kspace
from fsmnet.reconstruction.options import ReconstructConfig
from fsmnet.reconstruction.picture import contrast_title
from fsmnet.reconstruction.record import input_sha256

logger = logging.getLogger(__name__)

SCANS = ("target", "kspace", "auxiliary", "maps")  # options that name files to be read again


@dataclass(frozen=True)
class Layer:
    """One volume.

    Attributes:
        key: short name without a space.
        title: in words that people know.
        data: ``(S, H, W)``, in the scan's intensities.
        top: value that is shown brightest.
        coloured: whether it is a map, to lie over an image.
        says: what it shows, in a line.
    """

    key: str
    title: str
    data: Array
    top: float
    coloured: bool = False
    says: str = ""


@dataclass(frozen=True)
class Shown:
    """Layers of one reconstruction.

    Attributes:
        out: its file or folder.
        record: made with it.
        layers: the reconstruction first.
        affine: of all of them, see :class:`fsmnet.data.volume.Volume`.
        placed: whether it places them in the patient.
        notes: what could not be shown, and why.
    """

    out: Path
    record: Mapping[str, Any]
    layers: list[Layer]
    affine: npt.NDArray[np.float64]
    placed: bool
    notes: list[str]


def shown(out: Path, sources: Path | None = None, inputs: Inputs | None = None) -> Shown:
    """The layers of a result.

    Args:
        out: image from ``fsmnet reconstruct``.
        sources: folder to look for the scans in, before the places that the record names.
        inputs: the scans, if they are read already.

    Raises:
        UserError: it has no record, or cannot be read.
    """
    record = read_record(sidecar_path(out))
    if record is None:
        raise UserError(f"{out}: has no record {sidecar_path(out).name}; give an image that 'fsmnet reconstruct' wrote")
    notes: list[str] = []
    if inputs is None:
        inputs = _inputs(out, record, sources, notes)
    mask = None if record["Mask"] is None else load_mask(mask_path(out))
    if inputs is None:
        volume = read_scan(out).volume
        image = volume.data
    else:
        volume, image = inputs.target.volume, _read_like(out, inputs)
    layers = [Layer("reconstruction", title_of(record["Model"]), image, window(image))]
    if inputs is not None:
        layers = _with_sources(layers[0], inputs, mask)
    for name in MAPS:
        if (path := beside(out, name)).exists():
            data = read_scan(path).volume.data if inputs is None else _read_like(path, inputs)
            says = str(((record.get("Maps") or {}).get(name) or {}).get("says", ""))
            layers.append(Layer(name, MAPS[name].capitalize(), data, window(data), True, says))
    return Shown(out, record, layers, volume.affine, volume.placed, notes)


def _read_like(path: Path, inputs: Inputs) -> Array:
    """A result with its axes as the target's were turned."""
    if path.is_dir():
        return read_scan(path, None, inputs.config.phase_encode).volume.data
    volume = read_volume(path)
    return (turn(volume) if inputs.target.turned else volume).data


def _with_sources(result: Layer, inputs: Inputs, mask: Mask | None) -> list[Layer]:
    target, auxiliary = inputs.target.volume, inputs.auxiliary
    name = contrast_title(inputs, "target")
    if inputs.kspace is None and mask is None:
        layers = [result, Layer("given", f"{name} as given", target.data, window(target.data))]
    else:
        zero_filled, reference = _simulated(inputs, mask)
        top = result.top if reference is None else window(reference)
        layers = [replace(result, top=top), Layer("zero_filled", "Zero-filled", zero_filled, top)]
        if reference is not None:
            error = np.abs(result.data - reference)
            layers.append(Layer("reference", f"{name}, fully sampled", reference, top))
            says = "the difference from the fully sampled scan"
            layers.append(Layer("true_error", "True error", error, window(error), True, says))
    if auxiliary is not None:
        title = f"{contrast_title(inputs, 'auxiliary')} (auxiliary)"
        layers.append(Layer("auxiliary", title, auxiliary.data, window(auxiliary.data)))
    return layers


def _simulated(inputs: Inputs, mask: Mask | None) -> tuple[Array, Array | None]:
    """The zero-filled volume, and the fully sampled one if it is known; in the target's intensities."""
    volume = inputs.target.volume
    keep = torch.from_numpy(slices_with_content(volume.data))
    if inputs.kspace is None:
        measured = of_image(torch.from_numpy(volume.data)[keep].div_(volume.maximum), mask)
    else:
        measured = of_kspace(
            inputs.kspace, inputs.config, MaskRecipe("random", 4.0, 0.08, "name"), keep, volume.maximum
        )

    def whole(slices: torch.Tensor) -> Array:
        data = np.zeros_like(volume.data)
        data[keep.numpy()] = slices.abs().numpy() * np.float32(volume.maximum)
        return data

    return whole(measured.zero_filled), None if measured.reference is None else whole(measured.reference)


def _inputs(out: Path, record: Mapping[str, Any], sources: Path | None, notes: list[str]) -> Inputs | None:
    """The scans once more, as the record says; None if the target is not found."""
    known = {one.name for one in options_of(ReconstructConfig)}
    values = {name: value for name, value in record["Options"].items() if name in known}
    values |= {"out": str(out), "acceleration": None, "mask_kind": None, "center_fraction": None, "mask_seed": None}
    values["mask"] = None if record["Mask"] is None else str(mask_path(out))
    hashes = [source["sha256"] for source in record["Sources"]]
    for name in SCANS:
        if name in ("maps",) or values.get(name) is None:
            continue
        told, expected = Path(str(values[name])), hashes[1 if name == "auxiliary" else 0]
        path = _find(told, out, sources, expected, values.get(f"{name}_series"))
        if path is None:
            what = told.name or f"the {name}"
            notes.append(f"{what} was not found, so it is not shown; give its folder with --sources")
            if name != "auxiliary":
                return None
        values[name] = None if path is None else str(path)
    if values["auxiliary"] is None:
        values |= {"resample": False, "register": "none", "auxiliary_series": None}
        if values["target_is"] == "zero-filled":
            return None
    try:
        return read_inputs(build(ReconstructConfig, values))
    except UserError as error:
        notes.append(f"the scans cannot be shown: {error}")
        return None


def _find(told: Path, out: Path, sources: Path | None, expected: str, which: str | None) -> Path | None:
    """Where a scan lies; None if nowhere, or not with the content that it had."""
    places = [told, out.parent / told, out.parent / told.name]
    for path in ([sources / told, sources / told.name] if sources is not None else []) + places:
        try:
            if told.name and path.exists() and input_sha256(path, which) == expected:
                return path
        except UserError:
            continue
    return None
