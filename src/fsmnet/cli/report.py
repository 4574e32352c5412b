"""``fsmnet report``, and the page that other commands write when asked."""

from __future__ import annotations

import logging
from pathlib import Path

from fsmnet.cli.terminal import say
from fsmnet.pages.options import ReportConfig
from fsmnet.pages.report import report

logger = logging.getLogger(__name__)


def command(config: ReportConfig) -> int:
    """Write the page."""
    report(config)
    say(f"written to {config.out}" + (f" and {config.figure}" if config.figure is not None else ""))
    return 0


def write_beside(folder: Path, sources: Path | None = None) -> None:
    """The page of a folder that was just written, in that folder."""
    page = report(ReportConfig(results=[folder], out=folder / "report.html", sources=sources, overwrite=True))
    logger.info("page: %s, to be opened in a browser", page)
