"""``fsmnet reconstruct``: the files are read while PyTorch is imported and the network is loaded."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from fsmnet.cli.options import ReconstructCommand
from fsmnet.cli.terminal import answer, say
from fsmnet.data.formats import volume_stem
from fsmnet.errors import NOT_CLINICAL, UserError
from fsmnet.files import json_text
from fsmnet.inference.allocator import large_blocks_apart
from fsmnet.options import values_of
from fsmnet.reconstruction.inputs import alone_at, read_inputs
from fsmnet.reconstruction.options import ReconstructConfig

logger = logging.getLogger(__name__)


@contextmanager
def _for_good() -> Iterator[None]:
    """Import without looking for garbage: modules stay, and need no looking through at the end of the program either.

    PyTorch's many objects would take a tenth of a second on the way in and a third on the way out.
    """
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def command(config: ReconstructCommand) -> int:
    """Reconstruct one scan, or a whole list; the exit code: 0, or for a list 3 if an exam failed."""
    large_blocks_apart()
    plain = ReconstructConfig(**values_of(config, ReconstructConfig))
    if config.pairs is None:
        return _one(plain, config.json, config.report)
    return _list(plain, config.json, config.report)


def _list(config: ReconstructConfig, as_json: bool, report: bool) -> int:
    from fsmnet.reconstruction.exam_table import FAILED, table_lines
    from fsmnet.reconstruction.exams import results, run_list
    from fsmnet.trust.check import check_of

    rows = run_list(config, check_of(config))
    if report:
        _pages(results(config, rows))
    if as_json:
        answer(*json_text([asdict(row) for row in rows]).splitlines())
    else:
        say(*table_lines(rows))
    return 3 if any(row.status == FAILED for row in rows) else 0


def _pages(results: Iterable[tuple[ReconstructConfig, bool]]) -> None:
    """A page beside each result that is new or has none."""
    from fsmnet.pages.report import report_scan

    for config, new in results:
        page = _page_of(config.out)
        if not new and page.exists():
            continue
        try:
            report_scan(config.out, read_inputs(config), page)
        except UserError as error:
            logger.warning("%s: not written: %s", page, error)
        else:
            logger.info("page: %s", page)


def _page_of(out: Path) -> Path:
    return out.with_name(f"{volume_stem(out)}_report.html")


def _one(config: ReconstructConfig, as_json: bool, report: bool) -> int:
    page = _page_of(config.out)
    if report and page.exists() and not config.overwrite:
        raise UserError(f"{page}: exists already; pass --overwrite to replace it, or choose another --out")
    with alone_at(config), ThreadPoolExecutor(1) as beside:
        reading = beside.submit(read_inputs, config)
        with _for_good():
            from fsmnet.reconstruction.reconstruct import finish
            from fsmnet.trust.check import check_of
            from fsmnet.trust.verdict import by_reference
            from fsmnet.trust.words import tell
        result = finish(config, reading, check_of(config))
    if as_json:
        answer(*json_text(result.sidecar).splitlines())
    metrics = result.sidecar["Metrics"]
    if result.mask is not None:
        logger.info("mask %s", result.mask.describe())
    if metrics is not None:
        for name, values in metrics.items():
            logger.info("%-14s %s; in the head %s", name, _shown(values), _shown(values, "head_"))
        lines = "" if result.mask is None else f", {result.mask.achieved_acceleration:.2f}x"
        logger.info("scores in float, per volume; slices: %d%s", result.sidecar["Scored"]["slices"], lines)
    if result.sidecar["Check"] is not None:
        tell(result.sidecar["Check"])
    for reason in by_reference(metrics) if result.sidecar["Check"] is None else ():
        logger.warning("do not use this network on this scan, because %s", reason)
    logger.info("written: %s and its .json; %s", result.out, NOT_CLINICAL)
    if report:
        from fsmnet.pages.report import report_scan

        logger.info("page: %s", report_scan(result.out, reading.result(), page))
    return 0


def _shown(values: dict[str, float | None], where: str = "") -> str:
    """PSNR and SSIM in words; the PSNR of identical images is infinite."""
    psnr, ssim = values[f"{where}psnr"], values[f"{where}ssim"]
    return f"{'infinite' if psnr is None else f'{psnr:.2f}'} dB" + ("" if ssim is None else f", SSIM {ssim:.3f}")
