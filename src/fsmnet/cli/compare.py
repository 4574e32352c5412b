"""``fsmnet compare``."""

from __future__ import annotations

from fsmnet.cli.options import CompareCommand
from fsmnet.cli.report import write_beside
from fsmnet.cli.terminal import say
from fsmnet.evaluation.compare import compare
from fsmnet.evaluation.options import CompareConfig
from fsmnet.inference.allocator import large_blocks_apart
from fsmnet.options import values_of


def command(config: CompareCommand) -> int:
    """Compare, and print the table."""
    large_blocks_apart()
    compare(CompareConfig(**values_of(config, CompareConfig)))
    say(*(config.out / "table.md").read_text(encoding="utf-8").splitlines())
    say(f"written to {config.out}: table.md, table.csv, table.tex, figure.pdf, and a folder per method")
    if config.report:
        write_beside(config.out)
    return 0
