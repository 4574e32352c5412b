"""Many exams: a list from ``fsmnet pair``, as often started again as need be.

While the network computes one exam, threads read the next ones and write those before (decompression, hashing and array
arithmetic leave the interpreter free); several processes, or a cluster, share the list. A bad exam is put down with its
reason and the list goes on. ``exams.csv`` in the output folder says what became of each exam and is written anew after
every one.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from fsmnet.data.formats import format_of
from fsmnet.data.pairing.tables import read_table
from fsmnet.errors import UserError
from fsmnet.files import remove_parts
from fsmnet.inference.alone import only_one, refuse_beside
from fsmnet.inference.elsewhere import absolute, require_few
from fsmnet.inference.executor import Executor, executor_of, runs_here
from fsmnet.inference.suitability import purpose_of
from fsmnet.options import at_least
from fsmnet.physics.masks import load_mask
from fsmnet.reconstruction.again import Check
from fsmnet.reconstruction.exam import (
    Exam,
    ListError,
    forget_network,
    in_words,
    keep_network,
    reconstruct_exam,
)
from fsmnet.reconstruction.exam_table import DONE, FAILED, SKIPPED, TABLE, Row, write_rows
from fsmnet.reconstruction.inputs import check_options, written_paths
from fsmnet.reconstruction.options import ReconstructConfig
from fsmnet.reconstruction.stages import load_network

logger = logging.getLogger(__name__)


def run_list(config: ReconstructConfig, trust: Check | None = None) -> list[Row]:
    """Reconstruct a list; what became of each exam.

    Args:
        config: the options.
        trust: checks each reconstruction; its answer goes into the record.

    Raises:
        UserError: what concerns the list as a whole.
    """
    exams = _exams(config)
    check_options(config)
    if config.mask is not None:
        load_mask(config.mask)
    refuse_beside(config.out, "a list is shared by --processes or --cluster")
    files = {TABLE, *(path.name for exam in exams for path in written_paths(exam.config))}
    singles = [exam.config.out.name for exam in exams]
    try:
        with only_one(config.out, files, TABLE, beside=singles), ExitStack() as stack:
            weights = _network_for(config)
            executor = stack.enter_context(executor_of(config, ahead=config.workers))
            rows = _through(exams, executor, partial(reconstruct_exam, weights=weights, trust=trust), config.out)
            remove_parts(config.out, files)  # of processes that died
    finally:
        forget_network()
    return rows


def results(config: ReconstructConfig, rows: Sequence[Row]) -> Iterator[tuple[ReconstructConfig, bool]]:
    """Options, as for it alone, of each exam of a list that has a result, and whether that is new.

    Args:
        config: of the list.
        rows: what :func:`run_list` said.
    """
    status = {row.case: row.status for row in rows}
    for exam in _exams(config):
        if status.get(exam.case) in (DONE, SKIPPED):
            yield exam.config, status[exam.case] == DONE


def _network_for(config: ReconstructConfig) -> str:
    """See that the network can be used, and say what it is for; SHA-256 of its checkpoint."""
    here = runs_here(config)
    network = load_network(config if here else replace(config, device="cpu", optimise=False))
    if here:
        keep_network(config, network)
    if network.sha256:  # POCS has no weights, and no purpose of theirs
        logger.info("network: %s", purpose_of(network.model))
    return network.sha256


def _through(exams: Sequence[Exam], executor: Executor, task: partial[Row], folder: Path) -> list[Row]:
    """Bring the exams through, with the table written anew after each."""
    rows: dict[int, Row] = {}

    def save() -> None:
        write_rows([rows[number] for number in sorted(rows)], folder / TABLE)

    save()
    with _progress(len(exams)) as bar:

        def finished(number: int, future: Future[Row]) -> None:
            try:
                row = future.result()
            except ListError:
                raise
            except Exception as error:  # whatever befell it, it befell this exam
                row = Row(exams[number].case, FAILED, reason=in_words(error))
            rows[number] = row
            save()
            bar.update()
            told = f": {row.reason}" if row.reason else ""
            place = f"{len(rows)}/{len(exams)}"
            logger.info("%s %s: %s in %.1f s%s", place, row.case, row.status, row.seconds, told)

        executor.run(task, exams, finished)
    logger.info("written: %s", folder / TABLE)
    return [rows[number] for number in sorted(rows)]


def _exams(config: ReconstructConfig) -> list[Exam]:
    """The exams of the list, with the options as for each alone."""
    if any(file is not None for file in (config.target, config.auxiliary, config.kspace)):
        raise UserError("a list names its own scans; give --pairs, or --target or --kspace with --auxiliary, not both")
    at_least(config, "workers", 1)
    require_few("workers", config.workers)
    assert config.pairs is not None
    if format_of(config.out) is not None:
        raise UserError(f"{config.out}: a list goes into a folder; give its name with --out")
    exams = []
    for pair in read_table(config.pairs):
        if re.search(r'[/\\:*?"<>|\x00-\x1f]|^\.', pair.case):
            raise UserError(
                f"{config.pairs}: case {pair.case!r} cannot be a file's name; write it without / \\ : * ? \" < > | "
                "and without a dot in front"
            )
        series: dict[str, Any] = {
            f"{name}_series": getattr(pair, f"{name}_series")
            or (getattr(config, f"{name}_series") if getattr(pair, name).is_dir() else None)
            for name in ("target", "auxiliary")
        }
        out = config.out / (pair.case if pair.target.is_dir() else f"{pair.case}.nii.gz")
        alone: dict[str, Any] = {"pairs": None, "processes": 1, "cluster": None}
        one = replace(config, target=pair.target, auxiliary=pair.auxiliary, out=out, **alone, **series)
        exams.append(Exam(pair.case, one if runs_here(config) else absolute(one)))
    return exams


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """A bar over the exams with the time left, on a terminal; log lines go above it."""
    bar = tqdm(total=total, desc="exams", unit="exam", leave=False, disable=not sys.stderr.isatty())
    with bar, logging_redirect_tqdm():
        yield bar
