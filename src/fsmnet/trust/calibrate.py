"""What a checkpoint is to know for :mod:`fsmnet.trust`: measured on scans that its network suits, kept in a copy."""

from __future__ import annotations

import logging
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from fsmnet.checkpoint import checkpoint_file, load_model, read_checkpoint, save_checkpoint, trained_split
from fsmnet.data.formats import read_volume
from fsmnet.data.head import head_mask
from fsmnet.errors import UserError
from fsmnet.inference.alone import only_one
from fsmnet.inference.device import choose_device
from fsmnet.inference.optimise import optimise
from fsmnet.options import by_name
from fsmnet.physics.holdout import Columns, Unseen, folds
from fsmnet.physics.masks import seed_from_name
from fsmnet.physics.options import MaskOptions
from fsmnet.protocols import protocol_of
from fsmnet.protocols.cases import Accelerated
from fsmnet.reconstruction.again import Again
from fsmnet.trust.conformal import (
    Calibration,
    Values,
    brightness,
    factors_of,
    group_edges,
    needed,
    patient_scores,
    promised,
)
from fsmnet.trust.error_map import expected_error, spread_over_folds
from fsmnet.trust.familiar import Sight, look, look_cropped, reference_of
from fsmnet.trust.holdout import hold_out
from fsmnet.trust.influence import influence
from fsmnet.trust.options import CalibrateConfig
from fsmnet.trust.simulated import reconstructed

logger = logging.getLogger(__name__)


@dataclass
class Patient:
    """What was measured of one patient's scans.

    Attributes:
        error: of the head's voxels, as shares of brightness.
        expected: likewise.
        sights: what each scan showed.
        explained: acceleration -> shares explained in the hold-out check.
    """

    error: list[Values] = field(default_factory=list)
    expected: list[Values] = field(default_factory=list)
    sights: list[Sight] = field(default_factory=list)
    explained: dict[float, list[float]] = field(default_factory=dict)


@by_name(CalibrateConfig)
def calibrate(config: CalibrateConfig) -> Calibration:
    """Measure, and write the copy; see :class:`fsmnet.trust.options.CalibrateConfig`.

    Raises:
        UserError: scans or options that cannot be used, too few patients for the rate, or another process that writes
            the same file.
    """
    file = checkpoint_file(config.checkpoint)
    _check(config, file)
    with only_one(config.out.absolute().parent, (config.out.name,), config.out.name):
        _check(config, file)  # again: another may have written it meanwhile
        return _calibrate(config, file)


def _calibrate(config: CalibrateConfig, file: Path) -> Calibration:
    choose_device("cpu", config.threads)
    network = load_model(file)
    protocol = protocol_of(config)
    cases = protocol.find_cases(config, config.out.parent)
    names = protocol.patients(cases, config)
    if len(set(names.values())) < needed(config.rate):
        _too_few(len(set(names.values())), config.rate)
    _warn_of_trained(network, names)
    fast = optimise(network, "float32")
    patients: dict[str, Patient] = {}
    estimators: set[str] = set()
    for number, case in enumerate(cases):
        logger.info("%s (%d of %d)", case.case, number + 1, len(cases))
        patient = patients.setdefault(names[case.case], Patient())
        pixel = (0.0, *_pixel(case)[1:])  # slices that are left lie apart
        for acceleration in config.accelerations:
            recipe = protocol.mask_recipe(MaskOptions(acceleration=acceleration))
            accelerated = protocol.accelerate(case, recipe, resample=config.resample, most=config.slices)
            estimators.add(measure(patient, case.case, fast, accelerated, acceleration, pixel))
    [estimator] = estimators
    calibration = fitted(patients, config.rate, estimator, config.accelerations)
    trust = {"calibration": calibration.record(), "familiar": reference(patients)}
    state, header = read_checkpoint(file)
    header.trust = header.trust | trust
    save_checkpoint(config.out, state, header)
    return calibration


