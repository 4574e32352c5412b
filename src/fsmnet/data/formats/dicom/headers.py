"""One file's header: the elements that are used here, read by pydicom and made plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fsmnet.data.formats.dicom.packages import malformed, quiet_pydicom
from fsmnet.errors import UserError
from fsmnet.files import reason

Vector = npt.NDArray[np.float64]

# What may change between images at one position, and how to say it. The first that does is named.
REPEATS = {
    "EchoTime": "echo times (ms)",
    "EchoNumbers": "echoes",
    "TemporalPositionIdentifier": "time points",
    "DiffusionBValue": "b-values",
    "TriggerTime": "trigger times (ms)",
    "InversionTime": "inversion times (ms)",
    "ImageType": "image types",
    "AcquisitionNumber": "acquisitions",
    "AcquisitionTime": "acquisition times",
}
GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_HEADER_TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "PatientID"),
    *("SeriesNumber", "SeriesDescription", "Modality", "InstanceNumber", "InPlanePhaseEncodingDirection"),
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames"),
    *("SliceThickness", "SpacingBetweenSlices", "SpecificCharacterSet", *GEOMETRY, *REPEATS),
    *("RepetitionTime", "ContrastBolusAgent"),
]


@dataclass(frozen=True)
class Header:
    """What is needed of one file."""

    path: Path
    series_uid: str
    study_uid: str
    frame_uid: str
    patient_id: str
    sop_uid: str
    sop_class: str
    syntax: str
    number: int | None
    description: str
    modality: str
    rows: int
    columns: int
    samples: int
    photometric: str
    frames: int
    instance: int | None
    phase_encoding: str
    thickness: float | None
    position: Vector | None
    orientation: Vector | None
    spacing: Vector | None
    echo_time: float | None
    repetition_time: float | None
    inversion_time: float | None
    agent: str
    repeats: dict[str, str]


def read_elements(path: Path) -> Any:
    """The elements of a file that are used here; None if it is not DICOM."""
    import pydicom

    try:
        with quiet_pydicom():
            return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_HEADER_TAGS))
    except pydicom.errors.InvalidDicomError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({reason(error)})") from None
    except malformed():
        raise UserError(f"{path}: its DICOM header is damaged; copy the file again, or take it out") from None


def pixel_bytes(path: Path) -> bytes:
    """The pixels of an image as they are stored; empty where there are none, or none to be read."""
    import pydicom

    try:
        with quiet_pydicom():
            return bytes(pydicom.dcmread(path, force=True, specific_tags=["PixelData"]).get("PixelData") or b"")
    except (OSError, pydicom.errors.InvalidDicomError):
        return b""
    except malformed():
        return b""


def parse_header(dataset: Any, path: Path) -> Header | None:
    """What is needed of a file's elements; None if it is not an image."""
    from pydicom.uid import UID

    sop_class = _text(dataset, "SOPClassUID") or _text(dataset.file_meta, "MediaStorageSOPClassUID")
    if "Rows" not in dataset and sop_class and not UID(sop_class).name.endswith("Image Storage"):
        return None
    series_uid = _text(dataset, "SeriesInstanceUID")
    if not series_uid:
        raise UserError(
            f"{path}: a DICOM image without SeriesInstanceUID, perhaps cut short; copy it again, or take it out"
        )
    thickness = _number(dataset, "SpacingBetweenSlices")
    if thickness is None or thickness <= 0:
        thickness = _number(dataset, "SliceThickness")
    return Header(
        path=path,
        series_uid=series_uid,
        study_uid=_text(dataset, "StudyInstanceUID"),
        frame_uid=_text(dataset, "FrameOfReferenceUID"),
        patient_id=_text(dataset, "PatientID"),
        sop_uid=_text(dataset, "SOPInstanceUID"),
        sop_class=sop_class,
        syntax=str(dataset.file_meta.get("TransferSyntaxUID", "")),
        number=_integer(dataset, "SeriesNumber"),
        description=_text(dataset, "SeriesDescription"),
        modality=_text(dataset, "Modality"),
        rows=_integer(dataset, "Rows") or 0,  # missing: said when the series is read, not when a study is listed
        columns=_integer(dataset, "Columns") or 0,
        samples=_integer(dataset, "SamplesPerPixel") or 1,
        photometric=_text(dataset, "PhotometricInterpretation") or "MONOCHROME2",
        frames=_integer(dataset, "NumberOfFrames") or 1,
        instance=_integer(dataset, "InstanceNumber"),
        phase_encoding=_text(dataset, "InPlanePhaseEncodingDirection"),
        thickness=thickness,
        position=_numbers(dataset, "ImagePositionPatient", 3),
        orientation=_numbers(dataset, "ImageOrientationPatient", 6),
        spacing=_numbers(dataset, "PixelSpacing", 2),
        echo_time=_number(dataset, "EchoTime"),
        repetition_time=_number(dataset, "RepetitionTime"),
        inversion_time=_number(dataset, "InversionTime"),
        agent=_text(dataset, "ContrastBolusAgent"),
        repeats={keyword: _text(dataset, keyword) for keyword in REPEATS},
    )


def _text(dataset: Any, keyword: str) -> str:
    try:
        with quiet_pydicom():
            value = dataset.get(keyword)
    except malformed():
        return ""
    return "\\".join(str(v).strip() for v in as_list(value))


def _integer(dataset: Any, keyword: str) -> int | None:
    number = _number(dataset, keyword)
    return None if number is None else int(number)


def _number(dataset: Any, keyword: str) -> float | None:
    numbers = _numbers(dataset, keyword, 1)
    return None if numbers is None else float(numbers[0])


def _numbers(dataset: Any, keyword: str, count: int) -> Vector | None:
    """So many finite numbers, or None."""
    try:
        with quiet_pydicom():
            values = np.array([float(value) for value in as_list(dataset.get(keyword))], dtype=np.float64)
    except malformed():
        return None
    return values if values.shape == (count,) and np.isfinite(values).all() else None


def as_list(value: Any) -> list[Any]:
    """One value, several or none, as a list."""
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str | bytes) or not hasattr(value, "__iter__") else list(value)
