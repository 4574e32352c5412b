"""What options are made of: dataclass fields with a help text, which become YAML keys and flags of the same names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import MISSING, asdict, field, fields
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from fsmnet.errors import UserError


def option(default: Any, help: str) -> Any:
    """A dataclass field with the help text of its flag."""
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata={"help": help})
    return field(default=default, metadata={"help": help})


def required(help: str) -> Any:
    """A dataclass field without a default."""
    return field(metadata={"help": help})


def at_least(config: Any, name: str, least: float) -> None:
    """Refuse a value below the least possible one."""
    if not getattr(config, name) >= least:
        raise UserError(f"{name} must be at least {least}, not {getattr(config, name)}")


def field_types(config: type[Any]) -> list[tuple[str, Any, Any, str]]:
    """(name, type, default or MISSING, help) of each field."""
    hints = get_type_hints(config)
    rows = []
    for f in fields(config):
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        rows.append((f.name, hints[f.name], default, f.metadata.get("help", "")))
    last = ("device", "threads")  # of every command that computes
    return sorted(rows, key=lambda row: row[0] in last)


def plain_config(config: Any) -> dict[str, Any]:
    """A configuration as JSON and YAML can hold it."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}


def changed_options(earlier: Mapping[str, Any], now: Mapping[str, Any], free: Collection[str]) -> str:
    """Options that differ between two plain configurations, in words; those in ``free`` may. Empty if none does."""
    changed = [name for name in now if name not in free and now[name] != earlier.get(name)]
    return ", ".join(f"{name} was {earlier.get(name)!r}, is {now[name]!r}" for name in changed)


def dump_config(config: Any) -> str:
    """A configuration as YAML that ``--config`` reads back."""
    text: str = yaml.safe_dump(plain_config(config), sort_keys=False)
    return text
