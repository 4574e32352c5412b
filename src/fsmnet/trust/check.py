"""The checks of one reconstruction, for its record and in one line; and ``fsmnet.reconstruct``, which makes them."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fsmnet.errors import UserError
from fsmnet.physics.holdout import BANDS, Columns, Unseen, folds
from fsmnet.physics.masks import seed_from_name
from fsmnet.reconstruction.again import Again, Check, Checked
from fsmnet.reconstruction.options import ReconstructConfig
from fsmnet.reconstruction.reconstruct import configured, run
from fsmnet.reconstruction.stages import Reconstruction
from fsmnet.trust.holdout import Reconstruct, hold_out, simple_methods
from fsmnet.trust.influence import influence

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

    It takes ``3 + 2 count`` more passes over at most :data:`SLICES` slices, and with maps one over all of them.

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
    record, explained = _held_out(again, numbers, count)
    made = {}
    auxiliary = None
    if again.auxiliary is not None:
        found = influence(again, list(range(every)) if maps else numbers, numbers)
        made = {"influence": found.map()} if maps else {}
        lost = {"ExplainedLessWithoutIt": _number(explained[NETWORK] - explained[BLANK])} if explained else {}
        auxiliary = found.record() | lost
    return Checked(record | {"Auxiliary": auxiliary}, made)


def _held_out(again: Again, numbers: list[int], count: int) -> tuple[dict[str, Any], dict[str, float]]:
    """The hold-out check for the record, and the shares explained by method; no shares where it cannot be made."""
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
        }
    }
    return record, {name: one.explained for name, one in found.items()}


def in_words(record: dict[str, Any]) -> str:
    """The hold-out check in one line.

    Args:
        record: of :func:`check`.
    """
    found = record["HoldOut"]
    if found is None:
        return f"hold-out check: not made, since {record['Why']}"
    shares = found["Explained"].items()
    explained = {name: "no share" if x is None else f"{round(x, 2) + 0.0:.0%}" for name, x in shares}
    lines = sum(map(len, found["LinesKeptBack"]))
    others = [f"{name} {share}" for name, share in explained.items() if name not in (NETWORK, BLANK)]
    blank = f"; with a blank auxiliary {explained[BLANK]}" if BLANK in explained else ""
    return (
        f"hold-out check: {lines} measured lines kept back, and the network explains {explained[NETWORK]} of their "
        f"energy ({', '.join(others)}, nothing at all 0%{blank})"
    )


def _not_made(why: str) -> tuple[dict[str, Any], dict[str, float]]:
    return {"HoldOut": None, "Why": why}, {}


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
