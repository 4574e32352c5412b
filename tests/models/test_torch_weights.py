"""State dicts are found wherever trainers put them, by content and without executing anything."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fsmnet.checkpoint import load_model
from fsmnet.errors import UserError
from fsmnet.models import create_model
from fsmnet.models.released_weights import export_released
from fsmnet.models.torch_weights import read_state, state_of

STATE = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.tensor(1.0)}
OTHER = {name: tensor + 1 for name, tensor in STATE.items()}
OPTIMIZER = {"state": {0: {"exp_avg": torch.zeros(2), "step": torch.tensor(1)}}, "param_groups": [{"lr": 1e-4}]}


def same(found):
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)
    return True


@pytest.mark.parametrize(
    "source",
    [
        STATE,
        {"network": STATE, "epoch": 3},
        {"model": STATE, "optimizer": OPTIMIZER, "epoch": torch.tensor(3)},
        {
            "state_dict": STATE,
            "optimizer_states": [OPTIMIZER],
            "lr_schedulers": [],
            "loops": {"a": {"b": torch.ones(1)}},
        },
        {"net": STATE, "optim": {"m": torch.ones(3)}},
        {"params": STATE},
        {"params": OTHER, "params_ema": STATE},
        {"ema": {"decay": 0.99, "shadow": STATE}, "model": OTHER},
        {"netG": STATE, "netD": OTHER},
        {"checkpoint": {"model_state_dict": STATE}, "args": {"a": torch.ones(2)}},
        {"whatever": STATE},
        STATE | {"epoch": 3},
    ],
    ids=lambda source: "-".join(map(str, list(source)[:2])),
)
def test_where_trainers_put_a_state_dict(source):
    assert same(state_of(source))


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "model._orig_mod.",
        "model.module.net.",
        "_fsdp_wrapped_module.",
    ],
)
def test_prefixes_of_wrappers(prefix):
    assert same(state_of({"state_dict": {prefix + name: tensor for name, tensor in STATE.items()}}))


def test_what_thop_and_wrappers_within_add_goes():
    found = {name.replace("conv.", "conv._checkpoint_wrapped_module."): tensor for name, tensor in STATE.items()}
    counts = {f"{where}total_{what}": torch.zeros(1) for where in ("", "conv.") for what in ("ops", "params")}
    assert same(state_of(found | counts))


def test_what_averaging_adds_goes():
    state = nn.Linear(2, 2).state_dict()
    averaged = torch.optim.swa_utils.AveragedModel(nn.Linear(2, 2)).state_dict()
    assert "n_averaged" in averaged
    assert state_of(averaged).keys() == state.keys()


def test_several_are_told(caplog):
    with pytest.raises(UserError, match=r"x\.pth: holds several state dicts \(encoder; decoder\); save the one"):
        state_of({"encoder": STATE, "decoder": OTHER}, "x.pth")
    state_of({"model": OTHER, "ema": STATE}, "x.pth")
    assert "x.pth: the weights in ema are taken; it also holds model" in caplog.text


@pytest.mark.parametrize("nothing", [{}, [], 3, {"epoch": 3}, {1: torch.ones(2)}, {"optimizer": OPTIMIZER}, None])
def test_no_state_dict(nothing):
    with pytest.raises(UserError, match="neither a state dict nor"):
        state_of(nothing)


def test_harmless_things_beside_the_weights_do_not_stop_reading(tmp_path):
    beside = {"args": Namespace(lr=1e-4), "best": np.float64(38.2), "epoch": np.int64(3)}
    torch.save({"state_dict": STATE} | beside, tmp_path / "last.ckpt")
    assert same(read_state(tmp_path / "last.ckpt"))


class Unknown:
    pass


def test_nothing_is_executed(tmp_path):
    torch.save({"state_dict": STATE, "trainer": Unknown()}, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=r"can be read safely \(it holds a .*Unknown\); save its state dict alone"):
        read_state(tmp_path / "last.ckpt")


@pytest.mark.parametrize("name", ["x.pt", "x.pth", "x.ckpt", "x.bin", "x.tar", "x", "x.safetensors"])
def test_a_checkpoint_is_told_by_its_content(tmp_path, name):
    original = create_model("fsmnet_released", features=8, blocks=1)
    wrapped = {f"module._orig_mod.{entry}": tensor for entry, tensor in export_released(original)["network"].items()}
    torch.save({"epoch": 3, "state_dict": wrapped}, tmp_path / name)
    again = load_model(tmp_path / name)
    assert all(torch.equal(tensor, original.state_dict()[entry]) for entry, tensor in again.state_dict().items())


def test_our_own_under_any_name(tmp_path):
    shipped = load_model("shipped")
    from fsmnet.checkpoint import shipped_checkpoint

    path = tmp_path / "best.pth"
    path.write_bytes(Path(str(shipped_checkpoint())).read_bytes())
    assert load_model(path).state_dict().keys() == shipped.state_dict().keys()


def test_a_checkpoint_that_was_not_fetched(tmp_path):
    (tmp_path / "best.safetensors").symlink_to("gone")
    with pytest.raises(UserError, match=r"is a link to a file that is not there; fetch it .*; or make a checkpoint"):
        load_model(tmp_path / "best.safetensors")
