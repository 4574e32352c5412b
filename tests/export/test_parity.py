"""An exported file is compared with its model on the same inputs, padded as the file needs it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from fsmnet.checkpoint import load_model
from fsmnet.errors import UserError
from fsmnet.export import parity
from fsmnet.models.output import Output


class Shifted(nn.Module):
    """The target plus the auxiliary's tenth, and a constant in one pixel of the middle."""

    def __init__(self, constant=0.0):
        super().__init__()
        self.constant = constant

    def forward(self, target, auxiliary):
        image = target + 0.1 * auxiliary
        image[..., image.shape[-2] // 2, image.shape[-1] // 2] += self.constant
        return Output(image)


def test_the_largest_difference_and_the_psnr_are_those_of_all_slices(monkeypatch, tmp_path):
    inputs = parity.noise()
    model = Shifted()
    sizes = []

    def exported(target, auxiliary):
        sizes.append(target.shape[-2:])
        return Shifted(0.25)(target, auxiliary).image

    monkeypatch.setattr(parity, "open_file", lambda path: exported)
    check = parity.compare(tmp_path / "network.pt2", model, inputs)
    assert check.slices == 4
    assert check.largest_difference == pytest.approx(0.25)
    assert check.beyond_rounding == pytest.approx(0.25, abs=1e-4)
    images = np.concatenate([(x + 0.1 * y).numpy().ravel() for x, y in inputs.slices]).astype(np.float64)
    expected = 20 * math.log10(np.ptp(images)) - 10 * math.log10(4 * 0.25**2 / images.size)
    assert check.psnr_between == pytest.approx(expected, abs=1e-4)
    assert all(size % 8 == 0 for shape in sizes for size in shape)
    assert str(check).startswith("4 slices of noise: within 2.5e-01 of the model's image, PSNR ")
    monkeypatch.setattr(parity, "open_file", lambda path: lambda x, y: model(x, y).image)
    assert parity.compare(tmp_path / "network.pt2", model, inputs).psnr_between is None


class Cut(nn.Module):
    """The target, and three more where a sum of the auxiliary is above a bound: of one slice it is next to it."""

    def __init__(self, bound):
        super().__init__()
        self.bound = bound

    def forward(self, target, auxiliary):
        return Output(target + 3.0 * (auxiliary.double().sum() > self.bound).to(target.dtype))


def test_what_rounding_alone_does_to_the_model_is_no_fault_of_the_file(monkeypatch, tmp_path):
    inputs = parity.noise()
    near = float(parity.pad_to_multiple(inputs.slices[1][1], 8).double().sum()) - 1e-7
    model = Cut(near)
    changes = [parity.unsettled(parity.original(model), given) for given in inputs.slices]
    assert [change > 1 for change in changes] == [False, True, False, False]
    monkeypatch.setattr(parity, "open_file", lambda path: lambda x, y: Cut(near + 2e-7)(x, y).image)
    check = parity.compare(tmp_path / "network.pt2", model, inputs)
    assert check.largest_difference == pytest.approx(3)
    assert check.beyond_rounding == 0
    assert str(check).endswith(", which rounding alone does to the model's own")
    monkeypatch.setattr(parity, "open_file", lambda path: lambda x, y: Cut(near)(x, y).image + 0.25)
    assert parity.compare(tmp_path / "network.pt2", model, inputs).beyond_rounding == pytest.approx(0.25, abs=1e-4)


def test_slices_of_a_scan_are_under_sampled_as_the_network_was_trained_for(
    tmp_path, smooth, write_nifti, checkpoint_file
):
    volumes = [smooth(seed, (21, 30, 12)) for seed in (0, 1)]
    volumes[0][:, :, 0] = 0  # no content, so slices 1 and 11 are taken
    files = [write_nifti(tmp_path / f"{i}.nii.gz", volume) for i, volume in enumerate(volumes)]
    training = {"protocol": "float", "acceleration": 2, "center_fraction": 0.2, "mask_seed": 7}
    model = load_model(checkpoint_file(tmp_path / "model.safetensors", training=training))
    inputs = parity.of_scan(model, *files)
    assert inputs.of == "0.nii.gz"
    assert len(inputs.slices) == 2
    from fsmnet.physics.masks import make_mask

    columns = make_mask("random", 30, 2, 0.2, 7).columns
    for number, (target, auxiliary) in zip((1, 11), inputs.slices, strict=True):
        assert target.shape == auxiliary.shape == (1, 1, 21, 30)
        image = volumes[0][:, :, number].astype(np.float64)
        k_space = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image))) * columns
        zero_filled = np.abs(np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(k_space))))
        expected = ((zero_filled - zero_filled.mean()) / zero_filled.std()).clip(-6, 6)
        np.testing.assert_allclose(target[0, 0], expected, atol=1e-4)
        assert torch.isclose(auxiliary.std(correction=0), torch.tensor(1.0), atol=1e-4)


def test_padding_does_not_count(monkeypatch, tmp_path):
    def exported(target, auxiliary):
        image = Shifted()(target, auxiliary).image
        image[..., 0, :] += 100  # a row of the margin
        return image

    monkeypatch.setattr(parity, "open_file", lambda path: exported)
    x, y = torch.randn(2, 1, 1, 21, 30, generator=torch.Generator().manual_seed(0))
    check = parity.compare(tmp_path / "network.pt2", Shifted(), parity.Inputs("a scan", [(x, y)]))
    assert check.largest_difference == 0


def test_scans_on_two_grids_are_refused(tmp_path, smooth, write_nifti):
    files = [
        write_nifti(tmp_path / f"{i}.nii.gz", smooth(i, shape)) for i, shape in enumerate([(16, 16, 3), (16, 12, 3)])
    ]
    with pytest.raises(UserError, match="16 x 16"):
        parity.of_scan(Shifted(), *files)
