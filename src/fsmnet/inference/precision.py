"""``--precision auto``: both precisions timed once on the processor at hand, on a strip of the scan at hand.

What a processor has in hardware does not tell which is faster: some of PyTorch's bfloat16 convolutions are many times
slower than float32's, by their shape, version and processor. So what tells is the network itself on some rows of a
slice. Where a processor has no bfloat16 in hardware, or all slices take no longer than the question, it is float32.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fsmnet.inference.optimise import Precision, optimise
from fsmnet.inference.options import PrecisionChoice
from fsmnet.models.output import Output, as_output
from fsmnet.physics.acquisition import Acquisition

ROWS = 48  # of the strip
WORTH_ASKING = 2.0  # seconds that all slices take
ENOUGH = 0.8  # of float32's time; what is saved must be worth the rounding, and more than the clock's chance


class Choice(NamedTuple):
    """A precision, and in words why it was taken."""

    precision: Precision
    why: str


LITTLE = Choice("float32", "too little work to choose for")


class FasterPrecision(nn.Module):
    """A network for inference, optimised in the precision that is faster for the slices it meets.

    It is asked once for every size of slices (:meth:`settle`), and remembered.

    Attributes:
        choice: of the slices it met last.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._plain = model.eval()
        self._fast: dict[Precision, nn.Module] = {}
        self._known: dict[tuple[int, ...], Choice] = {}
        self.choice = Choice("float32", "no slice was computed")
        for name in ("recipe", "header", "takes"):
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))

    def forward(self, target: Tensor | Acquisition, auxiliary: Tensor | None) -> Output:
        """As the network's own, in the precision that was settled."""
        return as_output(self._in(self.choice.precision)(target, auxiliary))

    def settle(self, target: Tensor | Acquisition, auxiliary: Tensor | None, slices: int) -> Choice:
        """Choose for slices like these.

        Args:
            target: one slice as the network takes it, ``(1, 1, H, W)`` or lines ``(1, C, H, W)``.
            auxiliary: ``(1, 1, H, W)`` or None.
            slices: how many there will be.
        """
        size = (*target.shape[-2:], 0 if auxiliary is None else 1)
        if size in self._known:
            self.choice = self._known[size]
        elif not in_hardware(target.device):
            self.choice = self._known[size] = Choice("float32", "the processor has no bfloat16 in hardware")
        elif target.device.type != "cpu":
            self.choice = self._known[size] = Choice("bfloat16", "the GPU has it in hardware")
        else:
            self.choice = self._timed(target, auxiliary, slices)
            if self.choice is not LITTLE:  # another time there may be more
                self._known[size] = self.choice
        return self.choice

    def _in(self, precision: Precision) -> nn.Module:
        if precision not in self._fast:
            self._fast[precision] = optimise(self._plain, precision)
        return self._fast[precision]

    def _timed(self, target: Tensor | Acquisition, auxiliary: Tensor | None, slices: int) -> Choice:
        height = target.shape[-2]
        rows = slice(max(0, (height - ROWS) // 2), (height + ROWS) // 2)
        part = target.rows(rows) if isinstance(target, Acquisition) else target[..., rows, :]
        helper = None if auxiliary is None else auxiliary[..., rows, :]
        share = part.shape[-2] / height

        def seconds(precision: Precision, passes: int) -> float:
            return least_seconds(lambda: self._in(precision)(part, helper), passes) / share

        full = seconds("float32", 2)  # of which the first sets libraries up
        if full * slices < WORTH_ASKING:
            return LITTLE
        half = seconds("bfloat16", 3)
        full = min(full, seconds("float32", 1))
        precision: Precision = "bfloat16" if half < ENOUGH * full else "float32"
        self._fast = {precision: self._fast[precision]}
        return Choice(precision, f"timed on {part.shape[-2]} rows: float32 {full:.3f} s a slice, bfloat16 {half:.3f} s")


def least_seconds(compute: Callable[[], object], passes: int) -> float:
    """The shortest of some passes, by the clock; the first of them may be longer for good."""
    times = []
    with torch.inference_mode():
        for _ in range(passes):
            started = time.perf_counter()
            compute()
            times.append(time.perf_counter() - started)
    return min(times)


def for_inference(model: nn.Module, precision: PrecisionChoice, optimised: bool = True) -> tuple[nn.Module, Precision]:
    """A model as it will compute, and the precision of the region around it.

    Args:
        model: on its device.
        precision: ``auto`` is what :class:`FasterPrecision` finds, and float32 for a network left as it is.
        optimised: whether :func:`fsmnet.inference.optimise.optimise` may work on a copy of it.
    """
    if not optimised:
        return model, "float32" if precision == "auto" else precision
    if precision == "auto":
        return FasterPrecision(model), "float32"  # its own region is inside
    return optimise(model, precision), precision


def choice_of(model: nn.Module, precision: Precision) -> Choice:
    """The precision that a model of :func:`for_inference` computed in, and why."""
    return model.choice if isinstance(model, FasterPrecision) else Choice(precision, "as the options say")


def in_hardware(device: torch.device) -> bool:
    """Whether a device multiplies matrices of bfloat16 in hardware; else there is nothing to ask."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags: Any = torch.cpu
    return device.type == "cpu" and bool(flags._is_amx_tile_supported() or flags._is_avx512_bf16_supported())
