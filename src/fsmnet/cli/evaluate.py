"""``fsmnet evaluate``."""

from __future__ import annotations

from fsmnet.cli.options import EvaluateCommand
from fsmnet.cli.report import write_beside
from fsmnet.cli.terminal import answer, say
from fsmnet.evaluation.evaluate import evaluate
from fsmnet.evaluation.options import EvaluateConfig
from fsmnet.evaluation.scores import circumstances, summary_lines
from fsmnet.files import json_text
from fsmnet.inference.allocator import large_blocks_apart
from fsmnet.options import values_of
from fsmnet.protocols import protocol_of


def command(config: EvaluateCommand) -> int:
    """Score, and print the summary."""
    large_blocks_apart()
    summary = evaluate(EvaluateConfig(**values_of(config, EvaluateConfig)))
    if config.report:
        write_beside(config.out)
    if config.json:
        answer(*json_text(summary).splitlines())
        return 0
    say(f"{circumstances(summary)}; mean +- standard deviation over {protocol_of(config).unit}s")
    say(*summary_lines(summary))
    if caveat := protocol_of(config).caveat:
        say(f"protocol {config.protocol}: {caveat}")
    say(f"written to {config.out}: metrics.csv, summary.json, picture.png, masks")
    return 0
