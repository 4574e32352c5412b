"""Files that appear whole or not at all, arrays no larger than the file that claims them, texts that steer nothing."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
import shutil
import socket
import tempfile
import threading
import unicodedata
import uuid
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import psutil

from fsmnet.errors import UserError, first_line

ENTRY = ".npy"  # how the names of an archive's arrays end
PART = ".part-"  # how the names of unfinished files begin; then place and number of the process, letters, the name
EARLIER = f"{PART}earlier0-"  # and of what was set aside
_UNFINISHED = re.compile(r"\.part-(?:([0-9a-f]{8})-(\d+)-)?\w{8}-(.+)", re.DOTALL)
_DELIMITER = re.compile(r"sep=([,;\t])\s*$")
_SEEN: set[Path] = set()  # folders in which this process has looked for what dead ones left
MOST_PACKED = 1100  # bytes that one stored byte can stand for; deflate reaches 1032
_UMASK = threading.Lock()


def make_folder(path: Path) -> Path:
    """Create an output folder with its parents; a file in the way or missing rights are said in words."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{path}: cannot make this output folder ({reason(error)}); choose another with --out"
        ) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise UserError(f"{path}: this output folder is not writable; choose another with --out")
    return path


def require_writable(folder: Path, out: Path) -> None:
    """Refuse a folder that could not be made or written to, before any work is done; nothing is made here.

    Args:
        folder: where something is to be written.
        out: what the message names.

    Raises:
        UserError: a file is in the way, or rights are missing.
    """
    whole = folder.absolute()
    there = next(one for one in (whole, *whole.parents) if one.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise UserError(f"{out}: {there} is no folder that can be written to; choose another --out")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder that replaces ``path`` on success and vanishes on failure.

    The temporary name ends as the path's does, since writers choose the format by the suffixes. What killed processes
    of this machine left in the folder is removed, once.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    make_folder(path.parent)
    _remove_parts_of_the_dead(path.parent)
    name = ""
    with told(path):
        try:
            handle, name = tempfile.mkstemp(prefix=_own_part(), suffix=f"-{path.name}", dir=path.parent)
            os.close(handle)
            yield Path(name)
            os.chmod(name, 0o666 & ~_umask())  # mkstemp, and some writers, leave it to the owner alone
            os.replace(name, path)
        finally:
            if name:
                Path(name).unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside ``path`` that takes its name on success and vanishes on failure.

    A folder, or a link, that has the name goes when the new one is whole; what a link points at stays.

    Raises:
        UserError: the place cannot be written to, or the disk is full.
    """
    make_folder(path.parent)
    part = _part_path(path)
    with told(path):
        try:
            part.mkdir()
            yield part
            with making_way(path):
                part.rename(path)
        finally:
            _remove(part)


@contextmanager
def staged(folder: Path, name: str) -> Iterator[Path]:
    """Yield a new folder inside ``folder`` whose files take their places there on success; on failure it vanishes.

    Until then what ``folder`` holds is as it was, and other files of it stay.

    Args:
        folder: where the files belong; made if need be.
        name: of the work, by which :func:`remove_parts` finds what a killed process left.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    make_folder(folder)
    part = _part_path(folder / name)
    with told(folder):
        try:
            part.mkdir()
            yield part
            for file in sorted(file for file in part.rglob("*") if file.is_file()):
                place = folder / file.relative_to(part)
                place.parent.mkdir(parents=True, exist_ok=True)
                file.replace(place)
        finally:
            _remove(part)


def _part_path(path: Path) -> Path:
    _remove_parts_of_the_dead(path.parent)
    return path.with_name(f"{_own_part()}{uuid.uuid4().hex[:8]}-{path.name}")


@contextmanager
def making_way(out: Path) -> Iterator[None]:
    """Set a folder aside for the block that puts a new one in its place; it comes back where none does.

    Whoever calls this holds the name: nobody else writes under it.
    """
    if not out.is_dir():
        yield
        return
    aside = out.with_name(f"{EARLIER}{out.name}")
    _remove(aside)  # of a process that was killed here; there is a whole one again
    out.rename(aside)
    try:
        yield
    finally:
        if not out.exists():
            aside.rename(out)
        remove_parts(out.parent, {out.name})


def remove_parts(folder: Path, names: Collection[str]) -> None:
    """Remove what writers of these names left in a folder when they were killed; nobody may be writing them now.

    What had been set aside, while nothing had taken its place yet, is put back.
    """
    for part in list(folder.iterdir()):
        if (found := _UNFINISHED.fullmatch(part.name)) and found[3] in names:
            if part.name.startswith(EARLIER) and not (folder / found[3]).exists():
                part.rename(folder / found[3])
            else:
                _remove(part)


def _remove_parts_of_the_dead(folder: Path) -> None:
    """Remove what processes of this machine that have ended left in a folder; the first time that it is asked for."""
    if folder in _SEEN:
        return
    _SEEN.add(folder)
    for part in list(folder.glob(f"{PART}*")):
        found = _UNFINISHED.fullmatch(part.name)
        if found and found[1] == _place() and not psutil.pid_exists(int(found[2])):
            _remove(part)


def _remove(part: Path) -> None:
    if part.is_dir() and not part.is_symlink():
        shutil.rmtree(part, ignore_errors=True)
    else:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _own_part() -> str:
    return f"{PART}{_place()}-{os.getpid()}-"


@cache
def _place() -> str:
    """Where this process has its number: the machine, and in it the container."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Like :func:`atomic_path`, with the temporary file open for writing bytes."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file in one step."""
    with atomic_write(path) as file:
        file.write(_encoded(text))


def append(stream: IO[bytes], path: Path, data: bytes) -> None:
    """Add bytes to an unbuffered file, all or none.

    Raises:
        UserError: the disk is full, or cannot be written to.
    """
    before = os.fstat(stream.fileno()).st_size
    with told(path):
        try:
            written = stream.write(data)
            if written != len(data):
                written += stream.write(data[written:])  # says why
        except OSError:
            stream.truncate(before)
            raise


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Say in words that a file cannot be written.

    Raises:
        UserError: the block met an error of the system.
    """
    try:
        yield
    except OSError as error:
        place = Path(*(part for part in path.parts if not part.startswith(PART)))  # where a staged file belongs
        raise UserError(
            f"{place}: cannot be written ({reason(error)}); free space or choose another place with --out"
        ) from None


def file_name(text: str) -> str:
    """A path as text that was written to a file, as this system knows it, whatever the locale."""
    return os.fsdecode(_encoded(text))


def is_utf8(name: str) -> bool:
    """Whether the bytes of a file's name are UTF-8, whatever the locale takes them for."""
    try:
        return bool(os.fsencode(name).decode("utf-8")) or not name
    except UnicodeDecodeError:
        return False


def _encoded(text: str) -> bytes:
    """UTF-8; names of files that are none in this locale as the bytes that they are."""
    return text.encode("utf-8", "surrogateescape")


def keep_edited(path: Path, text: str) -> None:
    """Refuse to replace a table that holds other rows than ``text``: it may have been edited by hand.

    Raises:
        UserError: there is such a file, or a folder of that name.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give the name of the table with --out")
    if path.exists() and path.read_bytes() != _encoded(text):
        raise UserError(f"{path}: exists with other rows; pass --overwrite to replace it, or choose another --out")


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal; of a folder, that of its files' hashes in the order of their names."""
    if path.is_dir():
        return hashlib.sha256("".join(map(sha256, sorted(path.iterdir()))).encode()).hexdigest()
    digest = hashlib.sha256()
    with path.open("rb") as file:  # hashlib.file_digest would need Python 3.11
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_claim(path: Path, what: str, claimed: int, stored: int, packed: bool = True) -> None:
    """Refuse what a header claims and the file cannot hold, before memory is taken for it.

    Args:
        path: the file.
        what: the part of it that the claim is about, for the message.
        claimed: bytes that it is said to have.
        stored: bytes that stand in the file for it.
        packed: whether they may be compressed; otherwise there must be as many as claimed.

    Raises:
        UserError: the claim cannot be true, or is more than the machine's memory.
    """
    if claimed > (stored * MOST_PACKED + (1 << 20) if packed else stored):
        raise UserError(
            f"{path}: {what} is said to have {claimed} bytes, and {stored} bytes are stored for it; the file is cut "
            "short or damaged, so copy it again"
        )
    memory = _memory()
    if memory and claimed > memory:
        raise UserError(
            f"{path}: {what} has {claimed / 2**30:.0f} GiB, this machine's memory {memory / 2**30:.0f} GiB; save a part"
        )


def parse_json(text: str) -> Any:
    """The content of a JSON document.

    Raises:
        ValueError: it is none, or one nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def reason(error: OSError) -> str:
    """The operating system's words without file names and numbers; what else an error says, as it says it."""
    words = error.strerror or str(error)
    return words[:1].lower() + words[1:]


def _umask() -> int:
    with _UMASK:  # it can only be read by setting it, for all threads
        mask = os.umask(0)
        os.umask(mask)
    return mask


def _memory() -> int:
    """Bytes of memory; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 0


# -- NumPy's files -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NumpyFile:
    """The arrays of a file, read when they are asked for.

    Attributes:
        path: the file.
        names: of its arrays; that of a ``.npy`` file is ``""``.
        fault: what is said of a damaged one.
    """

    path: Path
    names: tuple[str, ...]
    fault: str

    def read(self, name: str) -> npt.NDArray[Any]:
        """An array of numbers or texts.

        Raises:
            UserError: damaged, pickled objects, or a header that claims more than the file holds.
        """
        with _told(self.path, self.fault), self.path.open("rb") as file:
            if not name:
                return _array(file, self.path.stat().st_size)
            with zipfile.ZipFile(file) as archive:
                entry = archive.getinfo(name + ENTRY)
                stored = min(entry.compress_size, self.path.stat().st_size)
                check_claim(self.path, f"the entry {name!r}", entry.file_size, stored)
                with archive.open(entry) as stream:
                    array = _array(stream, entry.file_size)
                    if stream.read(1):  # which also compares the checksum
                        raise ValueError(f"the entry {name!r} is longer than its header says")
                    return array

    def named(self, name: str) -> str:
        """``name`` if there is such an array, else the name of the only one.

        Raises:
            UserError: there are none or several of other names.
        """
        if name in self.names:
            return name
        if len(self.names) != 1:
            raise UserError(f"{self.path}: holds {', '.join(self.names) or 'no array'}; name the one to read {name!r}")
        return self.names[0]


def open_numpy(path: Path, fault: str = "damaged or not a NumPy file of numbers") -> NumpyFile:
    """What a file holds.

    Args:
        path: the file.
        fault: what is said of a damaged one, or one of another kind.

    Raises:
        UserError: neither ``.npy`` nor ``.npz``, or damaged.
    """
    with _told(path, fault), path.open("rb") as file:
        begin = file.read(len(np.lib.format.MAGIC_PREFIX))
        if begin == np.lib.format.MAGIC_PREFIX:
            return NumpyFile(path, ("",), fault)
        if not begin.startswith(b"PK"):
            raise ValueError("it begins like neither .npy nor .npz" if begin else "it is empty")
        with zipfile.ZipFile(file) as archive:
            names = [name.removesuffix(ENTRY) for name in archive.namelist() if name.endswith(ENTRY)]
        if not names:
            raise ValueError("it holds no array")
        return NumpyFile(path, tuple(dict.fromkeys(names)), fault)


@contextmanager
def _told(path: Path, fault: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # NumPy's, zipfile's and zlib's errors for damaged files are of many kinds
        raise UserError(f"{path}: {fault} ({first_line(error)}); save it again") from None


def _array(stream: IO[bytes], stored: int) -> npt.NDArray[Any]:
    """The array that begins here, of ``stored`` bytes with its header."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the form is for other than numbers")
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(stream)
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be read, since they are pickled")
    if not all(isinstance(side, int) and side >= 0 for side in shape):
        raise ValueError(f"its shape is {shape}")
    claimed, there = math.prod(shape) * dtype.itemsize, stored - stream.tell()
    if claimed > there:
        raise ValueError(f"its header claims {claimed} bytes, and {there} are there")
    stream.seek(0)
    return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


