"""Coil maps from the centre of k-space, on synthetic coils."""

from __future__ import annotations

import math

import pytest
import torch

from fsmnet.errors import UserError
from fsmnet.physics.espirit import eigen_maps, estimate_maps, patch_subspace
from fsmnet.physics.fourier import fft2c
from synthetic_coils import columns_of, random_complex, synthetic


@pytest.mark.parametrize("shape", [(96, 80), (95, 81), (80, 97), (64, 160)])  # 6, 6, 8 and 13 centre lines
def test_maps_of_smooth_coils_are_found_from_the_centre_lines(shape):
    image, truth = synthetic(*shape)
    mask = columns_of(0, shape[1])
    noise = 1e-3 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0), dtype=torch.complex64)
    maps = estimate_maps((fft2c(truth * image) + noise) * mask, mask)
    assert maps.dtype == torch.complex64
    assert maps.shape == truth.shape
    head = image.abs() > 0.2
    defined = maps.abs().sum(0) > 0
    assert (defined & head).sum() > 0.97 * head.sum()
    energy = maps.abs().square().sum(0)
    torch.testing.assert_close(energy[defined], torch.ones_like(energy[defined]))
    # The same up to a phase for each pixel.
    agreement = (maps.conj() * truth).sum(0).abs()[defined & head]
    assert agreement.min() > 0.98
    assert agreement.mean() > 0.999


def test_phase_of_the_maps_is_smooth():
    image, truth = synthetic(64, 64)
    maps = estimate_maps(fft2c(truth * image))
    head = (maps.abs().sum(0) > 0) & (image.abs() > 0.2)
    both = head[:, 1:] & head[:, :-1]
    step = (maps[..., 1:] * maps[..., :-1].conj()).sum(0)[both]
    assert step.angle().abs().max() < 0.3


def test_maps_do_not_depend_on_the_scale_nor_on_other_slices():
    image, truth = synthetic(48, 40)
    kspace = fft2c(truth * image)
    maps = estimate_maps(kspace, kernel=4)
    together = estimate_maps(torch.stack([kspace, 1e-6 * kspace])[:, None], torch.ones(40, dtype=torch.bool), kernel=4)
    assert together.shape == (2, 1, 6, 48, 40)
    torch.testing.assert_close(together[0, 0], maps, atol=1e-3, rtol=0)
    torch.testing.assert_close(together[1, 0], maps, atol=1e-3, rtol=0)


def test_empty_background_has_no_maps():
    image, truth = synthetic(96, 80)
    noise = 1e-2 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0), dtype=torch.complex64)
    maps = estimate_maps(fft2c(truth * image) + noise, threshold=0.05)
    assert not maps[:, :3, :3].any()
    assert maps[:, 48, 40].any()


def test_eigen_maps_are_the_kernels_transformed_to_full_size():
    kernels = patch_subspace(random_complex(0, 3, 8, 9), 3, 0.5)
    torch.testing.assert_close((kernels.flatten(1) @ kernels.flatten(1).mH), torch.eye(len(kernels)).to(kernels.dtype))
    height, width = 7, 10
    y, x = torch.arange(height) - height // 2, torch.arange(width) - width // 2
    j = torch.arange(3, dtype=torch.float64)
    rows, columns = (torch.exp(2j * math.pi * torch.outer(p, j) / len(p)) for p in (y, x))
    g = torch.einsum("ncij,yi,xj->yxcn", kernels, rows, columns) / 3
    expected = torch.linalg.eigvalsh(g @ g.mH)[..., -1]
    vectors, values = eigen_maps(kernels, (height, width))
    torch.testing.assert_close(values, expected)
    assert (values <= 1 + 1e-9).all()
    moved = torch.einsum("yxcn,yxdn,dyx->cyx", g, g.conj(), vectors)
    torch.testing.assert_close(moved, values * vectors)


COILS = torch.zeros(2, 30, 30, dtype=torch.complex64)
ALL = torch.ones(30, dtype=torch.bool)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: estimate_maps(COILS), "is too small"),
        (lambda: estimate_maps(COILS, ALL), "is empty"),
        (lambda: estimate_maps(COILS * math.nan, ALL), "not finite"),
        (lambda: estimate_maps(COILS, torch.arange(30) % 2 == 0), "is too small"),
        (lambda: estimate_maps(COILS, ALL, kernel=0), "cannot hold"),
        (lambda: estimate_maps(COILS, ALL, calibration=3), "cannot hold"),
        (lambda: estimate_maps(COILS, ALL, crop=1.5), "crop 1.5"),
        (lambda: estimate_maps(COILS, ALL, threshold=-1), "threshold -1"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(call, message):
    with pytest.raises(UserError, match=message):
        call()
