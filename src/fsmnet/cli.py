"""The command line: options to dataclasses, dataclasses to work, mistakes to one sentence."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING
from typing import Any, NoReturn, get_args, get_origin

from jsonargparse import ActionYesNo, ArgumentParser

from fsmnet import config as options
from fsmnet._version import __version__
from fsmnet.errors import UserError

# command -> (module with a function ``command(config)``, options, one-line help)
COMMANDS: dict[str, tuple[str, type[Any], str]] = {
    "demo": ("fsmnet.demo", options.DemoConfig, "make a head, accelerate it, reconstruct it; needs no data"),
    "train": ("fsmnet.train", options.TrainConfig, "train a network on pairs of contrasts"),
    "evaluate": ("fsmnet.evaluate", options.EvaluateConfig, "score models on the same slices with the same masks"),
    "reconstruct": ("fsmnet.reconstruction", options.ReconstructConfig, "reconstruct one scan"),
    "mask": ("fsmnet.masks", options.MaskConfig, "draw a sampling mask and save it"),
    "models": ("fsmnet.profile", options.ModelsConfig, "list the models with their size and cost"),
    "doctor": ("fsmnet.doctor", options.DoctorConfig, "check this installation"),
}


class Parser(ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print what is wrong and where help is, and leave with exit code 2."""
        text = " ".join(str(message).split())
        sys.stderr.write(f"{self.prog}: error: {text}; see '{self.prog} --help'\n")
        sys.exit(2)


def build_parser() -> Parser:
    """The parser of all commands."""
    parser = Parser(
        prog="fsmnet",
        description="Accelerated multi-contrast MRI reconstruction. Research software, not for clinical use.",
        version=__version__,
    )
    commands = parser.add_subcommands(required=True, metavar="COMMAND", dest="command")
    for name, (_, config, text) in COMMANDS.items():
        sub = Parser(prog=f"fsmnet {name}", description=(config.__doc__ or "").strip())
        sub.add_argument("--config", action="config", help="YAML file with any of the options below")
        for option, kind, default, help in options.field_types(config):
            add_option(sub, option, kind, default, help)
        commands.add_subcommand(name, sub, help=text)
    return parser


def add_option(parser: Parser, name: str, kind: Any, default: Any, help: str) -> None:
    """One flag: ``center_fraction`` of the dataclass is ``--center-fraction`` here and ``center_fraction`` in YAML."""
    flag = "--" + name.replace("_", "-")
    arguments: dict[str, Any] = {"help": help, "dest": name}
    if default is MISSING:
        arguments["required"] = True
    else:
        arguments["default"] = default
    if kind is bool:
        parser.add_argument(flag, action=ActionYesNo(yes_prefix="", no_prefix="no-"), **arguments)
        return
    members = [kind, *get_args(kind)]
    if items := next((get_args(m)[0] for m in members if get_origin(m) is list), None):
        parser.add_argument(flag, nargs="+", type=items, **arguments)
        return
    parser.add_argument(flag, type=kind, **arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code: 0 done, 2 the user can mend it, 130 interrupted."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("fsmnet").setLevel(logging.INFO)
    parser = build_parser()
    parsed = parser.parse_args(arguments)
    command = parsed.command
    module, config_class, _ = COMMANDS[command]
    values = {name: getattr(parsed[command], name) for name, *_ in options.field_types(config_class)}
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
