"""DICOM series in and out: list a study, read one series with its place in space, write a derived one beside it.

Axes. A DICOM image has ``Rows`` and ``Columns``; NIfTI writers (ITK, dcm2niix) let the file's first index run along a
row, that is over the columns, and the second over the rows. A :class:`~fsmnet.data.volume.Volume` read here has the
axes that nibabel would give for such a file: ``data[k, i, j]`` is slice k, column i, row j of the DICOM image, so

    H = Columns, along the first three numbers of ImageOrientationPatient, spacing PixelSpacing[1];
    W = Rows,    along the last three, spacing PixelSpacing[0]: the phase-encode axis where
                 InPlanePhaseEncodingDirection is COL (along a column). Where it is ROW, H is the phase-encode axis;
    S = slices, ascending along the cross product of the two.

The order of rows is DICOM's, as ITK keeps it (dcm2niix turns it round and says so in its affine). DICOM's coordinates
are LPS+ millimetres; the affine's are RAS+: the first two rows change sign (PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1).

Needs pydicom (headers, writing) and SimpleITK (pixels and geometry): ``pip install 'fsmnet[dicom]'``.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import struct
import uuid
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fsmnet._version import __version__
from fsmnet.data.volume import Array, Volume, repaired
from fsmnet.errors import UserError
from fsmnet.files import make_folder, reason

logger = logging.getLogger(__name__)

Vector = npt.NDArray[np.float64]

NOT_CLINICAL = "research reconstruction, not for clinical use"
POSITION_TOLERANCE_MM = 0.05  # scanners round positions; beyond this a slice is out of place
ORIENTATION_TOLERANCE = 1e-3  # radians: 0.1 mm at the edge of the head
SERIES_NUMBER_STEP = 1000
LONG_STRING = 64  # characters in a value of type LO

# What may change between images at one position, and how to say it. The first that does is named.
_REPEATS = {
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
_SLICE_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.128": "PET",
    "1.2.840.10008.5.1.4.1.1.7": "secondary capture",
}
_NOT_MAGNITUDE = {"P": "phase", "PHASE": "phase", "PHASE MAP": "phase", "R": "real", "REAL": "real"}
_NOT_MAGNITUDE |= {"I": "imaginary", "IMAGINARY": "imaginary"}
_GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_HEADER_TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "PatientID"),
    *("SeriesNumber", "SeriesDescription", "Modality", "InstanceNumber", "InPlanePhaseEncodingDirection"),
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames"),
    *("SliceThickness", "SpacingBetweenSlices", "SpecificCharacterSet", *_GEOMETRY, *_REPEATS),
]
# Elements of the source that say something about its pixel values, encoding or signature, no longer true of new ones.
_STALE = (
    *("SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries", "LargestPixelValueInSeries"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "ModalityLUTSequence", "RealWorldValueMappingSequence"),
    *("VOILUTSequence", "VOILUTFunction", "WindowCenterWidthExplanation", "PresentationLUTShape", "IconImageSequence"),
    *("PixelData", "FloatPixelData", "DoubleFloatPixelData", "PixelDataProviderURL", "ExtendedOffsetTable"),
    *("ExtendedOffsetTableLengths", "DigitalSignaturesSequence", "MACParametersSequence", "DataSetTrailingPadding"),
    *("EncryptedAttributesSequence", "NumberOfFrames", "PlanarConfiguration", "DerivationCodeSequence"),
    "FrameIncrementPointer",
)
_OVERLAYS = range(0x6000, 0x6100)
_CURVES = range(0x5000, 0x5100)


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
    files: tuple[Path, ...]
    folder: Path

    @property
    def n_files(self) -> int:
        """Number of files."""
        return len(self.files)

    def __str__(self) -> str:
        number = "without number" if self.number is None else str(self.number)
        return (
            f"series {number} '{self.description}' ({self.modality}, {_plural(self.n_files, 'file')}, "
            f"{self.columns} x {self.rows}, UID {self.series_uid})"
        )


@dataclass(frozen=True)
class _Header:
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
    repeats: dict[str, str]


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


def read_series(source: Path | Series, which: str | int | None = None) -> Volume:
    """Read one series: pixels and geometry by SimpleITK, checked against the headers of every slice.

    RescaleSlope and RescaleIntercept are applied. NaN, infinite and negative values become 0 and are counted.

    Args:
        source: a folder, or a series of :func:`list_series`.
        which: for a folder: the series, see :func:`choose_series`.

    Returns:
        float32 ``(S, H, W)`` = (slices, Columns, Rows) with RAS+ affine in mm; see the head of this module.

    Raises:
        UserError: not one regular stack of grey slices (missing slices, mixed sizes or orientations, several echoes or
            time points, multi-frame files), pixels that cannot be decoded, or nothing to reconstruct.
    """
    series = source if isinstance(source, Series) else choose_series(list_series(source), which)
    headers = _checked(series)
    array, affine = _read_pixels(series, headers)
    array, n_nan, n_negative = repaired(array, f"{series.folder}: {series}")
    data = np.ascontiguousarray(array.transpose(0, 2, 1), dtype=np.float32)
    return Volume(data, affine, series.folder, n_nan, n_negative)


def write_series(
    data: Array,
    like: Path | Series,
    folder: Path,
    *,
    which: str | int | None = None,
    description: str = "",
    checkpoint: str = "",
) -> Series:
    """Write a derived series, one file per slice, in one step: the folder appears whole or not at all.

    Each file is the header of its source slice with new UIDs, pixels, window and the attributes of a derived image.
    Patient, study, frame of reference, position and orientation stay, personal data included. Private elements go, for
    they may describe the source's pixel values. Values are stored as ``uint16`` with one slope for all slices: the
    error is at most half a step, ``(max - min) / 131070``.

    Args:
        data: ``(S, H, W)``, the shape and order of :func:`read_series`, in any units; finite.
        like: the source: a folder, or a series of :func:`list_series`.
        folder: new or empty.
        which: for a folder: the source series, see :func:`choose_series`.
        description: how the data were made (method, acceleration), for DerivationDescription.
        checkpoint: name or hash of the weights, for the same.

    Returns:
        The series written.

    Raises:
        UserError: another shape than the source's, values that are not finite, a folder that holds something or cannot
            be written to, or what :func:`read_series` says of the source.
    """
    series = like if isinstance(like, Series) else choose_series(list_series(like), which)
    headers = _checked(series)
    expected = (series.n_files, series.columns, series.rows)
    if tuple(data.shape) != expected:
        raise UserError(f"data of shape {tuple(data.shape)} cannot take the place of {series}, which has {expected}")
    if bad := [k for k, image in enumerate(data) if not np.isfinite(image).all()]:
        raise UserError(f"slice {bad[0]} has NaN or infinite values ({len(bad)} slices in all); nothing is written")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is there already and not an empty folder; choose another place with --out")

    common = _common_elements(data, series, description, checkpoint)
    numbers = {header.instance for header in headers}
    renumber = len(numbers) < len(headers) or None in numbers
    make_folder(folder.parent)
    part = folder.parent / f".part-{uuid.uuid4().hex}"
    lost: set[str] = set()
    try:
        part.mkdir()
        for k, (header, image) in enumerate(zip(headers, data, strict=True)):
            number = {"InstanceNumber": k + 1} if renumber else {}
            lost |= _write_slice(image, header, common | number, part / f"{k + 1:04d}.dcm")
        if folder.is_dir():
            folder.rmdir()  # empty; not every system renames onto it
        part.rename(folder)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({reason(error)}); free space or choose another place with --out"
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    if lost:
        logger.warning("%s: malformed elements of the source are left out: %s", folder, ", ".join(sorted(lost)))
    return list_series(folder)[0]


def _common_elements(data: Array, series: Series, description: str, checkpoint: str) -> dict[str, Any]:
    """Values that all slices of a derived series share, by keyword."""
    from pydicom.uid import generate_uid
    from pydicom.valuerep import DS

    low, high = min(float(data.min()), 0.0), float(data.max())
    slope = float(str(DS((high - low) / 65535 or 1.0, auto_format=True)))  # the 16 characters that are stored
    intercept = float(str(DS(low, auto_format=True)))
    width = float(np.percentile(data, 99.5)) or high or 1.0
    note = NOT_CLINICAL[0].upper() + NOT_CLINICAL[1:]
    parts = [f"{note}.", f"fsmnet {__version__}.", description, f"Checkpoint {checkpoint}." if checkpoint else ""]
    parts.append(f"Source series {'' if series.number is None else series.number} '{series.description}'.")
    now = datetime.now()
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S.%f")
    return {
        "SeriesInstanceUID": generate_uid(prefix=None),
        "SeriesNumber": (series.number or 0) + SERIES_NUMBER_STEP,
        "SeriesDescription": _derived_name(series.description),
        "DerivationDescription": " ".join(filter(None, parts))[:1024],
        "ContentQualification": "RESEARCH",
        "RescaleSlope": DS(slope, auto_format=True),
        "RescaleIntercept": DS(intercept, auto_format=True),
        "RescaleType": "US",
        "WindowCenter": DS(width / 2, auto_format=True),
        "WindowWidth": DS(width, auto_format=True),
        **({"VOILUTFunction": "LINEAR_EXACT"} if width < 100 else {}),  # plain LINEAR takes 1 off the width
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        **{f"{what}Date": date for what in ("Series", "Content", "InstanceCreation")},
        **{f"{what}Time": time for what in ("Series", "Content", "InstanceCreation")},
    }


def _write_slice(image: Array, header: _Header, common: dict[str, Any], path: Path) -> set[str]:
    """One file: the source's header with new values.

    Args:
        image: ``(H, W)`` = (Columns, Rows).
        header: of the source.
        common: see :func:`_common_elements`.
        path: the new file.

    Returns:
        Elements of the source that could not be read and are left out.
    """
    import pydicom
    from pydicom.config import disable_value_validation
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    with _quiet_pydicom(), disable_value_validation():  # what a scanner wrote against the rules stays as it is
        dataset = Dataset()  # a new one is not bound to the encoding of the source
        dataset.update(pydicom.dcmread(header.path, stop_before_pixels=True))
        lost = _strip(dataset)
        source_type = [str(value) for value in _as_list(dataset.get("ImageType"))]
        dataset.ImageType = ["DERIVED", "SECONDARY", *(source_type[2:] or ["OTHER"])]
        dataset.SOPInstanceUID = generate_uid(prefix=None)
        for keyword, value in common.items():
            setattr(dataset, keyword, value)
        comment = str(dataset.get("ImageComments", "") or "")
        dataset.ImageComments = f"{NOT_CLINICAL}; {comment}" if comment else NOT_CLINICAL

        source = Dataset()
        source.ReferencedSOPClassUID = header.sop_class
        source.ReferencedSOPInstanceUID = header.sop_uid
        source.PurposeOfReferenceCodeSequence = [
            _code("121322", "Source image for image processing operation"),
        ]
        dataset.SourceImageSequence = [source]
        tool = Dataset()
        tool.Manufacturer = "fsmnet"
        tool.ManufacturerModelName = "fsmnet"
        tool.SoftwareVersions = __version__
        tool.ContributionDescription = NOT_CLINICAL
        tool.PurposeOfReferenceCodeSequence = [_code("109103", "Modifying Equipment")]
        dataset.ContributingEquipmentSequence = [*(dataset.get("ContributingEquipmentSequence") or []), tool]

        steps = (image.T.astype(np.float64) - float(common["RescaleIntercept"])) / float(common["RescaleSlope"])
        dataset.PixelData = np.clip(np.rint(steps), 0, 65535).astype("<u2").tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        with path.open("wb") as file:
            dataset.save_as(file, enforce_file_format=True)
            file.flush()
            os.fsync(file.fileno())
    return lost


def _strip(dataset: Any) -> set[str]:
    """Take out what need not hold for new pixels, and what cannot be read, hence not written; return the latter."""
    from pydicom.datadict import tag_for_keyword

    stale = {tag_for_keyword(keyword) for keyword in _STALE}
    lost: set[str] = set()
    tags = list(dataset.keys())
    for tag in tags:
        if tag.is_private or tag in stale or tag.group in _OVERLAYS or tag.group in _CURVES:
            del dataset[tag]
            continue
        try:
            element = dataset[tag]
            for item in element.value if element.VR == "SQ" else ():
                item.remove_private_tags()
        except _malformed():
            lost.add(str(tag))
            del dataset[tag]
    return lost


def _code(value: str, meaning: str) -> Any:
    """An entry of DICOM's own code table (PS3.16)."""
    from pydicom.dataset import Dataset

    code = Dataset()
    code.CodeValue = value
    code.CodingSchemeDesignator = "DCM"
    code.CodeMeaning = meaning
    return code


