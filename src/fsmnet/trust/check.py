"""The checks of one reconstruction, for its record and in one line; and ``fsmnet.reconstruct``, which makes them."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fsmnet.checkpoint import Header, header_of
from fsmnet.errors import UserError
from fsmnet.physics.holdout import BANDS, Columns, Unseen, folds
from fsmnet.physics.masks import seed_from_name
from fsmnet.reconstruction.again import Again, Check, Checked
from fsmnet.reconstruction.options import ReconstructConfig
from fsmnet.reconstruction.reconstruct import configured, run
from fsmnet.reconstruction.stages import Reconstruction
from fsmnet.trust.error_map import expected_error, spread_over_folds
from fsmnet.trust.familiar import (
    REFUSE,
    SUITS,
    UNUSUAL,
    Verdict,
    by_hold_out,
    explained_before,
    look,
    unusual,
)
from fsmnet.trust.holdout import Reconstruct, hold_out, simple_methods
from fsmnet.trust.influence import influence
from fsmnet.trust.told import told_error

SLICES = 16  # at most, spread over the volume: a share of energy needs no more
NETWORK, BLANK = "network", "network, auxiliary blank"


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
    return run(config, check_of(config))


def check_of(config: ReconstructConfig) -> Check | None:
    """The checks that a configuration asks for; None for none. By default one fold, and none in a list of exams."""
    count = config.check
    if count is None:
        count = 1 if config.pairs is None else "off"
    return None if count == "off" else partial(check, count=count, maps=config.trust_maps)


def check(again: Again, count: int = 1, maps: bool = False) -> Checked:
    """What the record says of the hold-out check, of the auxiliary's influence and of the error to expect.

    It takes ``3 + 2 count`` more passes over at most :data:`SLICES` slices, and with maps ``1 + count`` over all.

    Args:
        again: the reconstruction.
        count: sets of lines to keep back, 1 to 5.
        maps: whether to make maps, too.

    Returns:
        The maps, and JSON values. Where the hold-out check cannot be made, ``HoldOut`` is None and ``Why`` says why
        not; ``Auxiliary`` is None without one.
    """
    every = len(again.measured.zero_filled)
    numbers = torch.linspace(0, every - 1, min(SLICES, every)).round().long().tolist()
    record, unseen, sets = _held_out(again, numbers, count)
    explained = {name: one.explained for name, one in unseen.items()}
    made, auxiliary, change = {}, None, None
    if again.auxiliary is not None:
        found = influence(again, list(range(every)) if maps else numbers, numbers)
        if maps:
            made["influence"], change = found.map(), found.blank
        lost = {"ExplainedLessWithoutIt": _number(explained[NETWORK] - explained[BLANK])} if explained else {}
        auxiliary = found.record() | lost
    told = None
    if maps and sets:
        apart = spread_over_folds(again, sets)
        if (expected := expected_error(again, change, apart, _missing(again, unseen))) is not None:
            made["error"], told = told_error(again, expected)
    judged = verdict(again, numbers, explained).record()
    return Checked(record | {"Auxiliary": auxiliary, "Error": told, "Verdict": judged}, made)


def _missing(again: Again, unseen: dict[str, Unseen]) -> float:
    """Energy of a slice's error in lines that were not measured; NaN where nothing tells it."""
    if not unseen or again.measured.mask is None:
        return math.nan
    return unseen[NETWORK].missing(again.measured.mask.columns)


def verdict(again: Again, numbers: list[int], explained: dict[str, float]) -> Verdict:
    """Whether the network suits the scan, from all that is known.

    Args:
        again: the reconstruction, with its result.
        numbers: the slices to look at.
        explained: shares that the hold-out check explained, by method; empty where it was not made.
    """
    header, mask = Header({}) if again.model is None else header_of(again.model), again.measured.mask
    known = header.trust.get("familiar", {})
    refused, doubted = list(again.refusals), list(again.doubts)
    if explained and mask is not None:
        acceleration = mask.acceleration or mask.achieved_acceleration
        more = by_hold_out({n: _number(one) for n, one in explained.items()}, explained_before(known, acceleration))
        refused, doubted = refused + more[0], doubted + more[1]
    if known and again.result is not None:
        auxiliary = None if again.auxiliary is None else again.auxiliary[..., again.measured.place[1]].numpy()
        doubted += unusual(look(again.result.numpy(), auxiliary, again.pixel, numbers), known)
    kind = REFUSE if refused else UNUSUAL if doubted else SUITS
    return Verdict(kind, (*refused, *doubted), int(known.get("scans", 0)))


HeldOut = tuple[dict[str, Any], dict[str, Unseen], list[Columns]]


