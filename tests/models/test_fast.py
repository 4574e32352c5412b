"""The faster network: its definition, cost, options and options' mistakes, and that everything works with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import golden
from fsmnet.checkpoint import Header, load_model, save_checkpoint
from fsmnet.cli import main
from fsmnet.errors import UserError
from fsmnet.inference.cost import predict_cost
from fsmnet.inference.optimise import optimise
from fsmnet.inference.simplify import collapse_down
from fsmnet.models import create_model, list_models, model_options, recipe_of
from fsmnet.models.kernels.install import install_kernels
from fsmnet.models.kernels.recompute import recompute_activations
from fsmnet.training.losses import SpatialFrequencyLoss
from fsmnet.transforms import pad_to_multiple, unpad

NO_FREQUENCY = {"widths": [8, 16, 16, 24], "blocks": [1, 0, 1, 1]}
SMALL = {**NO_FREQUENCY, "auxiliary_frequency": True}
BOTH = pytest.mark.parametrize("options", [SMALL, NO_FREQUENCY], ids=["four streams", "three streams"])


def made(options=SMALL, seed: int = 0) -> nn.Module:
    """A network whose slopes, scales and temperatures are not the initial ones."""
    torch.manual_seed(seed)
    model = create_model("fsmnet_fast", **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() < 4:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def rms(image: Tensor) -> float:
    return float(image.double().square().mean().sqrt())


# --- the definition, written out once more ---------------------------------------------------------------------------


def side_by_side(image: Tensor) -> Tensor:
    """The 2 x 2 pixels of a block as channels: top left, top right, bottom left, bottom right."""
    return torch.cat([image[..., row::2, column::2] for row in (0, 1) for column in (0, 1)], dim=1)


def put_together(channels: Tensor) -> Tensor:
    """The way back: ``(B, 4 C, H, W)``, the four of a feature one after the other, to ``(B, C, 2 H, 2 W)``."""
    batch, four, height, width = channels.shape
    image = channels.new_zeros(batch, four // 4, 2 * height, 2 * width)
    for number in range(4):
        image[..., number // 2 :: 2, number % 2 :: 2] = channels[:, number::4]
    return image


def prelu(block: nn.Module, x: Tensor) -> Tensor:
    return torch.where(x > 0, x, block.act.weight * x)


def up(block: nn.Module, x: Tensor) -> Tensor:
    return prelu(block, put_together(block.expand(x)))


def attention(block: nn.Module, a: Tensor, b: Tensor) -> Tensor:
    batch, channels, height, width = a.shape
    query = block.query_depthwise(block.query(a))
    both = block.key_value_depthwise(block.key_value(b))
    query, key, value = (t.reshape(batch, 8, channels // 8, -1) for t in (query, *both.split(channels, dim=1)))
    cosines = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).mT
    mixed = torch.softmax(cosines * block.temperature, dim=-1) @ value
    return block.project(mixed.reshape(batch, channels, height, width))


def select(block: nn.Module, a: Tensor, b: Tensor) -> Tensor:
    scores = torch.sigmoid(block.expand(block.squeeze(torch.cat([a, b], 1))))
    width = a.shape[1]
    return scores[:, :width] * a + scores[:, width:] * b


def fuse(block: nn.Module, spatial: Tensor, frequency: Tensor) -> tuple[Tensor, Tensor]:
    enhanced_spatial = spatial + attention(block.to_spatial, spatial, frequency)
    enhanced_frequency = frequency + attention(block.to_frequency, frequency, spatial)
    return select(block.select, enhanced_spatial, enhanced_frequency), enhanced_frequency


def by_the_definition(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    streams = len(model.encoder[0].resize)
    features = [side_by_side(image) for image in (x, x, y, y)[:streams]]
    skips = []
    for number, stage in enumerate(model.encoder):
        if number == 0:
            heads = [resize[1] for resize in stage.resize]
            features = [prelu(head, head.conv(feature)) for head, feature in zip(heads, features, strict=True)]
        elif number < 3:  # the neck changes no size
            features = [F.conv2d(f, r.weight, stride=2, padding=1) for r, f in zip(stage.resize, features, strict=True)]
        spatial, frequency = stage.target.spatial(features[0]), stage.target.frequency(features[1])
        if streams == 4:
            others = [stage.auxiliary.spatial(features[2]), stage.auxiliary.frequency(features[3])]
        else:
            others = [stage.auxiliary(features[2])]
        spatial = select(stage.fuse_spatial, others[0], spatial)
        frequency = select(stage.fuse_frequency, others[-1], frequency)
        features = [*fuse(stage.fuse_branches, spatial, frequency), *others]
        skips.append(features[:2])
    spatial, frequency = features[:2]
    for stage, skip in zip(model.decoder, (skips[1], skips[0]), strict=True):  # of quarter and of half resolution
        spatial = stage.target.spatial(up(stage.up[0], spatial)) + skip[0]
        frequency = stage.target.frequency(up(stage.up[1], frequency)) + skip[1]
        spatial, frequency = fuse(stage.fuse_branches, spatial, frequency)
    full, tail = model.full_resolution, model.frequency_tail[0]
    group = full.group(prelu(full.head, full.head.conv(torch.cat([x, y], 1))) + up(full.up, spatial))
    return x + prelu(full.tail, full.tail.conv(group)), x + put_together(prelu(tail, tail.conv(frequency)))


@BOTH
def test_the_network_is_its_definition(options):
    model = made(options).double()
    x, y = noise(1, 2, 1, 40, 24).double(), noise(2, 2, 1, 40, 24).double()
    with torch.inference_mode():
        output = model(x, y)
        image, frequency_image = by_the_definition(model, x, y)
    assert golden.largest_difference(output.image, image) < 1e-11
    assert golden.largest_difference(output.frequency_image, frequency_image) < 1e-11


def test_halving_is_what_down_becomes():
    """The same convolution as FSMNet's after its exact simplification."""
    simplified = create_model("fsmnet", features=16, blocks=1)
    collapse_down(simplified)
    theirs, own = simplified.encoder[1].down[0], made().encoder[2].resize[0]
    for name in ("kernel_size", "stride", "padding", "dilation", "groups", "bias"):
        assert getattr(own, name) == getattr(theirs, name)


