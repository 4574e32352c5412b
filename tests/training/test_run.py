"""Training: interrupted and resumed is uninterrupted, the best checkpoint is the best, mistakes are told in words."""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn

import fsmnet.cli.train
import fsmnet.training.log
import fsmnet.training.run
import fsmnet.training.setup
from fsmnet.checkpoint import load_model, read_checkpoint
from fsmnet.cli import main
from fsmnet.errors import UserError
from fsmnet.inference.cost import Cost, predict_cost
from fsmnet.metrics import Metrics
from fsmnet.options import dump_config, plain_config
from fsmnet.physics.masks import load_mask
from fsmnet.protocols.base import Protocol
from fsmnet.training.log import LOG_COLUMNS
from fsmnet.training.losses import SpatialFrequencyLoss
from fsmnet.training.options import TrainConfig
from fsmnet.training.run import TrainResult, train
from fsmnet.training.schedule import learning_rate_factor
from fsmnet.training.step import take_step

UNET = {"model": "mdunet", "model_options": {"features": 4, "levels": 2}}
FSMNET = {"model": "fsmnet", "model_options": {"features": 8, "blocks": 1}}


@pytest.fixture(autouse=True)
def no_forecast(monkeypatch):
    """The forecast of time and memory takes longer than these runs; one test has it back."""
    monkeypatch.setattr(fsmnet.training.log, "predict_cost", lambda *_: Cost(1, 1.0, 1, 1))


@pytest.fixture
def configure(heads, tmp_path):
    """Function (name of the output folder, **options) -> a run of seconds."""

    def make(out: str = "run", **options) -> TrainConfig:
        defaults = {
            "data": heads,
            "out": tmp_path / out,
            "device": "cpu",
            "protocol": "float",
            **UNET,
            "validation_fraction": 0.0,
            "batch": 1,
            "iterations": 2,
            "log_every": 1,
        }
        return TrainConfig(**{**defaults, **options})

    return make


def log_rows(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def timeless(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{name: text for name, text in row.items() if name != "seconds"} for row in rows]


def assert_same_weights(first: Path, second: Path) -> None:
    one, other = load_file(first), load_file(second)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def assert_same_run(first: Path, second: Path) -> None:
    for name in ("last.safetensors", "best.safetensors"):
        assert_same_weights(first / name, second / name)
    assert timeless(log_rows(first)) == timeless(log_rows(second))


# -- memory and speed: the same training -----------------------------------------------------------------------------


def test_a_batch_in_parts_is_the_same_batch(configure):
    """Three slices as two and one; from the fourth digit on AdamW divides rounding by rounding."""
    whole = train(configure("whole", batch=3, iterations=3, **UNET))
    parts = train(configure("parts", batch=3, iterations=3, accumulate=2, **UNET))
    expected, found = (log_rows(result.last.parent) for result in (whole, parts))
    for column in ("loss", "gradient_norm"):
        assert [float(row[column]) for row in found] == pytest.approx([float(row[column]) for row in expected], 1e-4)


@pytest.mark.parametrize("model", ["fsmnet", "fsmnet_released"])
def test_feature_maps_computed_twice_are_the_same(configure, model):
    options = {"model": model, "model_options": FSMNET["model_options"], "batch": 2, "precision": "bfloat16"}
    assert_same_run(
        train(configure("kept", **options)).last.parent,
        train(configure("twice", checkpointing=True, **options)).last.parent,
    )


def test_checkpointing_needs_blocks(configure):
    with pytest.raises(UserError, match="checkpointing is there for fsmnet, fsmnet_released and fsmnet_fast only"):
        train(configure(checkpointing=True, **UNET))


def test_compiled_training_is_the_same(configure, monkeypatch):
    """With a compiler that changes nothing; a real one takes minutes."""
    calls = []

    def compiler(function, **options):
        calls.append(function)
        return torch_compile(function, backend="eager", **options)

    torch_compile = torch.compile
    monkeypatch.setattr(torch, "compile", compiler)
    plain, compiled = (train(configure(str(on), compile=on, **UNET)) for on in (False, True))
    assert len(calls) == 2  # the attempt and the model
    assert_same_run(plain.last.parent, compiled.last.parent)


def test_compiling_without_a_compiler(configure, monkeypatch):
    def compiler(function):
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(torch, "compile", compiler)
    sentence = r"compile: torch.compile does not work here \(No working C\+\+ compiler found\); install a C\+\+"
    with pytest.raises(UserError, match=sentence):
        train(configure(compile=True))


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


# -- stopping and going on --------------------------------------------------------------------------------------------

VARIANTS = {
    "step schedule and validation": {**FSMNET, "decay_every": 2, "validation_fraction": 0.25, "validate_every": 3},
    "average and warm-up": {**FSMNET, "schedule": "constant", "warmup": 4, "ema": 0.9},
    "disk cache, workers and masks of their own": {**FSMNET, "cache": "disk", "workers": 2, "mask_seed": "name"},
    "dropout": {"model": "mdunet", "model_options": {"features": 4, "levels": 2, "dropout": 0.3}},
    "another average and momentum": {**UNET, "ema": 0.5, "optimizer": "sgd", "augment": False},
    "in parts, with less memory": {**FSMNET, "batch": 3, "accumulate": 2, "checkpointing": True, "ema": 0.9},
}


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")  # on a machine with one core
@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())
def test_three_steps_and_three_more_are_six(configure, options):
    straight = train(configure("straight", iterations=6, **options))
    train(configure("halves", iterations=3, **options))
    halves = train(configure("halves", iterations=6, resume=True, **options))
    assert straight.progress.step == halves.progress.step == 6
    assert straight.progress.best_psnr == halves.progress.best_psnr
    assert_same_run(straight.last.parent, halves.last.parent)
    steps = torch.load(halves.last.parent / "resume.pt", weights_only=True)["progress"]["step"]
    assert steps == 6


