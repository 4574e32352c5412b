"""The k-space network: what it computes, and what it must not depend on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from fsmnet.cli.presets import FOLDER
from fsmnet.errors import UserError
from fsmnet.inference.cost import predict_cost
from fsmnet.models.unrolled import SENSE_STEPS, UnrolledFSMNet, contrast_scale, from_channels, to_channels
from fsmnet.physics.acquisition import Acquisition

WEIGHTS = Path(__file__).parents[2] / "benchmarks" / "unrolled" / "weights" / "unrolled.safetensors"


def small(steps: int = 2) -> UnrolledFSMNet:
    """A small network whose steps change the image, as trained ones do."""
    torch.manual_seed(0)
    model = UnrolledFSMNet(steps, (8, 8, 16))
    for step in model.steps:
        torch.nn.init.normal_(step.leave.weight, std=0.05)
    return model.eval()


def scan_of(height: int, width: int, coils: int = 1, batch: int = 2, seed: int = 0) -> tuple[Acquisition, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(batch, height, width, dtype=torch.complex64, generator=generator)
    mask = torch.rand(batch, 1, width, generator=generator) < 0.4
    mask[..., width // 2 - 1 : width // 2 + 2] = True
    maps = None
    if coils > 1:
        maps = torch.randn(batch, coils, height, width, dtype=torch.complex64, generator=generator)
        maps = maps / maps.abs().square().sum(1, keepdim=True).sqrt()
    scan = Acquisition.simulate(image, mask, maps, 0.01, generator)
    return scan, torch.rand(batch, 1, height, width, generator=generator)


@pytest.mark.parametrize(("height", "width", "coils"), [(16, 24, 1), (17, 23, 1), (9, 30, 4), (8, 8, 32)])
def test_any_size_and_number_of_coils_gives_a_complex_image(height: int, width: int, coils: int):
    scan, auxiliary = scan_of(height, width, coils)
    with torch.no_grad():
        for other in (auxiliary, None):
            image = small()(scan, other).image
            assert image.shape == (2, 1, height, width)
            assert image.dtype == torch.complex64
            assert torch.isfinite(torch.view_as_real(image)).all()


def test_an_untrained_network_returns_measured_lines_weighted():
    scan, auxiliary = scan_of(16, 24)
    model = UnrolledFSMNet(1, (8, 8, 16))
    torch.nn.init.zeros_(model.lines.layers[2].weight)
    with torch.no_grad():
        image = model(scan, auxiliary).image[:, 0]
    # The network adds nothing yet, and the zero-filled image agrees with all lines, so nothing is left to correct.
    torch.testing.assert_close(image, scan.zero_filled, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("coils", [1, 3])
def test_a_step_is_the_equation_of_the_docstring(coils: int):
    scan, auxiliary = scan_of(16, 24, coils)
    model = small(1)
    with torch.no_grad():
        x = model(scan, auxiliary).image[:, 0]
        scale = contrast_scale(scan.zero_filled.abs())
        known = model._known(scan, scale, auxiliary, None)
        features, others = model._features(scan.zero_filled, auxiliary, known[:, -1])
        channels = torch.cat([to_channels(scan.zero_filled / scale), torch.zeros(2, 8, 8, 12)], 1)
        update, _ = model.steps[0](channels, features, others, model._modulation(known)[0])
        guess = scan.zero_filled + scale * from_channels(update, 16, 24)
        belief = model.lines(scan.mask[:, 0], known)[:, 0, None, None]
        expected = guess + scan.correction(guess, belief, SENSE_STEPS)
        if coils == 1:
            torch.testing.assert_close(expected, guess + scan.adjoint(belief * (scan.lines - scan.forward(guess))))
    torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("factor", [1e-3, 250.0])
def test_units_of_either_contrast_do_not_matter(factor: float):
    scan, auxiliary = scan_of(16, 24)
    louder = Acquisition(scan.lines * factor, scan.mask, noise=0.01 * factor)
    model = small()
    with torch.no_grad():
        image = model(scan, auxiliary).image
        torch.testing.assert_close(model(louder, auxiliary * 7).image / factor, image, rtol=1e-3, atol=1e-3)


def test_a_sample_without_auxiliary_is_as_if_there_were_none():
    scan, auxiliary = scan_of(16, 24)
    model = small()
    with torch.no_grad():
        mixed = model.iterates(scan, auxiliary, torch.tensor([True, False]))[-1]
        torch.testing.assert_close(mixed[0], model(scan, auxiliary).image[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(mixed[1], model(scan, None).image[1], rtol=1e-4, atol=1e-4)
        blank = model(scan, auxiliary * torch.tensor([1.0, 0.0])[:, None, None, None]).image
        torch.testing.assert_close(blank, mixed, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(mixed[1], model(scan, auxiliary).image[1], rtol=1e-3, atol=1e-3)


def test_a_batch_is_its_samples():
    scan, auxiliary = scan_of(16, 24, coils=2)
    model = small()
    with torch.no_grad():
        together = model(scan, auxiliary).image
        assert scan.maps is not None
        for number in range(2):
            part = slice(number, number + 1)
            alone = Acquisition(scan.lines[part], scan.mask[part], scan.maps[part], scan.noise)
            torch.testing.assert_close(model(alone, auxiliary[part]).image, together[part], rtol=1e-4, atol=1e-4)


def test_unknown_noise_differs_from_none_at_all_and_a_negative_one_is_unknown():
    scan, auxiliary = scan_of(16, 24)
    model = small()

    def with_noise(noise: float | Tensor | None) -> Tensor:
        with torch.no_grad():
            return model(Acquisition(scan.lines, scan.mask, noise=noise), auxiliary).image

    assert not torch.allclose(with_noise(None), with_noise(0.0))
    torch.testing.assert_close(with_noise(None), with_noise(torch.tensor([-1.0, -1.0])))


def test_gradients_reach_every_parameter_but_the_last_features():
    scan, auxiliary = scan_of(16, 24)
    model = small()
    loss = sum(image.abs().mean() for image in model.iterates(scan, auxiliary))
    assert isinstance(loss, Tensor)
    loss.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_half_precision_stays_in_the_small_networks():
    scan, auxiliary = scan_of(16, 24)
    model = small()
    with torch.no_grad():
        exact = model(scan, auxiliary).image
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(scan, auxiliary).image
    assert rounded.dtype == torch.complex64
    assert 0 < float((rounded - exact).abs().max()) < 0.1 * float(exact.abs().max())


def test_double_precision_stays_double():
    scan, auxiliary = scan_of(16, 24)
    double = Acquisition(scan.lines.to(torch.complex128), scan.mask, noise=0.02)
    single = Acquisition(scan.lines, scan.mask, noise=0.02)
    with torch.no_grad():
        image, exact = small()(single, auxiliary).image, small().double()(double, auxiliary.double()).image
    assert exact.dtype == torch.complex128
    assert 0 < (image - exact).abs().max() < 1e-5 * exact.abs().max()


def test_size_is_within_what_was_asked_for():
    from torch.utils.flop_counter import FlopCounterMode

    model = UnrolledFSMNet().eval()
    assert sum(p.numel() for p in model.parameters()) == 1_176_704
    scan, auxiliary = scan_of(240, 240, batch=1)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(scan, auxiliary)
    assert counter.get_total_flops() / 1e9 == pytest.approx(9.5, abs=0.1)


def test_channels_and_image_are_each_other():
    image = torch.randn(2, 11, 13, dtype=torch.complex64)
    channels = to_channels(image)
    assert channels.shape == (2, 8, 8, 8)
    torch.testing.assert_close(from_channels(channels, 11, 13), image)


@pytest.mark.parametrize(("steps", "widths"), [(0, (8, 8, 8)), (2, (8, 8)), (2, (8, 12, 16)), (2, (0, 8, 8))])
def test_impossible_sizes_are_refused(steps: int, widths: tuple[int, ...]):
    with pytest.raises(UserError, match="must be"):
        UnrolledFSMNet(steps, widths)


def test_the_wide_preset_is_as_large_as_it_says_and_learns():
    preset = (FOLDER / "unrolled_wide.yaml").read_text()
    options = yaml.safe_load(preset)["model_options"]
    cost = predict_cost("fsmnet_unrolled", options, 240, 240, 1)
    assert cost is not None
    assert f"{cost.parameters:,} parameters" in preset
    assert f"{cost.gflops:.1f} GFLOP" in preset
    model = UnrolledFSMNet(**options).train()
    scan, auxiliary = scan_of(8, 16, batch=1)
    results = model(scan, auxiliary).iterates
    assert len(results) == options["steps"]
    sum(result.abs().mean() for result in results).backward()
    assert all(step.leave.weight.grad.abs().sum() > 0 for step in model.steps)


def test_trained_weights_fit_and_restore_a_disc():
    model = UnrolledFSMNet()
    model.load_state_dict({name: value.float() for name, value in load_file(WEIGHTS).items()})
    model.eval()
    rows, columns = torch.meshgrid(torch.arange(96) - 48.0, torch.arange(128) - 64.0, indexing="ij")
    distance = (rows**2 + columns**2).sqrt()
    image = 0.5 * torch.sigmoid(40 - distance) + 0.3 * torch.sigmoid(4 - (distance - 20).abs())
    mask = torch.zeros(1, 1, 128, dtype=torch.bool)
    mask[..., ::4] = mask[..., 58:70] = True
    scan = Acquisition.simulate(image[None].to(torch.complex64), mask)
    with torch.no_grad():
        restored = model(scan).image[0, 0].abs()
    error, before = (float((x - image).square().mean()) for x in (restored, scan.zero_filled[0].abs()))
    assert error < 0.1 * before


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_computes_the_same():
    scan, auxiliary = scan_of(24, 32, coils=2)
    assert scan.maps is not None
    model = small()
    with torch.no_grad():
        expected = model(scan, auxiliary).image
        there = Acquisition(scan.lines.cuda(), scan.mask.cuda(), scan.maps.cuda(), scan.noise)
        image = model.cuda()(there, auxiliary.cuda()).image.cpu()
    torch.testing.assert_close(image, expected, rtol=1e-2, atol=1e-2)  # TF32 convolutions
