"""Networks from outside: registered, named by their class, stored in a checkpoint and found again."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fsmnet
from fsmnet import models
from fsmnet.checkpoint import Header, load_model, save_checkpoint
from fsmnet.errors import UserError
from fsmnet.inference.optimise import optimise
from fsmnet.models import (
    create_model,
    from_recipe,
    list_models,
    model_class,
    model_options,
    recipe_of,
    register_model,
    takes_acquisition,
)
from fsmnet.models.output import Output, as_output


class Plain(nn.Module):
    """Returns a tensor, not an Output."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, width, 3, padding=1)

    def forward(self, target, auxiliary):
        return target + self.conv(torch.cat([target, auxiliary], 1)).mean(1, keepdim=True)


class Needs(Plain):
    def __init__(self, width: int) -> None:
        super().__init__(width)


class OneInput(nn.Module):
    def forward(self, image):
        return image


PLACE = f"{__name__}:Plain"


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """Whatever a test registers is forgotten after it."""
    monkeypatch.setattr(models.MODELS, "_registered", {})


def test_every_model_of_this_package_is_found():
    for name in list_models():
        assert issubclass(model_class(name), nn.Module)


def test_a_network_whose_building_would_not_end_is_refused():
    with pytest.raises(UserError, match="model fsmnet: blocks must be at most 10000, not 100000000"):
        create_model("fsmnet", features=8, blocks=100_000_000)


def test_a_registered_class_is_a_model_like_any_other():
    register_model("plain", Plain, "nobody, nowhere")
    assert list_models()[-1] == "plain"
    assert models.MODELS.get("plain").citation == "nobody, nowhere"
    assert model_options("plain") == {"width": 4}
    model = create_model("plain", width=3)
    assert recipe_of(model) == {"name": "plain", "options": {"width": 3}, "class": PLACE}
    assert "class" not in recipe_of(create_model("zero_filling"))
    with pytest.raises(UserError, match="model plain has no option 'depth'; it takes width"):
        create_model("plain", depth=3)
    with pytest.raises(UserError, match="the model 'fsmnet' is one of fsmnet's own"):
        register_model("fsmnet", Plain)


@pytest.mark.parametrize("name", [PLACE, "plain"])
def test_a_checkpoint_finds_its_class_again(tmp_path, monkeypatch, name):
    if name == "plain":
        register_model(name, Plain)
    model = create_model(name, width=5)
    save_checkpoint(tmp_path / "own.safetensors", model.state_dict(), Header(recipe_of(model)))
    models.MODELS._registered.clear()  # as in another process
    again = load_model(tmp_path / "own.safetensors")
    x, y = torch.randn(2, 1, 1, 9, 7)
    assert torch.equal(as_output(again(x, y)).image, as_output(model(x, y)).image)
    assert again.recipe["options"] == {"width": 5}


def test_what_is_no_network_is_refused_in_words():
    refused = {
        "math:pi": "model 'math:pi': math:pi is no class of networks; derive it from torch.nn.Module",
        "pathlib:Path": "is no class of networks",
        f"{__name__}:OneInput": r"OneInput\.forward\(self, image\) cannot be called with \(target, auxiliary\)",
        f"{__name__}:Nothing": "has no 'Nothing'; see how it is written there",
        "no_such_package:Net": "no_such_package cannot be imported .*; install its package, or put its folder on",
        f"{__name__}:Needs": "needs the option width, which has no default; give it a value",
    }
    for name, words in refused.items():
        with pytest.raises(UserError, match=words):
            create_model(name)
    assert create_model(f"{__name__}:Needs", width=2).recipe["options"] == {"width": 2}


class OfKSpace(Plain):
    """A network from outside for k-space."""

    takes = "acquisition"


class Unknown(Plain):
    """Takes nobody knows what."""

    takes = "sinograms"


def test_a_model_says_what_it_takes():
    taking = [name for name in list_models() if takes_acquisition(model_class(name))]
    assert taking == ["pocs", "fsmnet_unrolled"]
    assert takes_acquisition(create_model(f"{__name__}:OfKSpace"))
    assert takes_acquisition(optimise(create_model(f"{__name__}:OfKSpace")))
    assert not takes_acquisition(optimise(create_model(PLACE)))
    with pytest.raises(UserError, match="takes 'sinograms' is not known; choose 'images' or 'acquisition'"):
        create_model(f"{__name__}:Unknown")


def test_a_recipe_of_today_needs_no_class():
    assert type(from_recipe({"name": "zero_filling", "options": {}})).__name__ == "ZeroFilling"
    with pytest.raises(UserError, match="unknown model 'fsmnet3'"):
        from_recipe({"name": "fsmnet3", "options": {}})


def test_outputs():
    x = torch.zeros(1, 1, 2, 2)
    assert as_output(x) == Output(x)
    assert as_output(Output(x, x)).frequency_image is x
    assert as_output((x, None, x)) == Output(x, None, x)
    assert fsmnet.create_model("zero_filling")(x, x).image is x
    with pytest.raises(UserError, match=r"an image of shape \(1, 2, 2\) for a target of \(1, 1, 2, 2\); return one of"):
        as_output(x[0], x)
    with pytest.raises(UserError, match="the model returned a dict; return the image, a tensor, or an Output"):
        as_output({"image": x})
