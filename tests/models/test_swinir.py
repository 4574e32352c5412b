"""SwinIR against the golden numbers, its sizes, its names and its window arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import golden
from fsmnet.errors import UserError
from fsmnet.models import create_model
from fsmnet.models.released_names.swinir import (
    computed_entries,
    released_names,
    released_options,
    target_only,
    unused_entries,
)
from fsmnet.models.released_weights import export_released, load_released
from fsmnet.models.swinir import WindowAttention, from_windows, offset_index, shift_mask, to_windows

TINY = {"embed_dim": 8, "depths": (2, 1), "num_heads": (2, 1), "mlp_ratio": 2}
SMALL = {"embed_dim": 24, "depths": (2, 3), "num_heads": (3, 4), "mlp_ratio": 2, "head": "residual"}
# preset: parameters and GFLOP at 240 x 240 with one output, the same with two, GFLOP at 320 x 320 with two
PUBLISHED = {
    "fsmnet": (264_929, 35.607, 265_218, 35.640, 63.360),
    "light": (903_661, 119.709, 904_202, 119.771, 212.926),
    "denoise": (11_499_301, 1406.212, 11_500_922, 1406.398, 2500.264),
}


def small_weights() -> dict[str, torch.Tensor]:
    """The reference's state dict, tables included."""
    entries = golden.keys("swinir")["small"]["entries"]
    tables = computed_entries(create_model("swinir", **SMALL), 48, 64)
    return {name: tables[name] if name in tables else golden.entry(name, shape) for name, shape in entries.items()}


def pair(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    return golden.image(1, (1, 1, height, width)), golden.image(2, (1, 1, height, width))


def bound(expected: torch.Tensor) -> float:
    return 1e-5 * max(1.0, float(expected.abs().max()))


def gigaflops(size: int, **options: object) -> float:
    with torch.device("meta"):
        model = create_model("swinir", **options).eval()
        image = torch.zeros(1, 1, size, size)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(image, image)
    return counter.get_total_flops() / 1e9


@pytest.mark.parametrize(("suffix", "size"), [("", (48, 64)), ("_odd", (45, 59))])
def test_both_channels_equal_the_golden_numbers(suffix, size):
    model = load_released(small_weights(), model="swinir")
    expected = golden.arrays("swinir_small")
    with torch.inference_mode():
        image = model(*pair(*size)).image
        both = model.forward_all(*pair(*size))
    for output, name in ((image, f"output{suffix}"), (both, f"output{suffix}_full")):
        assert golden.largest_difference(output, expected[name]) <= bound(expected[name])


def test_one_output_is_the_first_of_two():
    model = load_released(target_only(small_weights()), model="swinir")
    assert model.recipe["options"]["out_channels"] == 1
    expected = golden.arrays("swinir_small")["output_odd"]
    with torch.inference_mode():
        assert golden.largest_difference(model(*pair(45, 59)).image, expected) <= bound(expected)


@pytest.mark.parametrize("configuration", ["small", "default", "light"])
def test_names_and_shapes_equal_the_reference(configuration):
    reference = golden.keys("swinir")[configuration]
    entries = {name: tuple(shape) for name, shape in reference["entries"].items()}
    with torch.device("meta"):
        model = create_model("swinir", **released_options(entries))
        tables = computed_entries(model, *reference["config"]["img_size"])
    own = model.state_dict()
    named = [(theirs, tuple(own[ours].shape)) for ours, theirs in released_names(model).items()]
    assert named == [(name, shape) for name, shape in entries.items() if name not in tables]
    stored = {name: shape for name, shape in entries.items() if name in tables}
    assert {name: tuple(table.shape) for name, table in tables.items()} == stored
    assert set(unused_entries(model)) == set(tables)
    assert sum(p.numel() for p in model.parameters()) == reference["params"]


def test_options_are_read_from_the_shapes():
    keys = golden.keys("swinir")
    for configuration, preset in (("default", "fsmnet"), ("light", "light")):
        options = released_options(keys[configuration]["entries"])
        with torch.device("meta"):
            ours = create_model("swinir", preset=preset, out_channels=2).state_dict()
            read = create_model("swinir", **options).state_dict()
        assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in read.items()}


@pytest.mark.parametrize("preset", list(PUBLISHED))
def test_parameters_and_operations(preset):
    one, flops_one, two, flops_two, flops_large = PUBLISHED[preset]
    for outputs, count in ((1, one), (2, two)):
        with torch.device("meta"):
            model = create_model("swinir", preset=preset, out_channels=outputs)
        assert sum(p.numel() for p in model.parameters()) == count
    assert gigaflops(240, preset=preset) == pytest.approx(flops_one, abs=6e-4)
    assert gigaflops(240, preset=preset, out_channels=2) == pytest.approx(flops_two, abs=6e-4)
    assert gigaflops(320, preset=preset, out_channels=2) == pytest.approx(flops_large, abs=6e-4)


def test_the_default_is_the_row_of_table_1():
    with torch.device("meta"):
        assert sum(p.numel() for p in create_model("swinir").parameters()) == 264_929


