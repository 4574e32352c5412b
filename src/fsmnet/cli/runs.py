"""``fsmnet runs``: what trains or has trained below a folder."""

from __future__ import annotations

import logging
from dataclasses import asdict

from fsmnet.cli.options import RunsConfig
from fsmnet.cli.terminal import answer
from fsmnet.files import json_text
from fsmnet.training.listing import RUNNING, find_runs
from fsmnet.training.log import in_words

logger = logging.getLogger(__name__)


def command(config: RunsConfig) -> int:
    """Print them."""
    runs, faults = find_runs(config.folder)
    for fault in faults:
        logger.warning(fault)
    if config.json:
        answer(*json_text([asdict(run) for run in runs]).splitlines())
        return 0
    if not runs:
        answer(f"{config.folder}: no run in it; 'fsmnet train' makes one")
        return 0
    width = max(3, *(len(run.name) for run in runs))
    what = max(5, *(len(run.model) for run in runs))
    answer(f"{'run':{width}}  {'model':{what}}  {'state':8}  {'step':>7}  {'done':>4}  {'time':>7}  {'best':>8}")
    for run in runs:
        best = "" if run.best_psnr is None else f"{run.best_psnr:.2f} dB"
        left = f"  {in_words(run.seconds_left)} left" if run.state == RUNNING and run.seconds_left else ""
        answer(
            f"{run.name:{width}}  {run.model:{what}}  {run.state:8}  {run.step:>7}  {run.share:>4.0%}  "
            f"{in_words(run.seconds):>7}  {best:>8}{left}"
        )
    return 0
