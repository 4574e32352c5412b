"""The command line: words and YAML files to configurations, configurations to work, mistakes to one sentence."""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
from argparse import SUPPRESS, Action, ArgumentParser, BooleanOptionalAction
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, NoReturn

import yaml

from fsmnet._version import __version__
from fsmnet.cli.commands import COMMANDS, Command
from fsmnet.cli.help import SHORT, brief, complete, flag, overview
from fsmnet.cli.presets import find_preset, preset_names
from fsmnet.cli.terminal import Telling, answer, answer_terminate, prepare, say, telling
from fsmnet.errors import UserError, first_line, similar
from fsmnet.files import reason
from fsmnet.options import Options, build, checked, fits, item_type, load_yaml, options_of, plain_config, type_members

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code: 0 done, 2 the user can mend it, 3 some of a list failed, 130 interrupted."""
    prepare()
    answer_terminate()
    program = "fsmnet"
    with ExitStack() as told:
        try:
            call = parse(sys.argv[1:] if arguments is None else arguments)
            program = f"fsmnet {call.name}"
            told.enter_context(telling(call.telling))
            logger.debug("%s %s: %s", program, __version__, plain_config(call.config))
            run: Callable[[Options], int | None] = importlib.import_module(f"fsmnet.cli.{call.name}").command
            return run(call.config) or 0
        except KeyboardInterrupt:
            say(f"{program}: interrupted", error=True)
            return 130
        except BrokenPipeError:  # the reader of our output has gone, as with | head
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except Exception as error:
            if not (mistake := _in_words(error)):
                logger.debug("a defect", exc_info=True)
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


class Call(NamedTuple):
    """What was asked for."""

    name: str
    config: Options
    telling: Telling


def parse(words: Sequence[str]) -> Call:
    """A command with its configuration: defaults, then files given by ``--config``, then flags and words.

    Raises:
        SystemExit: 0 after ``--help`` and ``--version``, 2 after a mistake, which is printed in one line.
    """
    name = _command_name(words)
    command, parser = COMMANDS[name], command_parser(name)
    given, rest = parser.parse_known_args(words[1:])
    try:
        flags = {flag: value for flag, value in vars(given).items() if value is not None}
        telling = Telling(**{key: flags.pop(key) for key in Telling._fields if key in flags})
        files = [_values_of_file(file, command.options) for file in flags.pop("config", [])]
        placed = {names[0] for names in command.positional} - flags.keys()

        def show(option: str) -> str:
            return option.upper() if option in placed else flag(option)

        flags |= _positional(rest, command, flags)
        values = {k: v for file in files for k, v in file.items()} | _values_of_flags(flags, command.options, show)
        return Call(name, build(command.options, values, show), telling)
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


def _positional(rest: Sequence[str], command: Command, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Words that belong to no flag, as the options they stand for: those of the command's that no flag gives.

    Where the last of them takes a list, it takes all words that are left.
    """
    unknown = next((word.partition("=")[0] for word in rest if word.startswith("-")), None)
    if unknown is not None:
        known = [*_kinds(command.options), "config", "quiet", "verbose", "log", "help", "help_all"]
        hint = similar(unknown, known, flag) or _of_a_network(unknown, command.options, "--model-options '{}'")
        raise UserError(f"unknown option {unknown}{hint}")
    free = [names[0] for names in command.positional if not flags.keys() & {*names}]
    if free and item_type(_kinds(command.options)[free[-1]]) is not None:
        last = len(free) - 1
        return dict(zip(free[:last], rest, strict=False)) | ({free[last]: [*rest[last:]]} if rest[last:] else {})
    if len(rest) > len(free):
        raise UserError(f"{rest[len(free)]!r} belongs to no option")
    return dict(zip(free, rest, strict=False))


def _of_a_network(name: str, config: type[Options], write: str) -> str:
    """A hint where an option of a network is given as if it were one of the command; empty if it is none."""
    if "model_options" not in _kinds(config):
        return ""
    from fsmnet.models import list_models, model_options  # PyTorch, for a mistake only

    known = {option for model in list_models() for option in model_options(model)}
    return similar(name, known, lambda option: write.format(f"{{{option}: VALUE}}"))


def _values_of_flags(flags: dict[str, Any], config: type[Options], show: Callable[[str], str]) -> dict[str, Any]:
    """The flags' words as values of the options' types; messages show the names as ``show`` writes them."""
    kinds, values = _kinds(config), {}
    for name, words in flags.items():
        kind = kinds[name]
        if isinstance(words, list):
            values[name] = [_value_of(item_type(kind), word) for word in words]
        else:
            values[name] = _value_of(kind, words) if isinstance(words, str) else words  # a switch is true or false
        checked(kind, values[name], show(name))
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
            hint = similar(str(key), kinds) or _of_a_network(str(key), config, "model_options: {}")
            raise UserError(f"unknown option {str(key)!r} in {name}{hint}")
        checked(kinds[key], value, f"{key} in {name}")
    return values


def _content(file: Path, config: type[Options]) -> dict[str, Any]:
    """The mapping in a YAML file."""
    remedy = "give a YAML file with --config"
    try:
        content = load_yaml(file.read_text(encoding="utf-8"))
    except OSError as error:
        presets = preset_names(config) if file.name == str(file) and not file.suffix else ()  # no path
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


# -- flags ------------------------------------------------------------------------------------------------------------


class Parser(ArgumentParser):
    """An argument parser whose errors are one line; no beginning of an option stands for it."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, allow_abbrev=False, add_help=False)

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and where help is, and leave with exit code 2."""
        text = re.sub("^argument (-[a-z]/)?", "", " ".join(message.split()))
        text = re.sub("ignored explicit argument", "takes no value, not", text)
        say(f"{self.prog}: error: {text}; see '{self.prog} --help'", error=True)
        sys.exit(2)


class _Answer(Action):
    """A flag that prints something and ends the program."""

    def __init__(self, option_strings: Sequence[str], dest: str, text: Callable[[], str]) -> None:
        super().__init__(option_strings, SUPPRESS, nargs=0)
        self._text = text

    def __call__(self, parser: ArgumentParser, *_: Any) -> NoReturn:
        """Print it."""
        answer(*self._text().splitlines())
        parser.exit()


def main_parser() -> Parser:
    """The parser of what stands before a command."""
    parser = Parser("fsmnet")
    parser.add_argument("-h", "--help", action=_Answer, text=overview)
    parser.add_argument("--version", action=_Answer, text=lambda: f"fsmnet {__version__}")
    return parser


def command_parser(name: str) -> Parser:
    """The parser of a command: a flag for each option, all values as texts; and what every command takes."""
    parser = Parser(f"fsmnet {name}")
    parser.add_argument("-h", "--help", action=_Answer, text=lambda: brief(name))
    parser.add_argument("--help-all", action=_Answer, text=lambda: complete(name))
    parser.add_argument("--config", action="append")
    parser.add_argument("-q", "--quiet", action="store_true", default=None)
    parser.add_argument("-v", "--verbose", action="store_true", default=None)
    parser.add_argument("--log")
    for one in options_of(COMMANDS[name].options):
        letter = [f"-{SHORT[one.name]}"] if one.name in SHORT else []
        parser.add_argument(*letter, flag(one.name), dest=one.name, **_form(one.kind))
    return parser


def _form(kind: Any) -> dict[str, Any]:
    """How a flag is given: as a switch, with a list of words, or with one word."""
    if kind is bool:
        return {"action": BooleanOptionalAction}
    return {"nargs": "+"} if item_type(kind) is not None else {}