# --- size and cost ---------------------------------------------------------------------------------------------------


def test_size_and_cost_of_the_defaults():
    assert model_options("fsmnet_fast") == {
        "widths": (16, 16, 32, 48),
        "blocks": (2, 1, 1, 1),
        "auxiliary_frequency": False,
    }
    cost = predict_cost("fsmnet_fast", {}, 240, 240, batch=2)
    assert cost.parameters == 1_204_625
    assert round(cost.gflops, 1) == 6.4
    assert cost.gflops < 0.7 * predict_cost("fsmnet", {"features": 16}, 240, 240, batch=2).gflops


def test_full_resolution_is_thin():
    """No feature map of the size of the image is wider than the first width, and none is transformed."""
    model, shapes, transformed = made(), [], []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
        if name.endswith("frequency"):
            module.register_forward_pre_hook(lambda module, inputs: transformed.append(inputs[0].shape[-1]))
    with torch.inference_mode():
        model(noise(0, 1, 1, 32, 32), noise(1, 1, 1, 32, 32))
    assert max(shape[1] for shape in shapes if shape[-1] == 32) == 8
    assert max(transformed) == 16


# --- any size, any batch ---------------------------------------------------------------------------------------------


@BOTH
def test_any_size_is_padded_and_cropped(options):
    model = made(options)
    for shape in ((1, 1), (7, 9), (8, 8), (3, 33), (27, 21)):
        x, y = noise(0, 2, 1, *shape), noise(1, 2, 1, *shape)
        with torch.inference_mode():
            output, padded = model(x, y), model(pad_to_multiple(x, 8), pad_to_multiple(y, 8))
        assert output.image.shape == output.frequency_image.shape == (2, 1, *shape)
        assert output.image.isfinite().all()
        assert torch.equal(output.image, unpad(padded.image, *shape))
        assert torch.equal(output.frequency_image, unpad(padded.frequency_image, *shape))


def test_images_of_a_batch_do_not_see_each_other():
    model = made().double()
    x, y = noise(0, 3, 1, 24, 16).double(), noise(1, 3, 1, 24, 16).double()
    with torch.inference_mode():
        together = model(x, y).image
        for number in range(3):
            alone = model(x[number : number + 1], y[number : number + 1]).image
            assert golden.largest_difference(together[number : number + 1], alone) < 1e-9


@BOTH
def test_both_contrasts_reach_both_images(options):
    model = made(options)
    x, y = noise(0, 1, 1, 24, 16), noise(1, 1, 1, 24, 16)
    with torch.inference_mode():
        plain, other_auxiliary, other_target = model(x, y), model(x, -y), model(-x, y)
    for number in (0, 1):
        assert rms(plain[number] - other_auxiliary[number]) > 1e-4
        assert rms((plain[number] - x) - (other_target[number] + x)) > 1e-4


# --- training --------------------------------------------------------------------------------------------------------


def gradients(model: nn.Module) -> dict[str, Tensor]:
    x, y, target = (noise(seed, 2, 1, 27, 21) for seed in range(3))
    SpatialFrequencyLoss()(model(x, y), target).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@BOTH
def test_every_parameter_gets_a_finite_gradient_from_the_loss(options):
    found = gradients(made(options))
    assert all(g is not None and bool(g.isfinite().all()) for g in found.values())
    assert [name for name, g in found.items() if not g.any()] == []


