"""Files below a folder: one way to look for them, for every command.

Links are followed, and every folder is looked into once: as itself before as a link to it, so that a link back up ends
nowhere. Names that begin with a dot are passed over (macOS's ``._`` files, ``.git``). A folder that is named like a
file, as unpacking a ``.nii.gz`` as an archive makes it, stands for the one such file in it.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fsmnet.errors import UserError
from fsmnet.files import reason

logger = logging.getLogger(__name__)

# What git leaves in the place of a file whose content was not fetched: a link, or on some systems a line of text.
_POINTER = re.compile(rb"(?:\.\./)*(?:\.git)?/?annex/objects/|version https://git-lfs\.github\.com/")
_POINTER_BYTES = 512
_DEPTH = 3  # of folders in a folder that is named like a file

Node = tuple[int, int]


@dataclass(frozen=True, order=True)
class Found:
    """A file below a folder.

    Attributes:
        place: what its name says: its path, or that of the folder that is named like it.
        file: the file itself; ``place`` where a folder holds no single one, or a link leads nowhere.
    """

    place: Path
    file: Path


def files_below(root: Path, endings: tuple[str, ...] = ("",)) -> list[Found]:
    """Visible files below a folder whose names have one of these endings, sorted; see the module's description.

    Links that lead nowhere are among them, see :func:`absence`. A folder that must not be looked into is told.
    """
    return sorted(
        Found(Path(entry.path), file_at(Path(entry.path), endings))
        for folder in _folders(root, endings)
        for entry in _visible(folder)
        if entry.name.endswith(endings) and (endings != ("",) or not _is_folder(entry))
    )


def matching(root: Path, pattern: str) -> list[Path]:
    """What fits a pattern relative to a folder (``*``, ``?``, ``**/`` for any depth), sorted.

    A folder that a link leads to and that is there as itself counts once. Names that begin with a dot fit only where
    the pattern has them letter for letter.
    """
    places: dict[tuple[str, str], Path] = {}
    found = {path: os.path.realpath(path.parent) for path in _fitting(root, pattern.split("/"))}
    real = root.resolve()
    straight = {path: os.path.normpath(real / path.parent.relative_to(root)) for path in found}
    for path in sorted(found, key=lambda path: (straight[path] != found[path], path)):
        places.setdefault((found[path], path.name), path)
    return sorted(places.values())


def require_folder(path: Path, remedy: str) -> None:
    """Refuse what is no folder; ``remedy`` ends the sentence.

    Raises:
        UserError: nothing is there, or a file.
    """
    if not path.is_dir():
        raise UserError(f"{path}: {'is a file and no folder' if path.exists() else 'no such folder'}; {remedy}")


def absence(path: Path) -> str:
    """Why there is no file to read at a path, with the remedy; empty if there is one."""
    try:
        if path.is_symlink() and not path.exists():
            return "is a link to a file that is not there; fetch it (git annex get, datalad get)"
        if not path.exists():
            return "no such file"
        if path.is_dir():
            return "is a folder; give the one file that is meant"
        if not path.is_file():
            return "is no file but a device or a pipe; save its content in a file"
        if path.stat().st_size <= _POINTER_BYTES and _POINTER.match(path.read_bytes()):
            return "only says where its content is kept; fetch it (git annex get, datalad get, git lfs pull)"
    except OSError as error:
        return f"cannot be read ({reason(error)})"
    return ""


def file_at(path: Path, endings: tuple[str, ...]) -> Path:
    """The one file in a folder that is named like a file; any other path is given back."""
    if not (path.name.endswith(endings) and path.is_dir()):
        return path
    folder = path
    for _ in range(_DEPTH):
        inside = [entry for entry in _visible(folder) if _is_folder(entry) or entry.name.endswith(endings)]
        if len(inside) != 1:
            break
        if not _is_folder(inside[0]):
            return Path(inside[0].path)
        folder = Path(inside[0].path)
    return path


def _folders(root: Path, endings: tuple[str, ...] = ("",)) -> Iterator[Path]:
    """A folder and those below it, each once; not those that are named like a file."""
    seen = {_node(folder) for folder in root.resolve().parents}  # a link out of the folder and around it
    waiting, links = [root], list[Path]()
    while waiting or links:
        folder = waiting.pop() if waiting else links.pop(0)
        if (node := _node(folder)) in seen:
            continue
        seen.add(node)
        yield folder
        for entry in _visible(folder):
            if _is_folder(entry) and (endings == ("",) or not entry.name.endswith(endings)):
                (links if entry.is_symlink() else waiting).append(Path(entry.path))
        links.sort()


def _fitting(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    """What lies below a folder and fits the parts of a pattern, one a level."""
    first, *rest = parts
    if first == "**" and rest:
        places = _folders(folder)
        return (path for place in places for path in _fitting(place, rest))
    if re.search(r"[*?]", first):
        fits = re.compile(re.escape(first).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL).fullmatch
        here = [Path(entry.path) for entry in _visible(folder) if fits(entry.name)]
    else:
        here = [path for path in [folder / first] if os.path.lexists(path)]
    if not rest:
        return iter(here)
    return (path for place in here if place.is_dir() for path in _fitting(place, rest))


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, by name; devices, pipes and what begins with a dot left out."""
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        logger.warning("%s: cannot be looked into (%s); left out", folder, reason(error))
        return []
    usual = [entry for entry in visible if entry.is_symlink() or entry.is_dir() or entry.is_file()]
    return sorted(usual, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _node(folder: Path) -> Node:
    state = folder.stat()
    return state.st_dev, state.st_ino
