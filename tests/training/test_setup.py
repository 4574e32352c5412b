"""What a run is built from: the same training with less memory or compiled, other weights, other optimisers."""

from __future__ import annotations

import math

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fsmnet.errors import UserError
from fsmnet.training.run import train
from fsmnet.training.setup import MovingAverage, choose_accelerator
from training_run import FSMNET, UNET, assert_same_run, assert_same_weights, log_rows


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


def test_the_average_is_pytorch_s(configure):
    """With buffers that are copied, and the same names in the state."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
    own = MovingAverage(model, 0.7, torch.device("cpu"))
    expected = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.7))
    for _ in range(3):
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.copy_(torch.rand(tensor.shape))
        own.update_parameters(model)
        expected.update_parameters(model)
    assert list(own.state_dict()) == list(expected.state_dict())
    assert all(torch.equal(own.state_dict()[name], tensor) for name, tensor in expected.state_dict().items())


def test_a_run_computes_where_it_is_told_whatever_ran_before_in_this_process(configure):
    """accelerate would refuse a processor after a GPU, and take the processor again for a GPU."""
    Accelerator(cpu=True)
    PartialState().device = AcceleratorState().device = torch.device("cuda")
    try:
        assert choose_accelerator(configure()).device == torch.device("cpu")
        assert AcceleratorState().device == torch.device("cpu")
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
