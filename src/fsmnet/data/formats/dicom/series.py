"""The series of a study: list them from the headers of their files, and choose one."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fsmnet.data.find import absence, files_below
from fsmnet.data.formats.dicom.contrast import guess_contrast
from fsmnet.data.formats.dicom.geometry import known
from fsmnet.data.formats.dicom.headers import Header, parse_header, read_elements
from fsmnet.data.formats.dicom.packages import require
from fsmnet.data.formats.pseudonym import pseudonym
from fsmnet.errors import UserError, listed

logger = logging.getLogger(__name__)

NOT_CLINICAL = "research reconstruction, not for clinical use"  # ends the description of a derived series


@dataclass(frozen=True)
class Series:
    """One series of a study, from its files' headers.

    Attributes:
        series_uid: SeriesInstanceUID.
        study_uid: StudyInstanceUID.
        frame_uid: FrameOfReferenceUID; positions of two series with the same one can be compared. May be empty.
        patient: first 16 hexadecimal digits of the PatientID's SHA-256, for comparing; empty if there is no ID. It
            keeps names out of tables and logs, it does not make them anonymous: short IDs can be found by trying.
        number: SeriesNumber.
        description: SeriesDescription.
        modality: Modality, ``MR`` for what is reconstructed here.
        rows: Rows of its images (W of the volume).
        columns: Columns of its images (H of the volume).
        phase_encoding: InPlanePhaseEncodingDirection: ``COL`` (W of the volume), ``ROW`` (H) or empty if not said.
        contrast: ``t1``, ``t1ce``, ``t2``, ``flair`` or ``pd``, as far as description and times tell; else empty.
        files: in order of position along the slice normal, or of InstanceNumber where there are no positions.
        folder: the folder that was searched.
    """

    series_uid: str
    study_uid: str
    frame_uid: str
    patient: str
    number: int | None
    description: str
    modality: str
    rows: int
    columns: int
    phase_encoding: str
    contrast: str
    files: tuple[Path, ...]
    folder: Path

    @property
    def n_files(self) -> int:
        """Number of files."""
        return len(self.files)

    @property
    def label(self) -> str:
        """Number and description, in words."""
        return f"series {'without number' if self.number is None else self.number} '{self.description}'"

    def __str__(self) -> str:
        """In one line, whatever a damaged header says; a UID has 64 characters at most."""
        return " ".join(
            f"{self.label} ({self.modality}, {plural(self.n_files, 'file')}, "
            f"{self.columns} x {self.rows}, UID {self.series_uid[:64]})".split()
        )


def list_series(folder: Path) -> list[Series]:
    """Image series below a folder at any depth, by number and description; only headers are read.

    Files that are not DICOM, objects without pixels (reports, DICOMDIR) and hidden files and folders are passed over.

    Raises:
        UserError: no folder, nothing in it, nothing of it DICOM, no images, or a damaged file.
    """
    return [_series(headers, folder) for headers in _scan(folder)]


def choose_series(series: Sequence[Series], which: str | int | None = None) -> Series:
    """One of several series.

    Args:
        series: as :func:`list_series` gives them.
        which: its number, its UID, its description or a part of that (in any case). None takes the only series.

    Raises:
        UserError: none or several fit; the message lists what there is.
    """
    there = "; ".join(map(str, series)) or "no series"
    if which is None:
        if len(series) == 1:
            return series[0]
        raise UserError(f"choose one series by number, UID or part of its description; there are {there}")
    text = str(which).strip().lower()
    rules = (
        [s for s in series if s.series_uid == text],
        [s for s in series if s.number is not None and str(s.number) == text],
        [s for s in series if isinstance(which, str) and s.description.strip().lower() == text],
        [s for s in series if isinstance(which, str) and text and text in s.description.lower()],
    )
    found = next((rule for rule in rules if rule), [])
    if len(found) == 1:
        return found[0]
    if found:
        several = "; ".join(map(str, found))
        raise UserError(f"{len(found)} series fit '{which}': {several}; choose one by its UID or number")
    raise UserError(f"no series fits '{which}'; there are {there}")


def is_ours(folder: Path) -> bool:
    """Whether a folder holds one series, which says that this package made it."""
    if not all(re.fullmatch(r"\d{4,}\.dcm", path.name) for path in folder.iterdir()):
        return False
    try:
        series = list_series(folder)
    except UserError:
        return False
    return len(series) == 1 and series[0].description.endswith(NOT_CLINICAL)


def _scan(folder: Path) -> list[list[Header]]:
    """Headers of all images below a folder, by series."""
    require("pydicom")
    if not folder.exists():
        raise UserError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise UserError(f"{folder}: is a file; give the folder that holds the DICOM files")
    found = [one.file for one in files_below(folder)]
    absent = [f"{path.relative_to(folder)} {why}" for path in found if (why := absence(path))]
    if absent:
        logger.warning("%s: %d of %d files left out: %s", folder, len(absent), len(found), listed(absent))
    files = [path for path in found if path.is_file() and not absence(path)]
    if not files and not absent:
        raise UserError(f"{folder}: holds no files; give the folder that holds the DICOM files")
    n_dicom = 0
    groups: dict[str, list[Header]] = {}
    for path in files:
        dataset = read_elements(path)
        if dataset is None:
            if path.suffix.lower() in (".dcm", ".ima"):
                logger.warning("%s: not a DICOM file, though it is named like one; it is left out", path)
            continue
        n_dicom += 1
        if (header := parse_header(dataset, path)) is not None:
            groups.setdefault(header.series_uid, []).append(header)
    if not n_dicom:
        raise UserError(
            f"{folder}: not one DICOM file among {plural(len(files), 'file')}; "
            "give a folder of DICOM files, or a .nii.gz"
        )
    if not groups:
        raise UserError(
            f"{folder}: not one image among {plural(n_dicom, 'DICOM file')}; give the folder with the images"
        )
    ordered = [_sorted(headers) for headers in groups.values()]
    return sorted(ordered, key=lambda h: (h[0].number is None, h[0].number or 0, h[0].description, h[0].series_uid))


def _series(headers: list[Header], folder: Path) -> Series:
    first = headers[0]
    return Series(
        series_uid=first.series_uid,
        study_uid=first.study_uid,
        frame_uid=first.frame_uid,
        patient=pseudonym(first.patient_id),
        number=first.number,
        description=first.description,
        modality=first.modality,
        rows=max(header.rows for header in headers),
        columns=max(header.columns for header in headers),
        phase_encoding=first.phase_encoding,
        contrast=guess_contrast(
            first.description,
            first.echo_time,
            first.repetition_time,
            first.inversion_time,
            first.agent,
            first.sequence,
        ),
        files=tuple(header.path for header in headers),
        folder=folder,
    )


def _sorted(headers: list[Header]) -> list[Header]:
    """By position along the normal of the first image, then by instance number and path."""
    by_number = sorted(headers, key=lambda h: (h.instance is None, h.instance or 0, h.path))
    first = by_number[0]
    if first.orientation is None or any(header.position is None for header in headers):
        return by_number
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    # sorted() is stable; rounding keeps repeats of one position in the order of their numbers
    return sorted(by_number, key=lambda h: round(float(np.dot(normal, known(h.position))), 3))


def plural(count: int, what: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
