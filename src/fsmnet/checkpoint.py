"""One checkpoint file: weights in safetensors, and in its header what made them.

The header holds JSON texts, see :class:`Header`, so that a file found years later still says what it is. Nothing is
ever unpickled.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from fsmnet._version import __version__
from fsmnet.data.find import absence
from fsmnet.data.options import PairOptions
from fsmnet.data.split import Seen, Split, split_from
from fsmnet.errors import UserError, listed, similar
from fsmnet.files import atomic_write, json_text, parse_json
from fsmnet.models import MODELS, create_model, from_recipe, recipe_of
from fsmnet.models.classical import CLASSICAL
from fsmnet.models.torch_weights import is_safetensors, is_torch
from fsmnet.options import options_of
from fsmnet.physics.masks import MaskRecipe
from fsmnet.physics.options import TrainingMaskOptions
from fsmnet.protocols import get_protocol
from fsmnet.transforms import NormalisationRecipe

logger = logging.getLogger(__name__)

FORMAT = "fsmnet-1"
ERROR_NETWORK = "error_network"  # what the names of its tensors begin with
SHIPPED = {"shipped": "fsmnet_unrolled.safetensors", "shipped-image": "fsmnet_image.safetensors"}
EXPORTED = ("model.safetensors", "models/model.safetensors")  # the checkpoint within a folder of export
SEEN = {"train": "was trained on", "validation": "had its checkpoint chosen on"}
WAYS = {"name": "", "content": ", whose voxels these are", "patient": ", a scan of the same patient"}
# What the shipped weights were trained on; their headers are older than ``heads``.
STRIPPED = {"OMS-07", "OMS-19", "OMS-26", "TCGA-DU-7294", "stroke-VRD"}
WHOLE = {"OMSL-01-s1", "OMSL-01-s2", "OMSL-03-s2", "OMSL-19-s2", "OMSL-20-s2"}


@dataclass
class Header:
    """What a checkpoint says of itself; empty where nothing is known.

    Attributes:
        model: ``name`` and ``options``.
        training: the options of the training.
        split: cases of ``train``, ``validation`` and ``test``, their patients and contents, see
            :class:`fsmnet.data.split.Split`.
        metrics: step and scores of the weights.
        versions: see :func:`versions`.
        protocol: name of the protocol of the training.
        normalisation: fields of the :class:`fsmnet.transforms.NormalisationRecipe` of the network's images.
        contrasts: of ``target`` and ``auxiliary`` a name, a list of names, or ``any`` where it was trained for all.
        mask: fields of the :class:`fsmnet.physics.masks.MaskRecipe` of the training.
        heads: ``stripped`` of the skull, ``whole``, or ``both``, as the training's images looked.
        trust: what :mod:`fsmnet.trust` compares a scan with, and how errors were calibrated.
        error_network: weights of the small network that expects the errors of this one
            (:class:`fsmnet.trust.error_map.ErrorNetwork`); stored as tensors.
    """

    model: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    split: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    protocol: str = ""
    normalisation: dict[str, Any] = field(default_factory=dict)
    contrasts: dict[str, Any] = field(default_factory=dict)
    mask: dict[str, Any] = field(default_factory=dict)
    heads: str = ""
    trust: dict[str, Any] = field(default_factory=dict)
    error_network: dict[str, Tensor] = field(default_factory=dict, repr=False)


def save_checkpoint(path: Path, state: Mapping[str, Tensor], header: Header) -> None:
    """Write weights and header in one step."""
    from safetensors.torch import save

    told = {name: value for name, value in vars(header).items() if value and name != ERROR_NETWORK}
    metadata = {"format": FORMAT} | {name: json_text(value, None) for name, value in told.items()}
    beside = {f"{ERROR_NETWORK}.{name}": tensor for name, tensor in header.error_network.items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in (*state.items(), *beside.items())}
    with atomic_write(path) as file:  # not save_file, whose error on a full disk is no OSError
        file.write(save(tensors, metadata))


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], Header]:
    """Weights and header of a checkpoint.

    Raises:
        UserError: missing, cut short, or not one of ours.
    """
    from safetensors import SafetensorError, safe_open

    _require(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: cut short, or not a safetensors checkpoint ({error}); copy it again") from None
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path}: a safetensors file, but not a checkpoint of fsmnet (its header lacks the format)")
    try:
        header = Header(**{name: parse_json(text) for name, text in metadata.items() if name != "format"})
        beside = [name for name in state if name.startswith(f"{ERROR_NETWORK}.")]
        header.error_network = {name.partition(".")[2]: state.pop(name) for name in beside}
        if not {"name", "options"} <= set(header.model):
            raise ValueError("it does not name the model and its options")
        header = completed(header)
        _mask_recipe(header)
        split_from(header.split or {"train": []})
        NormalisationRecipe(**header.normalisation)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: the header is damaged ({error})") from None
    return state, header


def _require(path: Path) -> None:
    if why := absence(path):
        hint = similar(str(path), SHIPPED)
        what = f"no such checkpoint file{hint}; make one" if why == "no such file" else f"{why}; or make a checkpoint"
        raise UserError(f"{path}: {what} with 'fsmnet train'")


def completed(header: Header) -> Header:
    """A header with what follows from its training options; those of before version 0.1 say nothing else."""
    training = header.training
    cases = set(header.split.get("train", ()))
    if cases and not header.heads and cases <= STRIPPED | WHOLE:
        header.heads = "stripped" if cases <= STRIPPED else "whole" if cases <= WHOLE else "both"
    if header.protocol or "protocol" not in training:
        return header
    protocol = get_protocol(training["protocol"])
    header.protocol, header.normalisation = protocol.name, asdict(protocol.normalisation)
    if {"target", "auxiliary"} <= training.keys():
        named = {name: training[name] for name in ("target", "auxiliary")}
        header.contrasts = protocol.contrasts(PairOptions(data=Path(), **named))
    if "acceleration" in training:
        options = {one.name: training[one.name] for one in options_of(TrainingMaskOptions) if one.name in training}
        header.mask = asdict(protocol.training_recipe(TrainingMaskOptions(**options)))
    return header


def load_weights(model: nn.Module, state: Mapping[str, Tensor], source: object) -> None:
    """Load a state dict; entries that do not fit are listed in one error."""
    own = model.state_dict()
    problems = [f"missing {name}" for name in own if name not in state]
    problems += [f"extra {name}" for name in state if name not in own]
    problems += [
        f"{name} is {list(tensor.shape)} instead of {list(own[name].shape)}"
        for name, tensor in state.items()
        if name in own and tensor.shape != own[name].shape
    ]
    if problems:
        raise UserError(f"{source}: not weights of {recipe_of(model)['name']}: {listed(problems)}")
    model.load_state_dict(state)


def load_model(path: str | Path) -> nn.Module:
    """Model in eval mode from a checkpoint of ours, or from the authors' weights of the released network.

    Args:
        path: the file, which its content tells apart, not its ending; or one of :data:`SHIPPED` for weights that come
            with the package: ``shipped``, or ``shipped-image`` for scans of which no k-space is known. Weights in half
            precision become float32.

    Returns:
        The model; its header is kept as ``model.header``.

    Raises:
        UserError: no such file, or not a checkpoint.
    """
    path = checkpoint_file(path)
    _require(path)
    if is_torch(path) or not (is_safetensors(path) or path.suffix == ".safetensors"):
        from fsmnet.models.released_weights import load_released

        model = load_released(path)
        model.header = Header(recipe_of(model))  # type: ignore[assignment]
        return model
    state, header = read_checkpoint(path)
    try:
        model = from_recipe(header.model)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    load_weights(model, state, path)
    model.header = header  # type: ignore[assignment]
    return model.eval()


def open_model(name: str, recipe: MaskRecipe | None = None) -> nn.Module:
    """Model in eval mode: a checkpoint's path, ``shipped`` for weights of this package, ``zero_filling`` or ``pocs``.

    Warns when a checkpoint was trained for other masks than ``recipe`` draws.

    Raises:
        UserError: none of these.
    """
    if name in CLASSICAL:
        return create_model(name).eval()
    if name in MODELS:
        raise UserError(f"{name} is a model without weights; give a checkpoint of it from 'fsmnet train'")
    if checkpoint_file(name).is_dir():
        raise UserError(f"{name}: is a folder; give a checkpoint in it, such as {Path(name) / 'best.safetensors'}")
    if name not in SHIPPED and not Path(name).exists():
        models = (*MODELS, *SHIPPED)
        raise UserError(
            f"{name}: neither a checkpoint file nor a model{similar(name, models)}; models are {', '.join(models)}"
        )
    model = load_model(name)
    trained = trained_recipe(model)
    if recipe is not None and trained is not None and not trained.includes(recipe):
        logger.warning("%s was trained for other masks (%s) than these (%s)", name, trained, recipe)
    return model


def header_of(model: nn.Module) -> Header:
    """Header of the checkpoint a model came from; empty for a model made otherwise."""
    return cast("Header", getattr(model, "header", Header({})))


def trained_recipe(model: nn.Module) -> MaskRecipe | None:
    """The masks a loaded model was trained with, from its header; None if it does not say."""
    return _mask_recipe(header_of(model))


def _mask_recipe(header: Header) -> MaskRecipe | None:
    if not header.mask:
        return None
    mixed = tuple((acceleration, center) for acceleration, center in header.mask["mixed"])
    span = header.mask.get("span")
    return MaskRecipe(**header.mask | {"mixed": mixed, "span": None if span is None else (span[0], span[1])})


def trained_split(model: nn.Module) -> Split | None:
    """The cases a loaded model was trained on and those kept from it, from its header; None if it does not say."""
    document = header_of(model).split
    return split_from(document) if document else None


def warn_if_seen(model: nn.Module, name: object, cases: Sequence[str], contents: Sequence[str] = ()) -> Seen | None:
    """Say so where a loaded model was trained on a scan that it is given, or its checkpoint was chosen on it.

    Args:
        model: from :func:`load_model`.
        name: what the warning calls it.
        cases: names that the scan may have in a split.
        contents: what may tell it there, see :func:`fsmnet.data.volume.content_hash`.

    Returns:
        Where it stood in the split; None if it did not, or the header does not tell.
    """
    split = trained_split(model)
    if split is None:
        return None
    found = [split.seen(case, content=content) for case in cases for content in contents or [""]]
    ways = list(WAYS)
    seen = min((one for one in found if one is not None), key=lambda one: ways.index(one.by), default=None)
    if seen is not None and seen.side != "test":
        logger.warning("%s %s %s%s; its scores here are too good", name, SEEN[seen.side], seen.case, WAYS[seen.by])
    return seen


def trained_normalisation(model: nn.Module) -> NormalisationRecipe:
    """How a loaded model's images were normalised, from its header; the usual way if it does not say."""
    return NormalisationRecipe(**header_of(model).normalisation)


def checkpoint_file(name: str | Path) -> Path:
    """The file of a name of :data:`SHIPPED`; any other is a file already.

    Raises:
        UserError: this build does not carry those weights.
    """
    if str(name) not in SHIPPED:
        inside = [Path(name) / place for place in EXPORTED]  # of 'fsmnet export --format'
        return next((each for each in inside if each.is_file()), Path(name))
    if (path := shipped_checkpoint(str(name))) is None:
        raise UserError("this build carries no weights; give a checkpoint from 'fsmnet train' with --checkpoint")
    return path


def shipped_checkpoint(name: str = "shipped") -> Path | None:
    """Weights that come with the package, by a name of :data:`SHIPPED`; None if this build does not have them."""
    path = Path(str(resources.files("fsmnet"))) / "weights" / SHIPPED[name]
    return path if path.is_file() else None


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    import numpy
    import torch

    return {
        "fsmnet": __version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
    }
