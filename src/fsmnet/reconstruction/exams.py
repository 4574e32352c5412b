"""Many exams: a list from ``fsmnet pair`` reconstructed one after the other, as often started again as need be.

While the network computes one exam, a pool of threads reads the next ones and writes those before (decompression,
hashing and array arithmetic leave the interpreter free). What is done and verified is skipped
(:mod:`fsmnet.reconstruction.record`). A bad exam is put down with its reason and the list goes on. ``exams.csv`` in the
output folder says what became of each exam and is written anew after every one.
"""

from __future__ import annotations

import errno
import logging
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from fsmnet.data.formats import format_of
from fsmnet.data.pairing.tables import read_table
from fsmnet.errors import UserError, first_line
from fsmnet.files import PART, reason, remove_parts
from fsmnet.inference.alone import only_one
from fsmnet.inference.suitability import purpose_of
from fsmnet.physics.masks import load_mask
from fsmnet.reconstruction.again import Check
from fsmnet.reconstruction.exam_table import DONE, FAILED, SKIPPED, WAITING, Row, write_rows
from fsmnet.reconstruction.inputs import (
    MAPS,
    Inputs,
    beside,
    check,
    check_options,
    mask_path,
    read_inputs,
    sidecar_path,
    written_paths,
)
from fsmnet.reconstruction.options import ReconstructConfig
from fsmnet.reconstruction.record import doubt, is_ours
from fsmnet.reconstruction.shards import TABLE, Shard, device_of, merge, shard_of
from fsmnet.reconstruction.stages import Computed, Network, compute, load_network, write

logger = logging.getLogger(__name__)

_DICOM = Lock()  # pydicom is kept quiet by settings that all threads share

T = TypeVar("T")


class Exam:
    """One exam on its way through the stages; each of them runs in one thread at a time."""

    def __init__(self, case: str, config: ReconstructConfig) -> None:
        self.config = config
        self.row = Row(case)

    def stage(self, work: Callable[..., T], *arguments: Any) -> T | None:
        """What the work gives; None if the exam is bad, with the reason in its row.

        Raises:
            Exception: what would befall all exams to come: no memory, a full disk.
        """
        started = time.perf_counter()
        try:
            return work(*arguments)
        except Exception as error:  # readers of damaged files raise many kinds
            if _ends_the_list(error):
                raise
            self.mark(FAILED, _in_words(error))
            return None
        finally:
            self.row = replace(self.row, seconds=self.row.seconds + time.perf_counter() - started)

    def mark(self, status: str, why: str = "") -> None:
        """Put down what became of the exam."""
        self.row = replace(self.row, status=status, reason=why)


def run_list(config: ReconstructConfig, trust: Check | None = None) -> list[Row] | None:
    """Reconstruct a list; what became of each exam. None in all but the first of several processes, which tells it.

    Args:
        config: the options.
        trust: checks each reconstruction; its answer goes into the record.

    Raises:
        UserError: what concerns the list as a whole.
    """
    shard = shard_of(config)
    everyone = _exams(config)
    exams = everyone[shard.index :: shard.count]
    check_options(config)
    if config.mask is not None:
        load_mask(config.mask)
    network = load_network(replace(config, device=device_of(config.device)))
    logger.info("network: %s", purpose_of(network.model))
    files = {shard.table, *(path.name for exam in exams for path in written_paths(exam.config))}
    with only_one(config.out, files, shard.table):
        return _through(config, network, exams, [exam.row.case for exam in everyone], shard, trust)


def _through(
    config: ReconstructConfig,
    network: Network,
    exams: Sequence[Exam],
    everyone: list[str],
    shard: Shard,
    trust: Check | None,
) -> list[Row] | None:
    """Bring the exams of this process through, with the table written anew after each."""
    folder = config.out
    (folder / TABLE).unlink(missing_ok=True)  # of a run before; that of several processes comes at the end

    def save() -> None:
        write_rows([exam.row for exam in exams if exam.row.status != WAITING], folder / shard.table)

    save()
    numbers = count(1)
    with _progress(len(exams)) as bar:

        def finished(exam: Exam) -> None:
            save()
            bar.update()
            row = exam.row
            told = f": {row.reason}" if row.reason else ""
            logger.info("%d/%d %s: %s in %.1f s%s", next(numbers), len(exams), row.case, row.status, row.seconds, told)

        _work(exams, network, config.workers, finished, trust)
    rows = [exam.row for exam in exams]
    if shard.count > 1:
        rows = merge(rows, everyone, folder, shard)
        if shard.together and shard.index > 0:
            return None
    logger.info("written: %s", folder / (TABLE if shard.together else shard.table))
    return rows


