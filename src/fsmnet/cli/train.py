"""``fsmnet train``."""

from __future__ import annotations

import logging

from fsmnet.cli.options import TrainCommand
from fsmnet.cli.terminal import answer, say
from fsmnet.errors import UserError, listed
from fsmnet.files import json_text
from fsmnet.inference.allocator import large_blocks_apart
from fsmnet.inference.cost import human_bytes
from fsmnet.options import values_of
from fsmnet.training.log import in_words
from fsmnet.training.options import TrainConfig
from fsmnet.training.rehearsal import rehearse
from fsmnet.training.run import train

logger = logging.getLogger(__name__)


def command(config: TrainCommand) -> int:
    """Train, or say what would be trained; exit code 130 if it was interrupted."""
    large_blocks_apart()
    plain = TrainConfig(**values_of(config, TrainConfig))
    if config.dry_run:
        return _rehearse(plain, config.json)
    if config.json:
        raise UserError("--json belongs to --dry-run; how far a run is says 'fsmnet runs --json'")
    result = train(plain)
    progress = result.progress
    if not result.finished:
        again = config.out / "config.yaml"
        logger.info("stopped at step %d; to go on: fsmnet train --config %s --resume", progress.step, again)
        return 130
    best = f", best validation {progress.best_psnr:.2f} dB at step {progress.best_step}" if progress.best_step else ""
    logger.info("%d steps in %s%s; weights: %s", progress.step, in_words(progress.seconds), best, result.best)
    return 0


def _rehearse(config: TrainConfig, as_json: bool) -> int:
    found = rehearse(config)
    if as_json:
        answer(*json_text(found).splitlines())
        return 0
    cases = found["cases"]
    sizes = ", ".join(f"{height} x {width}" for height, width in found["sizes"])
    say(
        f"cases:   {', '.join(f'{len(names)} for {side}' for side, names in cases.items())}; "
        f"training on {listed(cases['train'])}",
        f"slices:  {found['training_slices']} of {sizes}; a batch: {' '.join(map(str, found['batch']))}",
        f"mask:    {found['mask']}",
        f"network: {found['model']['name']}, {found['parameters']:,} parameters on {found['device']}",
    )
    if found["training_bytes"] is not None:
        memory, work = human_bytes(found["training_bytes"]), found["gflops_a_slice"]
        say(f"cost:    {work:.1f} GFLOP a slice, about {memory} for training")
    first, pace, steps = found["seconds_of_first_step"], found["seconds_a_step"], found["steps"]
    say(f"a step:  loss {found['loss']:.4f}, {pace:.2g} s; the first one, with what is set up in it, {first:.2g} s")
    whole = in_words(found["seconds"])
    counted = f"{steps} step{'s' * (steps != 1)}"
    by_steps = f"{counted}, about {whole} at that pace and the validations"
    by_time = f"{whole}, about {counted} at that pace"
    say(f"budget:  ends after {by_steps if found['ends_by'] == 'steps' else by_time}", "nothing was written")
    return 0