# -- texts that leave the program -------------------------------------------------------------------------------------

# A terminal obeys control characters, a spreadsheet takes a cell that begins with = for a formula, a JSON reader may
# stop at NaN, and a file's name need not be text at all.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def visible(text: str) -> str:
    r"""A line of text with everything shown that is no letter, sign or space.

    Control characters, escapes, what turns the direction of writing, line breaks, and bytes of a file's name that are
    no text come out as ``\x1b`` or ``\u202e``.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if _is_plain(letter) else _escaped(letter) for letter in text)


def json_text(value: Any, indent: int | None = 2) -> str:
    """A value as JSON; numbers that JSON does not know (NaN, infinite) become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV; None is an empty cell, and texts that a spreadsheet would take for formulas begin with ``'``."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def read_csv(path: Path) -> list[tuple[int, list[str]]]:
    """Lines of a CSV file with the numbers they end on, those that hold nothing left out.

    Between the values stand commas, semicolons (of spreadsheets where the comma is decimal) or tabs, whichever the
    first line has most of, or what a spreadsheet's line ``sep=;`` before it says.

    Raises:
        UserError: it cannot be read, or is none.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # a spreadsheet may have put a mark in front
        first = text.lstrip().partition("\n")[0]
        said = _DELIMITER.match(first)
        delimiter = said[1] if said else max(",;\t", key=first.count)
        reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
        rows = [(reader.line_num, row) for row in reader if any(value.strip() for value in row)]
        return rows[1:] if said else rows
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({reason(error)}); give another table") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV file in UTF-8 ({first_line(error)}); save it again as such") from None


def from_cell(text: str) -> str:
    """What :func:`csv_text` made a cell of."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def _cell(value: object) -> object:
    if not isinstance(value, str) or not _FORMULA.match(value):
        return value
    try:
        float(value)
    except ValueError:
        return "'" + value
    return value


def _is_plain(letter: str) -> bool:
    # Cc control, Cf format (of direction, joining, invisible), Cs bytes that are no text, Zl and Zp line breaks
    return letter == "\t" or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn")


def _escaped(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file's name
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value