def _derived_name(description: str) -> str:
    """``<description> - research reconstruction, not for clinical use``; the description is cut to make it fit."""
    ending = f" - {NOT_CLINICAL}"
    return (description.strip()[: LONG_STRING - len(ending)].rstrip() + ending).removeprefix(" - ")


# Reading headers


def _scan(folder: Path) -> list[list[_Header]]:
    """Headers of all images below a folder, by series."""
    _require("pydicom")
    if not folder.exists():
        raise UserError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise UserError(f"{folder}: is a file; give the folder that holds the DICOM files")
    visible = (p for p in folder.rglob("*") if not any(part.startswith(".") for part in p.relative_to(folder).parts))
    files = sorted(path for path in visible if path.is_file())
    if not files:
        raise UserError(f"{folder}: holds no files; give the folder that holds the DICOM files")
    n_dicom = 0
    groups: dict[str, list[_Header]] = {}
    for path in files:
        dataset = _open(path)
        if dataset is None:
            if path.suffix.lower() in (".dcm", ".ima"):
                logger.warning("%s: not a DICOM file, though it is named like one; it is left out", path)
            continue
        n_dicom += 1
        if (header := _header(dataset, path)) is not None:
            groups.setdefault(header.series_uid, []).append(header)
    if not n_dicom:
        raise UserError(
            f"{folder}: not one DICOM file among {_plural(len(files), 'file')}; "
            "give a folder of DICOM files, or a .nii.gz"
        )
    if not groups:
        raise UserError(
            f"{folder}: not one image among {_plural(n_dicom, 'DICOM file')}; give the folder with the images"
        )
    ordered = [_sorted(headers) for headers in groups.values()]
    return sorted(ordered, key=lambda h: (h[0].number is None, h[0].number or 0, h[0].description, h[0].series_uid))


