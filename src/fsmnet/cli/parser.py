"""The command line: options to dataclasses, dataclasses to work, mistakes to one sentence."""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
from argparse import Action
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NoReturn, get_args, get_origin

import yaml
from jsonargparse import ActionConfigFile, ActionYesNo, ArgumentParser, DefaultHelpFormatter  # type: ignore[attr-defined]

from fsmnet._version import __version__
from fsmnet.benchmark.options import BenchmarkConfig
from fsmnet.cli.options import DemoConfig, DoctorConfig, MaskConfig, ModelsConfig
from fsmnet.data.options import PairConfig
from fsmnet.errors import UserError
from fsmnet.evaluation.options import CompareConfig, EvaluateConfig
from fsmnet.export.options import ExportConfig
from fsmnet.files import reason
from fsmnet.options import field_types
from fsmnet.reconstruction.options import ReconstructConfig
from fsmnet.training.options import TrainConfig

# command -> (module with a function ``command(config)``, options, one-line help)
COMMANDS: dict[str, tuple[str, type[Any], str]] = {
    "demo": ("fsmnet.cli.demo", DemoConfig, "make a head, accelerate it, reconstruct it; needs no data"),
    "train": ("fsmnet.training.run", TrainConfig, "train a network on pairs of contrasts"),
    "evaluate": ("fsmnet.evaluation.evaluate", EvaluateConfig, "score models on the same slices with the same masks"),
    "compare": ("fsmnet.evaluation.compare", CompareConfig, "train and score several methods under equal conditions"),
    "reconstruct": ("fsmnet.cli.reconstruct", ReconstructConfig, "reconstruct one scan, or a whole list"),
    "pair": (
        "fsmnet.cli.pair",
        PairConfig,
        "find pairs of contrasts in a folder, with a reason for each refusal",
    ),
    "mask": ("fsmnet.cli.mask", MaskConfig, "draw a sampling mask and save it"),
    "models": ("fsmnet.inference.cost", ModelsConfig, "list the models with their size and cost"),
    "export": ("fsmnet.export.write", ExportConfig, "write a network for use without this package (.pt2, .onnx)"),
    "benchmark": ("fsmnet.benchmark.speed", BenchmarkConfig, "measure a network's speed and memory"),
    "doctor": ("fsmnet.cli.doctor", DoctorConfig, "check this installation"),
}

EXAMPLES: dict[str, tuple[str, ...]] = {
    "demo": ("fsmnet demo", "fsmnet demo --acceleration 8 --out demo_8x"),
    "train": (
        "fsmnet train --config configs/quick.yaml --data DATA --out runs/quick",
        "fsmnet train --config runs/quick/config.yaml --resume",
        "fsmnet train --config configs/fastmri_fsmnet_4x.yaml --data KNEE --pairs pairs.csv --out runs/knee",
    ),
    "evaluate": ("fsmnet evaluate --models zero_filling runs/quick/best.safetensors --data DATA --out results",),
    "compare": ("fsmnet compare --config configs/compare_small.yaml --data DATA --out runs/table1",),
    "reconstruct": (
        "fsmnet reconstruct --target T2.nii.gz --auxiliary T1.nii.gz --acceleration 4 --out T2_again.nii.gz",
        "fsmnet reconstruct --target T2.nii.gz --auxiliary T1.nii.gz --target-is zero-filled --out T2_restored.nii.gz",
        "fsmnet reconstruct --kspace scan.h5 --auxiliary T1.nii.gz --out T2.nii.gz",
        "fsmnet reconstruct --target STUDY --target-series T2 --auxiliary STUDY --auxiliary-series T1 --out STUDY_new",
        "fsmnet reconstruct --pairs pairs.csv --out results",
    ),
    "pair": (
        "fsmnet pair DATA --target t2 --auxiliary t1 --out pairs.csv",
        "fsmnet pair BIDS --target '{case}/anat/{case}_T2w.nii.gz' --auxiliary '{case}/anat/{case}_T1w.nii.gz'",
        "fsmnet pair KNEE --layout fastmri",
    ),
    "mask": ("fsmnet mask --columns 240 --acceleration 4 --seed 1337 --out mask.npz",),
    "export": (
        "fsmnet export --checkpoint runs/quick/best.safetensors --out quick.onnx",
        "fsmnet export --target T2.nii.gz --auxiliary T1.nii.gz --out shipped.pt2",
    ),
    "benchmark": (
        "fsmnet benchmark --model fsmnet_released --features 64 --size 240 --runs 5 --json",
        "fsmnet benchmark --features 16 --steps",
        "fsmnet benchmark --features 16 --models shipped --data DATA --case TCGA-FG-6692 --out speed",
    ),
    "models": ("fsmnet models", "fsmnet models --size 320 --batch 8"),
    "doctor": ("fsmnet doctor --data DATA",),
}

