"""``fsmnet compare``."""

from __future__ import annotations

from fsmnet.cli.terminal import say
from fsmnet.evaluation.compare import compare
from fsmnet.evaluation.options import CompareConfig
from fsmnet.inference.allocator import large_blocks_apart


def command(config: CompareConfig) -> int:
    """Compare, and print the table."""
    large_blocks_apart()
    compare(config)
    say(*(config.out / "table.md").read_text(encoding="utf-8").splitlines())
    say(f"written to {config.out}: table.md, table.csv, table.tex, and a folder per method")
    return 0
