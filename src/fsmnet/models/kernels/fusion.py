"""Fast twins of what fuses contrasts and branches: the selection in one pass, the attention with its sum."""

from __future__ import annotations

import torch
from torch import Tensor

from fsmnet.models.blocks import SelectionScores, SelectiveFusion
from fsmnet.models.fast import BranchFusion, FullResolution, Selection
from fsmnet.models.fsmnet import FSFusion
from fsmnet.models.kernels.backward import join, select, written_out
from fsmnet.models.kernels.onednn import add, convolve
from fsmnet.models.released import ReleasedFSFusion


def selected(scores: SelectionScores, a: Tensor, b: Tensor, weighed: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Two ``(B, C, H, W)``, or two others in their place, weighted by their scores and added: one (Eq. 3-4)."""
    both = join(a, b)
    squeezed = scores.squeeze(both)
    if written_out(squeezed):
        return select(both if weighed is None else join(*weighed), scores.expand(squeezed))
    del both  # as wide as the scores that come now
    weights = convolve(scores.expand, squeezed, "sigmoid")
    del squeezed
    a, b = weighed or (a, b)
    weight_a, weight_b = weights.chunk(2, dim=1)
    return torch.addcmul(weight_a * a, weight_b, b)


class SelectiveFusionKernel(SelectiveFusion):
    """Scores and weighted sum at once."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Two ``(B, C, H, W)`` to one."""
        return selected(self.scores, self.conv_a(a), self.conv_b(b), None if self.weigh == "convolved" else (a, b))


class SelectionKernel(Selection):
    """Scores and weighted sum at once."""

    def mix(self, a: Tensor, b: Tensor) -> Tensor:
        """Two ``(B, C, H, W)`` to one."""
        return selected(self, a, b)


class FSFusionKernel(FSFusion):
    """Each sum in one pass with the attention before it."""

    def forward(self, spatial: Tensor, frequency: Tensor) -> tuple[Tensor, Tensor]:
        """Two ``(B, C, H, W)`` in, the next spatial and frequency features out."""
        if self.kind == "sum":
            return super().forward(spatial, frequency)
        enhanced_spatial = self.to_spatial(spatial, frequency, plus=spatial)
        enhanced_frequency = self.to_frequency(frequency, spatial, plus=frequency)
        return self.select(enhanced_spatial, enhanced_frequency), enhanced_frequency


class ReleasedFSFusionKernel(ReleasedFSFusion):
    """Each sum in one pass with the attention before it, scores and weighted sum at once."""

    def forward(self, frequency: Tensor, spatial: Tensor) -> Tensor:
        """Two ``(B, C, H, W)`` to the next spatial feature."""
        if self.kind == "sum":
            return super().forward(frequency, spatial)
        f, t = self.conv_frequency(frequency), self.conv_spatial(spatial)
        t = self.attention(t, f, plus=t)
        f = self.attention(f, t, plus=f)
        return selected(self.scores, t, f)


class BranchFusionKernel(BranchFusion):
    """Sums in place."""

    def forward(self, spatial: Tensor, frequency: Tensor) -> tuple[Tensor, Tensor]:
        """Two ``(B, C, H, W)`` in, the next spatial and frequency features out."""
        enhanced_spatial = add(self.to_spatial(spatial, frequency), spatial)
        enhanced_frequency = add(self.to_frequency(frequency, spatial), frequency)
        return self.select.mix(enhanced_spatial, enhanced_frequency), enhanced_frequency


class FullResolutionKernel(FullResolution):
    """A sum in place."""

    def forward(self, spatial: Tensor, images: Tensor) -> Tensor:
        """Features ``(B, inputs, H/2, W/2)`` and the two images ``(B, 2, H, W)`` to ``(B, 1, H, W)``."""
        residual: Tensor = self.tail(self.group(add(self.head(images), self.up(spatial))))
        return residual
