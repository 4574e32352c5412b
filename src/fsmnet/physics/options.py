"""Options of masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fsmnet.options import option
from fsmnet.physics.masks import BRATS_SEED, MaskKind, MaskRecipe, default_center_fraction


@dataclass(kw_only=True)
class MaskOptions:
    """How k-space is under-sampled."""

    acceleration: float = option(4, "requested acceleration")
    mask_kind: MaskKind | None = option(
        None, "kind of mask; by default the protocol's (BraTS 4x random, 8x equispaced)"
    )
    center_fraction: float | None = option(None, "share of columns always kept in the middle; default: the protocol's")
    mask_seed: int | Literal["name"] | None = option(
        None, "seed of the mask, or 'name' for one mask per file from its name; default: 1337 (brats), name (others)"
    )

    def mask_recipe(self, protocol: str) -> MaskRecipe:
        """The recipe in force: given options over the protocol's."""
        equispaced = protocol == "brats" and self.acceleration == 8 and self.center_fraction is None
        kind: MaskKind = self.mask_kind or ("equispaced_fraction" if equispaced else "random")
        center = self.center_fraction
        if center is None:
            brats_4x = protocol == "brats" and self.acceleration == 4
            center = 0.10 if brats_4x else default_center_fraction(self.acceleration)
        seed = self.mask_seed if self.mask_seed is not None else (BRATS_SEED if protocol == "brats" else "name")
        return MaskRecipe(kind, float(self.acceleration), center, seed)
