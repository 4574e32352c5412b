"""The methods by name: one table, one constructor.

Every model maps two arguments to an :class:`~fsmnet.models.output.Output` or to the image alone, a tensor
``(B, 1, H, W)``. Which two, the attribute ``takes`` of its class says:

``"images"``, or no such attribute: the zero-filled target and the fully sampled auxiliary, both ``(B, 1, H, W)``
float32 of any H and W, each normalised (:class:`fsmnet.transforms.Normalisation`). ``"acquisition"``, a k-space model:
what was measured, a :class:`fsmnet.physics.acquisition.Acquisition` of lines ``(B, C, H, W)``, and the auxiliary's
magnitude, not normalised, or None. Its image is complex, in the units of the acquisition.

A network from outside this package is registered (:func:`register_model`), or named by an entry point of the group
``fsmnet.models``, or given as ``package.module:Class`` wherever a name is.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from fsmnet.errors import UserError, similar
from fsmnet.registry import Registry, imported

REQUIRED = inspect.Parameter.empty
IMAGES, ACQUISITION = "images", "acquisition"  # what a model takes


@dataclass(frozen=True)
class Entry:
    """Where a method lives and who published it.

    Attributes:
        place: the class, or ``"package.module:Class"``.
        citation: who published it.
    """

    place: type[nn.Module] | str
    citation: str = ""

    def load(self, name: str) -> type[nn.Module]:
        """The class; messages call it ``name``.

        Raises:
            UserError: it cannot be imported, is no network, or does not take two images.
        """
        found = imported(self.place, f"model {name!r}") if isinstance(self.place, str) else self.place
        if not (isinstance(found, type) and issubclass(found, nn.Module)):
            raise UserError(f"model {name!r}: {self.place} is no class of networks; derive it from torch.nn.Module")
        if (takes := getattr(found, "takes", IMAGES)) not in (IMAGES, ACQUISITION):
            raise UserError(f"model {name!r}: takes {takes!r} is not known; choose {IMAGES!r} or {ACQUISITION!r}")
        try:
            inspect.signature(found.forward).bind(None, None, None)
        except TypeError:
            raise UserError(
                f"model {name!r}: {found.__name__}.forward{inspect.signature(found.forward)} cannot be called with "
                "(target, auxiliary) or (acquisition, auxiliary); write forward(self, target, auxiliary)"
            ) from None
        return found


MODELS: Registry[Entry] = Registry(
    "model",
    "fsmnet.models",
    {
        "zero_filling": Entry("fsmnet.models.classical:ZeroFilling", "no network: missing k-space lines stay zero"),
        "pocs": Entry(
            "fsmnet.models.classical:POCS", "no network: real, not negative, inside the head, Hermitian; or its phase"
        ),
        "mdunet": Entry(
            "fsmnet.models.mdunet:MDUNet", "Xiang et al., IEEE TBME 2019, as a multi-modal U-Net with concatenation"
        ),
        "minet": Entry("fsmnet.models.minet:MINet", "Feng et al., MICCAI 2021, at the resolution of its inputs"),
        "mcca": Entry("fsmnet.models.mcca:MCCA", "Li et al., IEEE J. Biomed. Health Inform. 28(3), 2024"),
        "swinir": Entry("fsmnet.models.swinir:SwinIR", "Liang et al., ICCV Workshops 2021, both contrasts as channels"),
        "mtrans": Entry(
            "fsmnet.models.mtrans:MTrans",
            "Feng et al., IEEE TMI 2022, the reconstruction network with cross attention",
        ),
        "dcamsr": Entry("fsmnet.models.dcamsr:DCAMSR", "Huang et al., MICCAI 2023, at scale 1"),
        "fsmnet": Entry("fsmnet.models.fsmnet:FSMNet", "Chen et al., MICCAI 2024, as the paper describes it"),
        "fsmnet_released": Entry(
            "fsmnet.models.released:ReleasedFSMNet", "Chen et al., MICCAI 2024, as the authors' code computes it"
        ),
        "fsmnet_fast": Entry(
            "fsmnet.models.fast:FastFSMNet", "this project, after Chen et al. 2024: less work for the same task"
        ),
        "fsmnet_unrolled": Entry(
            "fsmnet.models.unrolled:UnrolledFSMNet", "this project: k-space inside, any acceleration, contrast or none"
        ),
    },
    Entry,
)


MOST = 10_000  # blocks, features, steps of a network of this package; of more, building it would not end


def register_model(name: str, model: type[nn.Module] | str, citation: str = "") -> None:
    """Add a network under a name that every command and function takes from then on, in this process.

    Args:
        name: short, without a colon.
        model: the class, or ``"package.module:Class"``, which is imported when it is used. It is a
            :class:`torch.nn.Module` whose ``forward(target, auxiliary)`` takes two ``(B, 1, H, W)`` float32 and returns
            one, or an :class:`~fsmnet.models.output.Output`; its constructor's keywords are the model's options. With
            the class attribute ``takes = "acquisition"`` it gets what was measured in place of the target.
        citation: who published it; ``fsmnet models`` shows it.

    Raises:
        UserError: the name belongs to another model.
    """
    MODELS.register(name, Entry(model, citation))


def list_models() -> list[str]:
    """Names that :func:`create_model` takes: in the order of the paper's Table 1, then those from outside."""
    return list(MODELS)