def _open(path: Path) -> Any:
    """The elements of a file that are used here; None if it is not DICOM."""
    import pydicom

    try:
        with _quiet_pydicom():
            return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_HEADER_TAGS))
    except pydicom.errors.InvalidDicomError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({reason(error)})") from None
    except _malformed():
        raise UserError(f"{path}: its DICOM header is damaged; copy the file again, or take it out") from None


def _header(dataset: Any, path: Path) -> _Header | None:
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
    thickness = _numbers(dataset, "SpacingBetweenSlices", 1)
    if thickness is None or thickness[0] <= 0:
        thickness = _numbers(dataset, "SliceThickness", 1)
    return _Header(
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
        thickness=None if thickness is None else float(thickness[0]),
        position=_numbers(dataset, "ImagePositionPatient", 3),
        orientation=_numbers(dataset, "ImageOrientationPatient", 6),
        spacing=_numbers(dataset, "PixelSpacing", 2),
        repeats={keyword: _text(dataset, keyword) for keyword in _REPEATS},
    )


def _series(headers: list[_Header], folder: Path) -> Series:
    first = headers[0]
    patient = hashlib.sha256(first.patient_id.encode()).hexdigest()[:16] if first.patient_id else ""
    return Series(
        series_uid=first.series_uid,
        study_uid=first.study_uid,
        frame_uid=first.frame_uid,
        patient=patient,
        number=first.number,
        description=first.description,
        modality=first.modality,
        rows=max(header.rows for header in headers),
        columns=max(header.columns for header in headers),
        phase_encoding=first.phase_encoding,
        files=tuple(header.path for header in headers),
        folder=folder,
    )


