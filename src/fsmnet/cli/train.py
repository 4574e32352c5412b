"""``fsmnet train``."""

from __future__ import annotations

import logging

from fsmnet.inference.allocator import large_blocks_apart
from fsmnet.training.log import in_words
from fsmnet.training.options import TrainConfig
from fsmnet.training.run import train

logger = logging.getLogger(__name__)


def command(config: TrainConfig) -> int:
    """Train; exit code 130 if it was interrupted."""
    large_blocks_apart()
    result = train(config)
    progress = result.progress
    if not result.finished:
        again = config.out / "config.yaml"
        logger.info("stopped at step %d; to go on: fsmnet train --config %s --resume", progress.step, again)
        return 130
    best = f", best validation {progress.best_psnr:.2f} dB at step {progress.best_step}" if progress.best_step else ""
    logger.info("%d steps in %s%s; weights: %s", progress.step, in_words(progress.seconds), best, result.best)
    return 0
