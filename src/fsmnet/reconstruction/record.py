"""The JSON record beside a result: made when it is written, read and judged before it would be made again.

Judging answers: is the result there, whole, and what the same command would make again? Its record and the files
themselves tell.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fsmnet.data import formats
from fsmnet.data.contrast import contrast_of
from fsmnet.data.scan import source_sha256
from fsmnet.errors import NOT_CLINICAL, UserError
from fsmnet.files import sha256
from fsmnet.options import changes, portable_config
from fsmnet.physics.masks import Mask, load_mask
from fsmnet.reconstruction.inputs import Inputs, mask_path, read_record, sidecar_path
from fsmnet.reconstruction.options import ReconstructConfig

NAMES_OF_SCANS = ("target", "auxiliary", "target_series", "auxiliary_series")  # options that may tell a person's

HEADERS_SAID = ("TargetSaid", "AuxiliarySaid")  # what a contrast was told by


def make_record(
    inputs: Inputs, mask: Mask | None, computed: dict[str, Any], seconds: dict[str, float]
) -> dict[str, Any]:
    """The record of a result whose image is written.

    Args:
        inputs: what it was made from.
        mask: the sampling mask; None for a target that was degraded before.
        computed: how it was computed, and what came of it.
        seconds: time on the clock by stage: ``read`` both files until they lie on one grid; ``load`` the network
            (beside the reading; for a list once); ``prepare`` scale, under-sample, normalise; ``network`` its passes
            alone; ``consistency`` measured lines put back; ``check`` what the checks took; ``write`` what scoring,
            compressing and writing took after the last slice. Beside the network run the scores and the compression of
            the slices before, and the similarity.
    """
    config = inputs.config
    record = {
        "Description": f"Multi-contrast MRI reconstruction; {NOT_CLINICAL}",
        "Sources": inputs.sources,
        "Mask": None if mask is None else {"file": mask_path(config.out).name, **_describe(mask)},
        **computed,
        "Output": {"file": config.out.name, "sha256": sha256(config.out)},
        "Options": portable_config(config) | (dict.fromkeys(NAMES_OF_SCANS, "") if config.anonymise else {}),
        "Seconds": {stage: round(value, 3) for stage, value in seconds.items()},
    }
    hidden = {
        f"{path.parent}{os.sep}" for path in vars(config).values() if isinstance(path, Path) and path.is_absolute()
    }
    if config.anonymise:
        volumes = [inputs.target.volume, *([] if inputs.auxiliary is None else [inputs.auxiliary])]
        hidden |= {text for volume in volumes for text in (volume.name, str(volume.source), volume.series) if text}
    shown: dict[str, Any] = _without(record, sorted(hidden, key=len, reverse=True), config.anonymise)
    return shown


def _without(value: Any, hidden: Sequence[str], anonymise: bool) -> Any:
    """A record's part whose texts do not hold any of these, nor what headers said if it must not tell a person."""
    if isinstance(value, str):
        for text in hidden:
            value = value.replace(text, "")
        return value
    if isinstance(value, Mapping):
        said = HEADERS_SAID if anonymise else ()
        return {name: None if name in said else _without(item, hidden, anonymise) for name, item in value.items()}
    return [_without(item, hidden, anonymise) for item in value] if isinstance(value, (list, tuple)) else value


def doubt(config: ReconstructConfig, weights: str) -> str:
    """Why a result cannot be taken as what this configuration makes; empty if it can.

    The record must have been made from the same bytes with the same weights and options, and the image must be the one
    that was recorded. The record is written last: without one the result is not complete.

    Args:
        config: of one exam.
        weights: SHA-256 of the checkpoint.

    Raises:
        UserError: a DICOM folder in which the series is not to be found.
    """
    record = read_record(sidecar_path(config.out))
    if record is None:
        return "it has no record"
    if not config.out.exists():
        return "the image is missing"
    if record["Model"].get("sha256") != weights:
        return "it was made with other weights"
    if changed := _changed_option(config, record["Options"]):
        return f"it was made with another {changed}"
    if unmet := _unmet(config, record):
        return unmet
    if not _same_mask(config, record["Mask"]):
        return "its mask is missing or another one"
    given = [(config.target, config.target_series), (config.auxiliary, config.auxiliary_series)]
    if [input_sha256(Path(str(path)), which) for path, which in given] != [
        source["sha256"] for source in record["Sources"]
    ]:
        return "its inputs have changed"
    if record.get("Output", {}).get("sha256") != sha256(config.out):
        return "the image is not the one that was recorded"
    return ""


def is_ours(config: ReconstructConfig) -> bool:
    """Whether what lies at the place of a result was made by ``fsmnet reconstruct``, so that it may be replaced.

    A result whose writer was killed before the record was written says it in the image itself.
    """
    return read_record(sidecar_path(config.out)) is not None or formats.is_ours(config.out)


def _changed_option(config: ReconstructConfig, recorded: dict[str, Any]) -> str:
    """The first option that differs; empty if none does.

    Of files the names count: a mask may be drawn from one. Their content is compared, and a folder may have been moved.
    """
    for name, (before, now) in changes(recorded, config).items():
        if config.anonymise and name in NAMES_OF_SCANS:  # not in the record; the content decides
            continue
        if not isinstance(getattr(config, name), Path) or Path(str(before)).name != Path(str(now)).name:
            return name
    return ""


def _unmet(config: ReconstructConfig, record: Mapping[str, Any]) -> str:
    """What is asked for now besides the image and its record lacks or has otherwise; empty if nothing."""
    if config.check not in (None, "off") and record.get("Check") is None:
        return "it was made without the hold-out check"
    suits = record.get("Suitability") or {}
    for role in ("Target", "Auxiliary"):
        said = getattr(config, f"{role.lower()}_contrast")
        if said is not None and suits.get(role) != (contrast_of(said) or said.strip().lower()):
            return f"its {role.lower()} counted as another contrast"
    if suits.get("NotMadeForIt") and not config.anyway:
        return "it was made anyway, though the network was not made for it"
    return ""


def _same_mask(config: ReconstructConfig, recorded: dict[str, Any] | None) -> bool:
    """Whether the mask's file is there with the columns of the record, and the mask asked for, if any, has them too."""
    if recorded is None:
        return config.mask is None
    asked = [] if config.mask is None else [config.mask]
    try:
        masks = [load_mask(path, recorded["of"]) for path in (mask_path(config.out), *asked)]
    except UserError:
        return False
    return all(np.flatnonzero(mask.columns).tolist() == recorded["columns"] for mask in masks)


def input_sha256(path: Path, which: str | None) -> str:
    """Hash of an input; empty if there is none, which who reads it will say."""
    if not path.is_dir():
        return source_sha256(path, None) if path.is_file() else ""
    from fsmnet.data.formats.dicom import choose_series, list_series

    return source_sha256(path, choose_series(list_series(path), which))


def _describe(mask: Mask) -> dict[str, Any]:
    return {
        "kind": mask.kind,
        "requested_acceleration": mask.acceleration,
        "achieved_acceleration": mask.achieved_acceleration,
        "center_fraction": mask.center_fraction,
        "columns": np.flatnonzero(mask.columns).tolist(),
        "of": mask.columns.size,
    }
