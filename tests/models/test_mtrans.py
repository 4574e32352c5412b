"""MTrans against the golden numbers, its size and its two outputs."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import golden
from fsmnet.errors import UserError
from fsmnet.models import create_model
from fsmnet.models.mtrans import image_of_patches, patches
from fsmnet.models.released_names.mtrans import released_names, released_options, unused_entries
from fsmnet.models.released_weights import export_released, load_released

SMALL = {"image_size": 48, "hidden": 2, "patch_target": 4, "patch_aux": 8, "depth": 2}
TINY = {"image_size": 16, "hidden": 1, "patch_target": 2, "patch_aux": 4, "depth": 2, "num_heads": 2}
OPTIONS = {"small": SMALL, "default": {}}


@pytest.fixture(scope="module")
def default():
    with torch.device("meta"):
        return create_model("mtrans").eval()


def test_outputs_equal_the_golden_numbers():
    model = load_released(golden.weights(golden.keys("mtrans")["small"]["entries"]), model="mtrans")
    tokens = {}
    model.layers[-1].register_forward_hook(lambda _, __, out: tokens.update(target=out[0], aux=out[1]))
    x, y = golden.image(1, (1, 1, 48, 48)), golden.image(2, (1, 1, 48, 48))
    expected = golden.arrays("mtrans_small")
    with torch.inference_mode():
        both = model(x, y)
    assert golden.largest_difference(both.image, expected["output"]) < 1e-5
    for mine, name in ((both.auxiliary_image, "output_aux"), *((tokens[k], f"mid_tokens_{k}") for k in tokens)):
        reference = expected[name]
        assert golden.largest_difference(mine, reference) < 1e-5 * max(1.0, float(reference.abs().max())), name


@pytest.mark.parametrize("configuration", list(OPTIONS))
def test_entries_are_the_authors_in_their_order(configuration):
    entries = golden.keys("mtrans")[configuration]["entries"]
    with torch.device("meta"):
        model = create_model("mtrans", **OPTIONS[configuration])
    own = model.state_dict()
    mine = [(theirs, list(own[ours].shape)) for ours, theirs in released_names(model).items()]
    assert mine == [(name, list(shape)) for name, shape in entries.items()]
    options = released_options(entries)
    assert options.items() <= model.recipe["options"].items()
    assert set(model.recipe["options"]) - set(options) == {"num_heads"}


def test_names_cover_the_whole_state():
    for same_width in ({}, {"patch_aux": 2}):
        model = create_model("mtrans", **{**TINY, **same_width})
        names = released_names(model)
        assert set(names) == set(model.state_dict())
        assert len(set(names.values())) == len(names)
        assert unused_entries(model) == {}


def test_size_and_cost_of_the_default(default):
    assert sum(p.numel() for p in default.parameters()) == 782_259_810
    x = torch.empty(1, 1, 240, 240, device="meta")
    with FlopCounterMode(display=False) as counter:
        default(x, x)
    assert counter.get_total_flops() == 1_449_429_811_200


def test_size_at_320():
    with torch.device("meta"):
        model = create_model("mtrans", image_size=320)
    assert sum(p.numel() for p in model.parameters()) == 783_693_410


def test_every_parameter_learns_from_both_outputs_at_an_odd_size():
    torch.manual_seed(0)
    # In training mode batch norm would hide the convolutions' biases.
    model = create_model("mtrans", **{**TINY, "hidden": 3, "image_size": (13, 21)}).eval()
    for head in (model.head_target, model.head_auxiliary):
        for norm in head.norms:
            norm.bias.data.fill_(1)  # no ReLU stays shut
    x, y = golden.image(1, (2, 1, 13, 21)), golden.image(2, (2, 1, 13, 21))
    both = model(x, y)
    assert both.image.shape == both.auxiliary_image.shape == x.shape
    (both.image.square().mean() + both.auxiliary_image.square().mean()).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        assert p.grad.any(), name


def test_the_image_alone_leaves_only_the_last_auxiliary_update_without_gradient():
    torch.manual_seed(0)
    model = create_model("mtrans", **TINY)
    model(golden.image(1, (1, 1, 16, 16)), golden.image(2, (1, 1, 16, 16))).image.square().mean().backward()
    dead = {name for name, p in model.named_parameters() if p.grad is None}
    expected = {name for name, _ in model.named_parameters() if name.startswith(("layers.1.auxiliary.", "tail_aux"))}
    assert dead == expected


def test_other_sizes_interpolate_the_positions():
    model = create_model("mtrans", **TINY).eval()
    with torch.inference_mode():
        for table in (model.positions_target, model.positions_auxiliary):
            table[:] = table[:, :1]  # the same everywhere, hence at any size
        for size in ((16, 16), (16, 32), (9, 14)):
            assert model(*(golden.image(i, (1, 1, *size)) for i in (1, 2))).image.shape == (1, 1, *size)
        grid = model._positions(model.positions_target, 2, (24, 8))
        torch.testing.assert_close(grid, model.positions_target[:, :1].expand(1, 48, -1))


def test_a_rectangle_has_its_own_table():
    model = create_model("mtrans", **{**TINY, "image_size": [16, 24]})
    assert model.positions_target.shape == (1, 96, 4)
    assert model._positions(model.positions_target, 2, (16, 24)) is model.positions_target


def test_patches_put_the_channel_last_and_come_back():
    x = torch.arange(2 * 3 * 4 * 6.0).reshape(2, 3, 4, 6)
    tokens = patches(x, 2)
    assert tokens.shape == (2, 6, 12)
    assert torch.equal(tokens[0, 1], x[0, :, :2, 2:4].permute(1, 2, 0).flatten())
    assert torch.equal(image_of_patches(tokens, 2, (4, 6)), x)


def test_both_inputs_matter():
    torch.manual_seed(0)
    model = create_model("mtrans", **{**TINY, "hidden": 4}).eval()
    x, y = golden.image(1, (1, 1, 16, 16)), golden.image(2, (1, 1, 16, 16))
    with torch.inference_mode():
        assert not torch.equal(model(x, y).image, model(x, x).image)
        assert not torch.equal(model(x, y).image, model(y, y).image)


def test_half_precision_stays_close():
    torch.manual_seed(0)
    model = create_model("mtrans", **TINY).eval()
    x, y = golden.image(1, (1, 1, 16, 16)), golden.image(2, (1, 1, 16, 16))
    with torch.inference_mode():
        exact = model(x, y).image
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(x, y).image
    assert golden.largest_difference(exact, rough) < 0.05 * float(exact.abs().max())


def test_export_and_load_is_a_round_trip(tmp_path):
    model = create_model("mtrans", **TINY).eval()
    path = tmp_path / "authors.pth"
    export_released(model, path)
    again = load_released(path, model="mtrans", num_heads=2)
    x = golden.image(1, (1, 1, 16, 16))
    with torch.inference_mode():
        assert torch.equal(model(x, x).image, again(x, x).image)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_heads": 3}, "num_heads must divide"),
        ({"depth": 0}, "depth must be a positive whole number, not 0"),
        ({"image_size": (48, 48, 1)}, "image_size is"),
        ({"image_size": 0}, "image_size is"),
    ],
)
def test_impossible_options_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        create_model("mtrans", **{**TINY, **options})