def test_ctrl_c_stops_after_the_step_and_resume_goes_on(configure, tmp_path):
    """As from a terminal: the signal reaches the workers too."""
    config = configure("stopped", iterations=10_000, workers=2, save_every=1, threads=1, **FSMNET)
    file = tmp_path / "run.yaml"
    file.write_text(dump_config(config))
    process = subprocess.Popen(
        [sys.executable, "-m", "fsmnet", "train", "--config", str(file)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not (config.out / "resume.pt").exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    last_line = errors.splitlines()[-1]
    assert last_line.endswith(f"to go on: fsmnet train --config {config.out / 'config.yaml'} --resume")

    done = torch.load(config.out / "resume.pt", weights_only=True)["progress"]["step"]
    assert 1 <= done == int(log_rows(config.out)[-1]["step"])
    options = {"iterations": done + 2, "threads": 1, **FSMNET}
    train(configure("stopped", resume=True, **options))
    train(configure("straight", **options))
    assert_same_run(tmp_path / "stopped", tmp_path / "straight")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_saves(configure, monkeypatch, number, caplog):
    handler = signal.getsignal(number)

    def interrupted(setup, batch, rate, figures, step):
        if step == 2:
            os.kill(os.getpid(), number)
        take_step(setup, batch, rate, figures, step)

    monkeypatch.setattr(fsmnet.training.run, "take_step", interrupted)
    config = configure(iterations=5)
    with caplog.at_level(logging.INFO, "fsmnet"):
        assert fsmnet.cli.train.command(config) == 130
    assert "stopped at step 2; to go on" in caplog.text
    assert [row["step"] for row in log_rows(config.out)] == ["1", "2"]
    assert signal.getsignal(number) == handler


def test_a_second_signal_stops_at_once(configure, monkeypatch):
    def impatient(*_):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(fsmnet.training.run, "take_step", impatient)
    with pytest.raises(KeyboardInterrupt):
        train(configure())


def test_resuming_what_is_finished_changes_nothing(configure):
    train(configure())
    before = load_file(configure().out / "last.safetensors")
    result = train(configure(resume=True))
    assert result.finished
    after = load_file(result.last)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_second_run_needs_another_folder_or_resume(configure):
    train(configure())
    with pytest.raises(UserError, match=r"already holds a run; pass --resume to go on with it, or choose"):
        train(configure())


def test_resume_without_a_run(configure):
    with pytest.raises(UserError, match=r"resume.pt: there is no run to resume; leave --resume out"):
        train(configure(resume=True))
    assert not configure().out.exists()


def test_resume_names_the_options_that_changed(configure):
    train(configure())
    with pytest.raises(UserError, match="not the run that was stopped") as caught:
        train(configure(resume=True, learning_rate=0.5, augment=False, iterations=9, workers=1))
    message = str(caught.value)
    assert "learning_rate was 0.0001, is 0.5" in message
    assert "augment was True, is False" in message
    assert "iterations" not in message
    assert "workers" not in message


def test_resume_of_a_run_from_before_an_option_existed(configure):
    train(configure())
    file = configure().out / "resume.pt"
    state = torch.load(file, weights_only=True)
    saved = json.loads(state["config"])
    del saved["wrap_phase"]
    torch.save({**state, "config": json.dumps(saved)}, file)
    assert train(configure(resume=True, iterations=3)).progress.step == 3


@pytest.mark.parametrize("content", ["empty", "text", "cut short", "another file"])
def test_damaged_resume_file(configure, content):
    train(configure())
    file = configure().out / "resume.pt"
    whole = file.read_bytes()
    if content == "another file":
        torch.save({"weights": torch.zeros(3)}, file)
    else:
        file.write_bytes({"empty": b"", "text": b"hello\n", "cut short": whole[: len(whole) // 2]}[content])
    with pytest.raises(UserError, match=r"resume\.pt: damaged, or no state of a training; start again"):
        train(configure(resume=True))


# -- divergence and a full disk ---------------------------------------------------------------------------------------


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


def test_a_huge_learning_rate_ends_in_words(configure):
    with pytest.raises(UserError, match=r"(the loss is|gives NaN or infinite values).*;"):
        train(configure(iterations=30, learning_rate=1e12, optimizer="sgd"))


def test_full_disk_is_told_in_words(configure):
    resource = pytest.importorskip("resource")
    config = configure()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit, name in ((100_000, "last.safetensors"), (1_000_000, "resume.pt")):
        out = config.out / str(limit)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(UserError, match=rf"{name}: cannot be written \(.*ile too large.*\); free space"):
                train(configure(str(out), iterations=1, **FSMNET))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert not (out / name).exists()
        assert not list(out.glob(".part-*"))


# -- what is chosen and written ---------------------------------------------------------------------------------------


def test_validation_picks_the_best(configure, monkeypatch):
    figures = iter([20.0, 30.0, 25.0])

    def score(protocol, target, images):
        return [Metrics(next(figures), 0.5, 0.5)]

    monkeypatch.setattr(Protocol, "score", score)
    config = configure(iterations=3, validation_fraction=0.25, validate_every=1)
    result = train(config)
    assert (result.progress.best_psnr, result.progress.best_step) == (30.0, 2)
    assert [row["validation_psnr"] for row in log_rows(config.out)] == ["20.000", "30.000", "25.000"]
    assert read_checkpoint(result.best)[1].metrics == {"step": 2, "validation_psnr": 30.0}
    assert read_checkpoint(result.last)[1].metrics == {"step": 3}

    monkeypatch.undo()
    two = train(configure("two", iterations=2, validation_fraction=0.25))
    assert_same_weights(result.best, two.last)


def test_without_validation_the_best_is_the_last(configure, caplog):
    with caplog.at_level(logging.INFO, "fsmnet"):
        result = train(configure())
    assert "no validation cases: the best checkpoint will be the last" in caplog.text
    assert_same_weights(result.best, result.last)


def test_what_a_run_leaves(configure, heads):
    config = configure(validation_fraction=0.25, test_fraction=0.25, batch=2, iterations=5, validate_every=2)
    result = train(config)
    names = ["best.safetensors", "config.yaml", "last.safetensors", "log.csv", "mask.npz", "resume.pt", "split.json"]
    assert sorted(path.name for path in config.out.iterdir()) == names

    rows = log_rows(config.out)
    assert list(rows[0]) == LOG_COLUMNS
    assert LOG_COLUMNS == ["step", "epoch", "seconds", "learning_rate", "loss", "gradient_norm", "validation_psnr"]
    assert [row["step"] for row in rows] == ["1", "2", "3", "4", "5"]
    # Two cases of five slices: the fifth batch of two ends the first pass.
    assert [row["epoch"] for row in rows] == ["0", "0", "0", "0", "1"]
    assert [bool(row["validation_psnr"]) for row in rows] == [False, True, False, True, True]
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)

    split = json.loads((config.out / "split.json").read_text())
    assert [len(split[side]) for side in ("train", "validation", "test")] == [2, 1, 1]
    assert sorted(case for cases in split.values() for case in cases) == sorted(path.name for path in heads.iterdir())
    assert load_mask(config.out / "mask.npz", 64).acceleration == 4

    header = read_checkpoint(result.best)[1]
    assert header.model["name"] == "mdunet"
    assert header.model["options"] == {"features": 4, "levels": 2, "dropout": 0.0, "fusion": "input"}
    assert header.training == json.loads(json.dumps(plain_config(config)))
    assert header.split == split
    assert set(header.versions) >= {"fsmnet", "torch", "numpy", "python"}
    assert not load_model(result.best).training


def test_forecast_and_mask_are_announced(configure, monkeypatch, caplog):
    monkeypatch.setattr(fsmnet.training.log, "predict_cost", predict_cost)
    with caplog.at_level(logging.INFO, "fsmnet"):
        train(configure(iterations=1, validation_fraction=0.25, **FSMNET))
    first, second, third = caplog.messages[:3]
    assert re.fullmatch(r"fsmnet: [\d,]+ parameters, [\d.]+ GFLOP a slice, about [\d.]+ MB for training .* of 1", first)
    assert second == "15 training slices of 3 cases, 5 validation slices of 1; protocol float"
    assert re.fullmatch(r"mask random: \d+ of 64 columns, 4x requested, [\d.]+x achieved", third)


def test_a_split_is_used_again(configure, tmp_path):
    first = configure("first", validation_fraction=0.25, test_fraction=0.25, split_seed=5, iterations=1)
    train(first)
    saved = (first.out / "split.json").read_text()
    second = configure("second", split=first.out / "split.json", iterations=1)
    train(second)
    assert (second.out / "split.json").read_text() == saved

    file = tmp_path / "other.json"
    file.write_text(json.dumps({"train": ["phantom-0000", "nobody"], "validation": [], "test": []}))
    with pytest.raises(UserError, match="the split names cases that are not there: nobody"):
        train(configure("third", split=file))
    file.write_text(json.dumps({"train": [], "validation": ["phantom-0000"], "test": []}))
    with pytest.raises(UserError, match="no case to train on"):
        train(configure("third", split=file))


def test_config_yaml_is_the_same_configuration(configure, monkeypatch, tmp_path):
    config = configure(
        cases=["phantom-0001", "phantom-0002"],
        betas=[0.8, 0.95],
        minutes=10.0,
        mask_seed="name",
        learning_rate=1e-5,
        split=tmp_path / "split.json",
        clip_norm=0.5,
    )
    (tmp_path / "split.json").write_text(json.dumps({"train": config.cases, "validation": [], "test": []}))
    train(config)
    train(configure(**{**vars(config), "resume": True, "out": "run", "iterations": 3}))
    read = []
    monkeypatch.setattr(fsmnet.training.run, "command", lambda config: read.append(config))
    assert main(["train", "--config", str(config.out / "config.yaml")]) == 0
    config.iterations = 3
    assert read == [config]
    assert yaml.safe_load((config.out / "config.yaml").read_text())["resume"] is False


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


def test_tensorboard_events(configure):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = configure(tensorboard=True, validation_fraction=0.25)
    train(config)
    events = accumulator.EventAccumulator(str(config.out / "tensorboard")).Reload()
    assert {"loss", "learning_rate", "validation_psnr"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("loss")] == [1, 2]


def test_start_from_other_weights(configure, checkpoint_file, tmp_path):
    init = checkpoint_file(tmp_path / "init.safetensors", seed=3)
    result = train(configure(init=init, learning_rate=1e-30, iterations=1, **FSMNET))
    assert_same_weights(result.last, init)
    other = checkpoint_file(tmp_path / "other.safetensors", "fsmnet", features=16, blocks=1)
    with pytest.raises(UserError, match=r"other\.safetensors: not weights of fsmnet"):
        train(configure("second", init=other, **FSMNET))


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_other_optimisers(configure, optimizer):
    assert math.isfinite(float(log_rows(train(configure(optimizer=optimizer)).last.parent)[-1]["loss"]))


def test_epochs_and_minutes_are_budgets_too(configure):
    # 4 cases of 5 slices
    assert train(configure("epochs", iterations=None, epochs=0.25)).progress.step == 5
    result = train(configure("minutes", iterations=None, minutes=0.3 / 60))
    assert result.finished
    assert result.progress.seconds >= 0.3
    # A second later the time is still spent.
    assert train(configure("minutes", iterations=None, minutes=0.3 / 60, resume=True)).progress == result.progress


# -- the learning rate ------------------------------------------------------------------------------------------------


def test_learning_rate_by_hand(configure):
    constant = configure(schedule="constant")
    assert [learning_rate_factor(constant, step, 0.5) for step in (0, 1000)] == [1, 1]

    warm = configure(schedule="constant", warmup=4)
    assert [learning_rate_factor(warm, step, 0) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]

    step = configure(schedule="step", decay=0.1, decay_every=20)
    factors = [learning_rate_factor(step, at, 0) for at in (0, 19, 20, 39, 40)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01])

    epochs = configure(schedule="step", decay=0.5, decay_every=2, decay_unit="epochs")
    assert [learning_rate_factor(epochs, 999, 0, epoch) for epoch in range(5)] == [1, 1, 0.5, 0.5, 0.25]

    cosine = configure(schedule="cosine", warmup=10)
    factors = [learning_rate_factor(cosine, *at) for at in ((0, 0.0), (99, 1 / 3), (99, 0.5), (99, 1.0))]
    assert factors == pytest.approx([0.1, 0.75, 0.5, 0])


def test_learning_rate_in_the_log(configure):
    train(configure(iterations=4, learning_rate=0.01, schedule="cosine"))
    rates = [float(row["learning_rate"]) for row in log_rows(configure().out)]
    expected = [0.01 * 0.5 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    assert rates == pytest.approx(expected, rel=1e-3)


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_slices_of_different_sizes_need_batches_of_one(configure, brats_folder, write_nifti, smooth):
    for contrast, seed in (("t1", 1), ("t2", 2)):
        write_nifti(brats_folder / "case-2" / f"case-2_{contrast}.nii.gz", smooth(seed, (40, 48, 4)))
    options = {"data": brats_folder, "iterations": 1}
    with pytest.raises(UserError, match=r"different sizes \(40 x 48, 84 x 80\) cannot share a batch; set batch to 1"):
        train(configure(batch=2, **options))
    assert train(configure("one", batch=1, **options)).progress.step == 1


REFUSED = {
    "batch": (0, "batch must be at least 1, not 0"),
    "accumulate": (2, "a batch of 1 has no 2 parts; lower accumulate"),
    "iterations": (0, "iterations must be more than 0, not 0"),
    "minutes": (math.nan, "minutes must be more than 0, not nan"),
    "learning_rate": (-1.0, "learning_rate must be more than 0, not -1.0"),
    "ema": (1.0, "ema must lie between 0 and 1, not 1.0"),
    "betas": ([0.9], r"betas are two numbers in \[0, 1\), not \[0.9\]"),
    "test_fraction": (1.0, "test_fraction must be at least 0 and below 1, not 1.0"),
    "threads": (0, "threads must be at least 1, not 0"),
    "device": ("abacus", "device 'abacus' is not available here; use --device cpu, or auto"),
    "model": ("zero_filling", "model zero_filling has nothing to train; choose another with --model"),
    "model_options": ({"featurs": 8}, "model mdunet has no option 'featurs'; it takes features"),
    "acceleration": (0.0, "acceleration 0 is impossible with 64 columns; give more than 1"),
    "data": (Path("nowhere"), "nowhere: no such folder"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_options(configure, name):
    value, message = REFUSED[name]
    options = {name: value}
    if name == "model":
        options["model_options"] = {}
    with pytest.raises(UserError, match=message):
        train(configure(**options))
    assert not configure().out.exists()


def test_no_budget(configure):
    with pytest.raises(UserError, match="give iterations, epochs or minutes"):
        train(configure(iterations=None))