def _sorted(headers: list[_Header]) -> list[_Header]:
    """By position along the normal of the first image, then by instance number and path."""
    by_number = sorted(headers, key=lambda h: (h.instance is None, h.instance or 0, h.path))
    first = by_number[0]
    if first.orientation is None or any(header.position is None for header in headers):
        return by_number
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    # sorted() is stable; rounding keeps repeats of one position in the order of their numbers
    return sorted(by_number, key=lambda h: round(float(np.dot(normal, _known(h.position))), 3))


def _text(dataset: Any, keyword: str) -> str:
    try:
        with _quiet_pydicom():
            value = dataset.get(keyword)
    except _malformed():
        return ""
    return "\\".join(str(v).strip() for v in _as_list(value))


def _integer(dataset: Any, keyword: str) -> int | None:
    numbers = _numbers(dataset, keyword, 1)
    return None if numbers is None else int(numbers[0])


def _numbers(dataset: Any, keyword: str, count: int) -> Vector | None:
    """So many finite numbers, or None."""
    try:
        with _quiet_pydicom():
            values = np.array([float(value) for value in _as_list(dataset.get(keyword))], dtype=np.float64)
    except _malformed():
        return None
    return values if values.shape == (count,) and np.isfinite(values).all() else None


def _malformed() -> tuple[type[Exception], ...]:
    """What pydicom raises on elements that break the rules of their type, or end too early."""
    from pydicom.errors import BytesLengthException

    usual = (EOFError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError, OverflowError)
    return (*usual, struct.error, zlib.error, BytesLengthException)


