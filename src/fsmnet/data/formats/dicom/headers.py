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
GE_CREATOR, GE_KIND = 0x00430010, 0x0043102F  # private to GE: 0 magnitude, 1 phase, 2 real, 3 imaginary
UNDEFINED = 0xFFFFFFFF  # a length that says: until the delimiter
DEFLATED = b"1.2.840.10008.1.2.1.99\0"  # a transfer syntax that pydicom unpacks as a whole, whatever comes out
MOST_DEFLATED = 1 << 20  # bytes of such a file; they can stand for a thousand times as many
_HEADER_TAGS: list[Any] = [
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "PatientID"),
    *("SeriesNumber", "SeriesDescription", "Modality", "InstanceNumber", "InPlanePhaseEncodingDirection"),
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames"),
    *("SliceThickness", "SpacingBetweenSlices", "SpecificCharacterSet", *GEOMETRY, *REPEATS),
    *("RepetitionTime", "ContrastBolusAgent", "ScanningSequence", "ComplexImageComponent", GE_CREATOR, GE_KIND),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("AcquisitionMatrix", "NumberOfPhaseEncodingSteps", "PercentPhaseFieldOfView"),
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
    sequence: str
    repeats: dict[str, str]
    component: str = ""
    ge_kind: int | None = None
    bits_allocated: int = 16
    bits_stored: int = 16
    high_bit: int = 15
    signed: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    padding: tuple[float, ...] = ()  # one stored value, or the two ends of a range
    acquisition_matrix: tuple[int, ...] = ()
    phase_steps: int | None = None
    phase_share: float | None = None  # PercentPhaseFieldOfView


def is_dicom(path: Path) -> bool:
    """Whether a file has DICOM's mark, or, without it, begins as a data set of it does.

    Old writers left out the 128 bytes and the mark; their files begin with an element of group 0002 or 0008.
    """
    with path.open("rb") as file:
        head = file.read(132)
    return head[128:] == b"DICM" or _bare(head)


def _bare(head: bytes) -> bool:
    group, element = (int.from_bytes(head[at : at + 2], "little") for at in (0, 2))
    return len(head) == 132 and group in (2, 8) and element < 0x100


def read_elements(path: Path) -> Any:
    """The elements of a file that are used here; None if it is not DICOM."""
    import pydicom

    bare = False
    try:
        with path.open("rb") as file:
            head = file.read(1024)
        bare = _bare(head[:132])
        if DEFLATED in head and path.stat().st_size > MOST_DEFLATED:
            raise UserError(
                f"{path}: is deflated as a whole, and too large for that to be a slice; unpack it (dcmconv +te)"
            )
        with quiet_pydicom():
            found = pydicom.dcmread(path, force=bare, stop_before_pixels=True, specific_tags=list(_HEADER_TAGS))
        return found if not bare or "SOPClassUID" in found else None
    except pydicom.errors.InvalidDicomError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({reason(error)})") from None
    except malformed():
        if bare:
            return None
        raise UserError(f"{path}: its DICOM header is damaged; copy the file again, or take it out") from None


def is_whole(path: Path) -> bool:
    """Whether no element claims more bytes than there are, for which the decoder would take memory unasked."""
    import pydicom

    try:
        with quiet_pydicom():
            found = pydicom.dcmread(path, force=True)
            return _holds(found.file_meta) and _holds(found)
    except (OSError, pydicom.errors.InvalidDicomError):
        return False
    except malformed():
        return False


def _holds(dataset: Any) -> bool:
    from pydicom.valuerep import VR

    known = {kind.value for kind in VR}
    for tag in dataset.keys():  # noqa: SIM118 - not a mapping
        raw = dataset.get_item(tag)
        length, value = getattr(raw, "length", None), raw.value
        if length not in (None, UNDEFINED) and isinstance(value, bytes) and len(value) < length:
            return False
        if raw.VR is not None and raw.VR not in known:
            return False
        if raw.VR == "SQ" and not all(map(_holds, dataset[tag].value)):
            return False
    return True


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
    matrix = _numbers(dataset, "AcquisitionMatrix", 4)
    allocated = _integer(dataset, "BitsAllocated") or 16
    stored = _integer(dataset, "BitsStored") or allocated
    high = _integer(dataset, "HighBit")
    padding = [_number(dataset, keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
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
        sequence=_text(dataset, "ScanningSequence"),
        repeats={keyword: _text(dataset, keyword) for keyword in REPEATS},
        component=_text(dataset, "ComplexImageComponent"),
        ge_kind=_ge_kind(dataset),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=stored - 1 if high is None else high,
        signed=_integer(dataset, "PixelRepresentation") == 1,
        slope=_number(dataset, "RescaleSlope") or 1.0,
        intercept=_number(dataset, "RescaleIntercept") or 0.0,
        padding=() if padding[0] is None else tuple(value for value in padding if value is not None),
        acquisition_matrix=() if matrix is None else tuple(map(int, matrix)),
        phase_steps=_integer(dataset, "NumberOfPhaseEncodingSteps"),
        phase_share=_number(dataset, "PercentPhaseFieldOfView"),
    )


def _ge_kind(dataset: Any) -> int | None:
    """GE's number of the kind of image; None of another maker."""
    try:
        if not str(dataset[GE_CREATOR].value).startswith("GEMS_PARM"):
            return None
        value = dataset[GE_KIND].value
        return int.from_bytes(value[:2], "little") if isinstance(value, bytes) else int(value)
    except malformed():
        return None


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
