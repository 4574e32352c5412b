"""The methods by name: one table, one constructor.

Every model maps ``(target, auxiliary)``, both ``(B, 1, H, W)`` float32 of any H and W, to an
:class:`~fsmnet.models.output.Output`. The target is the zero-filled image, the auxiliary the fully sampled other
contrast, each normalised (:class:`fsmnet.transforms.Normalisation`).
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from fsmnet.errors import UserError


@dataclass(frozen=True)
class Entry:
    """Where a method lives and who published it."""

    module: str
    cls: str
    citation: str


MODELS: dict[str, Entry] = {
    "zero_filling": Entry("classical", "ZeroFilling", "no network: missing k-space lines stay zero"),
    "mdunet": Entry("mdunet", "MDUNet", "Xiang et al., IEEE TBME 2019, as a multi-modal U-Net with concatenation"),
    "minet": Entry("minet", "MINet", "Feng et al., MICCAI 2021, at the resolution of its inputs"),
    "mcca": Entry("mcca", "MCCA", "Li et al., IEEE J. Biomed. Health Inform. 28(3), 2024"),
    "swinir": Entry("swinir", "SwinIR", "Liang et al., ICCV Workshops 2021, both contrasts as channels"),
    "mtrans": Entry("mtrans", "MTrans", "Feng et al., IEEE TMI 2022, the reconstruction network with cross attention"),
    "dcamsr": Entry("dcamsr", "DCAMSR", "Huang et al., MICCAI 2023, at scale 1"),
    "fsmnet": Entry("fsmnet", "FSMNet", "Chen et al., MICCAI 2024, as the paper describes it"),
    "fsmnet_released": Entry(
        "released", "ReleasedFSMNet", "Chen et al., MICCAI 2024, as the authors' code computes it"
    ),
    "fsmnet_fast": Entry("fast", "FastFSMNet", "this project, after Chen et al. 2024: less work for the same task"),
}


def list_models() -> list[str]:
    """Names that :func:`create_model` takes, in the order of the paper's Table 1."""
    return list(MODELS)


def model_class(name: str) -> type[nn.Module]:
    """The class behind a name.

    Raises:
        UserError: an unknown name; the message lists the known ones.
    """
    if name not in MODELS:
        raise UserError(f"unknown model {name!r}; choose one of {', '.join(MODELS)}")
    entry = MODELS[name]
    return cast("type[nn.Module]", getattr(importlib.import_module(f"fsmnet.models.{entry.module}"), entry.cls))


def model_options(name: str) -> dict[str, Any]:
    """Constructor options of a model with their defaults."""
    parameters = inspect.signature(model_class(name)).parameters.values()
    return {p.name: p.default for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def recipe_of(model: nn.Module) -> dict[str, Any]:
    """``{"name": ..., "options": ...}`` that :func:`create_model` built a model from.

    Raises:
        UserError: a model made otherwise.
    """
    recipe = getattr(model, "recipe", None)
    if recipe is None:
        raise UserError(f"this {type(model).__name__} was not made by create_model, so its options are not known")
    return cast("dict[str, Any]", recipe)


def create_model(name: str, **options: Any) -> nn.Module:
    """Build a model with fresh weights, e.g. ``create_model("fsmnet", features=64, blocks=2)``.

    The name and all options in force are kept on the module as ``model.recipe``, which checkpoints store.

    Raises:
        UserError: an unknown name or option, or a value the model refuses.
    """
    known = model_options(name)
    for option in options:
        if option not in known:
            raise UserError(
                f"model {name} has no option {option!r}; "
                + (f"it takes {', '.join(known)}" if known else "it takes none")
            )
    options = {**known, **options}
    try:
        model = model_class(name)(**options)
    except TypeError as error:
        raise UserError(f"model {name} cannot be built with {options}: {error}") from None
    model.recipe = {"name": name, "options": options}  # type: ignore[assignment]
    return model
