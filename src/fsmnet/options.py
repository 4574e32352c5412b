"""What options are made of: dataclass fields with a help text, which become YAML keys and flags of the same names."""

from __future__ import annotations

from dataclasses import MISSING, field, fields
from typing import Any, get_type_hints

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
