"""A step: nothing is read off a GPU while it goes on, and no step spoils what is kept."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import fsmnet.training.run
import fsmnet.training.setup
from fsmnet.errors import UserError
from fsmnet.training.log import Log
from fsmnet.training.losses import SpatialFrequencyLoss
from fsmnet.training.run import TrainResult, train
from fsmnet.training.step import Figures, take_step
from training_run import FSMNET, UNET, Reads, assert_same_run, assert_same_weights, log_rows, on


def diverge(monkeypatch, step: int, **factors: float) -> None:
    """Make the loss, or only its gradient, NaN from a step on."""
    forward, calls = SpatialFrequencyLoss.forward, []

    def patched(self, output, target, auxiliary=None):
        calls.append(1)
        loss = forward(self, output, target, auxiliary)
        if len(calls) < step:
            return loss
        if "gradient" in factors:
            return loss + (0 * output.image).abs().sqrt().sum()  # 0 with the slope 0 * infinity
        return loss * math.nan

    monkeypatch.setattr(SpatialFrequencyLoss, "forward", patched)


# -- figures -----------------------------------------------------------------------------------------------------------


def test_figures_by_hand(tmp_path):
    figures = Figures(tmp_path, on("cuda"))
    figures.look()
    assert math.isnan(figures.loss)
    for step in (5, 6):
        figures.add(step, [torch.tensor(0.25), torch.tensor(0.5 * step)], torch.tensor(2.0 * step))
        assert figures.step == 0
    figures.look()
    assert (figures.step, figures.loss, figures.norm) == (6, 3.25, 12.0)


def test_the_first_step_that_diverged_is_named(tmp_path):
    figures = Figures(tmp_path, on("cuda"))
    for step, loss in ((1, 1.0), (2, math.inf), (3, math.nan)):
        figures.add(step, [torch.tensor(loss)], torch.tensor(1.0))
    with pytest.raises(UserError, match=r"the loss is inf and the gradient's norm 1 at step 2; no checkpoint was"):
        figures.look()


def test_on_a_cpu_every_step_is_looked_at(tmp_path):
    figures = Figures(tmp_path, on("cpu"))
    with pytest.raises(UserError, match="the loss is nan and the gradient's norm 1 at step 7"):
        figures.add(7, [torch.tensor(math.nan)], torch.tensor(1.0))


# -- not waiting for a GPU ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
def test_a_step_reads_nothing_off_the_device(configure, monkeypatch, as_on_a_gpu, optimizer):
    counts = []

    def watched(*arguments):
        with Reads() as reads:
            take_step(*arguments)
        counts.append(reads.count)

    monkeypatch.setattr("fsmnet.training.deadline.take_step", watched)
    train(configure(iterations=3, optimizer=optimizer, ema=0.9, clip_norm=0.1, batch=2, accumulate=2, **UNET))
    assert counts == [0, 0, 0]


def test_looking_later_changes_nothing(configure, monkeypatch):
    options = {"iterations": 5, "validation_fraction": 0.25, "validate_every": 3, "log_every": 2, "ema": 0.9}
    at_once = train(configure("at once", **options))
    monkeypatch.setattr(fsmnet.training.run, "Figures", lambda out, _: Figures(out, on("cuda")))
    later = train(configure("later", **options))
    assert_same_run(at_once.last.parent, later.last.parent)


def test_divergence_between_looks_names_its_step_and_spoils_nothing(configure, monkeypatch, as_on_a_gpu):
    good = train(configure("good", iterations=3))
    diverge(monkeypatch, 5)
    config = configure(iterations=20, save_every=3, log_every=100, validation_fraction=0.0)
    with pytest.raises(UserError, match=r"the loss is nan and the gradient's norm nan at step 5; .*may be good; lower"):
        train(config)
    assert_same_weights(config.out / "last.safetensors", good.last)
    assert torch.load(config.out / "resume.pt", weights_only=True)["progress"]["step"] == 3


# -- in parts, in 16 bits, compiled ------------------------------------------------------------------------------------


def test_a_batch_in_parts_is_the_same_batch(configure, monkeypatch):
    """Three slices as two and one; from the fourth digit on AdamW divides rounding by rounding.

    Of FSMNet: an empty row of the phantom leaves a U-Net's maxima and kinks to be decided by rounding.
    """
    figures = []  # as they are, since the log rounds them to as many digits
    monkeypatch.setattr(Log, "add", lambda log, loss, norm, rate, psnr: figures.append((loss, norm)))
    train(configure("whole", batch=3, iterations=3, **FSMNET))
    train(configure("parts", batch=3, iterations=3, accumulate=2, **FSMNET))
    for expected, found in zip(figures[:3], figures[3:], strict=True):
        assert found == pytest.approx(expected, 1e-4)


def test_a_model_that_cannot_be_compiled(configure, monkeypatch):
    from torch._inductor.exc import InductorError

    class Uncompilable(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, *inputs):
            raise InductorError(TypeError("too hard"), None)

    monkeypatch.setattr(fsmnet.training.setup, "_compiled", Uncompilable)
    with pytest.raises(UserError, match=r"torch.compile cannot compile this model \(TypeError: too hard\); leave"):
        train(configure(compile=True, **UNET))


def test_bfloat16_after_float32(configure):
    """Also one after the other in one process."""
    results: list[TrainResult] = [
        train(configure(precision, precision=precision, validation_fraction=0.25))
        for precision in ("float32", "bfloat16")
    ]
    full, half = (load_file(result.last) for result in results)
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in half.values())
    assert any(not torch.equal(full[name], half[name]) for name in full)
    losses = [float(log_rows(result.last.parent)[0]["loss"]) for result in results]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_bfloat16_is_used_by_the_network(configure, monkeypatch):
    kinds = set()
    forward = nn.Conv2d.forward

    def watched(self, image):
        result = forward(self, image)
        kinds.add(result.dtype)
        return result

    monkeypatch.setattr(nn.Conv2d, "forward", watched)
    train(configure(precision="bfloat16", iterations=1))
    assert torch.bfloat16 in kinds


# -- divergence --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "words"), [({}, "the loss is nan"), ({"gradient": math.nan}, "the gradient's norm nan")]
)
def test_divergence_stops_and_leaves_the_last_good_checkpoint(configure, monkeypatch, what, words):
    train(configure("good", iterations=2))
    diverge(monkeypatch, 3, **what)
    with pytest.raises(UserError, match=words) as caught:
        train(configure(iterations=6, save_every=1))
    assert "at step 3" in str(caught.value)
    assert "lower learning_rate or set clip_norm" in str(caught.value)
    out = configure().out
    assert str(out / "last.safetensors") in str(caught.value)
    assert_same_weights(out / "last.safetensors", out.parent / "good" / "last.safetensors")
    assert [row["step"] for row in log_rows(out)] == ["1", "2"]
    assert not list(out.glob(".part-*"))


def test_divergence_before_the_first_checkpoint(configure, monkeypatch):
    diverge(monkeypatch, 2)
    with pytest.raises(UserError, match=r"at step 2; no checkpoint was written yet"):
        train(configure(iterations=6))


@pytest.mark.parametrize("validation_fraction", [0.0, 0.25])
def test_divergence_at_the_only_step_is_no_success(configure, validation_fraction):
    config = configure(iterations=1, learning_rate=1e12, optimizer="sgd", validation_fraction=validation_fraction)
    with pytest.raises(UserError, match=r"the loss went from 1\.\d+ to .* at step 1; no checkpoint was written yet"):
        train(config)
    assert not list(config.out.glob("*.safetensors"))


def test_a_huge_learning_rate_ends_in_words(configure):
    with pytest.raises(UserError, match=r"(the loss|gives NaN or infinite values).*;"):
        train(configure(iterations=30, learning_rate=1e12, optimizer="sgd", **UNET))


@pytest.mark.cuda
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")  # which is what it is used as here
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_step_waits_for_no_gpu(configure, brats_folder, monkeypatch):
    """From the second step on, which finds everything set up, CUDA itself would complain.

    Its data need no package beyond those of training.
    """

    def watched(setup, batch, rate, figures, step):
        torch.cuda.set_sync_debug_mode("error" if step > 1 else "default")
        try:
            take_step(setup, [t.pin_memory() for t in batch], rate, figures, step)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr("fsmnet.training.deadline.take_step", watched)
    options = {"data": brats_folder, "device": "cuda", "iterations": 4, "log_every": 4}
    train(configure(**options, ema=0.9, clip_norm=0.1, batch=2, accumulate=2))
