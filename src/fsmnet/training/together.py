"""What the processes of one run agree on, so that all take the same steps; one process agrees with itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed
from accelerate import Accelerator

from fsmnet.errors import UserError


class Together:
    """The processes of a run.

    They speak over a group of their own on the host: an answer from the GPUs' would have to be waited for.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._several = accelerator.num_processes > 1
        self._group = torch.distributed.new_group(backend="gloo") if self._several else None

    def first(self, value: float) -> float:
        """The first process's value."""
        if self._several:
            shared = torch.tensor(value, dtype=torch.float64)
            torch.distributed.broadcast(shared, 0, group=self._group)
            return float(shared)
        return value

    def any(self, flag: object) -> bool:
        """Whether one of them says so."""
        if self._several:
            shared = torch.tensor(bool(flag), dtype=torch.uint8)
            torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX, group=self._group)
            return bool(shared)
        return bool(flag)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Say in words that another process is gone.

        Raises:
            UserError: it ended, or its connection broke.
        """
        try:
            yield
        except RuntimeError as error:
            if self._several and "onnection" in str(error):
                raise UserError(
                    "another process of this training ended; see what it said, and go on with --resume"
                ) from None
            raise
