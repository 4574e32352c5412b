"""MDUNet against its golden numbers, sizes and costs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

import golden
from fsmnet.errors import UserError
from fsmnet.models import create_model
from fsmnet.models.released_names.mdunet import released_names, released_options, unused_entries
from fsmnet.models.released_weights import export_released, load_released

# key in the table of entries: options; parameters and operations at 240 x 240 of the full size
CONFIGURATIONS = {
    "small": {"features": 4, "levels": 2},
    "default": {},
    "twostream_small": {"features": 4, "levels": 2, "fusion": "levels"},
}
COSTS = {"input": (7_756_385, 21_185_740_800), "levels": (20_212_930, 48_741_580_800)}


def bound(expected):
    return 1e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize(("array", "size"), [("output", (48, 64)), ("output_odd", (45, 59))])
def test_outputs_equal_the_golden_numbers(array, size):
    model = load_released(golden.weights(golden.keys("mdunet")["small"]["entries"]), model="mdunet")
    expected = golden.arrays("mdunet_small")[array]
    with torch.inference_mode():
        out = model(golden.image(1, (1, 1, *size)), golden.image(2, (1, 1, *size)))
    assert golden.largest_difference(out.image, expected) <= bound(expected)
    assert out.frequency_image is None


@pytest.mark.parametrize("configuration", list(CONFIGURATIONS))
def test_entries_are_the_authors(configuration):
    with torch.device("meta"):
        model = create_model("mdunet", **CONFIGURATIONS[configuration])
    state, reference = model.state_dict(), golden.keys("mdunet")[configuration]
    names = released_names(model)
    expected = [(name, list(shape)) for name, shape in reference["entries"].items()]
    assert [(theirs, list(state[ours].shape)) for ours, theirs in names.items()] == expected
    assert sum(v.numel() for v in state.values()) == reference["params"]


@pytest.mark.parametrize("fusion", ["input", "levels"])
def test_names_cover_the_state_and_round_trip(fusion):
    model = create_model("mdunet", features=3, levels=3, fusion=fusion).eval()
    names = released_names(model)
    assert set(names) == set(model.state_dict())
    assert len(set(names.values())) == len(names)
    assert unused_entries(model) == {}
    state = export_released(model)["network"]
    decided = released_options({name: value.shape for name, value in state.items()})
    assert decided == {"features": 3, "levels": 3, "fusion": fusion}
    again = load_released(state, model="mdunet")
    x, y = golden.image(1, (1, 1, 24, 40)), golden.image(2, (1, 1, 24, 40))
    with torch.inference_mode():
        assert torch.equal(model(x, y).image, again(x, y).image)


@pytest.mark.parametrize("fusion", list(COSTS))
def test_size_and_cost(fusion):
    with torch.device("meta"):
        model = create_model("mdunet", fusion=fusion)
        x = torch.empty(1, 1, 240, 240)
    with FlopCounterMode(display=False) as counter:
        model(x, x)
    assert sum(p.numel() for p in model.parameters()) == COSTS[fusion][0]
    assert counter.get_total_flops() == COSTS[fusion][1]


@pytest.mark.parametrize("fusion", ["input", "levels"])
def test_every_parameter_gets_a_gradient(fusion):
    torch.manual_seed(0)
    model = create_model("mdunet", features=4, levels=2, dropout=0.2, fusion=fusion)
    shape = (2, 1, 29, 35)
    out = model(golden.image(1, shape), golden.image(2, shape))
    assert out.image.shape == shape
    assert (out.auxiliary_image is None) == (fusion == "input")
    sum(image.abs().mean() for image in out[:3] if image is not None).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


def reference_block(weights, name, x):
    for index in (0, 4):
        x = F.leaky_relu(F.instance_norm(F.conv2d(x, weights[f"{name}.layers.{index}.weight"], padding=1)), 0.2)
    return x


def test_two_streams_follow_the_specified_order():
    """Written once more from the equations, on the authors' names, for two levels and even sizes."""
    model = create_model("mdunet", features=4, levels=2, fusion="levels").eval()
    weights = {theirs: model.state_dict()[ours] for ours, theirs in released_names(model).items()}
    target, auxiliary, refined = (golden.image(seed, (2, 1, 16, 24)) for seed in (1, 2, 3))

    def block(name, *parts):
        return reference_block(weights, name, torch.cat(parts, 1))

    streams, skips = [torch.cat([auxiliary, auxiliary], 1), torch.cat([target, refined], 1)], [[], []]
    for level in range(2):
        for stream in range(2):
            feature = block(f"encoder{stream + 1}.down_sample_layers.{level}", streams[stream])
            skips[stream].append(feature)
            streams[stream] = F.avg_pool2d(feature, 2)
        for stream in range(2):  # one after the other, so that the second fusion sees the first's result
            streams[stream] = block(f"fuse_conv_layers{stream + 1}.{level}", *streams)
    images = []
    for stream in range(2):
        x = block(f"conv{stream + 1}", streams[stream])
        for step, pair in enumerate(("", ".0")):
            up = weights[f"decoder{stream + 1}.up_transpose_conv.{step}.layers.0.weight"]
            x = F.leaky_relu(F.instance_norm(F.conv_transpose2d(x, up, stride=2)), 0.2)
            x = block(f"decoder{stream + 1}.up_conv.{step}{pair}", x, skips[stream][1 - step])
        last = f"decoder{stream + 1}.up_conv.1.1"
        images.append(F.conv2d(x, weights[f"{last}.weight"], weights[f"{last}.bias"]))
    with torch.inference_mode():
        out = model(target, auxiliary, target_refined=refined)
    assert golden.largest_difference(out.image, images[1]) < 1e-5
    assert golden.largest_difference(out.auxiliary_image, images[0]) < 1e-5


@pytest.mark.parametrize("size", [(1, 1), (17, 31), (16, 32), (5, 70), (33, 47)])
def test_any_size(size):
    model = create_model("mdunet", features=2).eval()
    x = golden.image(1, (1, 1, *size))
    with torch.inference_mode():
        out = model(x, x).image
    assert out.shape == x.shape
    assert out.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "late"}, "fusion is 'input' or 'levels', not 'late'"),
        ({"levels": 0}, "features and levels must be at least 1, not 32 and 0"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
    ],
)
def test_bad_options_are_said_in_words(options, message):
    with pytest.raises(UserError, match=message):
        create_model("mdunet", **options)


def test_refined_images_need_two_streams():
    x = torch.zeros(1, 1, 16, 16)
    with pytest.raises(UserError, match="leave them out"):
        create_model("mdunet", features=2, levels=1)(x, x, target_refined=x)
