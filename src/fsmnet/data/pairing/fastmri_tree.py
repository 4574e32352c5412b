"""Index of a tree of fastMRI files: every header read once, kept as JSON, damaged files named and left out.

The folder is taken as NYU ships it: ``singlecoil_train``, ``singlecoil_val``, ``multicoil_train`` ... below a root, or
one of these alone. A usable file's entry counts as long as its size and time of change stay, wherever the folder is
moved.
"""

from __future__ import annotations

import logging
import operator
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fsmnet.data.find import absence, files_below, require_folder
from fsmnet.data.formats.fastmri import FastMRIFile, read_fastmri
from fsmnet.errors import UserError
from fsmnet.files import json_text, parse_json, write_text

logger = logging.getLogger(__name__)

FORM = 2  # of the JSON document; another one is made anew
SHOWN = 5  # skipped files named on the screen; the index names all


@dataclass(frozen=True)
class Tree:
    """The volumes below a folder.

    Attributes:
        root: the folder.
        files: what their headers say, sorted by path.
        skipped: path relative to ``root`` -> why the file cannot be used.
    """

    root: Path
    files: list[FastMRIFile]
    skipped: dict[str, str] = field(default_factory=dict)


def read_tree(root: Path, index: Path | None = None) -> Tree:
    """Headers of all ``.h5`` files below a folder.

    Args:
        root: NYU's folder, or one of the folders in it.
        index: JSON file to take unchanged entries from, written, if it can be, when anything was new. None keeps
            nothing.

    Raises:
        UserError: no folder, or no usable file in it.
    """
    require_folder(root, "give the folder that holds singlecoil_train and singlecoil_val")
    known = _load(index)
    entries: dict[str, dict[str, Any]] = {}
    paths = [found.file for found in files_below(root, (".h5",))]
    absent = {path: why for path in paths if (why := absence(path))}
    for path in tqdm(
        [path for path in paths if path not in absent],
        desc="indexing",
        unit="file",
        disable=not sys.stderr.isatty(),
        leave=False,
    ):
        name, state = path.relative_to(root).as_posix(), path.stat()
        entry = known.get(name)
        if entry is None or (entry["size"], entry["modified"]) != (state.st_size, state.st_mtime_ns):
            entry = _entry(path, state)
        entries[name] = entry
    if index is not None and entries != known:
        try:
            write_text(index, json_text({"form": FORM, "files": entries}, indent=1) + "\n")
        except UserError as error:  # the next start is slower, no more
            logger.warning("%s; the headers are not kept, name another place with --index", error)
    files = [_file(root / name, entry) for name, entry in entries.items() if "problem" not in entry]
    skipped = {name: entry["problem"] for name, entry in entries.items() if "problem" in entry}
    skipped |= {path.relative_to(root).as_posix(): why for path, why in absent.items()}
    if not files:
        why = f"; the first of {len(skipped)} that cannot be read is {next(iter(skipped))}" if skipped else ""
        raise UserError(f"{root}: holds no usable fastMRI file (*.h5){why}")
    if skipped:
        shown = "; ".join(f"{name} ({reason})" for name, reason in list(skipped.items())[:SHOWN])
        more = "" if len(skipped) <= SHOWN else f"; and {len(skipped) - SHOWN} more"
        logger.warning("%s: %d of %d files skipped: %s%s", root, len(skipped), len(paths), shown, more)
    return Tree(root, files, skipped)


def _entry(path: Path, state: os.stat_result) -> dict[str, Any]:
    """A file's header as JSON can hold it, or what is wrong with it."""
    try:
        entry = asdict(read_fastmri(path))
    except UserError as error:
        problem = str(error).removeprefix(f"{path}: ")
        return {"problem": problem, "size": state.st_size, "modified": state.st_mtime_ns}
    del entry["path"]
    entry["mask"] = None if entry["mask"] is None else np.flatnonzero(entry["mask"]).tolist()
    return entry


def _file(path: Path, entry: Mapping[str, Any]) -> FastMRIFile:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    if values["mask"] is not None:
        mask = np.zeros(values["shape"][-1], dtype=bool)
        mask[list(values["mask"])] = True
        values["mask"] = mask
    return FastMRIFile(path=path, **values)


def _load(index: Path | None) -> dict[str, dict[str, Any]]:
    """Entries of an earlier index; none from a file that is not one, which is then replaced.

    Those of damaged files are left out: a right to read, say, is mended without a trace in size and time.
    """
    if index is None or not index.is_file():
        return {}
    try:
        document = parse_json(index.read_text(encoding="utf-8"))
        if isinstance(document, dict) and document and "form" not in document:
            raise UserError(f"{index}: is a JSON file of another kind; name another place with --index")
        if document["form"] == FORM:
            wanted = {f.name for f in fields(FastMRIFile)} - {"path"}
            entries = {name: entry for name, entry in document["files"].items() if entry.keys() == wanted}
            for name, entry in entries.items():  # values of other kinds would stop whoever uses them
                file = _file(Path(name), entry)
                for size in (*file.shape, *file.encoded, *file.image_size, *file.lines, file.size, file.modified):
                    operator.index(size)
            return entries
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        pass
    logger.warning("%s: not an index of this version; made anew", index)
    return {}
