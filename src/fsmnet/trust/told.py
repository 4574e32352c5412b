"""An expected error as it is told: a bound where the checkpoint is calibrated for it, else what it is."""

from __future__ import annotations

from typing import Any

import torch

from fsmnet.checkpoint import Header, header_of
from fsmnet.data.head import head_mask
from fsmnet.models import takes_acquisition
from fsmnet.reconstruction.again import Again, Map
from fsmnet.reconstruction.measured import Consistency, usual_consistency
from fsmnet.trust.conformal import brightness, calibration_of
from fsmnet.trust.error_map import Expected


def told_error(again: Again, expected: Expected, note: str = "") -> tuple[Map, dict[str, Any]]:
    """The map to be written, and what the record says of it.

    Args:
        again: the reconstruction, with its result.
        expected: its expected error.
        note: what else the map must say of itself.

    Raises:
        UserError: a damaged calibration in the checkpoint.
    """
    result, mask = again.result, again.measured.mask
    assert result is not None
    assert mask is not None
    header = Header({}) if again.model is None else header_of(again.model)
    calibration = calibration_of(header.trust.get("calibration", {}))
    values, unit = expected.values, brightness(result.numpy())
    acceleration = mask.acceleration or mask.achieved_acceleration
    if calibration is None:
        why = "the checkpoint is not calibrated"
    elif again.model is not None and again.consistency != _usual(again):
        why = "the checkpoint is calibrated for the default data consistency"
    else:
        why = calibration.why_not(expected.estimator, acceleration)
    if calibration is not None and not why:
        values = torch.from_numpy(calibration.bound(values.numpy(), unit))
        shown = Map(values, f"{calibration.says()}{note}", f"{calibration.rate:.0%} of errors are below this")
    else:
        shown = Map(values, f"expected error, a mean and no bound: {why}{note}", "expected error, not calibrated")
    head = torch.from_numpy(head_mask(result.numpy()))
    return shown, {
        "Estimator": expected.estimator,
        "Calibrated": not why,
        "Says": shown.says,
        "MeanInHead": round(float(values[head].mean() / result[head].mean().clamp_min(1e-12)), 4),
        "Calibration": calibration.record() if calibration is not None and not why else None,
    }


def _usual(again: Again) -> Consistency:
    """What is done with its measured lines unless somebody chooses; with an acquisition and a model."""
    assert again.model is not None
    assert again.measured.acquisition is not None
    return usual_consistency(takes_acquisition(again.model), again.measured.acquisition(0).real)
