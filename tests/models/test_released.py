"""The released network against the golden numbers, and its weights in and out."""

from __future__ import annotations

import pytest
import torch

import golden
from fsmnet.errors import UserError
from fsmnet.models import create_model
from fsmnet.models.blocks import ChannelAttention, Down, FrequencyBlock, ResidualGroup, SelectiveFusion, Up
from fsmnet.models.released import ReleasedFSFusion
from fsmnet.models.released_names.fsmnet_released import block_names
from fsmnet.models.released_weights import export_released, load_released

SIZES = {"small": ((1, 1, 48, 64), 1, 1e-5, 1e-4), "default": ((2, 1, 64, 80), 3, 5e-4, 3e-3)}


@pytest.mark.parametrize("configuration", list(SIZES))
def test_outputs_equal_the_golden_numbers(configuration):
    shape, seed, image_bound, frequency_bound = SIZES[configuration]
    reference = golden.keys("fsmnet")[configuration]
    weights = golden.weights(reference["entries"], reference["weight_factor"])
    model = load_released({"network": {f"module.{name}": w for name, w in weights.items()}})
    x, y = golden.image(seed, shape), golden.image(seed + 1, shape)
    expected = golden.arrays(f"fsmnet_{configuration}")
    with torch.inference_mode():
        single = model(x, y)
        double = model.double()(x.double(), y.double())
    assert golden.largest_difference(double.image, expected["img_out"]) < 1e-6
    assert golden.largest_difference(double.frequency_image, expected["img_fre"]) < 1e-6
    assert golden.largest_difference(single.image, expected["img_out"]) < image_bound
    assert golden.largest_difference(single.frequency_image, expected["img_fre"]) < frequency_bound


BLOCKS = {
    "down": (Down(16), [21]),
    "up": (Up(16), [22]),
    "residual_group": (ResidualGroup(16, 2), [23]),
    "frequency_block": (FrequencyBlock(16, magnitude=True, epsilon=1e-8), [24]),
    "attention": (ChannelAttention(16), [25, 26]),
    "fs_fusion": (ReleasedFSFusion(16, "attention"), [27, 28]),
    "cms_fusion": (SelectiveFusion(16, "convolved"), [29, 30]),
}


@pytest.mark.parametrize("name", list(BLOCKS))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_blocks_equal_the_golden_numbers(name, dtype):
    block, seeds = BLOCKS[name]
    shapes = {k: tuple(v.shape) for k, v in block.state_dict().items()}
    factor = golden.keys("fsmnet")["small"]["weight_factor"]
    block.load_state_dict({k: golden.entry(v, shapes[k], factor) for k, v in block_names(block).items()})
    inputs = [golden.image(seed, (2, 16, 20, 32)).to(dtype) for seed in seeds]
    with torch.inference_mode():
        out = block.to(dtype)(*inputs)
    assert golden.largest_difference(out, golden.arrays("fsmnet_blocks")[name]) < 1e-6


def test_export_has_the_authors_entries_in_their_order():
    for configuration, count in (("small", None), ("default", 14_053_528)):
        reference = golden.keys("fsmnet")[configuration]
        options = {"features": 64, "blocks": 2} if configuration == "default" else {"features": 16, "blocks": 1}
        state = export_released(create_model("fsmnet_released", **options))["network"]
        assert [(k, list(v.shape)) for k, v in state.items()] == [(k, list(v)) for k, v in reference["entries"].items()]
        if count:
            assert sum(v.numel() for v in state.values()) == count


def test_export_and_load_is_a_round_trip(tmp_path):
    model = create_model("fsmnet_released", features=8, blocks=1).eval()
    path = tmp_path / "authors.pth"
    export_released(model, path)
    again = load_released(path)
    x = torch.randn(1, 1, 24, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(model(x, x).image, again(x, x).image)


def test_all_wrong_entries_are_listed_in_one_error():
    state = export_released(create_model("fsmnet_released", features=8, blocks=1))["network"]
    del state["tail.0.act.weight"]
    state["surprise.weight"] = torch.zeros(1)
    state["head_fre.0.layers.weight"] = torch.zeros(8, 2, 3, 3)
    with pytest.raises(UserError) as error:
        load_released(state)
    for fragment in ("missing tail.0.act.weight", "extra surprise.weight", "head_fre.0.layers.weight is [8, 2, 3, 3]"):
        assert fragment in str(error.value)


def test_a_damaged_file_is_said_in_words(tmp_path):
    path = tmp_path / "broken.pth"
    path.write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(UserError, match="not a PyTorch checkpoint"):
        load_released(path)