def test_feature_maps_computed_twice_give_the_same_gradients_with_less_memory():
    plain, twice = made(), made()
    install_kernels(plain)
    install_kernels(twice)
    recompute_activations(twice)
    expected = gradients(plain)
    assert all(torch.equal(g, expected[name]) for name, g in gradients(twice).items())
    kept, less = (predict_cost("fsmnet_fast", SMALL, 64, 64, 1, checkpointing) for checkpointing in (False, True))
    weights = 4 * 4 * kept.parameters
    assert (less.training_bytes - weights) / (kept.training_bytes - weights) < 0.6


def test_half_precision_stays_close():
    model = made()
    x, y = noise(1, 1, 1, 32, 24), noise(2, 1, 1, 32, 24)
    with torch.inference_mode():
        image = model(x, y).image
        with torch.autocast("cpu", dtype=torch.bfloat16):
            autocast = model(x, y).image
        half = optimise(model, "bfloat16")(x, y).image
    for other in (autocast, half):
        assert other.dtype == torch.float32
        assert 0 < rms(other - image) < 0.01 * rms(image - x) + 0.01


# --- faster still, and elsewhere -------------------------------------------------------------------------------------


@BOTH
def test_the_optimised_image_is_equal_to_rounding(options):
    model = made(options).double()
    x, y = noise(1, 2, 1, 27, 40).double(), noise(2, 2, 1, 27, 40).double()
    with torch.inference_mode():
        expected, output = model(x, y), optimise(model)(x, y)
    assert (output.image - expected.image).abs().max() < 1e-12
    assert (output.frequency_image - expected.frequency_image).abs().max() < 1e-12


def test_no_convolution_changes_the_memory_layout():
    fast = optimise(made())
    layouts = {}

    def note(name):
        def hook(module, inputs):
            layouts[name] = inputs[0].is_contiguous(memory_format=torch.channels_last)

        return hook

    for name, module in fast.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(note(name))
    with torch.inference_mode():
        fast(noise(1, 1, 1, 16, 16), noise(2, 1, 1, 16, 16))
    images = {"model.full_resolution.head.conv", *(f"model.encoder.0.resize.{number}.1.conv" for number in range(4))}
    assert len(layouts) >= 100
    assert {name for name, kept in layouts.items() if not kept} <= images


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["pt2", "onnx"])
def test_the_network_is_exported_by_the_command(ending, tmp_path, checkpoint_file):
    checkpoint = checkpoint_file(tmp_path / "model.safetensors", "fsmnet_fast", **SMALL)
    out = tmp_path / f"network.{ending}"
    assert main(["export", "--checkpoint", str(checkpoint), "--out", str(out)]) == 0
    assert out.stat().st_size > 100_000


def test_a_checkpoint_brings_weights_and_options_back(tmp_path: Path):
    model = made({**NO_FREQUENCY, "widths": (8, 16, 16, 24)})
    file = tmp_path / "model.safetensors"
    save_checkpoint(file, model.state_dict(), Header(recipe_of(model)))
    again = load_model(file)
    assert recipe_of(again) == json.loads(json.dumps(recipe_of(model)))
    x, y = noise(1, 1, 1, 16, 24), noise(2, 1, 1, 16, 24)
    with torch.inference_mode():
        assert torch.equal(again(x, y).image, model(x, y).image)


# --- options ---------------------------------------------------------------------------------------------------------


def test_the_model_is_listed():
    assert "fsmnet_fast" in list_models()


def test_without_a_frequency_stream_the_auxiliary_costs_less():
    four, three = (predict_cost("fsmnet_fast", options, 64, 64, batch=1) for options in (SMALL, NO_FREQUENCY))
    assert three.parameters < four.parameters
    assert three.gflops < four.gflops


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"widths": [16, 32, 64]}, r"widths must be 4 positive multiples of 8, .*, not \[16, 32, 64\]"),
        ({"widths": [8, 16, 20, 32]}, r"widths must be 4 positive multiples of 8, .*, not \[8, 16, 20, 32\]"),
        ({"widths": [0, 16, 24, 32]}, "widths must be 4 positive multiples of 8"),
        ({"widths": [8.0, 16, 24, 32]}, "widths must be 4 positive multiples of 8"),
        ({"widths": 16}, "widths must be 4 positive multiples of 8, from full resolution down, not 16"),
        ({"blocks": 2}, "blocks must be 4 whole numbers, from full resolution down, not 2"),
        ({"blocks": [1, 1, 1]}, "blocks must be 4 whole numbers"),
        ({"blocks": [1, -1, 1, 1]}, "blocks must be 4 whole numbers"),
        ({"blocks": [1, True, 1, 1]}, "blocks must be 4 whole numbers"),
        ({"auxiliary_frequency": "no"}, "auxiliary_frequency is true or false, not 'no'"),
        ({"features": 16}, "has no option 'features'; it takes widths, blocks, auxiliary_frequency"),
    ],
)
def test_wrong_options_are_refused_in_words(options, sentence):
    with pytest.raises(UserError, match=sentence):
        create_model("fsmnet_fast", **options)
