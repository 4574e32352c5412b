"""A training before it is one: its data, split, shapes and cost, and a step or two; nothing is left behind."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fsmnet.checkpoint import read_checkpoint
from fsmnet.files import require_writable
from fsmnet.inference.cost import predict_cost
from fsmnet.training.data import batches, read_data
from fsmnet.training.log import announce
from fsmnet.training.options import TrainConfig
from fsmnet.training.schedule import Progress, Schedule
from fsmnet.training.setup import check_model, choose_accelerator, options_of_model, set_up
from fsmnet.training.state import read_state
from fsmnet.training.step import Figures, take_step

PATIENT = 20.0  # seconds that the first step may take for a second one to follow, which sets up nothing any more


def rehearse(config: TrainConfig) -> dict[str, Any]:
    """What a run would begin with; figures for people and scripts.

    Raises:
        UserError: whatever would refuse the run.
    """
    config.check()
    require_writable(config.out, config.out)
    state = read_state(config)
    index = config.index if config.index is not None and config.index.exists() else None
    with TemporaryDirectory(prefix="fsmnet-rehearsal-") as folder:
        tried = replace(config, out=Path(folder) / "run", cache="memory", index=index, tensorboard=False, workers=0)
        accelerator = choose_accelerator(tried)
        check_model(tried)
        initial = None if tried.init is None else read_checkpoint(tried.init)[0]
        data = read_data(tried, None if state is None else state.split)
        options = options_of_model(tried, data)
        announce(tried, data, options, accelerator.device)
        setup, schedule = set_up(tried, data, accelerator, options, initial), Schedule(tried, len(data.slices))
        source, figures = batches(tried, data, 0, accelerator), Figures(tried.out, accelerator)
        losses: list[float] = []
        seconds: list[float] = []
        while not seconds or (len(seconds) == 1 and seconds[0] < PATIENT):
            began = time.perf_counter()
            batch = next(source)
            take_step(setup, batch, schedule.learning_rate(Progress()), figures, len(seconds) + 1)
            figures.look()
            losses.append(figures.loss)
            seconds.append(time.perf_counter() - began)
        source.close()
    height, width = max(data.slices.sizes)
    part = -(-config.batch // config.accumulate)
    cost = predict_cost(config.model, options, height, width, part, config.checkpointing)
    split, (steps, whole) = data.split, schedule.expected(seconds[-1])
    return {
        "model": setup.recipe,
        "device": str(accelerator.device),
        "cases": {"train": split.train, "validation": split.validation, "test": split.test},
        "training_slices": len(data.slices),
        "sizes": sorted(map(list, data.slices.sizes)),
        "batch": [list(tensor.shape) for tensor in batch],
        "mask": data.slices.example_mask().describe(),
        "parameters": sum(p.numel() for p in setup.model.parameters()),
        "gflops_a_slice": None if cost is None else cost.gflops,
        "training_bytes": None if cost is None else cost.training_bytes,
        "loss": losses[0],
        "seconds_of_first_step": seconds[0],
        "seconds_a_step": seconds[-1],
        "ends_by": "steps" if steps == schedule.steps() else "minutes",
        "steps": steps,
        "seconds": whole,
    }
