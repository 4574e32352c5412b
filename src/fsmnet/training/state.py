"""What a run keeps: weights to use, and the state to go on from; each file whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from fsmnet.checkpoint import Header, save_checkpoint, versions
from fsmnet.data.split import Split, as_document, split_from
from fsmnet.errors import UserError, first_line, listed
from fsmnet.files import atomic_write, parse_json
from fsmnet.models.torch_weights import load_tensors
from fsmnet.options import changed_options, plain_config, portable_config
from fsmnet.training.data import TrainingData
from fsmnet.training.options import TrainConfig
from fsmnet.training.schedule import Progress
from fsmnet.training.setup import Setup

logger = logging.getLogger(__name__)

SEAL = b"\nsha256 "
SEALED = len(SEAL) + 64  # bytes behind a state


def save_weights(setup: Setup, name: str, **metrics: float) -> None:
    """Write a checkpoint of the weights to use, with ``metrics`` (step, validation PSNR) in its header."""
    path, data = setup.config.out / name, setup.data
    header = Header(
        model=setup.recipe,
        training=portable_config(setup.config),
        split=as_document(data.split),
        protocol=data.protocol.name,
        normalisation=asdict(data.protocol.normalisation),
        contrasts=data.contrasts,
        mask=asdict(data.masks),
        heads=data.heads,
        metrics=metrics,
        versions=versions(),
    )
    try:
        save_checkpoint(path, setup.weights.state_dict(), header)
    except SafetensorError as error:  # its words for a full disk
        raise UserError(f"{path}: cannot be written ({error}); free space or choose another place with --out") from None


@dataclass(frozen=True)
class State:
    """A run as it was saved.

    Attributes:
        path: the file.
        split: of its cases.
        fingerprints: case -> what it was exactly, see :class:`fsmnet.protocols.cases.Slices`.
        progress: where it stood.
        parts: states of model, optimiser, average and random numbers.
    """

    path: Path
    split: Split
    fingerprints: dict[str, str]
    progress: Progress
    parts: dict[str, Any]


def save_state(setup: Setup, progress: Progress) -> None:
    """Write ``resume.pt``, from which a run goes on as if it had never been stopped."""
    state = {
        "config": json.dumps(plain_config(setup.config)),
        "split": json.dumps(as_document(setup.data.split)),
        "data": json.dumps(setup.data.fingerprints),
        "progress": asdict(progress),
        "model": setup.model.state_dict(),
        "optimizer": setup.optimizer.state_dict(),
        "average": None if setup.average is None else setup.average.state_dict(),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    with atomic_write(setup.config.out / "resume.pt") as file:
        for part in sealed(state):
            file.write(part)


def sealed(state: Mapping[str, Any]) -> tuple[memoryview, bytes]:
    """A state as PyTorch writes it, and behind it the SHA-256 of that."""
    content = io.BytesIO()  # torch.save has no words for a full disk
    torch.save(dict(state), content)
    data = content.getbuffer()
    return data, SEAL + hashlib.sha256(data).hexdigest().encode()


def opened(data: bytes) -> Any:
    """What was :func:`sealed`; a state from before there were seals is compared with the checksums of its parts.

    Raises:
        ValueError: it is not what was written.
        Exception: of many kinds, it is no state.
    """
    content, mark, seal = data[:-SEALED], data[-SEALED : -SEALED + len(SEAL)], data[-SEALED + len(SEAL) :]
    if mark == SEAL:
        if hashlib.sha256(content).hexdigest().encode() != seal:
            raise ValueError("its checksum does not fit")
    else:
        content = data
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if archive.testzip() is not None:
                raise ValueError("its checksum does not fit")
    return load_tensors(io.BytesIO(content))


def read_state(config: TrainConfig) -> State | None:
    """State of the run in the output folder, if this is to be its continuation.

    Raises:
        UserError: there is a run that is not to be continued, or none that could be, or a damaged one, or another one.
    """
    path = config.out / "resume.pt"
    if not config.resume:
        if path.exists():
            raise UserError(
                f"{config.out} already holds a run; pass --resume to go on with it, or choose another --out"
            )
        return None
    if not path.exists():
        raise UserError(f"{path}: there is no run to resume; leave --resume out to start one")
    try:
        state = dict(opened(path.read_bytes()))
        earlier = dict(parse_json(state.pop("config")))
        split = split_from(parse_json(state.pop("split")))
        fingerprints = {str(case): str(what) for case, what in parse_json(state.pop("data", "{}")).items()}
        progress = _progress(state.pop("progress"))
        differences = changed_options(earlier, config)
    except MemoryError:
        raise
    except Exception as error:  # torch raises many kinds for a damaged file, and advises to load it unsafely
        why = f": {error}" if isinstance(error, ValueError) and "checksum" in str(error) else ", or no state of a run"
        raise UserError(f"{path}: damaged{why}; {_remedy(config)}") from None
    if differences:
        raise UserError(
            f"{config.out}: this is not the run that was stopped: {differences}; use its config.yaml or another --out"
        )
    return State(path, split, fingerprints, progress, state)


def _remedy(config: TrainConfig) -> str:
    last = config.out / "last.safetensors"
    init = f" (with --init {last} it begins with the weights of the last save)" if last.exists() else ""
    return f"put a copy of it back, or start again with another --out{init}"


def _progress(said: Mapping[str, Any]) -> Progress:
    step, best_step = (int(said[name]) for name in ("step", "best_step"))
    seconds, best = (float(said[name]) for name in ("seconds", "best_psnr"))
    pace = float(said.get("pace", 0.0))
    if not min(step, best_step, seconds, pace) >= 0:
        raise ValueError("a run of less than no steps")
    return Progress(step, seconds, best, best_step, pace)


def check_data(config: TrainConfig, state: State, data: TrainingData) -> None:
    """Refuse to go on with other data than a run began with; where they lie does not matter.

    Raises:
        UserError: a case that is not what it was.
    """
    before, now = state.fingerprints, data.fingerprints
    if not before:  # of before there were any
        before, now = state.split.contents, data.split.contents
    if not before:
        logger.warning("%s: does not say what the data were; they are taken to be the same", state.path)
    if changed := sorted(case for case in before.keys() & now.keys() if before[case] != now[case]):
        raise UserError(
            f"{config.data}: case {listed(changed)}: not the voxels that the run in {config.out} was begun with, or "
            "another name of the target's file, which masks are drawn from; give the same data, or choose another --out"
        )


def restore(setup: Setup, state: State) -> Progress:
    """Put a state back into a run's parts; where it stood.

    Raises:
        UserError: it does not fit them.
    """
    parts = state.parts
    try:
        setup.model.load_state_dict(parts["model"])
        setup.optimizer.load_state_dict(parts["optimizer"])
        if setup.average is not None:
            setup.average.load_state_dict(parts["average"])
        torch.set_rng_state(parts["rng"])
        if parts["cuda_rng"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(parts["cuda_rng"])
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise UserError(f"{state.path}: does not fit this run ({first_line(error)}); {_remedy(setup.config)}") from None
    return state.progress
