"""TensorBoard's events: curves and validation pictures.

The library's own writer names its files after the machine, and a thread of it tells a full disk by a traceback; so its
records are written here.
"""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fsmnet.errors import UserError
from fsmnet.files import append, make_folder, told


class Board:
    """A file of events, to which each is added at once.

    Args:
        folder: for it; TensorBoard reads all files there as one run.
        begin: the first step; what earlier files say of it and later ones counts no more.

    Raises:
        UserError: tensorboard is not installed, or the folder cannot be written to.
    """

    def __init__(self, folder: Path, begin: int) -> None:
        try:
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog
            from tensorboard.summary.writer.record_writer import RecordWriter
            from torch.utils.tensorboard import summary
        except ImportError:
            raise UserError("--tensorboard needs the tensorboard package; pip install 'fsmnet[tensorboard]'") from None
        self._event, self._framed, self._summary = Event, RecordWriter, summary
        self.path = make_folder(folder) / f"events.out.tfevents.{time.time():.0f}.{os.getpid()}"
        with told(self.path):
            self._stream = self.path.open("ab", buffering=0)
        self._add(file_version="brain.Event:2")
        self._add(step=begin, session_log=SessionLog(status=SessionLog.START))

    def scalar(self, name: str, value: float, step: int) -> None:
        """A point of a curve."""
        self._add(step=step, summary=self._summary.scalar(name, value))

    def image(self, name: str, pixels: npt.NDArray[np.uint8], step: int) -> None:
        """A picture ``(H, W, 3)``."""
        self._add(step=step, summary=self._summary.image(name, pixels, dataformats="HWC"))

    def close(self) -> None:
        """No more events."""
        self._stream.close()

    def _add(self, **what: Any) -> None:
        record = io.BytesIO()
        self._framed(record).write(self._event(wall_time=time.time(), **what).SerializeToString())
        append(self._stream, self.path, record.getvalue())
