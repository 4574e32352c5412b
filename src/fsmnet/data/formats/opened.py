"""HDF5 files to read: without a lock, always closed, and no array larger than what the file can hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from xml.parsers import expat

import h5py
import numpy as np
import numpy.typing as npt

from fsmnet.data.formats import probe
from fsmnet.data.formats.unlocked import check_dataset, unlocked
from fsmnet.errors import UserError, first_line


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, open without a lock while the block runs.

    Raises:
        UserError: no HDF5 file, or a damaged one, also where the block finds that out.
    """
    try:
        if words := probe.fault(path):
            raise UserError(f"{path}: {words}")
        with unlocked(path) as file:
            yield file
    except UserError:
        raise
    except Exception as error:  # h5py's and NumPy's errors for damaged files are of many kinds
        raise UserError(f"{path}: {probe.damaged(first_line(error))}") from None


def contents(dataset: h5py.Dataset, path: Path) -> npt.NDArray[Any]:
    """A whole dataset.

    Raises:
        UserError: see :func:`check_dataset`.
    """
    check_dataset(dataset, path)
    return np.asarray(dataset[()])


def refuse_entities(xml: bytes | str, path: Path) -> None:
    """Refuse a header in XML that declares entities: they can stand for any amount of text.

    Raises:
        UserError: it has a document type declaration.
    """

    def refuse(*_: object) -> None:
        raise UserError(f"{path}: its XML header has a DOCTYPE, as no ISMRMRD header has; it is not read, so remove it")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    with suppress(expat.ExpatError, ValueError, LookupError):  # what is no XML at all is told by who reads it
        parser.Parse(xml, True)
