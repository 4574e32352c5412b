"""How many slices at a time, what is said about the time, and what is handed on while the rest is computed."""

from __future__ import annotations

import logging
from itertools import count

import pytest
import torch
from torch import nn

from fsmnet.errors import UserError
from fsmnet.inference import slices as inference
from fsmnet.inference.options import check_batch
from fsmnet.inference.slices import reconstruct_slices
from fsmnet.models.output import Output
from fsmnet.physics.acquisition import Acquisition
from fsmnet.transforms import NormalisationRecipe


class Identity(nn.Module):
    """Counts the slices of each pass."""

    def __init__(self):
        super().__init__()
        self.passes = []

    def forward(self, target, auxiliary):
        self.passes.append(tuple(target.shape))
        return Output(target)


def scan(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_batches_below_one_are_refused():
    check_batch("auto")
    check_batch(1)
    for wrong in (0, -3, "many"):
        with pytest.raises(UserError, match=f"batch must be at least 1, not {wrong}; or auto"):
            check_batch(wrong)


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_every_batch_is_handed_on_when_it_is_done(batch):
    slices, model, taken = scan(7, 20, 24), Identity(), []
    images = reconstruct_slices(model, slices, slices, NormalisationRecipe(), batch=batch, each=taken.append)
    assert torch.equal(torch.cat([one.image for one in taken]), images)
    assert [len(slices[one.part]) for one in taken] == [len(one.image) for one in taken]
    assert [shape[0] for shape in model.passes] == [len(one.image) for one in taken]
    assert all(one.seconds > 0 for one in taken)
    torch.testing.assert_close(images, slices, rtol=0, atol=1e-5)  # normalised and back


class Clock:
    """Time that passes only in a network: so much for a pass, and so much for every pixel."""

    def __init__(self, of_pass, of_pixel):
        self.now, self.of_pass, self.of_pixel = 0.0, of_pass, of_pixel
        self.numbers = count()

    def perf_counter(self):
        return self.now

    def forward(self, target, auxiliary):
        warm = next(self.numbers) > 0
        self.now += self.of_pass(target) + self.of_pixel * target.numel() + (0 if warm else 3)  # the first is slow
        return Output(target)


@pytest.fixture
def clock(monkeypatch, caplog):
    def make(of_pass, of_pixel):
        made = Clock(of_pass, of_pixel)
        monkeypatch.setattr(inference, "time", made)
        return made

    caplog.set_level(logging.INFO)
    return make


def messages(clock, caplog, n, shape, batch=1):
    slices = scan(n, *shape)
    reconstruct_slices(clock.forward, slices, slices, NormalisationRecipe(), batch=batch, progress="reading minds")
    return caplog.messages


def test_the_time_is_told_after_the_second_batch(clock, caplog):
    told = []

    def of_pass(target):
        told.append(len(caplog.messages))
        return 0.2

    # 10 slices of 100 x 120: 10 (0.2 + 1.2); the slow first pass does not count.
    assert messages(clock(of_pass, 1e-4), caplog, 10, (100, 120)) == ["reading minds: about 14 s"]
    assert told == [0, 0, *[1] * 8]


def test_the_time_of_a_batch_counts_its_own_share_once(clock, caplog):
    made = clock(lambda _: 2.0, 1e-4)
    # 5 passes of 2 slices: 5 * 2 + 10 * 1.2
    assert messages(made, caplog, 10, (100, 120), batch=2) == ["reading minds: about 22 s"]


def test_seconds_are_those_of_the_network_alone(clock):
    made, taken = clock(lambda _: 1.0, 0.0), []
    made.numbers = count(1)

    def take(batch):
        made.now += 100  # whatever is done with it
        taken.append(batch.seconds)

    reconstruct_slices(made.forward, scan(5, 20, 20), scan(5, 20, 20), NormalisationRecipe(), batch=2, each=take)
    assert taken == [1, 1, 1]


def test_nothing_is_told_of_what_is_done_at_once(clock, caplog):
    made = clock(lambda _: 0.01, 0.0)
    made.numbers = count(1)
    assert messages(made, caplog, 10, (100, 120)) == []
    assert messages(made, caplog, 1, (100, 120)) == []


class KSpaceModel(nn.Module):
    """The zero-filled image, and what it was called with."""

    takes = "acquisition"

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, acquisition, auxiliary):
        self.calls.append((acquisition, auxiliary))
        return acquisition.zero_filled[:, None]


def test_a_network_for_kspace_gets_lines_and_the_auxiliary_as_it_is():
    phase = torch.polar(torch.ones(5, 12, 16), scan(5, 12, 16))
    acquisition = Acquisition.simulate(scan(5, 12, 16) * phase, torch.ones(16, dtype=torch.bool))
    model, grey = KSpaceModel(), (scan(5, 12, 16) * 255).to(torch.uint8)
    given = {"measured": acquisition.__getitem__, "batch": 2}
    image = reconstruct_slices(model, grey, grey, NormalisationRecipe(), **given)
    torch.testing.assert_close(image, scan(5, 12, 16))
    assert [len(one.lines) for one, _ in model.calls] == [2, 2, 1]
    assert torch.equal(torch.cat([auxiliary for _, auxiliary in model.calls])[:, 0], grey / 255)
    image = reconstruct_slices(model, grey, None, NormalisationRecipe(), phase=True, **given)
    torch.testing.assert_close(image, scan(5, 12, 16) * phase)
    assert model.calls[-1][1] is None


def test_what_a_network_takes_is_missing():
    slices = scan(2, 8, 8)
    with pytest.raises(UserError, match=r"net: is a network for k-space, which is not given here"):
        reconstruct_slices(KSpaceModel(), slices, slices, NormalisationRecipe(), name="net")
    with pytest.raises(UserError, match="net: needs the other contrast; give --auxiliary"):
        reconstruct_slices(Identity(), slices, None, NormalisationRecipe(), name="net")


def test_a_diverged_network_for_kspace_is_told():
    lines = torch.full((1, 1, 8, 8), torch.nan, dtype=torch.complex64)
    acquisition = Acquisition(lines, torch.ones(8, dtype=torch.bool))
    with pytest.raises(UserError, match="gives NaN or infinite values"):
        reconstruct_slices(KSpaceModel(), scan(1, 8, 8), None, NormalisationRecipe(), measured=acquisition.__getitem__)
