"""Names and what they stand for: built in, registered from Python, or brought by an installed package.

A package from outside names what it brings under an entry-point group in its ``pyproject.toml``::

    [project.entry-points."fsmnet.models"]
    own_network = "own_package.network:OwnNetwork"

Nothing is imported before it is asked for by name.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from fsmnet.errors import UserError, first_line, similar

T = TypeVar("T")


class Registry(Generic[T]):
    """What a kind of thing is called, and where it is found."""

    def __init__(
        self, kind: str, group: str, builtin: Mapping[str, T | str], made: Callable[[str], T] | None = None
    ) -> None:
        """Begin with what this package brings.

        Args:
            kind: what messages call a thing, e.g. ``model``.
            group: entry-point group, e.g. ``fsmnet.models``.
            builtin: by name: the thing, or ``"package.module:Name"``, where it is found.
            made: makes a thing of ``"package.module:Name"``; None: what stands there is the thing.
        """
        self.kind, self.group, self._made = kind, group, made
        self._builtin: dict[str, T | str] = dict(builtin)
        self._registered: dict[str, T | str] = {}
        self._installed: dict[str, T | str] | None = None  # not looked for yet

    def register(self, name: str, thing: T | str) -> None:
        """Add a thing, or ``"package.module:Name"``; it replaces what was registered under the name before.

        Raises:
            UserError: the name belongs to a thing of this package.
        """
        if not name or ":" in name:
            raise UserError(f"{name!r} cannot be the name of a {self.kind}; choose one without a colon")
        if name in self._builtin:
            raise UserError(f"the {self.kind} {name!r} is one of fsmnet's own; choose another name")
        self._registered[name] = thing

    def names(self) -> list[str]:
        """Every name, this package's first."""
        return list(self._entries())

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self._entries()

    def get(self, name: str) -> T:
        """The thing of a name; ``"package.module:Name"`` needs no registration.

        Raises:
            UserError: an unknown name, or one that cannot be imported.
        """
        found = name if ":" in name else self._entries().get(name)
        if found is None:
            raise UserError(
                f"unknown {self.kind} {name!r}{similar(name, self)}; choose one of {', '.join(self)}, or give "
                "package.module:Name"
            )
        if not isinstance(found, str):
            return found
        thing: T = self._made(found) if self._made is not None else imported(found, f"{self.kind} {name!r}")
        return thing

    def _entries(self) -> dict[str, T | str]:
        """All, where the earlier kind wins; installed packages are looked through once."""
        if self._installed is None:
            self._installed = {entry.name: entry.value for entry in entry_points(group=self.group)}
        # The names' order is that of the first, the things those of the last that has the name.
        return self._builtin | self._installed | self._registered | self._builtin


def imported(place: str, what: str) -> Any:
    """What ``"package.module:Name"`` names.

    Raises:
        UserError: it cannot be imported, or is not there; the message begins with ``what``.
    """
    module_name, _, name = place.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the code of somebody else raises when it is imported
        raise UserError(
            f"{what}: {module_name} cannot be imported ({type(error).__name__}: {first_line(error)}); install its "
            "package, or put its folder on PYTHONPATH"
        ) from error
    try:
        return getattr(module, name)
    except AttributeError:
        raise UserError(f"{what}: {module_name} has no {name!r}; see how it is written there") from None
