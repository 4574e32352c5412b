"""MINet against its golden numbers, sizes and costs."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import golden
from fsmnet.errors import UserError
from fsmnet.models import create_model
from fsmnet.models.minet import LayerAttention
from fsmnet.models.released_names.minet import released_names, released_options, unused_entries
from fsmnet.models.released_weights import export_released, load_released

# options: parameters and operations at 240 x 240 (rounded in the second row)
COSTS = [({}, 2_113_413, 243_199_199_232), ({"groups": 6, "blocks": 6}, 6_600_477, 757.58e9)]


def bound(expected):
    return 1e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize(("activation", "suffix"), [("none", "_linear"), ("tanh", "")])
def test_outputs_equal_the_golden_numbers(activation, suffix):
    reference = golden.keys("minet")["small"]
    live = {k: v for k, v in reference["entries"].items() if k not in reference["dead_entries"]}
    model = load_released(golden.weights(live), model="minet", output_activation=activation)
    expected = golden.arrays("minet_small")
    with torch.inference_mode():
        out = model(golden.image(1, (1, 1, 48, 64)), golden.image(2, (1, 1, 48, 64)))
    for image, name in ((out.image, "output"), (out.auxiliary_image, "output_aux")):
        assert golden.largest_difference(image, expected[name + suffix]) <= bound(expected[name + suffix])


def test_layer_attention_equals_the_golden_numbers():
    arrays = golden.arrays("minet_lam")
    attention = LayerAttention()
    attention.load_state_dict({"gamma": arrays["gamma"]})
    with torch.inference_mode():
        assert golden.largest_difference(attention(arrays["x"]), arrays["out"]) <= 1e-5


@pytest.mark.parametrize(("configuration", "options"), [("small", {"groups": 2, "blocks": 1}), ("default", {})])
def test_entries_are_the_authors(configuration, options):
    with torch.device("meta"):
        model = create_model("minet", **options)
    state, reference = model.state_dict(), golden.keys("minet")[configuration]
    entries, dead = reference["entries"], reference["dead_entries"]
    names, unused = released_names(model), unused_entries(model)
    assert list(names.values()) == [name for name in entries if name not in dead]
    assert sorted(unused) == sorted(dead)
    assert all(list(state[ours].shape) == entries[theirs] for ours, theirs in names.items())
    twins = {name: twin for name, twin in unused.items() if isinstance(twin, str)}
    assert all(entries[name] == entries[twin] and twin in names.values() for name, twin in twins.items())
    assert all(entries[name] == list(value.shape) for name, value in unused.items() if name not in twins)
    assert sum(v.numel() for v in state.values()) == reference["live_params"]
    assert released_options(entries) == {"groups": 3, "blocks": 3, "features": 64, "reduction": 16, **options}


def test_names_cover_the_state():
    model = create_model("minet", features=24, groups=2, blocks=2, reduction=8)
    names, state = released_names(model), model.state_dict()
    assert set(names) == set(state)
    assert len(set(names.values())) == len(names)
    assert {twin for twin in unused_entries(model).values() if isinstance(twin, str)} <= set(names.values())
    shapes = {theirs: state[ours].shape for ours, theirs in names.items()}
    assert released_options(shapes) == {"features": 24, "groups": 2, "blocks": 2, "reduction": 8}


@pytest.mark.parametrize(("options", "parameters", "operations"), COSTS)
def test_size_and_cost(options, parameters, operations):
    with torch.device("meta"):
        model = create_model("minet", **options)
        x = torch.empty(1, 1, 240, 240)
    with FlopCounterMode(display=False) as counter:
        model(x, x)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert counter.get_total_flops() == pytest.approx(operations, rel=0 if isinstance(operations, int) else 1e-5)


def small_model():
    torch.manual_seed(0)
    model = create_model("minet", features=16, groups=2, blocks=1, reduction=4)
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            assert not parameter.any()  # attention starts as the identity
            torch.nn.init.constant_(parameter, 0.3)
    return model


def test_every_parameter_gets_a_gradient():
    shape = (2, 1, 19, 23)
    model = small_model()
    out = model(golden.image(1, shape), golden.image(2, shape))
    assert out.image.shape == out.auxiliary_image.shape == shape
    (0.7 * out.auxiliary_image.abs().mean() + 0.3 * out.image.abs().mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert all(p.grad.any() for name, p in model.named_parameters() if ".attention." in name)


def test_the_image_alone_leaves_the_auxiliary_tail_without_gradient():
    shape = (1, 1, 9, 11)
    model = small_model()
    model(golden.image(1, shape), golden.image(2, shape)).image.abs().mean().backward()
    without = {name.rsplit(".", 1)[0] for name, p in model.named_parameters() if p.grad is None}
    assert without == {f"auxiliary.{layer}" for layer in ("attention", "attention.conv", "merge", "out")}


def test_the_auxiliary_never_sees_the_target():
    model = small_model().eval()
    x, y, z = (golden.image(seed, (1, 1, 12, 13)) for seed in (1, 2, 3))
    with torch.inference_mode():
        first, second = model(x, y), model(z, y)
    assert torch.equal(first.auxiliary_image, second.auxiliary_image)
    assert not torch.equal(first.image, second.image)


def test_layer_attention_keeps_float32_under_autocast():
    attention = LayerAttention()
    torch.nn.init.constant_(attention.gamma, 0.5)
    maps = golden.image(3, (2, 4, 8, 9, 9)).bfloat16()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        mixed = attention(maps)
    with torch.inference_mode():
        assert torch.equal(mixed, attention(maps.float()).bfloat16())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_activation": "sigmoid"}, "output_activation is 'none' or 'tanh', not 'sigmoid'"),
        ({"features": 15}, "features must be at least the reduction, 16, not 15"),
        ({"groups": 0}, "groups, blocks and reduction must be at least 1, not 0, 3 and 16"),
    ],
)
def test_bad_options_are_said_in_words(options, message):
    with pytest.raises(UserError, match=message):
        create_model("minet", **options)


def test_the_authors_whole_file_loads_and_is_exported_again():
    reference = golden.keys("minet")["small"]["entries"]
    exported = export_released(load_released(golden.weights(reference), model="minet"))["network"]
    assert {name: list(tensor.shape) for name, tensor in exported.items()} == reference
