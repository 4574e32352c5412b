"""Options of the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fsmnet.options import Options, option, required


@dataclass(kw_only=True)
class ReportConfig(Options, group="input"):
    """Put results on one page, an HTML file that needs no network: a viewer, tables, curves, how it was made."""

    results: list[Path] = required(
        "images from 'fsmnet reconstruct', and folders of 'fsmnet evaluate', 'compare' or 'demo'"
    )
    sources: Path | None = option(
        None, "folder of the scans that an image was made from, where they lie elsewhere than its record says"
    )
    out: Path = option(Path("report.html"), "the page", material=False, group="output")
    figure: Path | None = option(
        None, "also the figure for print of a comparison or an evaluation: .pdf, .png or .svg", group="output"
    )
    megabytes: int = option(
        24, "most that the page may have; volumes are reduced to fit, and it says so", group="output"
    )
    overwrite: bool = option(False, "replace an existing page", group="output")
