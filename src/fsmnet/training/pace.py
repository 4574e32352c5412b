"""A step that takes far longer than usual is told while it does, with what it waits for."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from statistics import median
from typing import Literal

logger = logging.getLogger(__name__)

LEAST = 10  # steps before anything is usual
KEPT = 100  # steps that tell what is usual now
SLOW = 5.0  # times the usual
SHORTEST = 2.0  # seconds; less is nobody's trouble
QUIET = 600.0  # seconds between two lines

Doing = Literal["waiting for data", "computing", ""]


class Pace:
    """Watches the steps of a run, in a thread of its own, so that one that never ends is told too.

    ``silent`` says nothing, for the processes beside the main one.
    """

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent
        self._usual: deque[float] = deque(maxlen=KEPT)
        self._doing: Doing = ""
        self._step, self._began, self._told = 0, 0.0, -QUIET
        self._closed = threading.Event()
        self._watch: threading.Thread | None = None

    def __enter__(self) -> Pace:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        if self._watch is not None:
            self._watch.join()

    def fetch(self, step: int) -> None:
        """A step begins with a batch that is waited for."""
        self._step, self._began, self._doing = step, time.monotonic(), "waiting for data"

    def compute(self) -> None:
        """The batch is there."""
        self._doing = "computing"

    def done(self) -> None:
        """The step is taken; what follows, saves and validations, may take its time."""
        now = time.monotonic()
        self.look(now)
        self._doing = ""
        self._usual.append(now - self._began)
        # Not earlier: data workers are forked at the first step, and a fork beside threads is not safe.
        if self._watch is None and not self._silent and len(self._usual) >= LEAST:
            self._watch = threading.Thread(target=self._run, name="pace", daemon=True)
            self._watch.start()

    def look(self, now: float) -> None:
        """Say so if the step that is being taken is slow at a time of :func:`time.monotonic`."""
        doing, took = self._doing, now - self._began
        if self._silent or not doing or len(self._usual) < LEAST or now - self._told < QUIET:
            return
        usual = median([*self._usual])
        if took > max(SHORTEST, SLOW * usual):
            self._told = now
            logger.warning("step %d: %s for %.1f s; a step usually takes %.2g s", self._step, doing, took, usual)

    def _run(self) -> None:
        while not self._closed.wait(1.0):
            self.look(time.monotonic())