def _as_list(value: Any) -> list[Any]:
    """One value, several or none, as a list."""
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str | bytes) or not hasattr(value, "__iter__") else list(value)


def _known(vector: Vector | None) -> Vector:
    """A vector that earlier checks found to be there."""
    assert vector is not None
    return vector


# Checking that a series is one stack of slices


def _checked(series: Series) -> list[_Header]:
    """Headers of a series in the order of its files, once they make one regular stack.

    Raises:
        UserError: what is wrong, with numbers.
    """
    _require("pydicom")
    headers = []
    for path in series.files:
        if not path.is_file():
            raise UserError(f"{path}: no such file, though it was there when the series was listed")
        header = None if (dataset := _open(path)) is None else _header(dataset, path)
        if header is None:
            raise UserError(f"{path}: no longer a DICOM image; list the series again")
        headers.append(header)
    where = f"{series.folder}: {series}"
    _check_kind(headers, where)
    _check_geometry(headers, where)
    _check_repeats(headers, where)
    _check_magnitude(headers, where)
    _check_spacing(headers, where)
    return headers


def _check_kind(headers: list[_Header], where: str) -> None:
    """One patient, study and size; grey values, one frame per file."""
    from pydicom.uid import UID

    if cut := [h for h in headers if h.rows < 1 or h.columns < 1]:
        raise UserError(
            f"{where}: {cut[0].path.name} is an image without Rows or Columns, cut short or damaged; copy it again"
        )
    if frames := [h for h in headers if h.frames > 1]:
        raise UserError(
            f"{where}: {frames[0].path.name} holds {frames[0].frames} frames (multi-frame DICOM), which are not read; "
            "convert it to one file per slice (dcm4che's emf2sf) or to NIfTI (dcm2niix)"
        )
    if other := [h for h in headers if h.sop_class not in _SLICE_CLASSES]:
        raise UserError(
            f"{where}: {other[0].path.name} is of SOP class {UID(other[0].sop_class).name or 'none'}; "
            f"give slices of {', '.join(_SLICE_CLASSES.values())}"
        )
    if mosaics := [h for h in headers if "MOSAIC" in h.repeats["ImageType"].upper().split("\\")]:
        raise UserError(
            f"{where}: {mosaics[0].path.name} is a mosaic of many slices in one image, which is not read; "
            "convert it to NIfTI (dcm2niix)"
        )
    if colour := [h for h in headers if h.samples != 1 or h.photometric != "MONOCHROME2"]:
        raise UserError(
            f"{where}: {colour[0].path.name} has {colour[0].samples} samples per pixel, {colour[0].photometric}; "
            "give a magnitude series (MONOCHROME2), not a screen shot or colour map"
        )
    for what, values in {
        "patients": [h.patient_id for h in headers],
        "studies": [h.study_uid for h in headers],
        "frames of reference": [h.frame_uid for h in headers],
    }.items():
        if len(set(values)) > 1:
            raise UserError(f"{where}: its files belong to {len(set(values))} {what}; keep those of one in the folder")
    sizes = Counter(f"{h.columns} x {h.rows}" for h in headers)
    if len(sizes) > 1:
        raise UserError(f"{where}: mixes images of {_counts(sizes)}; keep those of one size")