def measure(
    patient: Patient,
    name: str,
    network: nn.Module,
    case: Accelerated,
    acceleration: float,
    pixel: Sequence[float] = (0.0, 0.0, 0.0),
) -> str:
    """Reconstruct a simulated scan and add what it shows to its patient.

    Args:
        patient: is added to.
        name: of the scan.
        network: in eval mode.
        case: the scan.
        acceleration: that was asked for.
        pixel: distance in millimetres between neighbouring slices, rows and columns; 0 where it is not known.

    Returns:
        The estimator of its error.

    Raises:
        UserError: a mask of too few lines.
    """
    again = reconstructed(name, network, case)
    every = list(range(len(case.zero_filled)))
    try:
        sets = folds(case.mask.columns, 1, seed_from_name(again.name), again.lines(0).real)
    except UserError as error:
        raise UserError(f"{name} at {acceleration:g}x: {error}; lower --accelerations, or leave it out") from None
    unseen = held_out(again, sets)
    change = None if again.auxiliary is None else influence(again, every, every[:1]).blank
    apart = spread_over_folds(again, sets, every)
    expected = expected_error(again, change, apart, every, unseen.missing(case.mask.columns))
    if expected is None or again.result is None:
        raise UserError(f"{name}: no error can be expected of it at {acceleration:g}x; its mask has too few lines")
    image, truth = again.result.numpy(), case.slices.target.numpy()
    head, unit = head_mask(image), brightness(image)
    patient.error.append(np.abs(image - truth)[head] / unit)
    patient.expected.append(expected.values.numpy()[head] / unit)
    patient.explained.setdefault(acceleration, []).append(unseen.explained)
    auxiliary = None if again.auxiliary is None else again.auxiliary.numpy()
    patient.sights += [look(image, auxiliary, pixel, every), look_cropped(image, auxiliary, every)]
    return expected.estimator


def held_out(again: Again, sets: list[Columns]) -> Unseen:
    """What the network says of lines kept back, over all slices."""
    every = range(len(again.measured.zero_filled))
    found = [hold_out(again.lines(n), {"network": partial(again.image, n)}, sets)["network"] for n in every]
    return reduce(operator.add, found)


def fitted(patients: dict[str, Patient], rate: float, estimator: str, accelerations: Sequence[float]) -> Calibration:
    """The calibration that these patients allow.

    Raises:
        UserError: they are too few.
    """
    errors, expected = (
        {name: np.concatenate(getattr(one, what)) for name, one in patients.items()} for what in ("error", "expected")
    )
    edges = group_edges(list(expected.values()))
    scores = [patient_scores(errors[name], expected[name], edges, rate) for name in patients]
    return Calibration(
        rate,
        edges,
        factors_of(scores, rate),
        len(patients),
        estimator,
        (min(accelerations), max(accelerations)),
        tuple(patients),
    )


def reference(patients: dict[str, Patient]) -> dict[str, Any]:
    """What is kept of these patients' scans for :mod:`fsmnet.trust.familiar`."""
    every = list(patients.values())
    accelerations = sorted({at for one in every for at in one.explained})
    explained = {at: [one.explained.get(at, []) for one in every] for at in accelerations}
    return reference_of([one.sights for one in every], explained)


def _pixel(case: Any) -> tuple[float, float, float]:
    """Of a case's target; zeros where its place is not known."""
    return read_volume(case.target).pixel if hasattr(case, "target") else (0.0, 0.0, 0.0)


def _check(config: CalibrateConfig, file: Path) -> None:
    if not 0 < config.rate < 1:
        raise UserError(f"rate must lie between 0 and 1, such as 0.9, not {config.rate:g}")
    if config.slices < 1 or not config.accelerations:
        raise UserError("slices must be at least 1, and there must be an acceleration")
    if config.out.suffix != ".safetensors":
        raise UserError(f"{config.out}: a checkpoint ends in .safetensors; choose another --out")
    if config.out.exists() and (not config.overwrite or config.out.samefile(file)):
        raise UserError(f"{config.out}: exists already; choose another --out, or pass --overwrite if it is a copy")


def _too_few(patients: int, rate: float) -> None:
    raise UserError(
        f"{patients} patients promise at most {promised(patients):.0%}, and {rate:.0%} needs {needed(rate)}; "
        "give more patients, or a lower --rate"
    )


def _warn_of_trained(network: nn.Module, names: dict[str, str]) -> None:
    """Errors of scans that a network was trained on are smaller than those of others."""
    split = trained_split(network)
    if split is None:
        return
    seen = {case for case, patient in names.items() if (one := split.seen(case, patient)) and one.side == "train"}
    if seen:
        logger.warning(
            "%d of %d scans are of patients that the network was trained on; its errors on others may be larger",
            len(seen),
            len(names),
        )
