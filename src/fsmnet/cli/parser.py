"""The command line: words and YAML files to configurations, configurations to work, mistakes to one sentence."""

from __future__ import annotations

import importlib
import os
import re
import sys
from argparse import ArgumentParser, BooleanOptionalAction, HelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import MISSING
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NoReturn, get_args, get_origin

import yaml

from fsmnet._version import __version__
from fsmnet.cli.commands import COMMANDS, Command
from fsmnet.cli.presets import find_preset, preset_names
from fsmnet.cli.terminal import answer_terminate, prepare, say
from fsmnet.errors import UserError, first_line
from fsmnet.files import reason
from fsmnet.options import (
    Option,
    Options,
    build,
    checked,
    described,
    fits,
    item_type,
    load_yaml,
    options_of,
    similar,
    type_members,
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code: 0 done, 2 the user can mend it, 3 some of a list failed, 130 interrupted."""
    prepare()
    answer_terminate()
    program = "fsmnet"
    try:
        name, config = parse(sys.argv[1:] if arguments is None else arguments)
        program = f"fsmnet {name}"
        run: Callable[[Options], int | None] = importlib.import_module(f"fsmnet.cli.{name}").command
        return run(config) or 0
    except KeyboardInterrupt:
        say(f"{program}: interrupted", error=True)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as with | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if not (mistake := _in_words(error)):
            raise
        say(f"{program}: error: {mistake}", error=True)
        return 2


def _in_words(error: Exception) -> str:
    """What the user can do about an error; empty if it is a defect of ours."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error)):
        return "there is not enough memory; lower batch or the model's size; 'fsmnet models' predicts the memory"
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{reason(error)}; see to the file or the disk"
    return ""


# -- words to a configuration -----------------------------------------------------------------------------------------


def parse(words: Sequence[str]) -> tuple[str, Options]:
    """The command's name and its configuration: defaults, then files given by ``--config``, then flags.

    Raises:
        SystemExit: 0 after ``--help`` and ``--version``, 2 after a mistake, which is printed in one line.
    """
    name = _command_name(words)
    command, parser = COMMANDS[name], command_parser(name)
    given, rest = parser.parse_known_args(words[1:])
    try:
        flags = {flag: value for flag, value in vars(given).items() if value is not None}
        files = [_values_of_file(file, command.options) for file in flags.pop("config", [])]
        flags |= _positional(rest, command)
        values = {k: v for file in files for k, v in file.items()} | _values_of_flags(flags, command.options)
        return name, build(command.options, values, _flag)
    except UserError as error:
        parser.error(str(error))


def _command_name(words: Sequence[str]) -> str:
    """The command, which is the first word."""
    parser = main_parser()
    if not words:
        parser.error(f"which command? {', '.join(COMMANDS)}")
    if words[0].startswith("-"):
        parser.parse_known_args(words[:1])  # prints help or version
        parser.error(f"{words[0].partition('=')[0]} stands before the command; write the command first")
    if words[0] not in COMMANDS:
        parser.error(f"unknown command {words[0]!r}{similar(words[0], COMMANDS)}")
    return words[0]


def _positional(rest: Sequence[str], command: Command) -> dict[str, str]:
    """Words that belong to no flag, as the options they stand for."""
    unknown = next((word.partition("=")[0] for word in rest if word.startswith("-")), None)
    if unknown is not None:
        raise UserError(f"unknown option {unknown}{similar(unknown, _kinds(command.options), _flag)}")
    if len(rest) > len(command.positional):
        raise UserError(f"{rest[len(command.positional)]!r} belongs to no option")
    return dict(zip(command.positional, rest, strict=False))


def _values_of_flags(flags: dict[str, Any], config: type[Options]) -> dict[str, Any]:
    """The flags' words as values of the options' types."""
    kinds, values = _kinds(config), {}
    for name, words in flags.items():
        kind = kinds[name]
        if isinstance(words, list):
            values[name] = [_value_of(item_type(kind), word) for word in words]
        else:
            values[name] = _value_of(kind, words) if isinstance(words, str) else words  # a switch is true or false
        checked(kind, values[name], _flag(name))
    return values


def _value_of(kind: Any, word: str) -> Any:
    """What a word means where a type is expected; the word itself if it is meant as a text, or means nothing."""
    members = type_members(kind)
    if word == "null" and NoneType in members:
        return None
    if str in members or Path in members or fits(kind, word):
        return word
    try:
        value = load_yaml(word)
    except yaml.YAMLError:
        return word
    return value if fits(kind, value) else word


def _values_of_file(name: str, config: type[Options]) -> dict[str, Any]:
    """The options in a YAML file or a preset."""
    file = find_preset(name) or Path(name)
    kinds, values = _kinds(config), _content(file, config)
    for key, value in values.items():
        if key not in kinds:
            raise UserError(f"unknown option {str(key)!r} in {name}{similar(str(key), kinds)}")
        checked(kinds[key], value, f"{key} in {name}")
    return values


def _content(file: Path, config: type[Options]) -> dict[str, Any]:
    """The mapping in a YAML file."""
    remedy = "give a YAML file with --config"
    try:
        content = load_yaml(file.read_text(encoding="utf-8"))
    except OSError as error:
        presets = preset_names(config)
        known = f" or a preset: {', '.join(presets)}{similar(str(file), presets)}" if presets else ""
        raise UserError(f"{file}: cannot be read ({reason(error)}); {remedy}{known}") from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: not a text file; {remedy}") from None
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = "" if mark is None else f"line {mark.line + 1}: "
        raise UserError(f"{file}: not YAML ({where}{problem or first_line(error)})") from None
    if not isinstance(content, dict):
        raise UserError(f"{file}: holds no options; write lines such as 'batch: 4'")
    return content


def _kinds(config: type[Options]) -> dict[str, Any]:
    return {one.name: one.kind for one in options_of(config)}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


# -- flags and help ---------------------------------------------------------------------------------------------------


class Parser(ArgumentParser):
    """An argument parser whose errors are one line, and whose help keeps the lines of examples."""

    def __init__(self, prog: str, **texts: str) -> None:
        super().__init__(prog, allow_abbrev=False, formatter_class=_Help, **texts)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and where help is, and leave with exit code 2."""
        text = " ".join(message.removeprefix("argument ").split())
        text = re.sub("ignored explicit argument", "takes no value, not", text)
        say(f"{self.prog}: error: {text}; see '{self.prog} --help'", error=True)
        sys.exit(2)


class _Help(HelpFormatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if re.match("examples:|commands:", text) else super()._fill_text(text, width, indent)


def main_parser() -> Parser:
    """The parser of what stands before a command."""
    width = max(map(len, COMMANDS))
    commands = "\n  ".join(f"{name:{width}}  {command.help}" for name, command in COMMANDS.items())
    parser = Parser(
        "fsmnet",
        usage="fsmnet COMMAND ...",
        description="Accelerated multi-contrast MRI reconstruction. Research software, not for clinical use.",
        epilog=f"commands:\n  {commands}\n\n'fsmnet COMMAND --help' tells more of each.",
    )
    parser.add_argument("--version", action="version", version=f"fsmnet {__version__}")
    return parser


def command_parser(name: str) -> Parser:
    """The parser of a command: a flag for each option, in sections, all values as texts."""
    command = COMMANDS[name]
    options = options_of(command.options)
    needed = "".join(f" {_flag(one.name)} {one.name.upper()}" for one in options if one.default is MISSING)
    parser = Parser(
        f"fsmnet {name}",
        usage=f"fsmnet {name} [--config FILE]{needed} [--OPTION VALUE ...]",
        description=(command.options.__doc__ or "").strip(),
        epilog="examples:\n  " + "\n  ".join(command.examples),
    )
    parser.add_argument(
        "--config", action="append", metavar="FILE", help="YAML file with any of the options below, or a preset's name"
    )
    for group in dict.fromkeys(one.group for one in options):
        section = parser.add_argument_group(group)
        for one in options:
            if one.group == group:
                section.add_argument(_flag(one.name), help=_help_of(one), **_form(one.kind))
    return parser


def _form(kind: Any) -> dict[str, Any]:
    """How a flag is given: as a switch, with a list of words, or with one word."""
    if kind is bool:
        return {"action": BooleanOptionalAction}
    if item_type(kind) is not None:
        return {"nargs": "+"}
    return {"metavar": "{" + ",".join(get_args(kind)) + "}"} if get_origin(kind) is Literal else {}


def _help_of(one: Option) -> str:
    """``center_fraction`` of the dataclass is ``--center-fraction`` here; its help with type and default."""
    default = one.default
    shown = "null" if default is None else str(default).lower() if isinstance(default, bool) else default
    wanted = "required" if default is MISSING else "" if "default:" in one.help else f"default: {shown}"
    told = one.kind is bool or get_origin(one.kind) is Literal  # by the flag itself
    notes = "; ".join(filter(None, ("" if told else described(one.kind), wanted)))
    return (f"{one.help} ({notes})" if notes else one.help).replace("%", "%%")
