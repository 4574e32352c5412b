"""One page of several results."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fsmnet.data.formats import format_of
from fsmnet.errors import UserError
from fsmnet.evaluation.figure import draw_figure
from fsmnet.files import write_text
from fsmnet.options import by_name
from fsmnet.pages.niivue import niivue
from fsmnet.pages.options import ReportConfig
from fsmnet.pages.page import render
from fsmnet.pages.reconstruction import section
from fsmnet.pages.scan import shown
from fsmnet.pages.scores import comparison_section, evaluation_section, is_comparison, is_evaluation
from fsmnet.reconstruction.inputs import Inputs, read_record, sidecar_path

logger = logging.getLogger(__name__)

TITLE = "FSMNet report"
LEAST = 2 << 20  # bytes for volumes, whatever is asked for


@by_name(ReportConfig)
def report(config: ReportConfig) -> Path:
    """Make a page of results; see :class:`fsmnet.pages.options.ReportConfig`.

    Returns:
        The page.

    Raises:
        UserError: what is no result, a page that exists, or one that is not called like one.
    """
    if config.megabytes < 4:
        raise UserError(f"megabytes must be at least 4, not {config.megabytes}; the viewer alone takes 2.3")
    if config.out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"{config.out}: a page is HTML; end the name in .html")
    for path in (config.out, *([] if config.figure is None else [config.figure])):
        if path.exists() and not config.overwrite:
            raise UserError(f"{path}: exists already; pass --overwrite to replace it, or choose another --out")
    page = render(_sections(config), TITLE)
    if config.figure is not None:  # first, since it may be refused
        _figure(config, config.figure)
    write_text(config.out, page)
    return config.out


def report_scan(out: Path, inputs: Inputs, page: Path, megabytes: int = ReportConfig.megabytes) -> Path:
    """The page of a reconstruction whose scans are read already.

    Args:
        out: the image.
        inputs: the scans.
        page: to be written, or replaced.
        megabytes: its size at most.
    """
    write_text(page, render([section(shown(out, inputs=inputs), _room(megabytes, 1))], TITLE))
    return page


def _room(megabytes: int, scans: int) -> int:
    """Bytes for the volumes of each scan, beside the viewer and the pictures."""
    viewer = len(niivue() or "")
    return max(LEAST, ((megabytes << 20) - viewer) // max(1, scans) - (1 << 20))


def _sections(config: ReportConfig) -> list[dict[str, Any]]:
    parts = [part for result in config.results for part in _parts(result)]
    scans = sum(kind == "reconstruction" for kind, _ in parts)
    room = _room(config.megabytes, scans)

    def one(kind: str, path: Path) -> dict[str, Any]:
        if kind == "reconstruction":
            return section(shown(path, config.sources), room)
        return comparison_section(path) if kind == "comparison" else evaluation_section(path)

    return [one(kind, path) for kind, path in parts]


def _parts(result: Path) -> Iterator[tuple[str, Path]]:
    """What a result consists of: kinds and places."""
    if not result.exists():
        raise UserError(f"{result}: there is no such result; give an image or a folder that fsmnet wrote")
    if read_record(sidecar_path(result)) is not None:
        yield "reconstruction", result
        return
    found = []
    if result.is_dir():
        for path in sorted(result.iterdir()):  # a demonstration's head comes first, then its scores
            if format_of(path) is not None and read_record(sidecar_path(path)) is not None and not _is_map(path):
                found.append(("reconstruction", path))
        if is_comparison(result):
            found.append(("comparison", result))
        if is_evaluation(result):
            found.append(("evaluation", result))
    if not found:
        raise UserError(
            f"{result}: is no result of fsmnet; give an image from 'fsmnet reconstruct', with its .json beside it, or "
            "a folder of evaluate, compare or demo"
        )
    yield from found


def _is_map(path: Path) -> bool:
    record = read_record(sidecar_path(path))
    return record is None or record.get("Output", {}).get("file") != path.name


def _figure(config: ReportConfig, path: Path) -> None:
    for folder in config.results:
        if is_comparison(folder) or is_evaluation(folder):
            draw_figure(folder, path)
            return
    raise UserError(
        "a figure is made of a comparison or an evaluation, and none is among the results; leave --figure out"
    )
