"""What the checks of a reconstruction found, in one line."""

from __future__ import annotations

import logging
from typing import Any

from fsmnet.trust.familiar import REFUSE, SUITS, UNUSUAL

logger = logging.getLogger(__name__)

NETWORK, BLANK = "network", "network, auxiliary blank"
ALONE = "nothing that was tried speaks against this scan, but it was not compared with training scans"
TOO_FEW = "could not be checked by so few measured lines; nothing else speaks against this scan"
UNTRIED = "nothing speaks against this scan, but no measured line was kept back to try the network"


def tell(record: dict[str, Any], name: str = "") -> None:
    """Say it: a warning unless the network suits the scan.

    Args:
        record: of :func:`fsmnet.trust.check.check`.
        name: of the scan, where there are several.
    """
    level = logging.INFO if record["Verdict"]["Kind"] == SUITS else logging.WARNING
    logger.log(level, "%s%s", f"{name}: " if name else "", in_words(record))


def in_words(record: dict[str, Any]) -> str:
    """What the checks found, in one line.

    Args:
        record: of :func:`fsmnet.trust.check.check`.
    """
    verdict = record["Verdict"]
    found = record["HoldOut"]
    if found and not found.get("EnoughToJudge", True):  # which older records do not say
        suits = TOO_FEW
    elif not verdict["ComparedWithScans"]:
        suits = ALONE
    else:
        suits = "the network suits this scan" if found else UNTRIED
    kind = {SUITS: suits, UNUSUAL: "unusual for this network", REFUSE: "do not use this network on this scan"}
    why = f", because {verdict['Because'][0]}" if verdict["Because"] else ""
    more = f" (and {len(verdict['Because']) - 1} more)" if len(verdict["Because"]) > 1 else ""
    return f"trust: {kind[verdict['Kind']]}{why}{more}; {_hold_out(record)}{_error(record['Error'])}"


def _hold_out(record: dict[str, Any]) -> str:
    found = record["HoldOut"]
    if found is None:
        return f"hold-out check: not made, since {record['Why']}"
    explained = {name: "no share" if x is None else _percent(x) for name, x in found["Explained"].items()}
    lines = sum(map(len, found["LinesKeptBack"]))
    others = [f"{name} {share}" for name, share in explained.items() if name not in (NETWORK, BLANK)]
    blank = f"; with a blank auxiliary {explained[BLANK]}" if BLANK in explained else ""
    return (
        f"hold-out check: {lines} measured lines kept back, and the network explains {explained[NETWORK]} of their "
        f"energy ({_before(found)}{', '.join(others)}, nothing at all 0%{blank})"
    )


def _before(found: dict[str, Any]) -> str:
    """What the network reached elsewhere: on its test patients, else on the scans that it knows."""
    if test := found.get("OfTestPatients"):
        return f"on its test patients {_percent(test['Least'])} to {_percent(test['Most'])}; "
    if known := found.get("OfKnownScans"):
        return f"of known scans {_percent(known['Mean'])}, at least {_percent(known['Least'])}; "
    return ""


def _percent(share: float) -> str:
    return f"{round(share, 2) + 0.0:.0%}"


def _error(told: dict[str, Any] | None) -> str:
    if told is None:
        return ""
    share = f"{told['MeanInHead']:.1%} of the head's brightness on average"
    if not told["Calibrated"]:
        return f"; expected error {share}, not calibrated"
    rate = told["Calibration"]["rate"]
    return f"; error below a bound that is {share} (for {rate:.0%} of voxels, in {rate:.0%} of patients)"
