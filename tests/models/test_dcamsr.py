"""DCAMSR against the golden numbers, its size, and its behaviour at other image sizes."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import golden
from fsmnet.errors import UserError
from fsmnet.models import create_model
from fsmnet.models.dcamsr import DualCrossAttention
from fsmnet.models.released_names.dcamsr import released_names, released_options, unused_entries
from fsmnet.models.released_weights import export_released, load_released

SMALL = {"image_size": (48, 64), "n_blks": (1, 1, 1), "n_blks_dec": (1,) * 6, "depths": (1, 1, 2)}
TINY = {**SMALL, "image_size": 16, "nf": 8, "num_heads": 2, "proj_size": 4}
OPTIONS = {"small": SMALL, "default": {}}
NOT_IN_SHAPES = {"scale", "attn_drop", "spatial_layout"}


def test_outputs_equal_the_golden_numbers():
    weights = golden.weights(golden.keys("dcamsr")["small"]["entries"])
    model = load_released(weights, model="dcamsr", image_size=(48, 64))
    mid: dict[str, torch.Tensor] = {}

    def keep(name):
        def hook(module, inputs, out):
            mid.setdefault(name, out[:, :8])  # the encoder sees the target first

        return hook

    for level in range(3):
        model.encoder[level].register_forward_hook(keep(f"mid_enc_target_L{level + 1}"))
        model.fusion[level].register_forward_hook(keep(f"mid_fused_L{level + 1}"))
    expected = golden.arrays("dcamsr_small")
    with torch.inference_mode():
        image = model(golden.image(1, (1, 1, 48, 64)), golden.image(2, (1, 1, 48, 64))).image
    assert golden.largest_difference(image, expected["output"]) < 1e-5
    assert len(mid) == 6
    for name, features in mid.items():
        bound = 1e-5 * max(1.0, float(expected[name].abs().max()))
        assert golden.largest_difference(features, expected[name]) < bound, name


def test_super_resolution_equals_the_golden_numbers():
    weights = golden.weights(golden.keys("dcamsr")["small"]["entries"])
    model = load_released(weights, model="dcamsr", image_size=(48, 64), scale=2)
    with torch.inference_mode():
        image = model(golden.image(1, (1, 1, 24, 32)), golden.image(2, (1, 1, 48, 64))).image
    assert golden.largest_difference(image, golden.arrays("dcamsr_small")["output_scale2"]) < 1e-5


@pytest.mark.parametrize("configuration", list(OPTIONS))
def test_entries_are_the_authors_in_their_order(configuration):
    entries = {name: tuple(shape) for name, shape in golden.keys("dcamsr")[configuration]["entries"].items()}
    with torch.device("meta"):
        model = create_model("dcamsr", **OPTIONS[configuration])
    unused = unused_entries(model)
    own = model.state_dict()
    mine = [(theirs, tuple(own[ours].shape)) for ours, theirs in released_names(model).items()]
    assert mine == [(name, shape) for name, shape in entries.items() if name not in unused]
    assert all(entries[name] == entries[twin] for name, twin in unused.items())
    options = released_options(entries)
    assert options.items() <= model.recipe["options"].items()
    missing = NOT_IN_SHAPES | ({"image_size"} if configuration == "small" else set())  # shapes know squares only
    assert set(model.recipe["options"]) - set(options) == missing


def test_small_parameter_count():
    with torch.device("meta"):
        model = create_model("dcamsr", **SMALL)
    assert sum(p.numel() for p in model.parameters()) == golden.keys("dcamsr")["small"]["params"]


def test_names_cover_the_whole_state():
    model = create_model("dcamsr", **TINY)
    names = released_names(model)
    assert set(names) == set(model.state_dict())
    assert len(set(names.values())) == len(names)
    assert len(unused_entries(model)) == 8
    assert not set(unused_entries(model)) & set(names.values())


@pytest.mark.parametrize(
    ("side", "parameters", "flops"), [(240, 8_620_081, 192_031_948_800), (320, 12_383_281, 341_390_131_200)]
)
def test_size_and_cost_of_the_default(side, parameters, flops):
    with torch.device("meta"):
        model = create_model("dcamsr", image_size=side).eval()
        x = torch.empty(1, 1, side, side)
    assert sum(p.numel() for p in model.parameters()) == parameters
    with FlopCounterMode(display=False) as counter:
        model(x, x)
    assert counter.get_total_flops() == flops


@pytest.mark.parametrize("built_for", [(13, 21), 24])
def test_every_parameter_learns_at_an_odd_size(built_for):
    torch.manual_seed(0)
    model = create_model("dcamsr", **{**TINY, "image_size": built_for})
    x, y = golden.image(1, (2, 1, 13, 21)), golden.image(2, (2, 1, 13, 21))

    def without_gradient():
        model.zero_grad()
        image = model(x, y).image
        assert image.shape == x.shape
        image.square().mean().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        return {name for name, p in model.named_parameters() if not p.grad.any()}

    # SAM's corrections start at zero, so what feeds them waits for the second step.
    assert without_gradient() == {"decoder.adapt.shared.weight", "decoder.adapt.shared.bias"}
    for conv in (model.decoder.adapt.gamma, model.decoder.adapt.beta):
        torch.nn.init.normal_(conv.weight, std=0.1)
    assert without_gradient() == set()


def test_the_attention_sees_the_same_scene_at_twice_the_size():
    torch.manual_seed(0)
    attention = DualCrossAttention(8, (4, 6), 2, 5, 0.1, "natural").eval()
    with torch.inference_mode():
        weight = attention.project_tokens.weight
        weight[:] = 10 * weight[:, :1]  # flat images, which resampling leaves alone
        attention.temperature_spatial.fill_(20.0)
        own, other = torch.randn(2, 1, 8, 4, 6)

        def attend(*maps):
            tokens = (t.flatten(2).transpose(1, 2) for t in maps)
            return attention(*tokens, tuple(maps[0].shape[-2:])).transpose(1, 2).reshape(maps[0].shape)

        small = attend(own, other)
        large = attend(*(t.repeat_interleave(2, -1).repeat_interleave(2, -2) for t in (own, other)))
    torch.testing.assert_close(large[..., ::2, ::2], small)
    torch.testing.assert_close(large[..., 1::2, 1::2], small)


def test_positions_are_resampled():
    block = create_model("dcamsr", **TINY).fusion[2].blocks[1]
    assert block._resampled_positions(block.positions, (4, 4)) is block.positions
    with torch.inference_mode():
        block.positions[:] = torch.randn(1, 1, 8)
        torch.testing.assert_close(
            block._resampled_positions(block.positions, (6, 2)), block.positions[:, :1].expand(1, 12, 8)
        )


def test_the_layout_is_an_option():
    images = golden.image(1, (1, 1, 16, 16)), golden.image(2, (1, 1, 16, 16))
    outputs = []
    for layout in ("scrambled", "natural"):
        torch.manual_seed(0)
        model = create_model("dcamsr", **TINY, spatial_layout=layout).eval()
        with torch.inference_mode():
            outputs.append(model(*images).image)
    assert not torch.equal(*outputs)


def test_the_degraded_auxiliary_changes_nothing_and_the_auxiliary_does():
    torch.manual_seed(0)
    model = create_model("dcamsr", **TINY).eval()
    x, y = golden.image(1, (1, 1, 16, 16)), golden.image(2, (1, 1, 16, 16))
    with torch.inference_mode():
        image = model(x, y).image
        assert torch.equal(image, model(x, y, degraded_auxiliary=x).image)
        assert not torch.equal(image, model(x, x).image)


def test_half_precision_stays_close():
    torch.manual_seed(0)
    model = create_model("dcamsr", **TINY).eval()
    x, y = golden.image(1, (1, 1, 16, 16)), golden.image(2, (1, 1, 16, 16))
    with torch.inference_mode():
        exact = model(x, y).image
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(x, y).image
    assert golden.largest_difference(exact, rough) < 0.05 * float(exact.abs().max())


def test_export_and_load_is_a_round_trip(tmp_path):
    torch.manual_seed(0)
    model = create_model("dcamsr", **TINY).eval()
    path = tmp_path / "authors.pth"
    state = export_released(model, path)["network"]
    assert torch.equal(state["trans_lv1.0.epa_block.E.weight"], state["trans_lv1.0.epa_block.F.weight"])
    again = load_released(path, model="dcamsr")
    x, y = golden.image(1, (1, 1, 16, 16)), golden.image(2, (1, 1, 16, 16))
    with torch.inference_mode():
        assert torch.equal(model(x, y).image, again(x, y).image)


def test_a_target_of_the_wrong_scale_is_said_in_words():
    model = create_model("dcamsr", **TINY, scale=2)
    with pytest.raises(UserError, match="16 x 16 and an auxiliary of 16 x 16 pixels do not fit scale 2"):
        model(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"nf": 9}, "nf must be even"),
        ({"n_blks": (1, 1)}, "n_blks must be 3 positive whole numbers"),
        ({"depths": (1, 1, 0)}, "depths must be 3 positive whole numbers"),
        ({"scale": 0}, "scale must be a positive whole number, not 0"),
        ({"image_size": (48, 48, 1)}, "image_size must be 2 positive"),
        ({"attn_drop": 1.0}, "attn_drop must be"),
        ({"spatial_layout": "other"}, "spatial_layout is 'scrambled' or 'natural', not 'other'"),
    ],
)
def test_impossible_options_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        create_model("dcamsr", **{**TINY, **options})
