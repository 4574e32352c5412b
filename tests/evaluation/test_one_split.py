"""Every configuration holds out the same patients, so that all rows of a table can be scored on the same ones."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import pytest

from fsmnet.data.options import SplitOptions
from fsmnet.evaluation.options import CompareConfig
from fsmnet.options import load_yaml, options_of
from fsmnet.protocols import get_protocol
from fsmnet.training.options import TrainConfig

FOLDER = Path(str(resources.files("fsmnet"))) / "configs"
CONFIGS = {path.stem: load_yaml(path.read_text()) for path in sorted(FOLDER.glob("*.yaml"))}
TRAININGS = {name: values for name, values in CONFIGS.items() if not name.startswith("compare")}
CASES = [
    SimpleNamespace(
        case=f"BraTS-GLI-{number // 2:05d}-{100 + number % 2}",
        target=SimpleNamespace(folder="train", patient=""),
        auxiliary=SimpleNamespace(patient=""),
    )
    for number in range(200)
]


def split(kind, values):
    names = {one.name for one in options_of(SplitOptions)}
    config = kind(**{"data": Path(), "out": Path(), **{name: value for name, value in values.items() if name in names}})
    protocol = get_protocol(values["protocol"])
    return protocol.split(CASES, config, protocol.patients(CASES, config))


def test_the_presets_are_here():
    assert {"paper", "released", "quick", "table1_swinir", "ablation_unet", "fastmri_fsmnet"} <= set(TRAININGS)
    assert len(TRAININGS) >= 21


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_holds_out_the_same_patients(name):
    kind = CompareConfig if name.startswith("compare") else TrainConfig
    paper, own = split(TrainConfig, CONFIGS["paper"]), split(kind, CONFIGS[name])
    assert own == paper
    assert (len(own.train), len(own.validation), len(own.test)) == (130, 20, 50)
    assert own.across() == []
