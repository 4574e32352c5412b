"""A network with k-space inside is trained by the same loop: samples, strips, masks of any acceleration, loss."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import default_collate

import fsmnet.training.run
from fsmnet.checkpoint import load_model, read_checkpoint, trained_recipe
from fsmnet.errors import UserError
from fsmnet.models.output import Output
from fsmnet.protocols.slices import MeasuredSample, MeasuredSlices
from fsmnet.training.data import read_data
from fsmnet.training.losses import UnrolledLoss
from fsmnet.training.run import train
from fsmnet.training.step import Figures, take_step
from training_run import UNET, Reads, assert_same_run, assert_same_weights, log_rows, on

SMALL = {"model": "fsmnet_unrolled", "model_options": {"steps": 2, "widths": [8, 8, 8]}, "protocol": "complex"}


def samples(configure, **options):
    return read_data(configure(**{**SMALL, "test_fraction": 0.0} | options), None).samples


def test_a_sample_is_what_was_measured(configure):
    """Lines of the complex image plus noise, the image itself, and the auxiliary as it is."""
    one = samples(configure, noise=0.0, phase=2.0)[3, 1]
    assert isinstance(one, MeasuredSample)
    assert one.target.is_complex()
    assert one.target.imag.abs().max() > 0.1
    acquisition = one.acquisition
    assert torch.allclose(acquisition.lines, acquisition.forward(one.target[0]), atol=1e-6)
    assert 0 < acquisition.mask.float().mean() < 0.5
    assert one.auxiliary.min() >= 0
    assert float(one.noise) == -1.0
    noisy = samples(configure, noise=0.05, phase=2.0)[3, 1]
    difference = (noisy.lines - one.lines)[..., acquisition.mask[0]]
    assert difference.abs().square().mean().sqrt() == pytest.approx(0.05, rel=0.1)


def test_half_of_the_samples_tell_the_noise(configure):
    slices = samples(configure, noise=0.02)
    told = {round(float(slices[position, 0].noise), 3) for position in range(12)}
    assert told == {-1.0, 0.02}


def test_a_strip_is_some_rows_of_the_whole(configure):
    whole, strips = samples(configure), samples(configure, strip=16)
    first = []
    for position in range(6):
        one, part = whole[position, 2], strips[position, 2]
        assert part.lines.shape[-2] == part.target.shape[-2] == part.auxiliary.shape[-2] == 16
        starts = [n for n in range(49) if torch.equal(one.target[:, n : n + 16], part.target)]
        assert starts
        rows = slice(starts[0], starts[0] + 16)
        assert torch.equal(one.lines[:, rows], part.lines)
        assert torch.equal(one.auxiliary[:, rows], part.auxiliary)
        assert torch.equal(one.mask, part.mask)
        first += starts[:1]
    assert len(set(first)) > 3
    with pytest.raises(UserError, match="a strip of 80 rows does not fit into slices of 64; lower strip"):
        samples(configure, strip=80)


def test_coils_and_a_missing_auxiliary(configure):
    slices = samples(configure, simulated_coils=3, blank_auxiliary=0.5)
    batch = MeasuredSample(*default_collate([slices[position, 0] for position in range(8)]))
    assert batch.lines.shape == batch.maps.shape == (8, 3, 64, 64)
    blank = batch.auxiliary.flatten(1).amax(1) == 0
    assert 0 < int(blank.sum()) < 8
    assert torch.isfinite(batch.acquisition.zero_filled.abs()).all()


def test_masks_of_any_acceleration(configure):
    slices = samples(configure, acceleration_span=[2, 8])
    achieved = sorted(1 / float(slices[position, 0].mask.float().mean()) for position in range(24))
    assert achieved[0] < 3
    assert achieved[-1] > 5
    assert len({round(a, 2) for a in achieved}) > 12
    for wrong, sentence in {
        "one": ({"acceleration_span": [4]}, "acceleration_span is two accelerations, the lower one first"),
        "turned": ({"acceleration_span": [8, 2]}, "acceleration_span is two accelerations, the lower one first"),
        "both": ({"acceleration_span": [2, 8], "mixed_accelerations": [4, 8]}, "leave mixed_accelerations and"),
    }.values():
        with pytest.raises(UserError, match=sentence):
            samples(configure, **wrong)


def test_a_run_that_is_stopped_and_resumed_is_the_same_run(configure):
    options = SMALL | {"strip": 24, "blank_auxiliary": 0.3, "acceleration_span": [2, 6], "batch": 2, "accumulate": 2}
    options |= {"validation_fraction": 0.25, "validate_every": 2, "ema": 0.9, "clip_norm": 1.0}
    whole = train(configure("whole", iterations=4, **options))
    train(configure("parts", iterations=2, **options))
    parts = train(configure("parts", iterations=4, resume=True, **options))
    assert_same_weights(whole.last, parts.last)
    rows = log_rows(whole.last.parent)
    assert all(math.isfinite(float(row["loss"])) for row in rows)
    header = read_checkpoint(whole.best)[1]
    assert header.mask["span"] == [2.0, 6.0]
    model = load_model(whole.best)
    assert trained_recipe(model).span is not None


def test_it_learns(configure):
    """The same five slices under one mask, over and over."""
    options = {"cases": ["phantom-0000"], "batch": 5, "augment": False, "mask_seed": 1, "noise": 0.0}
    result = train(configure(iterations=25, learning_rate=0.01, **options, **SMALL))
    losses = [float(row["loss"]) for row in log_rows(result.last.parent)]
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_looking_later_changes_nothing(configure, monkeypatch):
    options = SMALL | {"iterations": 3, "log_every": 2}
    at_once = train(configure("at once", **options))
    monkeypatch.setattr(fsmnet.training.run, "Figures", lambda out, _: Figures(out, on("cuda")))
    assert_same_run(at_once.last.parent, train(configure("later", **options)).last.parent)


def test_a_step_reads_nothing_off_the_device(configure, monkeypatch, as_on_a_gpu):
    counts = []

    def watched(*arguments):
        with Reads() as reads:
            take_step(*arguments)
        counts.append(reads.count)

    monkeypatch.setattr("fsmnet.training.deadline.take_step", watched)
    train(configure(iterations=2, batch=2, ema=0.9, clip_norm=0.1, simulated_coils=2, **SMALL))
    assert counts == [0, 0]


def test_options_for_the_other_kind_are_refused(configure):
    for option, value in (("strip", 16), ("blank_auxiliary", 0.1)):
        sentence = f"{option} is for networks that take k-space, and mdunet takes images; leave it out"
        with pytest.raises(UserError, match=sentence):
            train(configure(**{option: value}, **UNET))
    with pytest.raises(UserError, match=r"blank_auxiliary is a share, 0 to 1, not 1\.5"):
        train(configure(blank_auxiliary=1.5, **SMALL))


def test_a_protocol_without_k_space_says_so(configure):
    slices = read_data(configure(**UNET), None).slices
    base = type(slices).__mro__[1].measured
    with pytest.raises(UserError, match="this protocol has no k-space to train on"):
        base(slices, 0, 0, 0)
    assert len(MeasuredSlices(slices)) == len(slices)


def test_the_loss_written_out():
    generator = torch.Generator().manual_seed(0)
    iterates = tuple(torch.randn(2, 1, 8, 10, dtype=torch.complex64, generator=generator) for _ in range(7))
    target = torch.randn(2, 1, 8, 6, dtype=torch.complex64, generator=generator)
    magnitude = target.abs()
    scale = (magnitude.square().sum((-2, -1), keepdim=True) / magnitude.sum((-2, -1), keepdim=True)).clamp_min(0.1)

    def charbonnier(error):
        return ((error.abs() ** 2 + 0.02**2).sqrt() - 0.02).mean()

    expected = torch.zeros(())
    for number, image in enumerate(reversed(iterates[2:])):
        shown = F.pad(image, (-2, -2))
        both = charbonnier((shown - target) / scale) + charbonnier((shown.abs() - magnitude) / scale)
        expected = expected + 0.6**number * both / 2
    expected = expected / sum(0.6**number for number in range(5))
    loss = UnrolledLoss()
    assert float(loss(Output(iterates[-1], iterates=iterates), target)) == pytest.approx(float(expected), rel=1e-5)
    last = F.pad(iterates[-1], (-2, -2))
    of_magnitude = charbonnier((last.abs() - magnitude) / scale)
    assert float(loss(Output(iterates[-1]), magnitude)) == pytest.approx(float(of_magnitude), rel=1e-5)
