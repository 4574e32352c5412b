"""What must hold on a GPU; waits for one."""

from __future__ import annotations

import pytest
import torch

from fsmnet.inference.device import choose_device
from fsmnet.inference.slices import reconstruct_slices
from fsmnet.models import create_model
from fsmnet.training.losses import SpatialFrequencyLoss
from fsmnet.transforms import NormalisationRecipe

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


def images(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["fsmnet", "fsmnet_released"])
def test_the_gpu_gives_the_cpu_s_image(name):
    torch.manual_seed(0)
    model = create_model(name, features=16, blocks=1).eval()
    x, y = images(2, 2, 1, 48, 56)
    with torch.inference_mode():
        expected = model.double()(x.double(), y.double()).image
        image = model.cuda()(x.double().cuda(), y.double().cuda()).image.cpu()
    assert (image - expected).abs().max() < 1e-6


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_slices_of_any_size(precision):
    # Half-precision FFTs on CUDA accept powers of two only, so 60 x 45 fails unless they stay in float32.
    device = choose_device("auto")
    model = create_model("fsmnet", features=8, blocks=1).eval().to(device)
    x, y = images(2, 3, 60, 45)
    image = reconstruct_slices(model, x, y, NormalisationRecipe(), device=device, precision=precision)
    assert image.shape == x.shape
    assert image.isfinite().all()


def test_every_parameter_gets_a_gradient():
    model = create_model("fsmnet", features=8, blocks=1).cuda()
    x, y, t = images(3, 1, 1, 27, 21).cuda()
    SpatialFrequencyLoss()(model(x, y), t).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
