"""The checks of one reconstruction, for its record; and ``fsmnet.reconstruct``, which makes them."""

from __future__ import annotations

import logging
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsmnet.errors import UserError
from fsmnet.inference.slices import WORTH_TELLING, progress_bar
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.holdout import BANDS, Columns, Unseen, folds
from fsmnet.physics.masks import seed_from_name
from fsmnet.reconstruction.again import Again, Check, Checked
from fsmnet.reconstruction.options import ReconstructConfig
from fsmnet.reconstruction.reconstruct import configured, run
from fsmnet.reconstruction.stages import Reconstruction
from fsmnet.trust.between import said, slices_for_maps
from fsmnet.trust.error_map import expected_error, spread_over_folds
from fsmnet.trust.familiar import SUITS, enough, explained_before, explained_of_test_patients
from fsmnet.trust.holdout import Reconstruct, hold_out, simple_methods
from fsmnet.trust.influence import influence
from fsmnet.trust.probe import probe
from fsmnet.trust.told import told_error
from fsmnet.trust.verdict import known_scans, verdict
from fsmnet.trust.words import BLANK, NETWORK, tell

logger = logging.getLogger(__name__)

SLICES = 16  # at most, spread over the volume: a share of energy needs no more


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
    config = configured({"target": target, "auxiliary": auxiliary, "out": out, "kspace": kspace} | options)
    result = run(config, check_of(config))
    if (found := result.sidecar["Check"]) and found["Verdict"]["Kind"] != SUITS:
        tell(found)
    return result


def check_of(config: ReconstructConfig) -> Check | None:
    """The checks that a configuration asks for; None for none. By default one fold, and none in a list of exams."""
    count, one = config.check, config.pairs is None
    if count is None:
        count = 1 if one else "off"
    return None if count == "off" else partial(check, count=count, maps=config.trust_maps, alone=one)


def check(again: Again, count: int = 1, maps: bool = False, alone: bool = True) -> Checked:
    """What the record says of the hold-out check, of the auxiliary's influence and of the error to expect.

    It takes ``2 + 2 count`` more passes over at most :data:`SLICES` slices, half of them for one, and with maps one
    more, and ``1 + count`` over those that :func:`fsmnet.trust.between.slices_for_maps` chooses, less what both share.

    Args:
        again: the reconstruction.
        count: sets of lines to keep back, 1 to 5.
        maps: whether to make maps, too.
        alone: whether it is the only scan: then the seconds that it will take are told before; in a list the verdict
            is told, if it is none that suits.

    Returns:
        The maps, and JSON values. Where the hold-out check cannot be made, ``HoldOut`` is None and ``Why`` says why
        not; ``Auxiliary`` is None without one.
    """
    every = len(again.measured.zero_filled)
    looked = slices_for_maps(every, again.pixel[0])
    places = torch.linspace(0, len(looked) - 1, min(SLICES, len(looked))).round().long().tolist()
    numbers = [looked[place] for place in places]
    sets, why = _sets(again, count)
    if alone:
        _tell(again, _passes(again, len(numbers), len(looked) if maps else 0, len(sets)))
    record, unseen, fewer = _held_out(again, numbers, sets, why)
    explained = {name: one.explained for name, one in unseen.items()}
    made, auxiliary, change = {}, None, None
    if again.auxiliary is not None:
        found = influence(again, looked if maps else numbers, numbers[::2])
        if maps:
            made["influence"], change = found.map(looked, every), found.blank
        lost = {"ExplainedLessWithoutIt": _number(explained[NETWORK] - explained[BLANK])} if explained else {}
        auxiliary = found.record() | lost
    told, kept = None, None
    if maps and sets:
        tried = probe(again, numbers)
        made["loss"], kept = tried.map(), tried.record()
        apart = spread_over_folds(again, sets, looked, fewer)
        expected = expected_error(again, change, apart, looked, _missing(again, unseen))
        if expected is not None:
            made["error"], told = told_error(again, expected, said(looked, every))
    shares = {name: _number(one) for name, one in explained.items()}
    judged = verdict(again, numbers, shares if enough(sets) else {}).record()
    found_all = record | {"Auxiliary": auxiliary, "Kept": kept, "Error": told, "Verdict": judged}
    if not alone and judged["Kind"] != SUITS:
        tell(found_all, again.name)
    return Checked(found_all, made)


