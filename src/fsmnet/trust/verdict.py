"""One verdict from all that is known of a reconstruction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fsmnet.checkpoint import Header, header_of
from fsmnet.reconstruction.again import Again
from fsmnet.trust.familiar import FACTOR, REFUSE, SUITS, UNUSUAL, Verdict, by_hold_out, explained_before, look, unusual


def known_scans(again: Again) -> Mapping[str, Any]:
    """What the checkpoint knows of other scans, see :func:`fsmnet.trust.familiar.reference_of`; empty if nothing."""
    header = Header({}) if again.model is None else header_of(again.model)
    known: Mapping[str, Any] = header.trust.get("familiar", {})
    return known


def verdict(again: Again, numbers: list[int], explained: Mapping[str, float | None]) -> Verdict:
    """Whether the network suits the scan.

    Args:
        again: the reconstruction, with its result.
        numbers: the slices to look at.
        explained: shares that the hold-out check explained, by method; empty where it was not made.
    """
    known, mask = known_scans(again), again.measured.mask
    refused, doubted = [*again.refusals, *by_reference(again.scores)], list(again.doubts)
    if explained and mask is not None:
        acceleration = mask.acceleration or mask.achieved_acceleration
        factor = float(known.get("unexplained_factor", FACTOR))
        more = by_hold_out(explained, explained_before(known, acceleration), factor)
        refused, doubted = refused + more[0], doubted + more[1]
    if known and again.result is not None:
        auxiliary = None if again.auxiliary is None else again.auxiliary[..., again.measured.place[1]].numpy()
        doubted += unusual(look(again.result.numpy(), auxiliary, again.pixel, numbers), known)
    kind = REFUSE if refused else UNUSUAL if doubted else SUITS
    return Verdict(kind, (*refused, *doubted), int(known.get("scans", 0)))


def by_reference(scores: Mapping[str, Mapping[str, float | None]] | None) -> list[str]:
    """What a fully sampled reference says: a network whose result is worse than zero-filling is of no use.

    The result is what is written: where measured lines were put back, the image with them.

    Args:
        scores: of the record's ``Metrics``; None without a reference.
    """
    if not scores or not {"network", "zero_filling"} <= scores.keys():
        return []
    network, zero_filled = scores.get("consistent", scores["network"])["psnr"], scores["zero_filling"]["psnr"]
    if network is None or (zero_filled is not None and network >= zero_filled):  # None: no difference at all
        return []
    nothing = "no error at all" if zero_filled is None else f"{zero_filled:.2f} dB"
    return [f"by its reference the network is worse than zero-filling here ({network:.2f} dB against {nothing})"]
