"""Is this the network for this scan? What a network was made for, in one line, against what is known of the scan.

What a network was made for stands in the header of its checkpoint. What a scan is comes from what is said of it
(:mod:`fsmnet.data.contrast`) and from how it looks (:mod:`fsmnet.data.appearance`). What is said and does not fit is
refused, since a network makes of any contrast a plausible picture of its own; what only looks so is warned of.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from fsmnet.checkpoint import Header, header_of, trained_recipe, trained_split
from fsmnet.data.appearance import FLUID
from fsmnet.data.contrast import ScanFacts, contrast_of, spoken
from fsmnet.errors import UserError
from fsmnet.models import takes_acquisition
from fsmnet.physics.masks import MASK_KINDS, Mask

logger = logging.getLogger(__name__)

ANY, NONE = "any", "none"
HEADS = {"stripped": "skull-stripped heads", "whole": "heads with skull", "both": "heads with and without skull"}
ASKED, ACHIEVED = 1.05, 1.25  # accelerations within this factor are one: what was asked for, what a mask comes to


@dataclass(frozen=True)
class Purpose:
    """What a network was made for; empty where its checkpoint does not say.

    Attributes:
        target: contrasts it reconstructs, in the words of :mod:`fsmnet.data.contrast`, or ``any``.
        auxiliary: contrasts that help it, or ``any``; ``none`` among them if it does without, too.
        accelerations: those it was trained with.
        between: whether it was made for all accelerations from the least to the most of them.
        kinds: of masks.
        heads: a key of :data:`HEADS`.
        protocol: of its training.
        patients: how many it was trained on; 0 if that is not known.
    """

    target: tuple[str, ...] = ()
    auxiliary: tuple[str, ...] = ()
    accelerations: tuple[float, ...] = ()
    between: bool = False
    kinds: tuple[str, ...] = ()
    heads: str = ""
    protocol: str = ""
    patients: int = 0

    def __str__(self) -> str:
        """In one line."""
        parts = [
            self.pair() or "contrasts not known",
            f"{self.speeds()} {' or '.join(self.kinds)}".strip(),
            HEADS.get(self.heads, ""),
            self.protocol and f"protocol {self.protocol}",
            self.patients and f"trained on {self.patients} patient{'s' * (self.patients != 1)}",
        ]
        told = self.target or self.accelerations or self.protocol
        return ", ".join(part for part in parts if part) if told else "its checkpoint does not say what it is for"

    def pair(self) -> str:
        """The contrasts in words."""
        with_auxiliary = f" with {_listed(self.auxiliary, 'any other')}" if self.auxiliary else ""
        return _listed(self.target) + with_auxiliary

    def speeds(self) -> str:
        """The accelerations in words."""
        numbers = [f"{acceleration:g}" for acceleration in self.accelerations]
        if self.between:
            return f"{numbers[0]} to {numbers[-1]}x"
        return " or ".join(f"{number}x" for number in numbers)

    def takes(self, role: str, name: str) -> bool:
        """Whether a contrast fits as ``target`` or ``auxiliary``; so does everything where nothing is known."""
        made = getattr(self, role)
        return not made or not name or ANY in made or name in made


def _listed(names: Iterable[str], anything: str = "any contrast") -> str:
    words = [anything if name == ANY else NONE if name == NONE else spoken(name) for name in names]
    return " or ".join(([", ".join(words[:-1])] if words[1:] else []) + words[-1:])


def purpose_of(model: nn.Module) -> Purpose:
    """What a loaded network was made for."""
    header, recipe, split = header_of(model), trained_recipe(model), trained_split(model)
    auxiliary = _names(header, "auxiliary")
    accelerations: tuple[float, ...] = ()
    if recipe is not None:
        accelerations = recipe.span or tuple(sorted({a for a, _ in recipe.mixed} or {recipe.acceleration}))
    return Purpose(
        target=_names(header, "target"),
        auxiliary=(*auxiliary, NONE) if auxiliary and takes_acquisition(model) else auxiliary,
        accelerations=accelerations,
        between=recipe is not None and recipe.span is not None,
        kinds=(recipe.kind,) if recipe is not None and recipe.span is None else (),
        heads=header.heads,
        protocol=header.protocol,
        patients=len({split.patient(case) for case in split.sides()["train"]}) if split is not None else 0,
    )


def _names(header: Header, role: str) -> tuple[str, ...]:
    told = header.contrasts.get(role, [])
    names = told.split(",") if isinstance(told, str) and "{" not in told else [told] if isinstance(told, str) else told
    found = (name if name in (ANY, NONE) else contrast_of(name) or name for name in map(_plain, names))
    return tuple(name for name in dict.fromkeys(found) if "{" not in name)  # a pattern may tell nothing


def _plain(name: str) -> str:
    return name.strip().lower()


@dataclass(frozen=True)
class Suitability:
    """Whether a network suits a scan.

    Attributes:
        purpose: what the network was made for.
        target: what is known of the target.
        auxiliary: what is known of the auxiliary; None without one.
        refusals: why it must not be used, in sentences.
        doubts: what speaks against it, likewise.
        anyway: whether the user wants it all the same.
    """

    purpose: Purpose
    target: ScanFacts
    auxiliary: ScanFacts | None
    refusals: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    anyway: bool = False

    def enforce(self) -> Suitability:
        """Warn of doubts; refuse, or warn where the user wants it anyway.

        Raises:
            UserError: a scan that the network was not made for.
        """
        self.refuse()
        for sentence in (*self.refusals, *self.doubts):
            logger.warning("%s", sentence)
        return self

    def refuse(self, where: str = "") -> None:
        """Refuse alone; ``where`` comes first in the sentence.

        Raises:
            UserError: a scan that the network was not made for, unless the user wants it anyway.
        """
        if self.refusals and not self.anyway:
            raise UserError(f"{where}{self.refusals[0]}, or pass --anyway")

    def doubting(self, *sentences: str) -> Suitability:
        """The same with more doubts, which are warned of."""
        for sentence in sentences:
            logger.warning("%s", sentence)
        return replace(self, doubts=(*self.doubts, *sentences))

    def record(self) -> dict[str, Any]:
        """What the record of a result says of it."""
        scans = {"Target": self.target} | ({} if self.auxiliary is None else {"Auxiliary": self.auxiliary})
        record: dict[str, Any] = {"MadeFor": str(self.purpose)}
        for role, facts in scans.items():
            record[role] = facts.contrast.name or None
            record[f"{role}Said"] = facts.contrast.source or None
            record[f"{role}Looks"] = asdict(facts.looks)
        return record | {"NotMadeForIt": list(self.refusals), "Doubts": list(self.doubts)}


def suitability(purpose: Purpose, target: ScanFacts, auxiliary: ScanFacts | None, anyway: bool = False) -> Suitability:
    """Compare a network with a scan; nothing is refused or logged yet."""
    refusals = _swapped(purpose, target, auxiliary)
    doubts = []
    for role, facts in (("target", target), ("auxiliary", auxiliary)):
        if facts is None:
            continue
        if facts.contrast.against:
            doubts.append(
                f"{facts.name}: {spoken(facts.contrast.name)} {facts.contrast.source}, {facts.contrast.against}"
            )
        if purpose.takes(role, facts.contrast.name):
            doubts += _looks(purpose, role, facts)
        elif role == "auxiliary" and {facts.contrast.name, *purpose.auxiliary} == {"t1", "t1ce"}:
            doubts.append(f"{_is(facts)}; the network was made for {purpose}")
        elif not refusals:
            refusals.append(_other(purpose, role, facts))
    doubts += _head(purpose, target, auxiliary)
    return Suitability(purpose, target, auxiliary, tuple(refusals), tuple(doubts), anyway=anyway)


def _is(facts: ScanFacts) -> str:
    return f"{facts.name}: is {spoken(facts.contrast.name)} ({facts.contrast.source})"


def _swapped(purpose: Purpose, target: ScanFacts, auxiliary: ScanFacts | None) -> list[str]:
    if auxiliary is None:
        return []
    names = target.contrast.name, auxiliary.contrast.name
    there = all(names) and not purpose.takes("target", names[0]) and not purpose.takes("auxiliary", names[1])
    if not (there and names[1] in purpose.target and names[0] in purpose.auxiliary):
        return []
    said = f"the target is {spoken(names[0])} and the auxiliary {spoken(names[1])}"
    remedy = f"the wrong way round for a network of {purpose.pair()}; exchange --target and --auxiliary"
    return [f"{target.name}: {said}, {remedy}"]


def _other(purpose: Purpose, role: str, facts: ScanFacts) -> str:
    made, name = _listed(getattr(purpose, role)), spoken(facts.contrast.name)
    wrong = f", and makes whatever it gets look like {made}" if role == "target" else ""
    remedy = f"give {made} as the {role}, take a network for {name}, say what it is by --{role}-contrast"
    return f"{_is(facts)}, but the network was made for {purpose.pair()}{wrong}; {remedy}"


def _looks(purpose: Purpose, role: str, facts: ScanFacts) -> list[str]:
    """What the image shows against what is said, or against the purpose where nothing is."""
    looks, name = facts.looks.contrasts(), facts.contrast.name
    made = getattr(purpose, role)
    shows = f"its fluid is {facts.looks.fluid}, as in {_listed(looks)}" if looks else ""
    if name:
        return [f"{_is(facts)}, but {shows}"] if name in FLUID and looks and name not in looks else []
    if not made or ANY in made or (looks and set(looks) <= set(made)):
        return []
    remedy = f"say what it is by --{role}-contrast"
    if looks and set(made) <= set(FLUID) and not set(looks) & set(made):
        return [f"{facts.name}: {shows}, and the network was made for {purpose.pair()}; {remedy}"]
    return [f"{facts.name}: nothing tells its contrast, and the network was made for {purpose.pair()}; {remedy}"]


def _head(purpose: Purpose, target: ScanFacts, auxiliary: ScanFacts | None) -> list[str]:
    """A skull where the network saw none, or none where it always saw one."""
    heads = {facts.looks.head for facts in (target, auxiliary) if facts is not None} - {"unknown"}
    if purpose.heads not in ("stripped", "whole") or len(heads) != 1 or purpose.heads in heads:
        return []
    kind = "a head with skull" if purpose.heads == "stripped" else "a skull-stripped head"
    return [f"{target.name}: shows {kind}, and the network saw only {HEADS[purpose.heads]}"]


def mask_doubts(purpose: Purpose, mask: Mask) -> list[str]:
    """Another acceleration or another kind of mask than the network was trained with, in a sentence."""
    if not purpose.accelerations:
        return []
    given = mask.acceleration or mask.achieved_acceleration
    near = ASKED if mask.acceleration else ACHIEVED
    if purpose.between:
        fits = purpose.accelerations[0] / near <= given <= purpose.accelerations[-1] * near
    else:
        fits = any(abs(math.log(given / one)) <= math.log(near) for one in purpose.accelerations)
    kind = mask.kind if mask.kind in MASK_KINDS else _kind(mask, purpose)
    if not kind or not purpose.kinds or kind in purpose.kinds:
        return [] if fits else [f"the network was trained for {purpose.speeds()}, not {given:.3g}x"]
    return [f"the network was trained for {purpose.speeds()} {' or '.join(purpose.kinds)}, not {given:.3g}x {kind}"]


def _kind(mask: Mask, purpose: Purpose) -> str:
    """Of a mask that does not say it: ``random`` or ``evenly spaced``, where that is not what the network knows."""
    acquired = np.flatnonzero(mask.columns)
    gaps = np.diff(acquired)
    outer = gaps[gaps > 1]
    if outer.size < 4:
        return ""
    even = int(outer.max() - outer.min()) <= 1 < outer.min()
    knows = {kind == "random" for kind in purpose.kinds}
    return "" if (not even) in knows else "evenly spaced" if even else "random"
