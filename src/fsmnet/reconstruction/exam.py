"""One exam of a list: read, compute, write, and what became of it. The list's task, wherever it runs.

What is done and verified is skipped (:mod:`fsmnet.reconstruction.record`). The network is loaded once in a process.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

from fsmnet.errors import UserError, first_line
from fsmnet.files import making_way, reason
from fsmnet.inference.elsewhere import placed
from fsmnet.inference.here import in_turn
from fsmnet.reconstruction.again import Check
from fsmnet.reconstruction.exam_table import DONE, FAILED, SKIPPED, Row
from fsmnet.reconstruction.inputs import MAPS, Inputs, beside, check, mask_path, read_inputs, sidecar_path
from fsmnet.reconstruction.options import ReconstructConfig
from fsmnet.reconstruction.record import doubt, is_ours
from fsmnet.reconstruction.stages import Computed, Network, compute, load_network, write

logger = logging.getLogger(__name__)

_DICOM = Lock()  # pydicom is kept quiet by settings that all threads share


@dataclass(frozen=True)
class Exam:
    """An exam and the options as for it alone."""

    case: str
    config: ReconstructConfig


class ListError(UserError):
    """What would befall all exams to come: no space, a disk that cannot be written to."""


def reconstruct_exam(exam: Exam, weights: str, trust: Check | None = None) -> Row:
    """Bring an exam through the stages; of what only the user can mend its row says the reason.

    Args:
        exam: what is to be done.
        weights: SHA-256 of the list's checkpoint.
        trust: checks the reconstruction; its answer goes into the record.

    Raises:
        ListError: no exam to come could be written.
        Exception: what nobody expected, such as too little memory; another try, or another machine, may do better.
    """
    watch = _Watch()
    try:
        status, why = _through(exam, network_of(exam.config, weights), trust, watch)
    except Exception as error:  # readers of damaged files raise many kinds
        if _ends_the_list(error):
            raise ListError(in_words(error)) from error
        if not isinstance(error, UserError):
            raise
        status, why = FAILED, in_words(error)
    return Row(exam.case, status, watch.seconds, why)


def _through(exam: Exam, network: Network, trust: Check | None, watch: _Watch) -> tuple[str, str]:
    """Status and reason, after the stages."""
    with watch.runs():
        inputs, why = _read(exam, network)
    if inputs is None:
        return SKIPPED, ""

    def computing() -> Computed:
        with watch.runs():
            return compute(inputs, network, trust=trust)

    computed = in_turn(computing)
    with watch.runs():
        _write(computed)
    return DONE, why


def _read(exam: Exam, network: Network) -> tuple[Inputs | None, str]:
    """First stage: what is to be computed, None if nothing is; and why it is done again, if it is."""
    config = exam.config
    with _dicom(config):
        there = [path for path in _paths(config) if path.exists()]
        why = doubt(config, network.sha256) if there else ""
        if there and not why and not config.overwrite:
            return None, ""
        if there and not is_ours(config) and (config.out.is_dir() or not config.overwrite):
            raise UserError(f"{there[0]}: exists already and is no result of this program; choose another --out")
        config = replace(config, overwrite=True)
        if config.out.is_dir():  # a series, which one exam alone would never replace
            for source in (config.target, config.auxiliary):
                if source is not None and source.exists() and source.samefile(config.out):
                    raise UserError(f"{config.out}: is one of the inputs; choose another --out")
        else:
            check(config)
        inputs = read_inputs(config)
    if not why:
        return inputs, ""
    logger.info("%s: a result is there, but %s; done again", exam.case, why)
    return inputs, f"done again, since {why}"


def _write(computed: Computed) -> None:
    """Last stage."""
    config = computed.inputs.config
    with _dicom(config), ExitStack() as aside:
        for path in (config.out, *(beside(config.out, name) for name in MAPS)):
            aside.enter_context(making_way(path))
        write(computed)


def _dicom(config: ReconstructConfig) -> AbstractContextManager[Any]:
    with_dicom = any(path is not None and path.is_dir() for path in (config.target, config.auxiliary))
    return _DICOM if with_dicom else nullcontext()


def _paths(config: ReconstructConfig) -> tuple[Path, Path, Path]:
    """The files that make a result whole."""
    return config.out, mask_path(config.out), sidecar_path(config.out)


class _Watch:
    """The seconds that an exam took, without those in which it waited for its turn."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def runs(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - started


# -- the network of a process ------------------------------------------------------------------------------------------

_loading = Lock()
_loaded: dict[tuple[object, ...], Network] = {}


def network_of(config: ReconstructConfig, weights: str) -> Network:
    """The network of a list, on this process's device; loaded at the first call, and kept until another one is wanted.

    Args:
        config: of the list, or of one of its exams.
        weights: SHA-256 of the checkpoint.

    Raises:
        UserError: the file of this name has other weights here.
    """
    with _loading:
        network = _loaded.get(_chosen(config, weights))
        if network is None:
            network = load_network(placed(config))
            if network.sha256 != weights:
                raise UserError(f"{network.file}: is another file here than where the list was begun; copy it")
            keep_network(config, network)
    return network


def keep_network(config: ReconstructConfig, network: Network) -> None:
    """Keep a network for the exams of a list, instead of any other."""
    forget_network()
    _loaded[_chosen(config, network.sha256)] = network


def _chosen(config: ReconstructConfig, weights: str) -> tuple[object, ...]:
    """What a network follows from."""
    given = (config.checkpoint, config.target_is, config.device, config.threads, config.precision, config.optimise)
    return (weights, *given)


def forget_network() -> None:
    """Give the network's memory back."""
    _loaded.clear()


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def _ends_the_list(error: BaseException) -> bool:
    """Whether every exam to come would fail like this: no space, a disk that cannot be written to."""
    cause = error if isinstance(error, OSError) else error.__context__  # a UserError made of it
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def in_words(error: BaseException) -> str:
    """Why an exam failed, in a line."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error)):
        return "there is not enough memory; lower --batch, or have fewer exams at once (--workers, --processes)"
    if isinstance(error, OSError):
        return f"{error.filename}: {reason(error)}" if error.filename else reason(error)
    return f"{type(error).__name__}: {first_line(error)}"
