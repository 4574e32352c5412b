"""``fsmnet completion``: a script for the shell, made by shtab from the table of commands."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import shtab

from fsmnet.cli.commands import COMMANDS
from fsmnet.cli.help import SHORT, about, flag
from fsmnet.cli.options import CompletionConfig
from fsmnet.cli.presets import preset_names
from fsmnet.cli.terminal import answer
from fsmnet.models import list_models
from fsmnet.options import Option, item_type, options_of, type_members
from fsmnet.physics.masks import MASK_KINDS
from fsmnet.protocols import protocol_names


def command(config: CompletionConfig) -> int:
    """Print the script."""
    answer(*script(config.shell).splitlines())
    return 0


def script(shell: str) -> str:
    """What the shell is to read."""
    parser = ArgumentParser("fsmnet", add_help=False)
    commands = parser.add_subparsers()
    for name, command in COMMANDS.items():
        one = commands.add_parser(name, help=command.help, add_help=False)
        _add(one, "--config", "YAML file or preset", {"complete": _presets(name)})
        _add(one, "--log", "file for what is told", {"complete": shtab.FILE})
        for switch in ("-q", "--quiet", "-v", "--verbose", "--help", "--help-all"):
            one.add_argument(switch, action="store_true", help=" ")
        known = {option.name: option for option in options_of(command.options)}
        for option in known.values():
            letters = [f"-{SHORT[option.name]}"] if option.name in SHORT else []
            _add(one, flag(option.name), about(option), _values(option), *letters)
        for names in command.positional:
            option = known[names[0]]
            _add(one, option.name, about(option), _values(option) | {"nargs": "?"})
    text: str = shtab.complete(parser, shell)
    return text


def _add(parser: ArgumentParser, name: str, words: str, form: dict[str, Any], *letters: str) -> None:
    complete = form.pop("complete", None)
    added: Any = parser.add_argument(*letters, name, help=words.replace("%", "%%"), **form)
    if complete is not None:
        added.complete = complete


def _values(one: Option) -> dict[str, Any]:
    """What may stand behind an option: its choices, names, or files."""
    if one.kind is bool:
        return {"action": BooleanOptionalAction}
    names = _names(one.name)
    choices = [word for member in type_members(one.kind) if get_origin(member) is Literal for word in get_args(member)]
    form: dict[str, Any] = {"nargs": "+"} if item_type(one.kind) is not None else {}
    if names or choices:
        return form | {"choices": names or choices}
    return form | ({"complete": shtab.FILE} if Path in type_members(one.kind) else {})


def _names(option: str) -> list[str]:
    """The names that an option of texts knows."""
    if option == "model":
        return list_models()
    if option == "protocol":
        return protocol_names()
    if option == "command":
        return list(COMMANDS)
    return list(MASK_KINDS) if option in ("mask_kind", "kind") else []


def _presets(name: str) -> dict[str, Any]:
    """Files, and in bash a command's presets too."""
    function = f"_fsmnet_config_{name}"
    words = " ".join(preset_names(COMMANDS[name].options))
    bash = f'{function}() {{\n  compgen -W "{words}" -- $1\n  _shtab_compgen_files $1\n}}'
    return {**shtab.FILE, "bash": function, "preamble": {"bash": bash}}
