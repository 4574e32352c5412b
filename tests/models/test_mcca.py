"""MCCA against the golden numbers, its sizes, its names, fusion, dropout and data consistency."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import golden
from fsmnet.errors import UserError
from fsmnet.models import create_model
from fsmnet.models.mcca import ChannelNorm, data_consistency
from fsmnet.models.released_names.mcca import released_names, released_options, unused_entries
from fsmnet.models.released_weights import export_released, load_released
from fsmnet.physics.fourier import fft2c

TINY = {"channels": 32, "channel_mult": (1, 1)}
COMPLEX = {"in_channels": 2, "out_channels": 2, "data_consistency": True}


def reference_weights(configuration: str) -> dict[str, torch.Tensor]:
    reference = golden.keys("mcca")[configuration]
    return golden.weights(reference["entries"], reference["weight_factor"])


def awakened(model: torch.nn.Module) -> torch.nn.Module:
    """The model with weights of the golden rule: fresh ones end in zeros, so that both images would be zero."""
    state = model.state_dict()
    names = released_names(model)
    model.load_state_dict({ours: golden.entry(theirs, state[ours].shape) for ours, theirs in names.items()})
    return model.eval()


def columns(shape: tuple[int, ...], sampled: list[int]) -> torch.Tensor:
    mask = torch.zeros(shape)
    mask[:, :, sampled] = 1
    return mask


def measured_kspace(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """``(B, H, W, 2)`` real and imaginary part to masked k-space of the same shape."""
    return torch.view_as_real(fft2c(torch.view_as_complex(image))) * mask


def measurement() -> tuple[torch.Tensor, torch.Tensor]:
    """k-space and mask of the golden data consistency."""
    mask = columns((1, 32, 32, 1), [*range(0, 32, 4), *range(14, 18)])
    return measured_kspace(golden.image(5, (1, 32, 32, 2)), mask), mask


def bound(expected: torch.Tensor) -> float:
    return 1e-5 * max(1.0, float(expected.abs().max()))


def assert_equal(expected: torch.Tensor, output: torch.Tensor) -> None:
    assert golden.largest_difference(output, expected) <= bound(expected)


def test_outputs_equal_the_golden_numbers():
    model = load_released(reference_weights("small"), model="mcca")
    expected = golden.arrays("mcca_small")
    inside: dict[str, torch.Tensor] = {}
    for name, path in (
        ("mid_input_block1_target", "target.encoder.0"),
        ("mid_bottleneck_aux", "auxiliary.middle.5"),
        ("mid_bottleneck_target_before_last_fusion", "target.middle.5"),
    ):
        model.get_submodule(path).register_forward_hook(
            lambda module, inputs, output, name=name: inside.update({name: output})
        )
    target, auxiliary = golden.image(1, (1, 1, 64, 64)), golden.image(2, (1, 1, 64, 64))
    with torch.inference_mode():
        output = model.forward_all(target, auxiliary)
        image = model(target, auxiliary).image
    assert golden.largest_difference(image, expected["output"]) <= 1e-5
    assert torch.equal(image, output.image)
    assert_equal(expected["output_aux"], output.auxiliary_image)
    assert len(inside) == 3
    for name, features in inside.items():
        assert_equal(expected[name], features[:, :8])


def test_complex_outputs_and_data_consistency_equal_the_golden_numbers():
    weights = reference_weights("small_2ch_dc")
    expected = golden.arrays("mcca_small_2ch_dc")
    target, auxiliary = golden.image(3, (1, 2, 32, 32)), golden.image(4, (1, 2, 32, 32))
    kspace, mask = measurement()
    with torch.inference_mode():
        plain = load_released(weights, model="mcca").forward_all(target, auxiliary)
        noiseless = load_released(weights, model="mcca", data_consistency=True)
        consistent = noiseless.forward_all(target, auxiliary, kspace, mask)
        image = noiseless(target, auxiliary, kspace=kspace, mask=mask).image
        noisy = load_released(weights, model="mcca", data_consistency=True, noise_level=0.5)
        noisy_image = noisy(target, auxiliary, kspace, mask).image
    assert golden.largest_difference(plain.image, expected["output"]) <= 1e-5
    assert plain.kspace is None
    assert_equal(expected["output_aux"], plain.auxiliary_image)
    assert_equal(expected["output_aux"], consistent.auxiliary_image)
    assert_equal(expected["dc_image"], consistent.image)
    assert_equal(expected["dc_kspace"], consistent.kspace)
    assert_equal(expected["dc_image"], image)
    assert_equal(expected["dc_noise_image"], noisy_image)


def test_data_consistency_of_odd_sizes_equals_the_golden_numbers():
    expected = golden.arrays("mcca_small_2ch_dc")
    mask = columns((2, 15, 10, 1), [4, 5, 6])
    image, kspace = data_consistency(golden.image(6, (2, 2, 15, 10)), torch.zeros(2, 15, 10, 2), mask)
    assert_equal(expected["dc_odd_image"], image)
    assert_equal(expected["dc_odd_kspace"], kspace)


@pytest.mark.parametrize("configuration", ["small", "small_2ch_dc", "default"])
def test_names_and_shapes_equal_the_reference(configuration):
    reference = golden.keys("mcca")[configuration]
    options = released_options(reference["entries"])
    config = reference["config"]
    assert options == {
        "channels": config["chans"],
        "res_blocks": config["num_res_blocks"],
        "channel_mult": tuple(config["channel_mult"]),
        "in_channels": config["in_chans"],
        "out_channels": config["out_chans"],
    }
    with torch.device("meta"):
        model = create_model("mcca", **options)
    own = model.state_dict()
    assert [(theirs, list(own[ours].shape)) for ours, theirs in released_names(model).items()] == [
        (name, list(shape)) for name, shape in reference["entries"].items()
    ]
    assert sum(p.numel() for p in model.parameters()) == reference["params"]


def test_parameters_and_operations_of_the_default():
    with torch.device("meta"):
        model = create_model("mcca").eval()
        images = {size: torch.zeros(1, 1, size, size) for size in (240, 320)}
    assert sum(p.numel() for p in model.parameters()) == 128_218_290
    assert sum(p.numel() for p in model.auxiliary.parameters()) == 63_853_505
    late = (model.auxiliary.decoder, model.auxiliary.norm, model.auxiliary.head)
    assert sum(p.numel() for part in late for p in part.parameters()) == 22_403_329
    for size, expected in ((240, 529.85), (320, 960.30)):
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            model(images[size], images[size])
        assert counter.get_total_flops() / 1e9 == pytest.approx(expected, abs=0.006)


def test_parameters_of_the_complex_network():
    with torch.device("meta"):
        model = create_model("mcca", **COMPLEX)
    assert sum(p.numel() for p in model.parameters()) == 128_220_596


@pytest.mark.parametrize("size", [(9, 13), (1, 5)])
def test_every_parameter_gets_a_gradient_at_an_odd_size(size):
    torch.manual_seed(0)
    model = awakened(create_model("mcca", channels=64, channel_mult=(1, 1))).train()
    for name, parameter in model.named_parameters():
        if name.endswith("squeeze.bias"):  # a gate's few neurons might all be below zero for one image
            parameter.data.fill_(3)
    target, auxiliary = golden.image(1, (1, 1, *size)), golden.image(2, (1, 1, *size))
    output = model.forward_all(target, auxiliary)
    assert output.image.shape == output.auxiliary_image.shape == target.shape
    (output.image.abs().mean() + output.auxiliary_image.abs().mean()).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    if size == (9, 13):
        without = {name for name, gradient in gradients.items() if gradient.abs().max() < 1e-9}
        # One bias for all keys changes no softmax, so that only rounding errors are left of its gradient.
        assert {name for name in without if not name.endswith("key.norm.bias")} == set()


def test_fresh_weights_give_zero_and_only_the_heads_learn_at_first():
    model = create_model("mcca", **TINY)
    target = golden.image(1, (1, 1, 8, 8))
    output = model.forward_all(target, target)
    assert not output.image.any()
    assert not output.auxiliary_image.any()
    (output.image - target).abs().mean().backward()
    assert [n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()] == [
        "target.head.weight",
        "target.head.bias",
    ]


@pytest.mark.parametrize("options", [{}, {"res_blocks": 2}, {"in_channels": 2, "out_channels": 2}])
def test_names_cover_the_state_dict_and_come_back(options):
    model = awakened(create_model("mcca", channels=32, channel_mult=(1, 2), **options))
    names = released_names(model)
    assert set(names) == set(model.state_dict())
    assert len(set(names.values())) == len(names)
    assert unused_entries(model) == {}
    again = load_released(export_released(model), model="mcca")
    x = golden.image(1, (1, options.get("in_channels", 1), 6, 10))
    with torch.inference_mode():
        assert torch.equal(model(x, x).image, again(x, x).image)


def test_the_auxiliary_informs_the_target_and_not_the_other_way_round():
    model = awakened(create_model("mcca", **TINY))
    x, y, z = (golden.image(seed, (1, 1, 8, 8)) for seed in (1, 2, 3))
    with torch.inference_mode():
        a, b, c = model.forward_all(x, y), model.forward_all(z, y), model.forward_all(x, z)
    assert torch.equal(a.auxiliary_image, b.auxiliary_image)
    assert not torch.equal(a.image, c.image)


def test_the_auxiliary_decoder_may_be_left_out_in_evaluation():
    model = awakened(create_model("mcca", **TINY))
    brief = create_model("mcca", decode_auxiliary=False, **TINY).eval()
    brief.load_state_dict(model.state_dict())
    calls: list[object] = []
    brief.auxiliary.head.register_forward_hook(lambda *args: calls.append(args))
    x, y = golden.image(1, (1, 1, 8, 8)), golden.image(2, (1, 1, 8, 8))
    with torch.inference_mode():
        assert torch.equal(model(x, y).image, brief(x, y).image)
        assert not calls
        assert torch.equal(model.forward_all(x, y).auxiliary_image, brief.forward_all(x, y).auxiliary_image)


def test_dropout_is_off_in_evaluation_unless_the_original_is_asked_for():
    x, y = golden.image(1, (1, 1, 8, 8)), golden.image(2, (1, 1, 8, 8))
    for options, random in (({}, False), ({"always_dropout": True}, True)):
        model = awakened(create_model("mcca", **TINY, **options))
        torch.manual_seed(0)
        with torch.inference_mode():
            assert torch.equal(model(x, y).image, model(x, y).image) is not random
            model.train()
            assert not torch.equal(model(x, y).image, model(x, y).image)


def test_every_channel_norm_has_the_same_epsilon():
    model = create_model("mcca", **TINY)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.GroupNorm | torch.nn.LayerNorm)]
    assert {norm.eps for norm in norms} == {1e-5}


def test_channel_norm_is_per_pixel():
    x = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    y = ChannelNorm(5)(x)
    assert torch.allclose(y.mean(1), torch.zeros(2, 3, 4), atol=1e-6)
    assert torch.allclose(y.var(1, correction=0), torch.ones(2, 3, 4), atol=1e-3)


def test_data_consistency_keeps_what_was_measured():
    x = golden.image(1, (1, 9, 14, 2))
    mask = columns((1, 9, 14, 1), [0, 6, 7, 8])
    kspace = measured_kspace(x, mask)
    image, consistent = data_consistency(torch.zeros(1, 2, 9, 14), kspace, mask)
    assert torch.allclose(consistent, kspace)
    assert torch.allclose(measured_kspace(image.movedim(1, -1).contiguous(), mask), kspace, atol=1e-6)
    assert torch.allclose(data_consistency(x.movedim(-1, 1), kspace, mask)[0], x.movedim(-1, 1), atol=1e-6)


def test_half_precision_stays_close():
    model = awakened(create_model("mcca", **TINY))
    x, y = golden.image(1, (1, 1, 8, 8)), golden.image(2, (1, 1, 8, 8))
    with torch.inference_mode():
        full = model(x, y).image
        with torch.autocast("cpu", torch.bfloat16):
            half = model(x, y).image
    assert float((full - half.float()).abs().max()) < 0.1 * max(1.0, float(full.abs().max()))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channels": 16}, "multiple of 32, not 16"),
        ({"res_blocks": 0}, "res_blocks"),
        ({"channel_mult": ()}, "channel_mult"),
        ({"channel_mult": (1, 1.5)}, "channel_mult"),
        ({"in_channels": 0}, "in_channels"),
        ({"data_consistency": True}, "needs out_channels=2"),
        ({"noise_level": -1}, "noise_level"),
        ({"dropout": 1}, "dropout"),
    ],
)
def test_bad_options_are_refused_in_words(options, words):
    with pytest.raises(UserError, match=words):
        create_model("mcca", **options)


def test_data_consistency_without_measurement_is_refused_in_words():
    x = torch.zeros(1, 2, 8, 8)
    with pytest.raises(UserError, match="needs kspace and mask"):
        create_model("mcca", **TINY, **COMPLEX)(x, x)
