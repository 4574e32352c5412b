"""What every model returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """What a model returns.

    Attributes:
        image: reconstruction ``(B, 1, H, W)``, normalised like the target that went in.
        frequency_image: a second estimate from a frequency branch, supervised in training only; None without one.
        auxiliary_image: the auxiliary as the model reconstructs it, which some originals supervise too; None without.
    """

    image: Tensor
    frequency_image: Tensor | None = None
    auxiliary_image: Tensor | None = None


def as_output(returned: Output | Tensor) -> Output:
    """What a model returned, as an :class:`Output`; a plain tensor is the image.

    A model from outside this package need not know :class:`Output`.
    """
    return Output(returned) if isinstance(returned, Tensor) else Output(*returned)
