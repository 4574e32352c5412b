"""What a run keeps: weights to use, and the state to go on from; each file whole or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from safetensors import SafetensorError

from fsmnet.checkpoint import Header, save_checkpoint, versions
from fsmnet.data.split import Split, as_document, split_from
from fsmnet.errors import UserError
from fsmnet.files import atomic_write
from fsmnet.options import changed_options, plain_config, portable_config
from fsmnet.training.options import TrainConfig
from fsmnet.training.schedule import Progress
from fsmnet.training.setup import Setup


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
        raise UserError(f"{path}: cannot be written ({error}); free space on the disk") from None


def save_state(setup: Setup, progress: Progress) -> None:
    """Write ``resume.pt``, from which a run goes on as if it had never been stopped."""
    state = {
        "config": json.dumps(plain_config(setup.config)),
        "split": json.dumps(as_document(setup.data.split)),
        "progress": asdict(progress),
        "model": setup.model.state_dict(),
        "optimizer": setup.optimizer.state_dict(),
        "average": None if setup.average is None else setup.average.state_dict(),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    content = io.BytesIO()  # torch.save has no words for a full disk
    torch.save(state, content)
    with atomic_write(setup.config.out / "resume.pt") as file:
        file.write(content.getbuffer())


def read_state(config: TrainConfig) -> dict[str, Any] | None:
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
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        earlier = dict(json.loads(state["config"]))
    except Exception:  # torch raises many kinds for a damaged file, and advises to load it unsafely
        raise UserError(f"{path}: damaged, or no state of a training; start again with another --out") from None
    if differences := changed_options(earlier, config):
        raise UserError(
            f"{config.out}: this is not the run that was stopped: {differences}; use its config.yaml or another --out"
        )
    return state


def split_of(state: Mapping[str, Any]) -> Split:
    """The split that a run was made with."""
    return split_from(json.loads(state["split"]))


def restore(setup: Setup, state: Mapping[str, Any]) -> Progress:
    """Put a state back into a run's parts; where it stood."""
    setup.model.load_state_dict(state["model"])
    setup.optimizer.load_state_dict(state["optimizer"])
    if setup.average is not None:
        setup.average.load_state_dict(state["average"])
    torch.set_rng_state(state["rng"])
    if state["cuda_rng"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    return Progress(**state["progress"])
