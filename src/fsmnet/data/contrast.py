"""Which contrast a scan is, as far as anything says so: the user, a header, a record, a sidecar, the file's name.

What is said is put into one vocabulary: ``t1``, ``t1ce``, ``t2``, ``flair``, ``pd``, and ``t2star``, ``swi``, ``dwi``,
``adc``, ``bold`` for what is often beside them. A name that says two things says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsmnet.data.appearance import UNKNOWN, Appearance
from fsmnet.data.formats import volume_stem
from fsmnet.data.formats.dicom.contrast import guess_contrast
from fsmnet.errors import UserError
from fsmnet.files import parse_json

SPOKEN = {"t1": "T1", "t1ce": "T1ce", "t2": "T2", "flair": "FLAIR", "pd": "PD"}
"""How messages write them."""

_WORDS = {
    "t1": "t1 t1w t1n t1pre t1wpre mprage mp2rage spgr bravo t1mprage axt1 axt1pre",
    "t1ce": "t1ce t1c t1gd t1post t1km t1wce t1wks t1wgd t1cegd axt1post",
    "t2": "t2 t2w t2tse t2fse t2space axt2",
    "flair": "flair t2f t2flair axflair flairw tirm",
    "pd": "pd pdw",
    "t2star": "t2star t2starw t2s",
    "swi": "swi",
    "dwi": "dwi trace",
    "adc": "adc",
    "bold": "bold",
}
_CONTRAST = {word: contrast for contrast, words in _WORDS.items() for word in words.split()}
_AGENT = {"ce", "gd", "gad", "gadolinium", "post", "km", "contrast"}
_MOVED = {"to", "in", "on", "reg", "registered", "space", "warped", "from"}  # then the name has another's in it too


@dataclass(frozen=True)
class Contrast:
    """What a scan is said to be.

    Attributes:
        name: in the vocabulary above, or a text outside it, such as fastMRI's ``corpd_fbk``; empty if nothing says it.
        source: who says it, for messages.
        against: who says otherwise, and what; empty if nobody does.
    """

    name: str
    source: str = ""
    against: str = ""


@dataclass(frozen=True)
class ScanFacts:
    """What is known of one of the two scans.

    Attributes:
        name: what messages call it.
        contrast: what it is said to be.
        looks: how it looks.
    """

    name: str
    contrast: Contrast
    looks: Appearance = UNKNOWN


def spoken(name: str) -> str:
    """A contrast as messages write it."""
    return SPOKEN.get(name, name.upper())


def contrast_of(text: str) -> str:
    """A contrast's name, a file's name or a pattern with ``{case}`` in one word; empty if none or several are named."""
    words = [word for word in re.split(r"[^a-z0-9]+", text.lower()) if word]
    if words and words[0] == "sub":  # BIDS: what it is stands last; keys before it tell what it was aligned with
        found = _CONTRAST.get(words[-1], "")
        return "t1ce" if found == "t1" and "ce" in words else found
    kinds = [(place, _CONTRAST[word]) for place, raw in enumerate(words) if (word := _plain(raw)) in _CONTRAST]
    names = {kind for _, kind in kinds}
    if names == {"t2", "flair"} and kinds[1][0] == kinds[0][0] + 1:
        return "flair"  # T2 FLAIR
    if len(names) > 1:
        # BraTS and many others put it last; what stands before is the case's.
        last = kinds[-1][0] == len(words) - 1 and not _MOVED & set(words) and kinds[-1][0] - kinds[-2][0] > 1
        return kinds[-1][1] if last else ""
    only = next(iter(names), "")
    return "t1ce" if only == "t1" and _AGENT & set(words) and "pre" not in words else only


def _plain(word: str) -> str:
    """Without the plane or dimension that scanners put in front."""
    return word if word in _CONTRAST else re.sub(r"^(ax|sag|cor|tra|3d|2d)+", "", word)


def told_contrast(path: Path, given: str | None = None, option: str = "", series: Any = None) -> Contrast:
    """What a scan is said to be, by the first of these that says something.

    Args:
        path: file or DICOM folder.
        given: the user's word, or None.
        option: how it is called, for messages.
        series: the :class:`fsmnet.data.formats.dicom.Series`; None for a file.
    """
    claims = []
    if given is not None:
        claims.append((contrast_of(given) or given.strip().lower(), option))
    if series is not None:
        claims.append((series.contrast, f"by its description {series.description!r} or its times"))
    elif path.is_file():
        claims += _beside(path)
        claims.append((_acquisition(path), "by its attribute 'acquisition'"))
        claims.append((contrast_of(volume_stem(path)), "by its name"))
    claims.append((contrast_of(path.name) if path.is_dir() else "", "by its name"))
    claims = [(name, source) for name, source in claims if name]
    if not claims:
        parent = path.absolute().parent.name
        name = _CONTRAST.get(parent.lower(), "")
        # A folder's name that is no contrast may be a person's; this gets into the record.
        return Contrast(name, f"by its folder {parent}" if name else "by its folder")
    name, source = claims[0]
    others = [f"{spoken(other)} {by}" for other, by in claims[1:] if other != name]
    return Contrast(name, source, others[0] if others else "")


def _beside(path: Path) -> list[tuple[str, str]]:
    """What a JSON file of the same name says: BIDS's, or a record of this package."""
    sidecar = path.with_name(f"{volume_stem(path)}.json")
    try:
        content = parse_json(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if not isinstance(content, dict):
        return []
    suits = content.get("Suitability")
    if isinstance(suits, dict):
        return [(str(suits.get("Target") or ""), f"by its record {sidecar.name}")]
    return [(_of_sidecar(content), f"by {sidecar.name}")]


def _of_sidecar(content: Mapping[str, Any]) -> str:
    """The contrast by BIDS's keys; its times are in seconds."""

    def time(key: str) -> float | None:
        value = content.get(key)
        return 1000.0 * value if isinstance(value, int | float) else None

    words = [str(content[key]) for key in ("SeriesDescription", "ProtocolName") if isinstance(content.get(key), str)]
    agent = str(content.get("ContrastBolusIngredient") or content.get("ContrastBolusAgent") or "")
    sequence = content.get("ScanningSequence") or ""
    times = time("EchoTime"), time("RepetitionTime"), time("InversionTime")
    return guess_contrast(" ".join(words), times[0], times[1], times[2], agent, str(sequence))


def _acquisition(path: Path) -> str:
    """The word of a fastMRI file for the contrast; empty for other files."""
    if path.suffix not in (".h5", ".hdf5"):
        return ""
    from fsmnet.data.formats.opened import opened

    try:
        with opened(path) as file:
            value = file.attrs.get("acquisition", "")
    except UserError:  # told by who reads it
        return ""
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return contrast_of(text) or ("" if text.lower() == "unknown" else text.strip().lower())