def _sets(again: Again, count: int) -> tuple[list[Columns], str]:
    """The lines to keep back; none where that cannot be done, and why not."""
    measured = again.measured
    if measured.acquisition is None or measured.mask is None:
        return [], "no line of the target's k-space is known"
    try:
        return folds(measured.mask.columns, count, seed_from_name(again.name), measured.acquisition(0).real), ""
    except UserError as error:
        return [], str(error)


def _passes(again: Again, checked: int, mapped: int, count: int) -> int:
    """How many slices will go through the network; ``mapped`` is 0 without maps."""
    helped = again.auxiliary is not None
    passes = checked * count * (1 + helped) + helped * (max(mapped, checked) + (checked + 1) // 2)
    return passes + count * max(mapped - checked, 0) + (checked if mapped and count else 0)


def _tell(again: Again, passes: int) -> None:
    """Say before what it will cost, where that is worth saying."""
    if (seconds := passes * again.seconds) > WORTH_TELLING:
        logger.info("checking it: about %.0f s, %d slices again; --check off leaves it out", seconds, passes)


def _missing(again: Again, unseen: dict[str, Unseen]) -> float:
    """Energy of a slice's error in lines that were not measured; NaN where nothing tells it."""
    if not unseen or again.measured.mask is None:
        return math.nan
    return unseen[NETWORK].missing(again.measured.mask.columns)


Fewer = dict[int, list[Tensor]]  # slice -> its images from fewer lines, one of each set


def _held_out(
    again: Again, numbers: list[int], sets: list[Columns], why: str
) -> tuple[dict[str, Any], dict[str, Unseen], Fewer]:
    """The hold-out check for the record, what was found by method, and the network's images; nothing without sets."""
    if not sets:
        return {"HoldOut": None, "Why": why}, {}, {}
    found, fewer = _hold_out(again, numbers, sets)
    acquisition = again.lines(numbers[0])
    record = {
        "HoldOut": {
            "Explained": {name: _number(one.explained) for name, one in found.items()},
            "ExplainedByBand": {name: [_number(x) for x in one.explained_by_band] for name, one in found.items()},
            "BandsUpTo": [(band + 1) / BANDS for band in range(BANDS)],
            "LinesKeptBack": [np.flatnonzero(columns).tolist() for columns in sets],
            "ConjugatesKeptBackTogether": acquisition.real,
            "EnoughToJudge": enough(sets),
            "Slices": len(numbers),
            **_before(again),
            "ImpliedError": _implied(again, numbers, found),
        }
    }
    return record, found, fewer


def _implied(again: Again, numbers: list[int], found: dict[str, Unseen]) -> float | None:
    """The image's error as a share of its norm, if lines that were not measured are as wrong as those kept back."""
    missing = _missing(again, found)
    if again.result is None or not math.isfinite(missing):
        return None
    energy = float(again.result[numbers].double().square().sum()) / len(numbers)
    return _number(math.sqrt(missing / energy)) if energy > 0 else None


def _before(again: Again) -> dict[str, dict[str, float] | None]:
    """What the network explained of other scans at about this acceleration: those it knows, and its test patients'."""
    mask, known = again.measured.mask, known_scans(again)
    assert mask is not None
    acceleration = mask.acceleration or mask.achieved_acceleration
    before, test = explained_before(known, acceleration), explained_of_test_patients(known, acceleration)
    return {
        "OfKnownScans": None if before is None else {"Least": before[0], "Mean": before[1]},
        "OfTestPatients": None if test is None else {"Least": test[0], "Most": test[1]},
    }


def _hold_out(again: Again, numbers: list[int], sets: list[Columns]) -> tuple[dict[str, Unseen], Fewer]:
    """The network, with and without the auxiliary, and the simple methods, over some slices."""
    found: dict[str, Unseen] = {}
    fewer: Fewer = {number: [] for number in numbers}

    def network(acquisition: Acquisition, number: int) -> Tensor:
        fewer[number].append(again.image(number, acquisition))
        return fewer[number][-1]

    for place in progress_bar(range(len(numbers)), "lines kept back", "slice"):
        number = numbers[place]
        acquisition, auxiliary = again.lines(number), None
        methods: dict[str, Reconstruct] = {NETWORK: partial(network, number=number)}
        if again.auxiliary is not None:
            auxiliary = again.measured.in_columns(again.auxiliary[number][None])
            methods[BLANK] = partial(again.image, number, auxiliary=torch.zeros_like(again.auxiliary[number]))
        for name, one in hold_out(acquisition, methods | simple_methods(acquisition, auxiliary), sets).items():
            found[name] = found[name] + one if name in found else one
    return found, fewer


def _number(share: float) -> float | None:
    return round(share, 4) if math.isfinite(share) else None