def _held_out(again: Again, numbers: list[int], count: int) -> HeldOut:
    """The hold-out check for the record, what was found by method, and the lines; nothing where it cannot be made."""
    measured = again.measured
    if measured.acquisition is None or measured.mask is None:
        return _not_made("no line of the target's k-space is known")
    real = measured.acquisition(0).real
    try:
        sets = folds(measured.mask.columns, count, seed_from_name(again.name), real)
    except UserError as error:
        return _not_made(str(error))
    found = _hold_out(again, numbers, sets)
    record = {
        "HoldOut": {
            "Explained": {name: _number(one.explained) for name, one in found.items()},
            "ExplainedByBand": {name: [_number(x) for x in one.explained_by_band] for name, one in found.items()},
            "BandsUpTo": [(band + 1) / BANDS for band in range(BANDS)],
            "LinesKeptBack": [np.flatnonzero(columns).tolist() for columns in sets],
            "ConjugatesKeptBackTogether": real,
            "Slices": len(numbers),
            "OfKnownScans": _before(again),
            "ImpliedError": _implied(again, numbers, found),
        }
    }
    return record, found, sets


def _implied(again: Again, numbers: list[int], found: dict[str, Unseen]) -> float | None:
    """The image's error as a share of its norm, if lines that were not measured are as wrong as those kept back."""
    missing = _missing(again, found)
    if again.result is None or not math.isfinite(missing):
        return None
    energy = float(again.result[numbers].double().square().sum()) / len(numbers)
    return _number(math.sqrt(missing / energy)) if energy > 0 else None


def _before(again: Again) -> dict[str, float] | None:
    """What the network explained of the scans that its checkpoint knows, at about this acceleration."""
    mask = again.measured.mask
    if again.model is None or mask is None:
        return None
    known = header_of(again.model).trust.get("familiar", {})
    found = explained_before(known, mask.acceleration or mask.achieved_acceleration)
    return None if found is None else {"Least": found[0], "Mean": found[1]}


def in_words(record: dict[str, Any]) -> str:
    """What the checks found, in one line.

    Args:
        record: of :func:`check`.
    """
    verdict = record["Verdict"]
    suits = "the network suits this scan" if verdict["ComparedWithScans"] else "nothing speaks against this scan"
    kind = {SUITS: suits, UNUSUAL: "unusual for this network", REFUSE: "not for this network"}
    why = f", because {verdict['Because'][0]}" if verdict["Because"] else ""
    more = f" (and {len(verdict['Because']) - 1} more)" if len(verdict["Because"]) > 1 else ""
    return f"trust: {kind[verdict['Kind']]}{why}{more}; {_hold_out_in_words(record)}{_error_in_words(record['Error'])}"


def _hold_out_in_words(record: dict[str, Any]) -> str:
    found = record["HoldOut"]
    if found is None:
        return f"hold-out check: not made, since {record['Why']}"
    shares = found["Explained"].items()
    explained = {name: "no share" if x is None else f"{round(x, 2) + 0.0:.0%}" for name, x in shares}
    lines = sum(map(len, found["LinesKeptBack"]))
    others = [f"{name} {share}" for name, share in explained.items() if name not in (NETWORK, BLANK)]
    blank = f"; with a blank auxiliary {explained[BLANK]}" if BLANK in explained else ""
    before = found["OfKnownScans"]
    known = "" if before is None else f"of known scans {before['Mean']:.0%}, at least {before['Least']:.0%}; "
    return (
        f"hold-out check: {lines} measured lines kept back, and the network explains {explained[NETWORK]} of their "
        f"energy ({known}{', '.join(others)}, nothing at all 0%{blank})"
    )


def _error_in_words(told: dict[str, Any] | None) -> str:
    if told is None:
        return ""
    share = f"{told['MeanInHead']:.1%} of the head's brightness"
    return f"; error at most {share}" if told["Calibrated"] else f"; expected error {share}, not calibrated"


def _not_made(why: str) -> HeldOut:
    return {"HoldOut": None, "Why": why}, {}, []


def _hold_out(again: Again, numbers: list[int], sets: list[Columns]) -> dict[str, Unseen]:
    """The network, with and without the auxiliary, and the simple methods, over some slices."""
    found: dict[str, Unseen] = {}
    for number in numbers:
        acquisition, auxiliary = again.lines(number), None
        methods: dict[str, Reconstruct] = {NETWORK: partial(again.image, number)}
        if again.auxiliary is not None:
            auxiliary = again.measured.in_columns(again.auxiliary[number][None])
            methods[BLANK] = partial(again.image, number, auxiliary=torch.zeros_like(again.auxiliary[number]))
        for name, one in hold_out(acquisition, methods | simple_methods(acquisition, auxiliary), sets).items():
            found[name] = found[name] + one if name in found else one
    return found


def _number(share: float) -> float | None:
    return round(share, 4) if math.isfinite(share) else None
