"""Optimised models give the plain model's image."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from fsmnet.checkpoint import load_model, shipped_checkpoint
from fsmnet.inference.optimise import after, bfloat16, channels_last, optimise, steps
from fsmnet.inference.simplify import STEPS
from fsmnet.models import create_model, recipe_of
from fsmnet.models.kernels.install import install_kernels
from fsmnet.models.kernels.onednn import fuse

ROOT = Path(__file__).resolve().parents[2]
VOLUMES = ROOT / "../shared/data/volumes"
SMALL = {"features": 8, "blocks": 1}


def random(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def made(name, **options):
    torch.manual_seed(0)
    return create_model(name, **options).eval()


@pytest.mark.parametrize("name", ["fsmnet", "fsmnet_released"])
def test_the_optimised_image_is_equal_to_rounding(name):
    model = made(name, features=16, blocks=1).double()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x, y = random(1, 2, 1, 27, 40).double(), random(2, 2, 1, 27, 40).double()
    fast = optimise(model)
    with torch.inference_mode():
        expected, output = model(x, y), fast(x, y)
    assert (output.image - expected.image).abs().max() < 1e-12
    assert (output.frequency_image - expected.frequency_image).abs().max() < 1e-12
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.training is False
    assert recipe_of(fast) == recipe_of(model)


@pytest.mark.parametrize("name", ["fsmnet", "fsmnet_released"])
def test_each_step_keeps_the_image_until_the_precision_changes(name):
    model = made(name, features=16, blocks=1).double()
    x, y = random(1, 1, 1, 27, 40).double(), random(2, 1, 1, 27, 40).double()
    recipe = steps(model)
    assert recipe == (install_kernels, *STEPS, channels_last, fuse)
    assert [step for step in steps(model, "bfloat16") if step not in recipe] == [bfloat16]
    with torch.inference_mode():
        expected = model(x, y).image
        for count in range(len(recipe) + 1):
            assert (after(model, recipe[:count])(x, y).image - expected).abs().max() < 1e-12


def test_a_network_of_another_kind_has_no_algebra_to_do():
    assert steps(made("mdunet")) == (channels_last,)
    assert len(steps(made("mdunet"), "bfloat16")) == 2


@pytest.mark.parametrize("name", ["zero_filling", "mdunet"])
def test_other_models_can_be_optimised_too(name):
    model = made(name)
    x, y = random(1, 1, 1, 16, 16), random(2, 1, 1, 16, 16)
    with torch.inference_mode():
        assert (optimise(model)(x, y).image - model(x, y).image).abs().max() < 1e-5


def test_bfloat16_gives_a_float32_image_close_to_the_plain_one():
    model = made("fsmnet", features=16, blocks=1)
    x, y = random(1, 1, 1, 32, 24), random(2, 1, 1, 32, 24)
    with torch.inference_mode():
        image, half = model(x, y).image, optimise(model, "bfloat16")(x, y).image
    assert half.dtype == torch.float32
    assert 0 < (half - image).square().mean().sqrt() < 0.01 * (image - x).square().mean().sqrt() + 0.01


def test_transforms_and_sums_over_pixels_stay_in_float32(monkeypatch):
    seen = []
    rfft2 = torch.fft.rfft2
    monkeypatch.setattr(torch.fft, "rfft2", lambda x, **options: (seen.append(x.dtype), rfft2(x, **options))[1])
    matmul = torch.Tensor.__matmul__
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: (seen.append(a.dtype), matmul(a, b))[1])
    x = random(1, 1, 1, 16, 16)
    with torch.inference_mode():
        optimise(made("fsmnet_released", **SMALL), "bfloat16")(x, x)
    assert set(seen) == {torch.float32}


def test_no_convolution_changes_the_memory_layout():
    fast = optimise(made("fsmnet_released", **SMALL))
    layouts = []

    def note(module, inputs):
        layouts.append(inputs[0].shape[1] == 1 or inputs[0].is_contiguous(memory_format=torch.channels_last))

    for module in fast.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(note)
    x = random(1, 1, 1, 16, 16)
    with torch.inference_mode():
        fast(x, x)
    assert len(layouts) > 100
    assert all(layouts)


def test_an_optimised_model_is_not_trained():
    fast = optimise(made("fsmnet", **SMALL))
    assert not any(p.requires_grad for p in fast.parameters())
    with pytest.raises(RuntimeError, match="cannot be trained"):
        fast.train()


@pytest.mark.skipif(not VOLUMES.is_dir(), reason="the scans (../shared/data/volumes) are not here")
@pytest.mark.skipif(shipped_checkpoint() is None, reason="this build carries no weights")
def test_bfloat16_changes_the_shipped_network_s_psnr_on_real_slices_by_less_than_the_bound():
    from fsmnet.data.pairing.names import find_pairs
    from fsmnet.inference.slices import reconstruct_slices
    from fsmnet.protocols.brats import BRATS, brats_mask
    from fsmnet.protocols.volumes import prepared_slices

    [pair] = find_pairs(VOLUMES, "t2", "t1", ["TCGA-FG-6692"])
    slices = prepared_slices(pair, BRATS)
    target, auxiliary = slices.target[20:90:35], slices.auxiliary[20:90:35]
    zero_filled = BRATS.zero_fill(target, torch.from_numpy(brats_mask(4).columns))
    model = load_model("shipped-image")
    psnr = []
    for network in (model, optimise(model), optimise(model, "bfloat16")):
        images = reconstruct_slices(network, zero_filled, auxiliary, BRATS.normalisation, finish=BRATS.finish, batch=1)
        psnr.append(sum(m.psnr for m in BRATS.score(target, images)) / len(target))
    assert psnr[1] == pytest.approx(psnr[0], abs=1e-3)
    assert psnr[2] == pytest.approx(psnr[0], abs=0.02)
