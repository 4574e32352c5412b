"""What ``--help`` and ``--help-all`` show, made from the table of commands and from their options."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import MISSING
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from fsmnet.cli.commands import COMMANDS, Command
from fsmnet.cli.options import HelpConfig
from fsmnet.cli.terminal import answer
from fsmnet.errors import UserError, similar
from fsmnet.options import Option, item_type, options_of, type_members

LEFT = 28  # columns of the options' names
LONG = 100  # columns of an example
SHORT = {"out": "o"}  # options that one letter stands for
CONFIG = "YAML file with any of these options, or a preset's name; what is given here wins over it"
EVERYWHERE = {
    "--config FILE": CONFIG,
    "-q, --quiet": "warnings and errors only",
    "-v, --verbose": "tell more",
    "--log FILE": "also write everything that is told to this file, with the time",
    "--help": "the few options that a first user needs",
    "--help-all": "all of them",
}
"""What every command takes."""

_WORDS: dict[Any, str] = {int: "N", float: "NUMBER", str: "TEXT", Path: "PATH", dict: "{NAME: VALUE}"}


def overview() -> str:
    """What stands before a command."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items())
    return (
        "usage: fsmnet COMMAND ...\n\n"
        "Accelerated multi-contrast MRI reconstruction. Research software, not for clinical use.\n\n"
        f"{commands}\n\n"
        "A first look:        fsmnet demo\n"
        "More of a command:   fsmnet COMMAND --help\n"
    )


def brief(name: str) -> str:
    """A screen about a command: what people do with it, each with an example and the few options that it takes."""
    command, known = COMMANDS[name], _known(name)
    lines = _head(name)
    for section in command.sections:
        lines += ["", *_wrapped(section.title), *_example(section.example)]
        for option, words in section.options.items():
            if option == "config":
                lines += _row("--config FILE", words)
            else:
                one = known[option]
                lines += _row(left(one, command, placed=section is command.sections[0]), words or about(one))
    lines += ["", *_closing(name, sum(len(section.options) for section in command.sections), len(known))]
    return "\n".join(lines) + "\n"


def complete(name: str) -> str:
    """Every option of a command, in sections, and its examples."""
    command = COMMANDS[name]
    lines = _head(name, whole=True)
    for title, options in groups(name).items():
        lines += ["", f"{title}:"]
        for one in options:
            lines += _row(left(one, command), about(one))
    lines += ["", "every command:"]
    for names, words in EVERYWHERE.items():
        lines += _row(names, words)
    lines += ["", "examples:", *(f"  {section.example}" for section in command.sections)]
    return "\n".join(lines) + "\n"


def groups(name: str) -> dict[str, list[Option]]:
    """The options of a command, section by section."""
    found: dict[str, list[Option]] = {}
    for one in options_of(COMMANDS[name].options):
        found.setdefault(one.group, []).append(one)
    return found


def flag(name: str) -> str:
    """``center_fraction`` of the dataclass is ``--center-fraction`` on the command line."""
    return "--" + name.replace("_", "-")


def left(one: Option, command: Command, placed: bool = False) -> str:
    """How an option is written: ``-o, --out PATH``; with ``placed``, one that may stand without its flag."""
    if placed and one.name in (names[0] for names in command.positional):
        return one.name.upper()
    letter = f"-{SHORT[one.name]}, " if one.name in SHORT else ""
    if one.kind is bool:
        return flag(one.name) if one.default is False else flag(one.name).replace("--", "--[no-]", 1)
    return f"{letter}{flag(one.name)} {value(one.kind)}"


def value(kind: Any) -> str:
    """What a value looks like: ``N``, ``NUMBER``, ``PATH``, ``{full,zero-filled}``."""
    words, choices = [], []
    for member in type_members(kind):
        if get_origin(member) is Literal:
            choices += list(map(str, get_args(member)))
        elif item_type(member) is not None:
            words.append(f"{value(item_type(member))} ...")
        elif member is not NoneType:
            words.append(_WORDS[get_origin(member) or member])
    if not words:
        return "{" + ",".join(choices) + "}"
    return "|".join((*words, *choices))


def about(one: Option) -> str:
    """An option's help, with its default where it has one that the help does not tell."""
    default = one.default
    if default is MISSING:
        return f"{one.help} (required)"
    if default is None or default is False or default in ([], {}, "") or "default:" in one.help:
        return one.help
    values = default if isinstance(default, list) else [default]
    shown = " ".join("on" if one is True else f"{one:g}" if isinstance(one, float) else str(one) for one in values)
    return f"{one.help} (default: {shown})"


def usage(name: str) -> str:
    """How a command is called, in a line."""
    command, needed = COMMANDS[name], []
    places = {names[0] for names in command.positional}
    for one in options_of(command.options):
        if one.default is MISSING and one.name not in places:
            needed.append(left(one, command).split(", ")[0].split(" ")[0] + f" {one.name.upper()}")
    placed = []
    for names in command.positional:
        required = _known(name)[names[0]].default is MISSING
        placed.append(names[0].upper() if required else f"[{names[0].upper()}]")
    return " ".join(("fsmnet", name, *placed, *needed, "[OPTIONS]"))


def _known(name: str) -> dict[str, Option]:
    return {one.name: one for one in options_of(COMMANDS[name].options)}


def _head(name: str, whole: bool = False) -> list[str]:
    told = textwrap.dedent(COMMANDS[name].options.__doc__ or "").strip().split("\n\n")
    lines = [f"usage: {usage(name)}"]
    for paragraph in told if whole else told[:1]:
        lines += ["", *_wrapped(" ".join(paragraph.split()))]
    return lines


def _closing(name: str, shown: int, there: int) -> list[str]:
    more = f"All {there} options: fsmnet {name} --help-all" if shown < there else f"More: fsmnet {name} --help-all"
    return [f"{more}    Everywhere: --config FILE, -q, -v, --log FILE"]


def _row(names: str, words: str) -> list[str]:
    """An option and its words beside it, below it where its name is long."""
    text = textwrap.wrap(words, max(30, _width() - LEFT), break_on_hyphens=False)
    begin = f"  {names}"
    if len(begin) > LEFT - 2:
        return [begin, *(" " * LEFT + line for line in text)]
    return [begin.ljust(LEFT) + (text[0] if text else ""), *(" " * LEFT + line for line in text[1:])]


def _example(text: str) -> list[str]:
    """A command, continued on the next line where it is long."""
    lines = [f"    {text}"]
    while len(lines[-1]) > LONG and (end := lines[-1].rfind(" --", 0, LONG - 1)) > 0:
        lines[-1:] = [f"{lines[-1][:end]} \\", f"        {lines[-1][end + 1 :]}"]
    return lines


def _wrapped(text: str) -> Sequence[str]:
    return textwrap.wrap(text, _width(), break_on_hyphens=False)


def _width() -> int:
    return max(60, min(100, shutil.get_terminal_size().columns) - 2)


def command(config: HelpConfig) -> int:
    """``fsmnet help``."""
    if config.command is None:
        answer(*overview().splitlines())
        return 0
    if config.command not in COMMANDS:
        known = similar(config.command, COMMANDS)
        raise UserError(f"unknown command {config.command!r}{known}; there are {', '.join(COMMANDS)}")
    answer(*(complete if config.all else brief)(config.command).splitlines())
    return 0
