"""Every command and every option as a page of the documentation, made from the options themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fsmnet.cli.commands import COMMANDS
from fsmnet.cli.help import EVERYWHERE, about, groups, left, usage


def page() -> str:
    """The page, in Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Commands"
    yield ""
    yield "`fsmnet help` lists the commands, `--help` shows what a first user needs of one, `--help-all` all of it."
    yield "Any option may stand in a YAML file for `--config`, with underscores for hyphens. Of every command:"
    yield ""
    yield from _table(EVERYWHERE.items())
    for name, command in COMMANDS.items():
        yield from ("", f"## {name}", "", f"{_plain(command.help[:1].upper() + command.help[1:])}.")
        yield from ("", "```console", f"$ {usage(name)}", "```")
        for section in command.sections:
            yield from ("", f"{_plain(section.title)}:", "", "```console", f"$ {section.example}", "```")
        for title, options in groups(name).items():
            yield from ("", f"**{title}**", "")
            yield from _table((left(one, command), about(one)) for one in options)


def _table(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield "| option | what it does |"
    yield "|---|---|"
    for names, words in rows:
        yield f"| `{names.replace('|', ' or ')}` | {_plain(words)} |"


def _plain(text: str) -> str:
    """A text in which Markdown finds nothing of its own."""
    for sign in "\\`*_{}[]<>|$":
        text = text.replace(sign, f"\\{sign}")
    return text
