"""The verdict on a scan before it is reconstructed: is it for this network, and is it what ``--target-is`` says?"""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from fsmnet.inference.suitability import Suitability, purpose_of, suitability
from fsmnet.reconstruction.facts import PairFacts
from fsmnet.reconstruction.inputs import Inputs


def verdict(inputs: Inputs, model: nn.Module) -> Suitability:
    """Whether the network suits the scan, with warnings of what is doubtful.

    Raises:
        UserError: it does not, and the user does not want it anyway.
    """
    facts, config = inputs.facts, inputs.config
    found = suitability(purpose_of(model), facts.target, facts.auxiliary, config.anyway)
    wrong = []
    if config.target_is == "zero-filled":
        wrong = _nothing_missing(facts, turned=inputs.target.turned)
        found = replace(found, refusals=(*found.refusals, *wrong))
    elif config.kspace is None:
        found = replace(found, doubts=(*found.doubts, *_lines_missing(facts)))
    return found.enforce()


def _nothing_missing(facts: PairFacts, turned: bool) -> list[str]:
    """A target called zero-filled whose k-space is whole: the network would take its detail for artefacts."""
    if facts.along != "complete":
        return []
    text = f"{facts.target.name}: is not zero-filled, no line of its k-space is missing along the phase-encode axis"
    if facts.across == "missing":
        return [f"{text}, but along the other; pass --phase-encode {'columns' if turned else 'rows'}"]
    return [f"{text}; leave --target-is out for a retrospective experiment"]


def _lines_missing(facts: PairFacts) -> list[str]:
    """A target called full that lacks lines already: its reference would be the degraded image."""
    axes = [name for name, lines in (("columns", facts.along), ("rows", facts.across)) if lines == "missing"]
    if not axes:
        return []
    name, remedy = facts.target.name, "if it is zero-filled, pass --target-is zero-filled"
    what = f"lines of its k-space are missing already, along its {axes[0]} as they were read"
    return [f"{name}: {what}; it is no full scan, and scores against it mean little; {remedy}"]
