"""Options of masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fsmnet.options import Options, option
from fsmnet.physics.masks import MASK_KINDS, MaskKind


@dataclass(kw_only=True)
class MaskOptions(Options, group="mask"):
    """How k-space is under-sampled."""

    acceleration: float = option(4, "requested acceleration")
    mask_kind: MaskKind | None = option(
        None,
        "random, equispaced, equispaced_fraction, magic, magic_fraction, or a kind from outside; by default the "
        "protocol's (BraTS 4x random, 8x equispaced)",
    )
    center_fraction: float | None = option(None, "share of columns always kept in the middle; default: the protocol's")
    mask_seed: int | Literal["name"] | None = option(
        None, "seed of the mask, or 'name' for one mask per file from its name; default: 1337 (brats), name (others)"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mask_kind is not None:
            MASK_KINDS.get(self.mask_kind)  # an unknown kind is said there


@dataclass(kw_only=True)
class TrainingMaskOptions(MaskOptions, group="mask"):
    """How the slices that a network is trained on are under-sampled: by one acceleration, or by several in turn."""

    mixed_accelerations: list[float] | None = option(
        None, "accelerations of which every training sample gets one, e.g. 4 8; null: always --acceleration"
    )
    mixed_center_fractions: list[float] | None = option(
        None, "center fraction of each of the mixed accelerations; default: fastMRI's, 0.32/acceleration"
    )
    acceleration_span: list[float] | None = option(
        None,
        "least and most acceleration, e.g. 2 12: every training sample gets one between, of a random or an evenly "
        "spaced mask; validation has --acceleration",
    )
