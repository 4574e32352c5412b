"""Options of masks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from fsmnet.errors import UserError
from fsmnet.options import Options, option
from fsmnet.physics.masks import BRATS_SEED, MaskKind, MaskRecipe, default_center_fraction


@dataclass(kw_only=True)
class MaskOptions(Options, group="mask"):
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


@dataclass(kw_only=True)
class TrainingMaskOptions(MaskOptions, group="mask"):
    """How the slices that a network is trained on are under-sampled: by one acceleration, or by several in turn."""

    mixed_accelerations: list[float] | None = option(
        None, "accelerations of which every training sample gets one, e.g. 4 8; null: always --acceleration"
    )
    mixed_center_fractions: list[float] | None = option(
        None, "center fraction of each of the mixed accelerations; default: fastMRI's, 0.32/acceleration"
    )

    def training_recipe(self, protocol: str) -> MaskRecipe:
        """The recipe in force, with the mixed accelerations of training.

        Raises:
            UserError: lists that do not fit each other, or a mask seed that gives every sample the same mask.
        """
        recipe = self.mask_recipe(protocol)
        accelerations, centers = self.mixed_accelerations or [], self.mixed_center_fractions
        if centers is None:
            centers = [default_center_fraction(acceleration) for acceleration in accelerations]
        if len(centers) != len(accelerations):
            raise UserError(
                f"mixed_center_fractions has {len(centers)} values, mixed_accelerations {len(accelerations)}; give as "
                "many"
            )
        if accelerations and recipe.seed != "name":
            raise UserError("mixed_accelerations need a new mask for every sample; set mask_seed to name")
        return replace(recipe, mixed=tuple(zip(map(float, accelerations), map(float, centers), strict=True)))
