"""What every model returns."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from fsmnet.errors import UserError


class Output(NamedTuple):
    """What a model returns.

    Attributes:
        image: reconstruction ``(B, 1, H, W)``, normalised like the target that went in; of a k-space model complex, in
            the acquisition's units.
        frequency_image: a second estimate from a frequency branch, supervised in training only; None without one.
        auxiliary_image: the auxiliary as the model reconstructs it, which some originals supervise too; None without.
        iterates: in training the image after each step of an unrolled network, the last one included.
    """

    image: Tensor
    frequency_image: Tensor | None = None
    auxiliary_image: Tensor | None = None
    iterates: tuple[Tensor, ...] = ()


def as_output(returned: Any, target: Tensor | None = None) -> Output:
    """What a model returned, as an :class:`Output`; a plain tensor is the image.

    A model from outside this package need not know :class:`Output`.

    Args:
        returned: the image, or the image and what follows it in an :class:`Output`.
        target: what the model was given, ``(B, 1, H, W)``; None where nobody compares.

    Raises:
        UserError: no image, or one of another shape than the target, which a loss would not notice.
    """
    output = Output(*returned) if isinstance(returned, tuple) else Output(returned)
    if not isinstance(output.image, Tensor):
        raise UserError(f"the model returned a {type(returned).__name__}; return the image, a tensor, or an Output")
    if target is not None and output.image.shape != target.shape:
        raise UserError(
            f"the model returned an image of shape {tuple(output.image.shape)} for a target of {tuple(target.shape)}; "
            "return one of the target's shape"
        )
    return output