@pytest.mark.parametrize("options", [{}, {"head": "residual", "convolutions": 3}, {"in_channels": 1}])
def test_every_parameter_gets_a_gradient_at_an_odd_size(options):
    torch.manual_seed(0)
    model = create_model("swinir", **TINY, **options)
    target, auxiliary = torch.randn(2, 1, 9, 21), torch.randn(2, 1, 9, 21)
    output = model.eval()(target, auxiliary)  # evaluation: stochastic depth may leave a branch out
    assert output.image.shape == target.shape
    assert output.frequency_image is None
    output.image.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("options", [{}, {"head": "residual"}, {"convolutions": 3, "in_channels": 1}])
def test_names_cover_the_state_dict_and_come_back(options):
    model = create_model("swinir", **TINY, **options).eval()
    names = released_names(model)
    assert list(names) == list(model.state_dict())
    assert len(set(names.values())) == len(names)
    again = load_released(export_released(model), model="swinir")
    x, y = pair(16, 24)
    with torch.inference_mode():
        assert torch.equal(model(x, y).image, again(x, y).image)


def test_checkpoints_of_another_image_size_load():
    model = create_model("swinir", **TINY)
    state = export_released(model)["network"] | computed_entries(model, 64, 32)
    assert state["layers.0.residual_group.blocks.1.attn_mask"].shape == (32, 64, 64)
    load_released(state, model="swinir")


def test_the_single_contrast_reading_ignores_the_auxiliary():
    model = create_model("swinir", in_channels=1, **TINY).eval()
    x, y = pair(16, 16)
    with torch.inference_mode():
        assert torch.equal(model(x, y).image, model(x, -y).image)


def test_windows_come_back():
    x = torch.randn(2, 16, 24, 3)
    windows = to_windows(x, 8)
    assert windows.shape == (2, 6, 64, 3)
    assert torch.equal(windows[1, 4].reshape(8, 8, 3), x[1, 8:16, 8:16])
    assert torch.equal(from_windows(windows, 16, 24), x)


def test_offsets_and_mask_by_hand():
    index = offset_index(8)
    assert index.shape == (64, 64)
    assert index[0, 0] == 7 * 15 + 7  # no offset
    assert index[63, 0] == 14 * 15 + 14  # 7 rows down, 7 columns right
    mask = shift_mask(16, 8, 8, 4)
    assert mask.shape == (2, 64, 64)
    assert set(mask.unique().tolist()) == {-100.0, 0.0}
    assert mask[0, 0, 4] == -100  # columns 0-3 and 4-7 were not neighbours before the roll
    assert mask[0, 0, 32] == 0  # upper window, same columns
    assert mask[1, 0, 32] == -100  # lower window, rows before and after the seam


def test_a_window_sees_only_itself():
    torch.manual_seed(0)
    attention = WindowAttention(8, 4, 2)
    x = torch.randn(1, 3, 16, 8)
    changed = x.clone()
    changed[0, 1] += 1
    with torch.inference_mode():
        before, after = attention(x, None), attention(changed, None)
    assert torch.equal(before[:, [0, 2]], after[:, [0, 2]])
    assert not torch.equal(before[:, 1], after[:, 1])


def test_stochastic_depth_acts_in_training_only():
    torch.manual_seed(0)
    model = create_model("swinir", drop_path=0.5, **TINY)
    x, y = pair(16, 16)
    with torch.no_grad():
        model.eval()
        assert torch.equal(model(x, y).image, model(x, y).image)
        model.train()
        outputs = [model(x, y).image for _ in range(6)]
    assert any(not torch.equal(outputs[0], other) for other in outputs[1:])
    rates = [block.drop_path.rate for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([0, 0.25, 0.5])


def test_half_precision_stays_close():
    torch.manual_seed(0)
    model = create_model("swinir", **TINY).eval()
    x, y = pair(16, 16)
    with torch.inference_mode():
        full = model(x, y).image
        with torch.autocast("cpu", torch.bfloat16):
            half = model(x, y).image
    assert float((full - half.float()).abs().max()) < 0.05 * max(1.0, float(full.abs().max()))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "huge"}, "preset is one of fsmnet, light, denoise"),
        ({"num_heads": (6, 6, 6, 6)}, "multiple of each of num_heads"),
        ({"depths": (2, 2)}, "one entry per stage"),
        ({"depths": ()}, "depths"),
        ({"head": "nearest"}, "head is 'direct' or 'residual'"),
        ({"in_channels": 3}, "in_channels is 2"),
        ({"out_channels": 3}, "out_channels"),
        ({"window_size": 1}, "window_size"),
        ({"convolutions": 2}, "convolutions is 1 or 3"),
        ({"image_range": 0}, "image_range"),
        ({"drop_path": 1}, "drop_path"),
        ({"mlp_ratio": 0}, "mlp_ratio"),
    ],
)
def test_bad_options_are_refused_in_words(options, words):
    with pytest.raises(UserError, match=words):
        create_model("swinir", **options)


def test_too_small_an_image_is_refused_in_words():
    with pytest.raises(UserError, match="at least 8 x 8, not 7 x 40"):
        create_model("swinir", **TINY)(torch.zeros(1, 1, 7, 40), torch.zeros(1, 1, 7, 40))
