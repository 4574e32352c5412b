"""Protocol ``brats``: the paper's for the brain, as far as it can be reconstructed.

Slices of 240 x 240 in 8 bits, one fixed mask for all, every slice scored in 8 bits.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from fsmnet.metrics import Metrics, slice_metrics
from fsmnet.physics.fourier import brats_undersample
from fsmnet.physics.masks import Mask, MaskKind, MaskRecipe, default_center_fraction
from fsmnet.physics.options import MaskOptions
from fsmnet.protocols.base import given_over
from fsmnet.protocols.volumes import CHUNK, LEAK, Seeds, VolumeProtocol
from fsmnet.transforms import CLIP, NormalisationRecipe, center_fit

SIZE = 240
SEED = 1337


class Brats(VolumeProtocol):
    """Images are truncated to 8 bits wherever the released data set stores them so."""

    name = "brats"
    unit: Literal["slice", "volume"] = "slice"
    caveat = LEAK
    normalisation = NormalisationRecipe(clip_target=CLIP)

    def mask_recipe(self, options: MaskOptions) -> MaskRecipe:
        """One mask: 4x random with centre 0.10, 8x equispaced with centre 0.04, seed 1337.

        Other accelerations are not in the protocol; they get a random mask with fastMRI's centre (0.32 / acceleration).
        """
        center = 0.10 if options.acceleration == 4 else default_center_fraction(options.acceleration)
        equispaced = options.acceleration == 8 and options.center_fraction is None
        kind: MaskKind = "equispaced_fraction" if equispaced else "random"
        return given_over(kind, center, SEED, options)

    def frame(self, volume: Tensor) -> Tensor:
        """The centre of 240 x 240: zeros around where a volume is smaller, cropped where larger."""
        return center_fit(volume, SIZE, SIZE)

    def precision(self, image: Tensor) -> Tensor:
        """8 bits, uint8."""
        return to_8_bit(image)

    def zero_fill(self, target: Tensor, mask: Tensor, seeds: Seeds = ()) -> Tensor:
        """Zero-filled magnitude by the released code's own transform, in 8 bits again (uint8)."""
        grey = (part.double() / 255 if part.dtype == torch.uint8 else part.double() for part in target.split(CHUNK))
        return torch.cat([to_8_bit(brats_undersample(part, mask)) for part in grey])

    def finish(self, image: Tensor) -> Tensor:
        """8 bits, uint8."""
        return to_8_bit(image)

    def data_range(self, reference: Tensor) -> float:
        """That of 8 bits."""
        return 255

    def score(self, reference: Tensor, image: Tensor) -> list[Metrics]:
        """Metrics of each slice in 8 bits."""
        return [slice_metrics(one, other) for one, other in zip(reference.numpy(), image.numpy(), strict=True)]


BRATS = Brats()


def to_8_bit(image: Tensor) -> Tensor:
    """``floor(255 v)`` of values limited to [0, 1], uint8: truncated, as the released code does, not rounded."""
    return (image.clamp(0, 1) * 255).floor().to(torch.uint8)


def brats_mask(acceleration: float, columns: int = SIZE) -> Mask:
    """The one mask of the protocol, see :meth:`Brats.mask_recipe`."""
    return BRATS.mask_recipe(MaskOptions(acceleration=acceleration)).draw(columns, "")
