"""Are the networks that are scored for these scans? Refused or told as in ``reconstruct``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from fsmnet.checkpoint import header_of
from fsmnet.data.appearance import UNKNOWN, appearance
from fsmnet.data.contrast import Contrast, ScanFacts, contrast_of
from fsmnet.evaluation.options import EvaluateConfig
from fsmnet.inference.suitability import purpose_of, suitability
from fsmnet.protocols.base import Protocol
from fsmnet.protocols.cases import Case, Slices

logger = logging.getLogger(__name__)


class Purposes:
    """What the scored networks were made for, and what is said of them; each doubt once, at the first case.

    Args:
        config: contrasts, and whether networks are scored anyway.
        protocol: of the scores.
        models: by name; those without weights are for everything.
    """

    def __init__(self, config: EvaluateConfig, protocol: Protocol[Any], models: Mapping[str, nn.Module]) -> None:
        self.config = config
        self.protocol = protocol
        self.of = {name: purpose_of(model) for name, model in models.items() if header_of(model).model}
        self.doubts: dict[str, list[str]] = {name: [] for name in self.of}
        self.told = False

    def find(self, case: Case, slices: Slices) -> dict[str, list[str]]:
        """Compare all networks with a case: by name why one may not be for it.

        Raises:
            UserError: a network that was not made for it, unless it is wanted anyway.
        """
        doubts: dict[str, list[str]] = {}
        names = self.protocol.contrasts(self.config, [case])
        scans = {"target": slices.target, "auxiliary": slices.auxiliary}
        for model, purpose in self.of.items():
            facts = {}
            for role, image in scans.items():
                option = f"by --{role}-contrast"
                name = getattr(self.config, f"{role}_contrast")
                if name is None:
                    name, option = names.get(role, ""), f"by --{role}"
                known = self.protocol.measured or name.lower() in getattr(purpose, role)
                said = contrast_of(name) or (name.lower() if known else "")
                looks = UNKNOWN if self.protocol.measured else appearance(image.numpy())
                facts[role] = ScanFacts(f"the {role}", Contrast(said, option), looks)
            found = suitability(purpose, facts["target"], facts["auxiliary"], self.config.anyway)
            found.refuse(f"{model}: {case.case}, ")
            doubts[model] = [*found.refusals, *found.doubts]
        return doubts

    def tell(self, case: str, doubts: Mapping[str, Sequence[str]]) -> None:
        """Say what was found of a case, as far as it is new; before, what each network was made for."""
        if not self.told:  # once nothing else is refused
            for name, purpose in self.of.items():
                logger.info("network %s: %s", name, purpose)
            self.told = True
        for model, sentences in doubts.items():
            for sentence in sentences:
                if sentence not in self.doubts[model]:
                    self.doubts[model].append(sentence)
                    logger.warning("%s: %s, %s", model, case, sentence)

    def summary(self, model: str) -> dict[str, Any]:
        """What ``summary.json`` says of a model; nothing of one without weights."""
        return {"made_for": str(self.of[model]), "doubts": self.doubts[model]} if model in self.of else {}
