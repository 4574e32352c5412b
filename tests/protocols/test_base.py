"""What every protocol answers: by its name, with its masks."""

from __future__ import annotations

import pytest

from fsmnet import protocols
from fsmnet.errors import UserError
from fsmnet.physics.options import MaskOptions
from fsmnet.protocols import get_protocol, protocol_names, register_protocol
from fsmnet.protocols.brats import BRATS
from fsmnet.protocols.float import Float
from fsmnet.registry import Registry


def test_protocols_by_name():
    assert protocol_names() == ["brats", "float", "complex", "fastmri"]
    assert all(get_protocol(name).name == name for name in protocol_names())
    assert get_protocol("brats") is BRATS
    with pytest.raises(UserError, match="unknown protocol 'png'; choose one of brats, float, complex, fastmri"):
        get_protocol("png")


class Mine(Float):
    name = "mine"


MINE = Mine()


def test_a_protocol_of_ones_own_by_object_or_place(monkeypatch):
    registry = Registry("protocol", "fsmnet.protocols", {"brats": BRATS})
    monkeypatch.setattr(protocols, "PROTOCOLS", registry)
    register_protocol("mine", MINE)
    register_protocol("elsewhere", "fsmnet.protocols.float:Float")
    assert get_protocol("mine") is MINE
    assert get_protocol("elsewhere").name == "float"
    assert protocol_names() == ["brats", "mine", "elsewhere"]
    with pytest.raises(UserError, match="the protocol 'brats' is one of fsmnet's own; choose another name"):
        register_protocol("brats", MINE)


@pytest.mark.parametrize(
    ("protocol", "acceleration", "expected"),
    [
        ("brats", 4, ("random", 0.10, 1337)),
        ("brats", 8, ("equispaced_fraction", 0.04, 1337)),
        ("float", 4, ("random", 0.08, "name")),
        ("float", 8, ("random", 0.04, "name")),
        ("fastmri", 4, ("random", 0.08, "name")),
        ("fastmri", 8, ("random", 0.04, "name")),
    ],
)
def test_masks_follow_the_protocol(protocol, acceleration, expected):
    recipe = get_protocol(protocol).mask_recipe(MaskOptions(acceleration=acceleration))
    assert (recipe.kind, recipe.center_fraction, recipe.seed) == expected


def test_given_mask_options_win():
    options = MaskOptions(acceleration=8, mask_kind="magic", center_fraction=0.02, mask_seed="name")
    recipe = get_protocol("brats").mask_recipe(options)
    assert (recipe.kind, recipe.center_fraction, recipe.seed) == ("magic", 0.02, "name")
