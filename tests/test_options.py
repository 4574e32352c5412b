"""Options: what they refuse, what they say of themselves, and how they go into YAML and come back."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import yaml

from fsmnet.cli.commands import COMMANDS
from fsmnet.cli.parser import main
from fsmnet.errors import UserError
from fsmnet.evaluation.options import CompareConfig
from fsmnet.options import (
    Options,
    build,
    changed_options,
    changes,
    checked,
    dump_config,
    load_yaml,
    option,
    options_of,
    plain_config,
    required,
    values_of,
)  # fmt: skip
from fsmnet.physics.options import MaskOptions
from fsmnet.reconstruction.options import ReconstructConfig
from fsmnet.training.options import TrainConfig


@dataclass(kw_only=True)
class Shared(Options, group="device"):
    threads: int | None = option(None, "threads", material="rounding")


@dataclass(kw_only=True)
class Work(Shared, group="model"):
    """Some work."""

    out: Path = required("result", material=False, group="output")
    kind: Literal["plain", "fancy"] = option("plain", "kind")
    seed: int | Literal["name"] = option(0, "seed")
    rate: float = option(1, "rate")
    betas: list[float] = option([0.5], "betas")
    cases: list[str] | None = option(None, "cases")
    more: dict[str, Any] = option({}, "more")
    fast: bool = option(False, "fast")
    steps: int = option(10, "steps", material="extent")
    lines: list[int] | Literal["all"] | None = option([4], "lines", most=100)


WRONG = {
    "choice": ({"kind": "fanzy"}, r"kind takes plain or fancy, not 'fanzy' \(did you mean fancy\?\)"),
    "far from any": ({"kind": 3}, "kind takes plain or fancy, not '3'$"),
    "neither of two": ({"seed": "nam"}, r"seed takes a whole number or name, not 'nam' \(did you mean name\?\)"),
    "not whole": ({"steps": 1.5}, "steps takes a whole number, not '1.5'"),
    "a switch as a number": ({"steps": True}, "steps takes a whole number, not 'true'"),
    "a number as a switch": ({"fast": 1}, "fast takes true or false, not '1'"),
    "a text as a number": ({"rate": "much"}, "rate takes a number, not 'much'"),
    "nothing": ({"rate": None}, "rate takes a number, not 'null'"),
    "one for a list": ({"cases": "a"}, "cases takes a list of texts or null, not 'a'"),
    "an item": ({"betas": [0.1, "b"]}, "betas takes a list of numbers, not 'b'"),
    "a mapping": ({"more": [1]}, "more takes a mapping such as {features: 16}, not"),
    "a path": ({"out": 3}, "out takes a path, not '3'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_impossible_values_are_refused_where_the_dataclass_is_built(name):
    values, message = WRONG[name]
    with pytest.raises(UserError, match=message):
        Work(**{"out": Path("o"), **values})


def test_names_that_nobody_reads_or_that_are_missing():
    with pytest.raises(UserError, match=r"unknown option 'stops' \(did you mean steps\?\)"):
        build(Work, {"out": "o", "stops": 3})
    with pytest.raises(UserError, match=r"^out is missing$"):
        build(Work, {})


def test_values_are_kept_in_one_form():
    config = build(
        Work, {"out": "o", "rate": 2, "betas": (0, np.float64(0.5)), "steps": np.int64(3), "cases": [Path("a")]}
    )
    assert (config.out, config.betas, config.steps, config.cases) == (Path("o"), [0.0, 0.5], 3, ["a"])
    assert [type(value) for value in (config.rate, *config.betas, config.steps)] == [float, float, float, int]


def test_defaults_are_not_shared():
    one, other = Work(out=Path("o")), Work(out=Path("o"))
    one.betas.append(3.0)
    assert other.betas == [0.5]


def test_options_say_what_they_are():
    rows = {one.name: one for one in options_of(Work)}
    assert list(rows)[-2:] == ["out", "threads"]  # by section
    assert (rows["out"].default, rows["out"].material, rows["out"].group) == (MISSING, False, "output")
    assert (rows["kind"].group, rows["threads"].group, rows["kind"].help) == ("model", "device", "kind")
    assert values_of(Work(out=Path("o"), threads=3), Shared) == {"threads": 3}


def test_what_changed_and_matters():
    now = Work(out=Path("there"), rate=2.0, steps=20, threads=4)
    assert changes(plain_config(Work(out=Path("here"))), now) == {"rate": (1.0, 2.0)}
    assert changed_options({}, now) == "rate was 1, is 2"  # what a record does not know had its default
    assert changed_options(plain_config(now), now) == ""


def test_there_and_back_through_yaml():
    config = Work(
        out=Path("o"), kind="fancy", seed="name", rate=1e-5, betas=[1e3, 0.1], cases=["off", "2026-01-31", "1e3"]
    )
    assert build(Work, load_yaml(dump_config(config))) == config


def test_yaml_as_people_write_it():
    text = "{a: 1e-3, b: off, c: 2026-01-31, d: true, e: 1.5, f: .inf, g: null, h: 12, i: yes, j: 1.0e+5, k: e3}"
    assert load_yaml(text) == {
        "a": 1e-3, "b": "off", "c": "2026-01-31", "d": True, "e": 1.5, "f": float("inf"), "g": None,
        "h": 12, "i": "yes", "j": 1e5, "k": "e3",
    }  # fmt: skip


def immaterial(config, *kinds) -> set[str]:
    return {one.name for one in options_of(config) if one.material in kinds}


def test_what_may_differ_between_a_run_and_its_continuation():
    assert immaterial(TrainConfig, False, "content", "rounding", "extent") == {
        "out", "resume", "data", "index", "iterations", "epochs", "minutes", "device", "threads", "workers", "cache",
        "cache_folder", "save_every", "log_every", "tensorboard", "patience", "pictures",
    }  # fmt: skip
    assert immaterial(CompareConfig, False, "content", "rounding", "extent") == {
        "out", "methods", "preset", "reference", "paper", "data", "index", "device", "threads",
    }  # fmt: skip


def test_what_may_differ_of_a_finished_reconstruction():
    assert immaterial(ReconstructConfig, False, "content", "rounding", "extent") == {
        "out", "checkpoint", "mask", "device", "threads", "batch", "overwrite", "pairs", "workers", "processes",
        "cluster", "check", "trust_maps", "picture",
        "target_contrast", "auxiliary_contrast", "anyway",
    }  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_default_is_possible_and_every_option_has_a_help(command):
    for one in options_of(COMMANDS[command].options):
        assert one.help
        assert one.default is MISSING or checked(one.kind, one.default, one.name) == one.default


def test_wrong_values_in_any_configuration():
    with pytest.raises(UserError, match="mask kind 'spiral'; choose one of random"):  # others may add theirs
        MaskOptions(mask_kind="spiral")
    with pytest.raises(UserError, match="coils takes single or multi, not 'both'"):
        TrainConfig(data=Path(), out=Path(), coils="both")


def test_a_number_beyond_the_most_that_is_taken():
    for lines in ([100, 1], [], "all", None):
        assert Work(out="x", lines=lines).lines == lines
    with pytest.raises(UserError, match=r"^lines must be at most 100, not 101$"):
        Work(out="x", lines=[1, 101])


@pytest.mark.parametrize(
    "words",
    [
        ("mask", "--columns", "-o", "mask.npz"),
        ("models", "--size"),
        ("benchmark", "--size"),
        ("benchmark", "--runs"),
        ("benchmark", "--thread-counts"),
        ("benchmark", "--threads"),
        ("demo", "--subjects"),
        ("train", "--seed", "--data", "DATA", "-o", "OUT"),
        ("train", "--split-seed", "--data", "DATA", "-o", "OUT"),
        ("demo", "--seed"),
        ("evaluate", "--phase", "--data", "DATA", "--models", "pocs", "-o", "OUT"),
        ("evaluate", "--noise", "--data", "DATA", "--models", "pocs", "-o", "OUT"),
        ("evaluate", "--simulated-coils", "--data", "DATA", "--models", "pocs", "-o", "OUT"),
        ("reconstruct", "--processes", "--pairs", "pairs.csv", "-o", "OUT"),
    ],
)
def test_sizes_that_no_machine_has_are_refused_before_any_work(words, tmp_path, monkeypatch, capsys):
    """They filled the memory, or started processes, until something else gave way."""
    monkeypatch.chdir(tmp_path)
    command, flag, *rest = words
    with pytest.raises(SystemExit, match="2"):
        main([command, flag, "9999999999", *rest])
    assert f"{flag[2:].replace('-', '_')} must be at most" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: &b [1]\nc: [*b, *b]", "aliases"), ("[" * 5000, "nested too deeply"), ("a: " + "9" * 5000, "digits")],
)
def test_yaml_that_is_not_read(text, words):
    with pytest.raises(yaml.YAMLError, match=words):
        load_yaml(text)