def model_class(name: str) -> type[nn.Module]:
    """The class behind a name or ``package.module:Class``.

    Raises:
        UserError: an unknown name, where the message lists the known ones; what cannot be imported; no network.
    """
    return MODELS.get(name).load(name)


def takes_acquisition(model: nn.Module | type[nn.Module]) -> bool:
    """Whether a model, or a class of models, takes what was measured, not a zero-filled image: a k-space model."""
    return getattr(model, "takes", IMAGES) == ACQUISITION


def model_options(name: str) -> dict[str, Any]:
    """Constructor options of a model with their defaults; :data:`REQUIRED` where one must be given."""
    parameters = inspect.signature(model_class(name)).parameters.values()
    return {p.name: p.default for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def recipe_of(model: nn.Module) -> dict[str, Any]:
    """``{"name": ..., "options": ...}`` that :func:`create_model` built a model from, and ``"class"`` of outside ones.

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

    Args:
        name: one of :func:`list_models`, or ``package.module:Class``.
        options: constructor options.

    Raises:
        UserError: an unknown name or option, or a value the model refuses.
    """
    cls, known = model_class(name), model_options(name)
    for option in options:
        if option not in known:
            raise UserError(
                f"model {name} has no option {option!r}{similar(option, known)}; "
                + (f"it takes {', '.join(known)}" if known else "it takes none")
            )
    options = {**known, **options}
    if missing := [option for option, value in options.items() if value is REQUIRED]:
        raise UserError(f"model {name} needs the option {missing[0]}, which has no default; give it a value")
    ours = cls.__module__.startswith("fsmnet.")
    for option, value in options.items():
        if ours and any(isinstance(n, int) and n > MOST for n in (value if isinstance(value, list) else [value])):
            raise UserError(f"model {name}: {option} must be at most {MOST}, not {value}")
    try:
        model = cls(**options)
    except TypeError as error:
        raise UserError(f"model {name} cannot be built with {options}: {error}") from None
    recipe: dict[str, Any] = {"name": name, "options": options}
    if not ours:
        recipe["class"] = f"{cls.__module__}:{cls.__qualname__}"
    model.recipe = recipe  # type: ignore[assignment]
    return model


def from_recipe(recipe: Mapping[str, Any]) -> nn.Module:
    """The model of a :func:`recipe_of`; a network from outside is found by its class where its name is not registered.

    Raises:
        UserError: see :func:`create_model`.
    """
    name = str(recipe["name"])
    return create_model(name if name in MODELS or "class" not in recipe else recipe["class"], **recipe["options"])
