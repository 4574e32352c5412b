"""The readouts of an ISMRMRD file, read in a process of its own.

A few damaged bytes can send the HDF5 library into a loop that nothing within the process can end, and the arrays of
variable length that readouts are stored in can claim any amount of memory. So another process reads them, with limits
of both, and hands them over through a pipe.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from fsmnet.data.formats.probe import WAIT, environment, limit
from fsmnet.errors import UserError, first_line

SECONDS = 60.0  # of a processor that reading may take, and one more for every so many bytes
BYTES_A_SECOND = 2_000_000
BLOCK = 256  # readouts at once
_SPENT = (-signal.SIGXCPU,) if hasattr(signal, "SIGXCPU") else ()  # how it ends then
CODE = "from fsmnet.data.formats.apart import child; child()"


@dataclass(frozen=True)
class Readouts:
    """What an ISMRMRD file holds.

    Attributes:
        xml: the header.
        heads: ``(N,)``, structured: the readouts' headers.
        samples: complex64 ``(C, samples)`` of each readout.
    """

    xml: bytes
    heads: npt.NDArray[Any]
    samples: list[npt.NDArray[np.complex64]]

    def __len__(self) -> int:
        """Number of readouts N."""
        return len(self.samples)

    def of(self, keep: npt.NDArray[np.bool_]) -> Readouts:
        """Those that a bool ``(N,)`` names."""
        return Readouts(self.xml, self.heads[keep], [self.samples[number] for number in np.flatnonzero(keep)])


def joined(first: Readouts, second: Readouts) -> Readouts:
    """The readouts of both."""
    return Readouts(first.xml, np.concatenate([first.heads, second.heads]), first.samples + second.samples)


def read_apart(path: Path, group: str) -> Readouts:
    """Read the group of an ISMRMRD file that holds ``xml`` and ``data``.

    Raises:
        UserError: damaged, or not read within the limits.
    """
    seconds = SECONDS + path.stat().st_size / BYTES_A_SECOND
    try:
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(path.absolute()), group, f"{seconds:.0f}"],
            capture_output=True,
            timeout=WAIT * seconds,
            env=environment(),
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode in _SPENT:
            raise subprocess.TimeoutExpired(CODE, seconds)
    except subprocess.TimeoutExpired:
        raise UserError(f"{path}: could not be read within {seconds:.0f} s; it is damaged, so copy it again") from None
    except OSError as error:
        raise UserError(f"{path}: no process could be started to read it ({error}); free memory, try again") from None
    try:
        if done.returncode:
            words = done.stderr.decode(errors="replace").strip().splitlines()
            raise ValueError(words[-1] if words else f"its reader ended with {done.returncode}")
        return _assembled(io.BytesIO(done.stdout))
    except Exception as error:  # the child's words, or headers of other kinds than ISMRMRD's
        raise UserError(f"{path}: damaged or not an ISMRMRD file ({first_line(error)}); copy it again") from None


def child() -> None:
    """Read the file that the command line names, and write blocks of arrays to the standard output."""
    path, group, seconds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    try:
        limit((2 << 30) + 16 * path.stat().st_size, seconds)
        with os.fdopen(1, "wb") as pipe:  # the standard output
            for block in _blocks(path, group):
                for array in block:
                    np.save(_Pipe(pipe), array, allow_pickle=False)
    except BaseException as error:
        sys.exit(str(error).strip() or type(error).__name__)  # its words are all that the parent sees


def _blocks(path: Path, name: str) -> Iterator[tuple[npt.NDArray[Any], ...]]:
    """The header as bytes; then heads, numbers of values and values of every :data:`BLOCK` readouts."""
    from fsmnet.data.formats.unlocked import check_dataset, unlocked

    with unlocked(path) as file:
        group = file[name]
        for dataset in (group["xml"], group["data"]):
            check_dataset(dataset, path)
        xml = group["xml"][0]
        yield (np.frombuffer(xml.encode() if isinstance(xml, str) else bytes(xml), dtype=np.uint8),)
        data = group["data"]
        for begin in range(0, len(data), BLOCK):
            block = data[begin : begin + BLOCK]
            values = [np.asarray(one, dtype=np.float32).ravel() for one in block["data"]]
            lengths = np.array([one.size for one in values])
            yield np.ascontiguousarray(block["head"]), lengths, np.concatenate(values)


def _assembled(stream: io.BytesIO) -> Readouts:
    """Readouts of what the child wrote."""

    def array() -> npt.NDArray[Any]:
        return np.asarray(np.load(stream, allow_pickle=False))

    xml, end = array().tobytes(), stream.getbuffer().nbytes
    heads, samples = [], []
    while stream.tell() < end:
        head, lengths, values = array(), array(), array()
        shapes = zip(head["active_channels"].tolist(), head["number_of_samples"].tolist(), strict=True)
        pieces = np.split(values, np.cumsum(lengths)[:-1])
        for piece, (coils, count) in zip(pieces, shapes, strict=True):
            samples.append(piece.view(np.complex64).reshape(coils, count))
        heads.append(head)
    return Readouts(xml, np.concatenate(heads), samples)


class _Pipe:
    """A stream without a place in a file, which is what NumPy writes arrays to in pieces."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.write = stream.write
