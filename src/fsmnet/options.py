"""What options are made of: dataclass fields that know their help, their section, and whether they change a result.

A field is a YAML key and a flag of the same name. A value that its type does not allow is refused wherever the
dataclass is built: in Python, from YAML, from flags.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from functools import wraps
from numbers import Integral, Real
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints, overload

import yaml

from fsmnet.errors import UserError, first_line, similar

# Sections of the help, in this order.
Group = Literal[
    "input", "list", "data", "split", "preparation", "mask", "comparison", "model", "loss", "optimiser", "budget",
    "validation and log", "measurement", "output", "device",
]  # fmt: skip

# What another value changes. True: the result. "rounding": its last digits. "content": nothing, if the files there are
# the same ones. "extent": how much is done, so that what was begun may go on with it. False: nothing of the result.
Material = bool | Literal["rounding", "content", "extent"]

T = TypeVar("T", bound="Options")
C = TypeVar("C", contravariant=True)
R = TypeVar("R", covariant=True)
Result = TypeVar("Result")


def option(
    default: Any, help: str, *, material: Material = True, group: Group | None = None, most: int | None = None
) -> Any:
    """A field with the help text of its flag.

    Args:
        default: its default; a list or mapping is copied for every configuration.
        help: what it does, in the words of ``--help``.
        material: whether another value changes the result.
        group: section of the help; by default that of the class.
        most: largest number that is taken, where a larger one could only fill the memory or never end.
    """
    metadata = _metadata(help, material, group, most)
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def required(help: str, *, material: Material = True, group: Group | None = None) -> Any:
    """A field without a default; see :func:`option`."""
    return field(metadata=_metadata(help, material, group, None))


def _metadata(help: str, material: Material, group: Group | None, most: int | None) -> dict[str, Any]:
    return {"help": help, "material": material, "most": most} | ({} if group is None else {"group": group})


@dataclass(kw_only=True)
class Options:
    """Base of all configurations; ``class MaskOptions(Options, group="mask")`` names the section of its fields.

    Raises:
        UserError: a value of the wrong type, none of the choices, or beyond the most that is taken.
    """

    def __init_subclass__(cls, group: Group = "input") -> None:
        super().__init_subclass__()
        for own in vars(cls).values():
            if isinstance(own, Field):
                own.metadata = MappingProxyType({"group": group, **own.metadata})

    def __post_init__(self) -> None:
        for one in options_of(type(self)):
            setattr(self, one.name, checked(one.kind, getattr(self, one.name), one.name))
            if one.most is not None:
                at_most(self, one.name, one.most)


@dataclass(frozen=True)
class Option:
    """One option of a configuration; ``default`` is :data:`dataclasses.MISSING` where a value must be given."""

    name: str
    kind: Any
    default: Any
    help: str
    group: Group
    material: Material
    most: int | None


def options_of(config: type[Any]) -> tuple[Option, ...]:
    """The options of a configuration, section by section."""
    hints = get_type_hints(config)
    found = []
    for f in fields(config):
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        found.append(Option(f.name, hints[f.name], default, **f.metadata))
    order = get_args(Group)
    return tuple(sorted(found, key=lambda one: order.index(one.group)))


def build(config: type[T], values: Mapping[str, Any], show: Callable[[str], str] = str) -> T:
    """A configuration from names and values; messages show the names as ``show`` writes them.

    Raises:
        UserError: a name that nobody reads, one that is missing, or an impossible value.
    """
    known = {one.name: one for one in options_of(config)}
    for name in values:
        if name not in known:
            raise UserError(f"unknown option {name!r}{similar(str(name), known)}")
    missing = [show(name) for name, one in known.items() if one.default is MISSING and name not in values]
    if missing:
        *others, last = missing
        raise UserError(f"{', '.join(others)} and {last} are missing" if others else f"{last} is missing")
    return config(**values)


class Configured(Protocol[C, R]):
    """A function of a configuration that takes its options by name as well."""

    @overload
    def __call__(self, config: C, /) -> R: ...

    @overload
    def __call__(self, /, **options: Any) -> R: ...


def by_name(kind: type[T]) -> Callable[[Callable[[T], Result]], Configured[T, Result]]:
    """Let a function of a configuration be called with its options: ``train(data="DATA", out="runs/quick")``.

    Texts and paths are taken alike; a name or value that is none is refused as in :func:`build`.
    """

    def decorate(function: Callable[[T], Result]) -> Configured[T, Result]:
        @wraps(function)
        def call(config: T | None = None, /, **options: Any) -> Result:
            if config is not None and options:
                raise UserError(f"{function.__name__}: give a {kind.__name__} or options by name, not both")
            return function(build(kind, options) if config is None else config)

        return call

    return decorate


def values_of(config: Options, *shared: type[Options]) -> dict[str, Any]:
    """The values of a configuration for the options that it shares with others, by name."""
    return {one.name: getattr(config, one.name) for kind in shared for one in options_of(kind)}


def at_least(config: Any, name: str, least: float) -> None:
    """Refuse a value below the least possible one."""
    if not getattr(config, name) >= least:
        raise UserError(f"{name} must be at least {least}, not {getattr(config, name)}")


def at_most(config: Any, name: str, most: float) -> None:
    """Refuse a number, or one of a list, above the largest possible one; null and words are not compared."""
    value = getattr(config, name)
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, (int, float)) and number > most:
            raise UserError(f"{name} must be at most {most}, not {number}")


# -- as YAML and JSON -------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML as people write it: 1e-3 is a number, as everywhere but in YAML 1.1; off and 2026-01-31 are texts."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Values as they stand; some lines of aliases can stand for any amount of them."""
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases (*) are not read; write the value out", mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """Quotes what either kind of YAML would not take for a text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if tag.rpartition(":")[2] not in ("bool", "float", "timestamp")]
    for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_NUMBER = r"[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"
