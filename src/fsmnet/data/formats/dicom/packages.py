"""The optional packages pydicom and SimpleITK: import on demand, pydicom's exceptions and warnings."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fsmnet.errors import UserError


def require(name: str) -> Any:
    """Import pydicom or SimpleITK."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"DICOM needs the {name} package; install it with pip install 'fsmnet[dicom]'") from None


def malformed() -> tuple[type[Exception], ...]:
    """What pydicom raises on elements that break the rules of their type, or end too early."""
    from pydicom.errors import BytesLengthException

    usual = (EOFError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError, OverflowError)
    return (*usual, struct.error, zlib.error, BytesLengthException)


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Scanners break small rules of the standard; that is no news to the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
