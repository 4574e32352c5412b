"""An HDF5 file without a lock, and whether its arrays can be as large as they claim."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from fsmnet.errors import UserError
from fsmnet.files import check_claim


def unlocked(path: Path) -> h5py.File:
    """The file without a lock, which network file systems may refuse and which keeps writers out."""
    # Another value only where this process has the file open already, with that one.
    for locking in (False, None, "best-effort", True):
        try:
            return h5py.File(path, "r", locking=locking)
        except OSError as error:
            if "locking" not in str(error):
                raise
    raise UserError(f"{path}: is open in this process with another kind of lock; close it there")


def check_dataset(dataset: h5py.Dataset, path: Path) -> None:
    """Refuse a dataset that claims more than the file holds; its index of chunks is read through.

    Raises:
        UserError: see :func:`fsmnet.files.check_claim`.
    """
    claimed = int(np.prod(dataset.shape, dtype=object)) * dataset.dtype.itemsize if dataset.shape else 0
    stored = int(dataset.id.get_storage_size())
    stored = min(stored, path.stat().st_size)
    check_claim(path, f"the dataset {dataset.name!r}", claimed, stored)
    if dataset.chunks:  # one is the least that is read
        claimed = int(np.prod(dataset.chunks, dtype=object)) * dataset.dtype.itemsize
        check_claim(path, f"a chunk of the dataset {dataset.name!r}", claimed, stored)
