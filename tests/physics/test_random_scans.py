"""Random phases, coils and masks of whole batches."""

from __future__ import annotations

import math

import torch

from fsmnet.physics.random_scans import Random, coil_maps, draw_coils, draw_masks, draw_waves, smooth


def source(seed: int = 0) -> Random:
    return Random(torch.device("cpu"), torch.Generator().manual_seed(seed))


def grid(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = ((torch.arange(n) - (n - 1) / 2) / max(height, width) for n in (height, width))
    return rows[None, :, None], columns[None, None]


def test_a_smooth_field_is_its_sum_of_waves():
    rows, columns = grid(7, 9)
    waves = draw_waves(2, source())
    p, q, offset, amplitude = (waves[..., i, None, None] for i in range(4))
    expected = (amplitude * (2 * math.pi * (p * rows[:, None] + q * columns[:, None]) + offset).cos()).sum(1)
    torch.testing.assert_close(smooth(waves, rows, columns), expected, rtol=1e-4, atol=1e-5)


def test_draws_follow_the_seed():
    for draw in (lambda r: draw_waves(3, r), lambda r: draw_coils(3, 4, r), lambda r: draw_masks(3, 64, r)):
        assert torch.equal(draw(source()), draw(source()))
        assert not torch.equal(draw(source()), draw(source(1)))


def test_maps_have_unit_energy_and_absent_coils_none():
    parameters = draw_coils(20, 5, source(), fewest=2)
    maps = coil_maps(parameters, *grid(12, 16))
    assert maps.shape == (20, 5, 12, 16)
    torch.testing.assert_close(maps.abs().square().sum(1), torch.ones(20, 12, 16))
    present = maps.abs().amax((-2, -1)) > 0
    assert set(present.sum(1).tolist()) == {2, 3, 4, 5}


def test_masks_have_the_acceleration_asked_for_and_a_centre():
    masks = draw_masks(400, 240, source(), 4, 4, partial=0)
    assert masks.shape == (400, 1, 240)
    assert masks.dtype == torch.bool
    assert abs(float(masks.float().mean()) - 0.25) < 0.01
    assert masks[..., 114:126].all()


def test_partial_fourier_leaves_out_one_end():
    masks = draw_masks(50, 240, source(), 2, 3, partial=1)[:, 0]
    first, last = masks[:, :36].any(1), masks[:, -36:].any(1)  # at most 85% is kept
    assert not (first & last).any()
    assert (first | last).sum() > 40