def _check_geometry(headers: list[_Header], where: str) -> None:
    """Every image says where it lies, and all lie the same way."""
    for header in headers:
        known = (header.position, header.orientation, header.spacing)
        if missing := [name for name, value in zip(_GEOMETRY, known, strict=True) if value is None]:
            raise UserError(
                f"{where}: {header.path.name} has no usable {' and '.join(missing)}, so its place in space is unknown; "
                "export the original series again"
            )
        row, column = np.split(_known(header.orientation), 2)
        lengths = [float(np.linalg.norm(vector)) for vector in (row, column)]
        product = float(row @ column)
        if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(product)) > ORIENTATION_TOLERANCE:
            raise UserError(
                f"{where}: {header.path.name}: ImageOrientationPatient has lengths {lengths[0]:.4f} and "
                f"{lengths[1]:.4f} and scalar product {product:.4f} instead of 1, 1 and 0; "
                "export the original series again"
            )
        if float(_known(header.spacing).min()) <= 0:
            raise UserError(f"{where}: {header.path.name}: PixelSpacing {_mm(header.spacing)}; it must be above 0")
    spacings = Counter(_mm(h.spacing) for h in headers)
    if len(spacings) > 1:
        raise UserError(f"{where}: mixes pixel spacings of {_counts(spacings)}; keep those of one")
    groups: list[_Header] = []
    angles: Counter[str] = Counter()
    for header in headers:
        near = next((g for g in groups if _angle(g, header) <= ORIENTATION_TOLERANCE), None)
        if near is None:
            groups.append(header)
        angles[f"orientation {groups.index(near or header) + 1}"] += 1
    if len(groups) > 1:
        widest = max(_angle(groups[0], g) for g in groups)
        raise UserError(
            f"{where}: mixes {len(groups)} orientations up to {np.degrees(widest):.1f} degrees apart "
            f"({_counts(angles)}); it is a localizer or a reformatted series: choose another, or keep one orientation"
        )


