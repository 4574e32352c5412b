"""Zero-filling: the baseline every method is measured against."""

from __future__ import annotations

from torch import Tensor, nn

from fsmnet.models.output import Output


class ZeroFilling(nn.Module):
    """Returns the zero-filled target as it is; the auxiliary is ignored and nothing is learned."""

    def forward(self, target: Tensor, auxiliary: Tensor) -> Output:
        """``(B, 1, H, W)`` in, the same out."""
        return Output(target)
