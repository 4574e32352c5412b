"""What a newcomer reads: help of a screen, all options on demand, examples that run, and the shell's completion."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

import fsmnet.cli.completion
from fsmnet.cli.commands import COMMANDS
from fsmnet.cli.help import flag
from fsmnet.cli.parser import main
from fsmnet.cli.reference import page
from fsmnet.options import options_of

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 42  # of --help on a terminal of 80 columns
MOST_COLUMNS = 100


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def shown(capsys):
    """Function (words) -> what is printed; the command must not fail."""

    def run(*words: str) -> str:
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code
        captured = capsys.readouterr()
        assert (code, captured.err) == (0, "")
        return captured.out

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_a_screen_about_a_command(command, shown):
    text = shown(command, "--help")
    lines = text.splitlines()
    assert len(lines) <= MOST_LINES, len(lines)
    assert max(map(len, lines)) <= MOST_COLUMNS
    assert lines[0].startswith(f"usage: fsmnet {command}")
    assert f"fsmnet {command} --help-all" in lines[-1]
    assert not re.search("null|Path|NoneType|MISSING", text)
    for section in COMMANDS[command].sections:
        assert section.example in re.sub(r"\s+", " ", text.replace("\\\n", " "))
        assert section.options.keys() <= {"config", *(one.name for one in options_of(COMMANDS[command].options))}
    assert shown("help", command) == text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_on_demand(command, shown):
    text = shown(command, "--help-all")
    words = " ".join(text.split())
    for one in options_of(COMMANDS[command].options):
        assert flag(one.name).removeprefix("--") in words
        assert " ".join(one.help.split())[:40] in words
        assert f"\n{one.group}:\n" in text
    assert text.endswith("".join(f"  {section.example}\n" for section in COMMANDS[command].sections))
    assert not re.search("default: (None|null|False|True)", words)
    assert shown("help", command, "--all") == text


def test_help_lists_the_commands(shown):
    text = shown("--help")
    for name, command in COMMANDS.items():
        assert re.search(rf"  {name} +{re.escape(command.help)}\n", text)
    assert "not for clinical use" in text
    assert shown("help") == text


def test_help_of_nothing(capsys):
    assert main(["help", "recontsruct"]) == 2
    assert "unknown command 'recontsruct' (did you mean reconstruct?)" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_are_commands(command, monkeypatch):
    seen = []
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("fsmnet.cli.parser.importlib.import_module", lambda _: SimpleNamespace(command=seen.append))
    for section in COMMANDS[command].sections:
        example = section.example.partition(" > ")[0]
        if "runs/quick/config.yaml" not in example:  # written by the line before it
            assert main(shlex.split(example)[1:]) == 0, example
            assert type(seen.pop()) is COMMANDS[command].options


def test_a_page_with_every_command_and_option():
    text = page()
    for name, command in COMMANDS.items():
        begin = text.index(f"\n## {name}\n")
        part = text[begin : text.find("\n## ", begin + 1)]
        assert all(f"$ {section.example}\n" in part for section in command.sections)
        for one in options_of(command.options):
            assert re.search(rf"\| `[^`]*--(\[no-\])?{flag(one.name)[2:]}\b[^`]*` \| .{{8}}", part), one.name
    assert "| null" not in text


def words_of_the_docs() -> set[str]:
    """What README and docs name as a command of ours: between backticks, or at the beginning of a line of code."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    return set(re.findall(r"(?:^|`)fsmnet ([a-z]\w*)", text, re.MULTILINE))


def test_the_docs_name_commands_that_are_there():
    assert words_of_the_docs() - {"import"} <= {*COMMANDS, "COMMAND"}
    assert {"train", "evaluate", "reconstruct", "pair"} <= words_of_the_docs()


# -- completion -------------------------------------------------------------------------------------------------------

BASH = shutil.which("bash")


COMPLETED = {
    "tra": "train",
    "train --resu": "--resume",
    "train --schedule c": "constant cosine",
    "train --model fsmnet_f": "fsmnet_fast",
    "train --config qui": "quick",
    "reconstruct --kspace sc": "scan.h5 scans",
    "reconstruct T": "T1.nii.gz T2.nii.gz",
    "completion ": "bash fish zsh",
}
ASK = """
function ask {
    COMP_LINE="$*"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_POINT=${#COMP_LINE}; COMPREPLY=()
    $(complete -p fsmnet | sed 's/.*-F \\([^ ]*\\) .*/\\1/') fsmnet
    echo "${COMPREPLY[@]}"
}
"""


@pytest.mark.skipif(BASH is None, reason="there is no bash here")
def test_bash_completes(tmp_path):
    for name in ("scan.h5", "T1.nii.gz", "T2.nii.gz"):
        (tmp_path / name).touch()
    (tmp_path / "scans").mkdir()
    asked = "".join(f"ask fsmnet {' '.join(map(shlex.quote, words.split(' ')))}\n" for words in COMPLETED)
    script = fsmnet.cli.completion.script("bash") + ASK + asked
    done = subprocess.run([BASH], input=script, cwd=tmp_path, capture_output=True, text=True, check=True)
    found = [" ".join(sorted(word.rstrip("/") for word in line.split())) for line in done.stdout.splitlines()]
    assert dict(zip(COMPLETED, found, strict=True)) == COMPLETED, done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_the_script(shell, tmp_path, shown):
    text = shown("completion", shell)
    assert "reconstruct" in text
    if (program := shutil.which(shell)) is None:
        pytest.skip(f"there is no {shell} here")
    (tmp_path / "script").write_text(text)
    subprocess.run([program, "-n", tmp_path / "script"], check=True)