def _check_repeats(headers: list[_Header], where: str) -> None:
    """One image per position."""
    uids = Counter(h.sop_uid for h in headers)
    if twice := [h.path.name for h in headers if uids[h.sop_uid] > 1]:
        raise UserError(f"{where}: the same image is there more than once ({', '.join(twice[:4])}); keep one copy")
    stacks: list[list[_Header]] = []
    for header in headers:  # in order of position
        gap = np.inf if not stacks else abs(_depth(header, stacks[-1][0]))
        if gap > POSITION_TOLERANCE_MM:
            stacks.append([header])
        else:
            stacks[-1].append(header)
    repeated = [stack for stack in stacks if len(stack) > 1]
    if not repeated:
        return
    count = f"{len(headers)} files at {len(stacks)} positions"
    for keyword, what in _REPEATS.items():
        if all(len({h.repeats[keyword] for h in stack}) > 1 for stack in repeated):
            values = sorted({h.repeats[keyword] for stack in repeated for h in stack}, key=_natural)
            shown = ", ".join(values[:6]) + (", ..." if len(values) > 6 else "")
            raise UserError(
                f"{where}: holds {count}: {len(values)} {what} ({shown}); "
                "put the files of one of them into a folder of their own"
            )
    a, b = repeated[0][:2]
    raise UserError(
        f"{where}: holds {count}: {a.path.name} and {b.path.name} both lie at {_mm(a.position)} mm; "
        "keep one image per position"
    )


def _check_magnitude(headers: list[_Header], where: str) -> None:
    """Values are magnitudes, as far as ImageType tells."""
    for header in headers:
        kind = (header.repeats["ImageType"].upper().split("\\") + [""] * 3)[2]
        if kind in _NOT_MAGNITUDE:
            raise UserError(
                f"{where}: {header.path.name} has ImageType {header.repeats['ImageType']}, "
                f"a {_NOT_MAGNITUDE[kind]} image; give the magnitude series"
            )


def _check_spacing(headers: list[_Header], where: str) -> None:
    """Slices at equal steps along their normal."""
    if len(headers) < 2:
        return
    steps = np.array([_depth(b, a) for a, b in pairwise(headers)])
    usual = float(np.median(steps))
    gaps = [k for k, step in enumerate(steps) if step > 1.5 * usual]
    if gaps:
        missing = sum(max(1, round(float(steps[k]) / usual) - 1) for k in gaps)
        shown = ", ".join(
            f"{steps[k]:.3f} mm between {headers[k].path.name} and {headers[k + 1].path.name}" for k in gaps[:4]
        )
        raise UserError(
            f"{where}: about {_plural(missing, 'slice')} missing: the usual step is {usual:.3f} mm, but it is {shown}"
            f"{' and more' if len(gaps) > 4 else ''}; export the whole series again"
        )
    start, end = _known(headers[0].position), _known(headers[-1].position)
    n = len(headers) - 1
    line = [start + (end - start) * k / n for k in range(n + 1)]
    off = [float(np.linalg.norm(_known(h.position) - p)) for h, p in zip(headers, line, strict=True)]
    if max(off) > POSITION_TOLERANCE_MM:
        worst = int(np.argmax(off))
        raise UserError(
            f"{where}: slices are not at equal steps: {steps.min():.3f} to {steps.max():.3f} mm, "
            f"{headers[worst].path.name} is {off[worst]:.3f} mm out of place; resample it to equal steps first"
        )
    shear = float(np.linalg.norm(end - start - _depth(headers[-1], headers[0]) * _normal(headers[0])))
    if shear > 2 * POSITION_TOLERANCE_MM:
        raise UserError(
            f"{where}: slices are shifted sideways by {shear / n:.3f} mm from one to the next, {shear:.3f} mm in all; "
            "resample it to a straight one first"
        )


def _normal(header: _Header) -> Vector:
    orientation = _known(header.orientation)
    normal = np.cross(orientation[:3], orientation[3:])
    return np.asarray(normal / np.linalg.norm(normal), dtype=np.float64)