def _exams(config: ReconstructConfig) -> list[Exam]:
    """The exams of the list, with the options as for each alone."""
    if any(file is not None for file in (config.target, config.auxiliary, config.kspace)):
        raise UserError("a list names its own scans; give --pairs, or --target or --kspace with --auxiliary, not both")
    if config.workers < 1:
        raise UserError(f"workers must be at least 1, not {config.workers}")
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
        one = replace(config, target=pair.target, auxiliary=pair.auxiliary, out=out, pairs=None, shard=None, **series)
        exams.append(Exam(pair.case, one))
    return exams


def _work(
    exams: Sequence[Exam], network: Network, workers: int, finished: Callable[[Exam], None], trust: Check | None
) -> None:
    """Bring all exams through the stages; at most ``workers`` are read ahead and as many wait for being written."""
    waiting = deque(exams)
    reading: deque[tuple[Exam, Future[Inputs | None]]] = deque()
    writing: deque[tuple[Exam, Future[None]]] = deque()
    pool = ThreadPoolExecutor(workers)

    def read_ahead() -> None:
        while waiting and len(reading) < workers:
            exam = waiting.popleft()
            reading.append((exam, pool.submit(exam.stage, _read, exam, network)))

    def collect(most: int) -> None:
        while writing and (len(writing) > most or writing[0][1].done()):
            exam, written = writing.popleft()
            written.result()
            finished(exam)

    try:
        read_ahead()
        while reading:
            exam, read = reading.popleft()
            inputs = read.result()
            read_ahead()
            computed = None if inputs is None else exam.stage(partial(compute, trust=trust), inputs, network)
            if computed is None:
                finished(exam)
            else:
                writing.append((exam, pool.submit(exam.stage, _write, exam, computed)))
            collect(workers)
        collect(0)
    except BaseException:  # Ctrl-C, or what ends the list: what is computed is still written
        for _, read in reading:
            read.cancel()
        pool.shutdown()
        for exam, written in writing:
            if written.exception() is None:
                finished(exam)
        raise
    finally:
        pool.shutdown()


def _read(exam: Exam, network: Network) -> Inputs | None:
    """First stage: what is to be computed; None if nothing is."""
    config = exam.config
    with _dicom(config):
        there = [path for path in _paths(config) if path.exists()]
        why = doubt(config, network.sha256) if there else ""
        if there and not why and not config.overwrite:
            exam.mark(SKIPPED)
            return None
        if there and not is_ours(config) and (config.out.is_dir() or not config.overwrite):
            raise UserError(f"{there[0]}: exists already and is no result of this program; choose another --out")
        exam.config = replace(config, overwrite=True)
        if config.out.is_dir():  # a series, which one exam alone would never replace
            for source in (config.target, config.auxiliary):
                if source is not None and source.exists() and source.samefile(config.out):
                    raise UserError(f"{config.out}: is one of the inputs; choose another --out")
        else:
            check(exam.config)
        inputs = read_inputs(exam.config)
    if why:
        logger.info("%s: a result is there, but %s; done again", exam.row.case, why)
        exam.mark(WAITING, f"done again, since {why}")
    return inputs


def _write(exam: Exam, computed: Computed) -> None:
    """Last stage."""
    out = exam.config.out
    with _dicom(exam.config), ExitStack() as aside:
        for path in (out, *(beside(out, name) for name in MAPS)):
            aside.enter_context(_set_aside(path))
        write(computed)
    exam.mark(DONE, exam.row.reason)


@contextmanager
def _set_aside(out: Path) -> Iterator[None]:
    """Make way for a new series in the place of one; the old one goes when the new one is there."""
    if not out.is_dir():
        yield
        return
    aside = out.with_name(f"{PART}earlier0-{out.name}")
    out.rename(aside)
    try:
        yield
    except BaseException:
        if not out.exists():
            aside.rename(out)
        raise
    finally:
        remove_parts(out.parent, {out.name})


def _dicom(config: ReconstructConfig) -> AbstractContextManager[Any]:
    with_dicom = any(path is not None and path.is_dir() for path in (config.target, config.auxiliary))
    return _DICOM if with_dicom else nullcontext()


def _paths(config: ReconstructConfig) -> tuple[Path, Path, Path]:
    """The files that make a result whole."""
    return config.out, mask_path(config.out), sidecar_path(config.out)


def _ends_the_list(error: BaseException) -> bool:
    """Whether every exam to come would fail like this: no memory, no space, a disk that cannot be written to."""
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error)):
        return True
    cause = error if isinstance(error, OSError) else error.__context__  # a UserError made of it
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def _in_words(error: Exception) -> str:
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    if isinstance(error, OSError):
        return f"{error.filename}: {reason(error)}" if error.filename else reason(error)
    return f"{type(error).__name__}: {first_line(error)}"


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """A bar over the exams with the time left, on a terminal; log lines go above it."""
    bar = tqdm(total=total, desc="exams", unit="exam", leave=False, disable=not sys.stderr.isatty())
    with bar, logging_redirect_tqdm():
        yield bar