POSITIONAL = {"pair": "--data"}  # what a word right behind a command means


class Parser(ArgumentParser):
    """An argument parser whose errors are one line.

    Attributes:
        kinds: option -> its type, as in the dataclass.
        commands: command -> its parser, in the parser of all commands.
        file: the YAML file that is being read.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kinds: dict[str, Any] = {}
        self.commands: dict[str, Parser] = {}
        self.file: Path | None = None

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print what is wrong and where help is, and leave with exit code 2."""
        text = " ".join(str(message).split())
        named = re.search(r"(?:required: |key \")(\w+)\.", text)  # the outer parser calls it command.option
        parser = self.commands[named[1]] if named and named[1] in self.commands else self
        sys.stderr.write(f"{parser.prog}: error: {parser.in_words(text)}; see '{parser.prog} --help'\n")
        sys.exit(2)

    def in_words(self, text: str) -> str:
        """What jsonargparse says, by the names and types that the user knows."""
        if match := re.search(r"arguments are required: (.*)", text):
            missing = [_flag(name.rpartition(".")[2]) for name in match[1].split(", ")]
            return f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        if match := re.match(r"unrecognized arguments: (.*)", text):
            given = match[1].split()
            unknown = next((word.partition("=")[0] for word in given if word.startswith("--")), given[0])
            if not unknown.startswith("-"):
                return f"{unknown!r} belongs to no option"
            return f"unknown option {unknown}{_similar(unknown, self.kinds, _flag)}"
        if match := re.search(r"COMMAND: invalid choice: '(.*?)' \(", text):
            if str(self.args[0]).startswith("-"):
                return f"{self.args[0]} stands before the command; write the command first"
            return f"unknown command {match[1]!r}{_similar(match[1], self.commands)}"
        if "command" in text and "not provided" in text:
            return f"which command? {', '.join(self.commands)}"
        match = re.match(r'Parser key "(?:\w+\.)?(\w+)".*(?:Got|Given) value: (.*)', text)
        if match and match[1] in self.kinds:
            name = f"{match[1]} in {self.file}" if self.file else _flag(match[1])
            return f"{name} takes {_described(self.kinds[match[1]])}, not {match[2]!r}"
        return text.removeprefix("argument ").replace("ignored explicit argument", "takes no value, not")

    def check_file(self, file: Path) -> None:
        """Refuse a YAML file with another content than known options."""
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except OSError as error:
            self.error(f"{file}: cannot be read ({reason(error)}); give a YAML file with --config")
        except UnicodeDecodeError:
            self.error(f"{file}: not a text file; give a YAML file with --config")
        except yaml.YAMLError as error:
            mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
            where = "" if mark is None else f"line {mark.line + 1}: "
            self.error(f"{file}: not YAML ({where}{problem or error})")
        if not isinstance(content, dict):
            self.error(f"{file}: holds no options; write lines such as 'batch: 4'")
        for name, value in content.items():
            if name not in self.kinds:
                self.error(f"unknown option {str(name)!r} in {file}{_similar(str(name), self.kinds)}")
            kind = self.kinds[name]
            wrong_flag = kind is bool and not isinstance(value, bool)
            wrong_list = _items(kind) is not None and not isinstance(value, list | NoneType)
            if wrong_flag or wrong_list:
                self.error(f"{name} in {file} takes {_described(kind)}, not {value!r}")


class ConfigFile(ActionConfigFile):
    """``--config FILE``: checked first, so that a mistake in it is told with the file's name."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Take the options over from a file."""
        parser.file = Path(values)
        parser.check_file(parser.file)
        super().__call__(parser, cfg, values, option_string)  # type: ignore[no-untyped-call]
        parser.file = None


def build_parser() -> Parser:
    """The parser of all commands."""
    parser = Parser(
        prog="fsmnet",
        description="Accelerated multi-contrast MRI reconstruction. Research software, not for clinical use.",
        version=__version__,
        formatter_class=HelpFormatter,  # of the commands too
    )
    commands = parser.add_subcommands(required=True, metavar="COMMAND", dest="command")
    for name, (_, config, text) in COMMANDS.items():
        examples = "\n  ".join(EXAMPLES[name])
        sub = Parser(description=(config.__doc__ or "").strip(), epilog=f"examples:\n  {examples}")
        sub.add_argument("--config", action=ConfigFile, help="YAML file with any of the options below")
        for option, kind, default, help in field_types(config):
            add_option(sub, option, kind, default, help)
            sub.kinds[option] = kind
        commands.add_subcommand(name, sub, help=text)
        sub.prog = f"fsmnet {name}"
        parser.commands[name] = sub
    return parser