def _depth(header: _Header, origin: _Header) -> float:
    """Distance in mm along the normal of ``origin``."""
    return float(np.dot(_normal(origin), _known(header.position) - _known(origin.position)))


def _angle(a: _Header, b: _Header) -> float:
    """Largest angle in radians between the rows or the columns of two images."""
    u, v = _known(a.orientation).reshape(2, 3), _known(b.orientation).reshape(2, 3)
    chord = np.linalg.norm(u - v, axis=1).max()
    return float(2 * np.arcsin(min(1.0, chord / 2)))


def _mm(vector: Vector | None) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in _known(vector)) + ")"


def _counts(counter: Counter[str]) -> str:
    shown = ", ".join(f"{what} ({_plural(n, 'file')})" for what, n in counter.most_common(5))
    return f"{shown}, ..." if len(counter) > 5 else shown


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _natural(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return np.inf, text


# Reading pixels


def _read_pixels(series: Series, headers: list[_Header]) -> tuple[Array, Vector]:
    """Pixels ``(S, Rows, Columns)`` and RAS+ affine in mm by SimpleITK, the affine checked against every header."""
    sitk = _require("SimpleITK")
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames([str(header.path) for header in headers])
    reader.SetOutputPixelType(sitk.sitkFloat32)  # slices may have slopes of their own
    with _quiet_simpleitk(sitk):
        try:
            image = reader.Execute()
        except RuntimeError:
            raise UserError(_undecodable(series, headers, sitk)) from None
    array = sitk.GetArrayFromImage(image)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    if len(headers) == 1:  # one image has no step, and SimpleITK does not look at its thickness
        affine[:3, 2] = _normal(headers[0]) * (headers[0].thickness or 1.0)
    corners = np.array([[i, j] for i in (0, series.columns - 1) for j in (0, series.rows - 1)], dtype=np.float64)
    for k, header in enumerate(headers):
        row, column = np.split(_known(header.orientation), 2)
        rows_apart, columns_apart = _known(header.spacing)
        for i, j in corners:
            by_tags = _known(header.position) + row * columns_apart * i + column * rows_apart * j
            apart = float(np.linalg.norm((affine @ [i, j, k, 1])[:3] - by_tags))
            if apart > 2 * POSITION_TOLERANCE_MM:
                raise UserError(
                    f"{series.folder}: {series}: SimpleITK places a corner of {header.path.name} {apart:.3f} mm from "
                    "where its header does; convert the series to NIfTI with another program"
                )
    return array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _undecodable(series: Series, headers: list[_Header], sitk: Any) -> str:
    """Why the pixels cannot be read, naming the first file."""
    from pydicom.uid import UID

    culprit = headers[0]
    for header in headers:
        try:
            sitk.ReadImage(str(header.path), imageIO="GDCMImageIO")
        except RuntimeError:
            culprit = header
            break
    syntax = UID(culprit.syntax)
    if culprit.syntax and not syntax.is_private and syntax.is_transfer_syntax and not syntax.is_compressed:
        return f"{culprit.path}: its pixels are cut short or damaged; copy the file again"
    return (
        f"{culprit.path}: its pixels are damaged, or compressed in a way that SimpleITK cannot decode "
        f"({syntax.name or 'no transfer syntax'}); copy it again, or decompress {series.folder} with gdcmconv --raw "
        "or dcmdjpeg"
    )


# Optional packages


def _require(name: str) -> Any:
    """Import pydicom or SimpleITK."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"DICOM needs the {name} package; install it with pip install 'fsmnet[dicom]'") from None


@contextmanager
def _quiet_pydicom() -> Iterator[None]:
    """Scanners break small rules of the standard; that is no news to the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _quiet_simpleitk(sitk: Any) -> Iterator[None]:
    """Without the library's own messages on stderr; what is wrong is said by this module."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)
