"""A state dict out of what ``torch.save`` wrote, however deep it lies and whatever wrappers have put before its names.

Files are read with ``weights_only``: nothing in them is executed. What kind of file it is is told by its content.
"""

from __future__ import annotations

import logging
import os
import re
import zipfile
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from fsmnet.errors import UserError, first_line, listed

logger = logging.getLogger(__name__)

# Where trainers put a network's weights. The first of these that is there is taken, averaged weights before the others.
NAMES = (
    "params_ema", "model_ema", "ema_state_dict", "state_dict_ema", "ema",
    "network", "model", "state_dict", "model_state_dict", "model_state", "net", "params", "weights", "generator",
    "netg", "module", "shadow",
)  # fmt: skip
# What is no network though it may hold tensors by name.
_BESIDE = re.compile(r"optim|sched|scaler|rng|callback|discriminator|netd$|loops|loss|config|args|hyper", re.IGNORECASE)
# DataParallel, torch.compile, DeepSpeed, Lightning modules and methods of the released networks.
PREFIXES = ("module.", "_forward_module.", "network.", "rec_model.", "model.", "net.", "generator.")
_WRAPPED = re.compile(r"_(orig_mod|fsdp_wrapped_module|checkpoint_wrapped_module)\.")  # anywhere in a name
_DEPTH = 4


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors does: the length of a JSON text, and its brace."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size


def is_torch(path: Path) -> bool:
    """Whether a file begins as those of ``torch.save`` do: a zip archive, or before 2020 a pickle."""
    with path.open("rb") as file:
        return file.read(4).startswith((b"PK\3\4", b"\x80\2"))


def load_tensors(file: IO[bytes]) -> Any:
    """What ``torch.save`` wrote, if it is made of tensors and plain values.

    ``torch.save`` stores its entries as they are; a packed one, or one that is there twice, could unpack to any amount
    of memory, and is refused.

    Raises:
        Exception: of many kinds, it is no such file.
    """
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
        stored = sum(entry.file_size for entry in entries)
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or stored > file.seek(0, os.SEEK_END):
            raise ValueError("its entries are packed, as those of torch.save are not")
    file.seek(0)
    return torch.load(file, map_location="cpu", weights_only=True)


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a file of ``torch.save``.

    Raises:
        UserError: no such file, not to be read without executing something, or no state dict in it.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint file")
    try:
        with torch.serialization.safe_globals(_HARMLESS), path.open("rb") as file:  # of a path torch sees the ending
            source = load_tensors(file)
    except Exception as error:  # torch raises many kinds for a damaged or unsafe file
        # The rest of torch's text advises to load it unsafely.
        unsafe = re.search(r"GLOBAL ([\w.]+)", str(error))
        first = f"it holds a {unsafe[1]}" if unsafe else first_line(error).split(".")[0]
        save = "save its state dict alone, torch.save(model.state_dict(), ...), where it was made"
        remedy = save if unsafe else "give a checkpoint of 'fsmnet train'"
        raise UserError(f"{path}: not a PyTorch checkpoint that can be read safely ({first}); {remedy}") from None
    return state_of(source, path)


def state_of(source: Any, name: object = "the checkpoint") -> dict[str, Tensor]:
    """The state dict in what was loaded: at the top, or below the names that trainers give it.

    Raises:
        UserError: none, or several among which no name tells.
    """
    found = dict(_states(source))
    if not found:
        raise UserError(f"{name}: neither a state dict nor {{'network': state dict}}")
    places = sorted(found, key=_rank)
    if len(places) > 1 and _rank(places[0]) == _rank(places[1]):
        told = listed([".".join(place) or "its top" for place in places])
        raise UserError(f"{name}: holds several state dicts ({told}); save the one that is meant on its own")
    if len(places) > 1:
        others = listed([".".join(place) or "its top" for place in places[1:]])
        logger.warning("%s: the weights in %s are taken; it also holds %s", name, ".".join(places[0]), others)
    return _without_prefixes(found[places[0]])


def _states(source: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Every mapping from names to tensors, and where it lies."""
    if not isinstance(source, Mapping) or len(place) > _DEPTH:
        return
    inner = {key: value for key, value in source.items() if isinstance(value, Mapping)}
    tensors = {key: value for key, value in source.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if tensors and (not inner or any("." in name for name in tensors)):  # else a step or a score beside the state dict
        yield place, tensors
    for key, value in inner.items():
        if isinstance(key, str) and not _BESIDE.search(key):
            yield from _states(value, (*place, key))


def _rank(place: tuple[str, ...]) -> tuple[int, int]:
    names = [NAMES.index(part.lower()) for part in place if part.lower() in NAMES]
    return min(names, default=len(NAMES) if place else -1), len(place)


def _without_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without what DataParallel, torch.compile and others have put before them."""
    counts = ("total_ops", "total_params")  # which thop leaves in every module
    found = {_WRAPPED.sub("", name): tensor for name, tensor in state.items() if not name.endswith(counts)}
    while prefix := next((one for one in PREFIXES if any(name.startswith(one) for name in found)), ""):
        found = {name.removeprefix(prefix): tensor for name, tensor in found.items() if name.startswith(prefix)}
    return found


# Beside numbers and tensors, checkpoints commonly hold the options and a score as NumPy gives it.
_SCALAR = np.float64(0).__reduce__()[0]  # the function has had two names
_HARMLESS: list[Any] = [
    Namespace,
    np.dtype,
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    *{type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "bool")},
]
