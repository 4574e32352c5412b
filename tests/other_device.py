"""A GPU for machines without one: tensors that say they lie elsewhere, and refuse to meet those of the processor.

Their values are computed on the processor, so that results can be compared to the bit, and code that asks for a value
gets it. PyTorch's own fake tensors have none, and need a PyTorch built for a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("meta")  # the one kind of device that every PyTorch has beside the processor
DOUBLE = (torch.float64, torch.complex128)
aten = torch.ops.aten
INDEXED = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)


class WrongDeviceError(AssertionError):
    """What a GPU would refuse."""


class Elsewhere(Tensor):
    """A tensor on :data:`GPU`, as far as anybody can tell; ``inner`` holds its values."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Elsewhere:
        place = (inner.shape, inner.stride(), inner.storage_offset())
        return Tensor._make_wrapper_subclass(cls, *place, dtype=inner.dtype, device=GPU)

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    def __repr__(self, **_: Any) -> str:
        return f"Elsewhere({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return computed(function, args, kwargs or {})


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return computed(function, args, kwargs or {})


class _Made(TorchFunctionMode):
    """Tensors made of numbers and numbers of tensors, of which a dispatch mode is not told."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        made = function in (torch.tensor, torch.as_tensor) and not isinstance(args[0], Elsewhere)
        if made and kwargs.get("device") is not None and torch.device(kwargs["device"]) == GPU:
            return function(*args, **{**kwargs, "device": "cpu"}).to(GPU)
        if function is Tensor.tolist and isinstance(args[0], Elsewhere):
            return args[0].inner.tolist()
        return function(*args, **kwargs)


def computed(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One operation.

    Raises:
        WrongDeviceError: its tensors are on both devices, or it needs what not every GPU has.
    """
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = any(isinstance(tensor, Elsewhere) for tensor in tensors)
    if kwargs.get("device") is not None:
        there = torch.device(kwargs["device"]) == GPU
        if there and kwargs.get("generator") is not None:
            raise WrongDeviceError(f"{function}: a generator of the processor")
        kwargs = {**kwargs, "device": torch.device("cpu")}
    elif function is aten.copy_.default:
        there = isinstance(args[0], Elsewhere)
    elif there and not (function in INDEXED and isinstance(args[0], Elsewhere)):
        _check_together(function, tensors)
    inner_args, inner_kwargs = tree_map(lambda x: x.inner if isinstance(x, Elsewhere) else x, (args, kwargs))
    out = function(*inner_args, **inner_kwargs)
    if not there:
        return out
    if function._schema.is_mutable:
        return args[0] if isinstance(out, Tensor) else out
    return tree_map(_on_the_gpu, out)


def _check_together(function: Any, tensors: list[Tensor]) -> None:
    """A number may come from the processor, nothing larger."""
    if shapes := [tuple(one.shape) for one in tensors if not isinstance(one, Elsewhere) and one.dim()]:
        raise WrongDeviceError(f"{function}: tensors {shapes} are on the processor, others on the GPU")


def _on_the_gpu(out: Any) -> Any:
    if not isinstance(out, Tensor):
        return out
    if out.dtype in DOUBLE:
        raise WrongDeviceError("a tensor in double precision, which Apple's GPUs do not have")
    return Elsewhere(out.resolve_conj().resolve_neg())  # else the wrapper would be conjugated once more


class NoWaiting(TorchDispatchMode):
    """Region, within that of :func:`other_device`, in which the processor asks for nothing that the GPU computes."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        if any(isinstance(leaf, Elsewhere) for leaf in leaves):
            back = function is aten._to_copy.default and torch.device(kwargs.get("device") or GPU) != GPU
            back = back or (function is aten.copy_.default and not isinstance(args[0], Elsewhere))
            chosen = function in INDEXED and any(isinstance(x, Tensor) and x.dtype == torch.bool for x in leaves)
            if back or chosen or function in (aten._local_scalar_dense.default, aten.nonzero.default):
                raise WrongDeviceError(f"{function}: waits for the GPU")
        return function(*args, **kwargs)


@contextmanager
def other_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Region in which :data:`GPU` can be computed on, by its name too."""
    autocast = torch.autocast
    monkeypatch.setattr(
        torch, "autocast", lambda kind, **options: nullcontext() if kind == GPU.type else autocast(kind, **options)
    )
    # Wrapped tensors have no version counter that inference tensors could share.
    monkeypatch.setattr(torch, "inference_mode", lambda mode=True: torch.no_grad() if mode else nullcontext())
    monkeypatch.setattr("fsmnet.inference.device.free_memory", lambda device: 2**33)
    with _Made(), _Operations():
        yield GPU