for _reader_or_writer in (_Loader, _Dumper):
    _reader_or_writer.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(_NUMBER), list("-+.0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def load_yaml(text: str) -> Any:
    """The content of a YAML document; nothing in it is executed.

    Raises:
        yaml.YAMLError: it is none, has aliases, or is nested too deeply.
    """
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except (ValueError, TypeError) as error:  # of numbers that are none
        raise yaml.YAMLError(first_line(error)) from None


def plain_config(config: Options) -> dict[str, Any]:
    """A configuration as JSON and YAML can hold it."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}


def portable(path: Path) -> str:
    """A path for a file that may be passed on: as it was given, but of an absolute one only its name."""
    return path.name if path.is_absolute() else path.as_posix()


def portable_config(config: Options) -> dict[str, Any]:
    """:func:`plain_config` without absolute paths."""
    given = vars(config)
    paths = {name: portable(value) for name, value in given.items() if isinstance(value, Path)}
    return plain_config(config) | paths


def dump_config(config: Options) -> str:
    """A configuration as YAML that ``--config`` reads back."""
    text: str = yaml.dump(plain_config(config), Dumper=_Dumper, sort_keys=False)
    return text


def changes(earlier: Mapping[str, Any], now: Options) -> dict[str, tuple[Any, Any]]:
    """Values before and now of the options that differ and change the result.

    Args:
        earlier: an earlier :func:`plain_config`; an option that it does not know yet had its default then.
        now: the configuration.
    """
    plain = plain_config(now)
    material = [one for one in options_of(type(now)) if one.material is True]
    pairs = {one.name: (earlier.get(one.name, one.default), plain[one.name]) for one in material}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def changed_options(earlier: Mapping[str, Any], now: Options) -> str:
    """:func:`changes` in words; empty if there are none."""

    def shown(value: Any) -> str:
        return f"{value:g}" if isinstance(value, float) else repr(value)

    return ", ".join(f"{name} was {shown(a)}, is {shown(b)}" for name, (a, b) in changes(earlier, now).items())


# -- types in words ---------------------------------------------------------------------------------------------------


def refusal(kind: Any, value: Any) -> str:
    """Why a value is none of a type: "takes constant, step or cosine, not 'cosin' (did you mean cosine?)"."""
    items = item_type(kind)
    if items is not None and isinstance(value, list):
        value = next(item for item in value if not fits(items, item))
    choices = [word for member in type_members(kind) if get_origin(member) is Literal for word in get_args(member)]
    shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return f"takes {described(kind)}, not {shown!r}{similar(shown, choices)}"


def described(kind: Any) -> str:
    """A type in words: ``int | None`` is "a whole number or null"."""
    *others, last = _alternatives(kind)
    return f"{', '.join(others)} or {last}" if others else last


def item_type(kind: Any) -> Any:
    """Type of the items of a list, or of a list that may be left out; None if it is no list."""
    return next((get_args(member)[0] for member in type_members(kind) if get_origin(member) is list), None)


def type_members(kind: Any) -> tuple[Any, ...]:
    """The types of a union; of any other type, itself."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


_WORDS = {
    NoneType: "null", bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path",
    dict: "a mapping such as {features: 16}",
}  # fmt: skip


def _alternatives(kind: Any) -> list[str]:
    words: list[str] = []
    for member in type_members(kind):
        if get_origin(member) is Literal:
            words += map(str, get_args(member))
        elif get_origin(member) is list:
            words.append("a list of texts" if get_args(member)[0] is str else "a list of numbers")
        else:
            words.append(_WORDS[get_origin(member) or member])
    return words


# -- values against types ---------------------------------------------------------------------------------------------

_NONE = object()  # what is left of a value that is none of a type


def checked(kind: Any, value: Any, name: str) -> Any:
    """A value in the form that is kept: a path for a text where a path is meant, a list for a tuple.

    Raises:
        UserError: it is none of the type; the sentence begins with the name.
    """
    kept = _kept(kind, value)
    if kept is _NONE:
        raise UserError(f"{name} {refusal(kind, value)}")
    return kept


def fits(kind: Any, value: object) -> bool:
    """Whether a value is of a type that an option may have."""
    return _kept(kind, value) is not _NONE


def _kept(kind: Any, value: Any) -> Any:
    members, wanted = type_members(kind), get_origin(kind) or kind
    if len(members) > 1:
        return next((kept for kept in (_kept(member, value) for member in members) if kept is not _NONE), _NONE)
    if wanted is Literal:
        if "off" in get_args(kind) and (value is False or str(value).lower() in ("off", "no", "false")):
            return "off"  # YAML's words for it, which most tools write as false
        return value if any(value == choice and type(value) is type(choice) for choice in get_args(kind)) else _NONE
    if wanted is list:
        items = [_kept(item_type(kind), item) for item in value] if isinstance(value, (list, tuple)) else [_NONE]
        return items if _NONE not in items else _NONE
    if wanted in (int, float):
        number = Integral if wanted is int else Real  # of NumPy too
        return wanted(value) if isinstance(value, number) and not isinstance(value, bool) else _NONE
    if (wanted is Path and isinstance(value, str)) or (wanted is str and isinstance(value, Path)):
        return wanted(value)
    return value if isinstance(value, wanted) else _NONE