class HelpFormatter(DefaultHelpFormatter):
    """Help texts as :func:`add_option` wrote them, with the types in words; examples line by line."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("examples:") else super()._fill_text(text, width, indent)

    def _get_help_string(self, action: Action) -> str:
        complete: str | None = getattr(action, "complete_help", None)
        return super()._get_help_string(action) if complete is None else complete


def add_option(parser: Parser, name: str, kind: Any, default: Any, help: str) -> None:
    """One flag: ``center_fraction`` of the dataclass is ``--center-fraction`` here and ``center_fraction`` in YAML."""
    flag = _flag(name)
    arguments: dict[str, Any] = {"help": help, "dest": name}
    if default is MISSING:
        arguments["required"] = True
    else:
        arguments["default"] = default
    if kind is bool:
        arguments["action"] = ActionYesNo(yes_prefix="", no_prefix="no-")
    elif items := _items(kind):
        arguments |= {"nargs": "+", "type": items}
    else:
        arguments["type"] = kind
    action = parser.add_argument(flag, **arguments)
    shown = "null" if default is None else str(default).lower() if isinstance(default, bool) else default
    wanted = "required" if default is MISSING else "" if "default:" in help else f"default: {shown}"
    told = kind is bool or "{" in (action.metavar or "")  # by the flag itself
    notes = "; ".join(filter(None, ("" if told else _described(kind), wanted)))
    action.complete_help = (f"{help} ({notes})" if notes else help).replace("%", "%%")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _items(kind: Any) -> Any:
    """Type of the items of a list, or of a list that may be left out; None if it is no list."""
    return next((get_args(member)[0] for member in (kind, *get_args(kind)) if get_origin(member) is list), None)


def _described(kind: Any) -> str:
    """A type in words: ``int | None`` is "a whole number or null"."""
    *others, last = _alternatives(kind)
    return f"{', '.join(others)} or {last}" if others else last


def _alternatives(kind: Any) -> list[str]:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}
    if kind is NoneType:
        return ["null"]
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    if get_origin(kind) is list:
        return ["a list of texts" if get_args(kind)[0] is str else "a list of numbers"]
    if get_origin(kind) is dict:
        return ["a mapping such as {features: 16}"]
    return [words[kind]] if kind in words else [text for member in get_args(kind) for text in _alternatives(member)]


def _similar(name: str, known: Iterable[str], show: Callable[[str], str] = str) -> str:
    close = get_close_matches(name.lstrip("-").replace("-", "_"), list(known), n=1, cutoff=0.75)
    return f" (did you mean {show(close[0])}?)" if close else ""


def _option_of(arguments: list[str]) -> list[str]:
    """``fsmnet pair FOLDER`` is ``fsmnet pair --data FOLDER``."""
    if len(arguments) > 1 and arguments[0] in POSITIONAL and not arguments[1].startswith("-"):
        return [arguments[0], POSITIONAL[arguments[0]], *arguments[1:]]
    return arguments


def _config_first(arguments: list[str]) -> list[str]:
    """``--config FILE`` right behind the command, so that options win over the file wherever they stand."""
    for place, word in enumerate(arguments):
        length = 2 if word == "--config" else int(word.startswith("--config="))
        if length and place > 1:
            moved, rest = arguments[place : place + length], arguments[1:place] + arguments[place + length :]
            return [arguments[0], *moved, *rest]
    return arguments


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code: 0 done, 2 the user can mend it, 3 some of a list failed, 130 interrupted."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("fsmnet").setLevel(logging.INFO)
    try:
        parser = build_parser()
        parsed = parser.parse_args(_config_first(_option_of(sys.argv[1:] if arguments is None else list(arguments))))
    except KeyboardInterrupt:
        print("fsmnet: interrupted", file=sys.stderr)
        return 130
    command = parsed.command
    module, config_class, _ = COMMANDS[command]
    values = {name: getattr(parsed[command], name) for name, *_ in field_types(config_class)}
    try:
        run: Callable[[Any], int | None] = importlib.import_module(module).command
        return run(config_class(**values)) or 0
    except UserError as error:
        print(f"fsmnet {command}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"fsmnet {command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as with | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        advice = "lower batch or the model's size; 'fsmnet models' predicts the memory"
        print(f"fsmnet {command}: error: there is not enough memory; {advice}", file=sys.stderr)
        return 2
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"fsmnet {command}: error: {place}{reason(error)}; see to the file or the disk", file=sys.stderr)
        return 2
