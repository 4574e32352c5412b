"""Writing a derived series: headers of the source, new pixels, and what makes it a derived image."""

from __future__ import annotations

import logging
import os
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from fsmnet._version import __version__
from fsmnet.data.formats.dicom.anonymous import without_identity
from fsmnet.data.formats.dicom.checks import checked
from fsmnet.data.formats.dicom.headers import Header, as_list
from fsmnet.data.formats.dicom.packages import malformed, quiet_pydicom
from fsmnet.data.formats.dicom.series import NOT_CLINICAL, Series, choose_series, list_series
from fsmnet.data.volume import Array
from fsmnet.errors import UserError
from fsmnet.files import atomic_folder

logger = logging.getLogger(__name__)

SERIES_NUMBER_STEP = 1000
LONG_STRING = 64  # characters in a value of type LO

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


def write_series(
    data: Array,
    like: Path | Series,
    folder: Path,
    *,
    which: str | int | None = None,
    description: str = "",
    checkpoint: str = "",
    anonymise: bool = False,
    what: str = "",
    place: int = 1,
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
        anonymise: leave identity out, see :mod:`fsmnet.data.formats.dicom.anonymous`.
        what: what the values are if they are no image of the patient; the series' description begins with it.
        place: among the series derived from one source, from 1; its number follows from it.

    Returns:
        The series written.

    Raises:
        UserError: another shape than the source's, values that are not finite, a folder that holds something or cannot
            be written to, or what :func:`read_series` says of the source.
    """
    series = like if isinstance(like, Series) else choose_series(list_series(like), which)
    headers = checked(series)
    expected = (series.n_files, series.columns, series.rows)
    if tuple(data.shape) != expected:
        raise UserError(f"data of shape {tuple(data.shape)} cannot take the place of {series}, which has {expected}")
    if bad := [k for k, image in enumerate(data) if not np.isfinite(image).all()]:
        raise UserError(f"slice {bad[0]} has NaN or infinite values ({len(bad)} slices in all); nothing is written")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is there already and not an empty folder; choose another place with --out")

    common = _common_elements(data, series, description, checkpoint, anonymise)
    common["SeriesNumber"] = (series.number or 0) + place * SERIES_NUMBER_STEP
    common["SeriesDescription"] = _derived_name(
        " of ".join(filter(None, (what, "" if anonymise else series.description)))
    )
    secret = uuid.uuid4().hex if anonymise else ""
    numbers = {header.instance for header in headers}
    renumber = len(numbers) < len(headers) or None in numbers
    lost: set[str] = set()
    with atomic_folder(folder) as part:
        for k, (header, image) in enumerate(zip(headers, data, strict=True)):
            number = {"InstanceNumber": k + 1} if renumber else {}
            lost |= _write_slice(image, header, common | number, part / f"{k + 1:04d}.dcm", secret)
    if lost:
        logger.warning("%s: malformed elements of the source are left out: %s", folder, ", ".join(sorted(lost)))
    return list_series(folder)[0]


def _common_elements(data: Array, series: Series, description: str, checkpoint: str, anonymise: bool) -> dict[str, Any]:
    """Values that all slices of a derived series share, by keyword."""
    from pydicom.uid import generate_uid
    from pydicom.valuerep import DS

    low, high = min(float(data.min()), 0.0), float(data.max())
    slope = float(str(DS((high - low) / 65535 or 1.0, auto_format=True)))  # the 16 characters that are stored
    intercept = float(str(DS(low, auto_format=True)))
    width = float(np.percentile(data, 99.5)) or high or 1.0
    note = NOT_CLINICAL[0].upper() + NOT_CLINICAL[1:]
    made = f"{description.rstrip('.')}." if description else ""
    parts = [f"{note}.", f"fsmnet {__version__}.", made, f"Checkpoint {checkpoint}." if checkpoint else ""]
    if not anonymise:
        parts.append(f"Source series {'' if series.number is None else series.number} '{series.description}'.")
    now = datetime.now()
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S.%f")
    return {
        "SeriesInstanceUID": generate_uid(prefix=None),
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


def _write_slice(image: Array, header: Header, common: dict[str, Any], path: Path, secret: str) -> set[str]:
    """One file: the source's header with new values.

    Args:
        image: ``(H, W)`` = (Columns, Rows).
        header: of the source.
        common: see :func:`_common_elements`.
        path: the new file.
        secret: to leave identity out with; empty to keep it.

    Returns:
        Elements of the source that could not be read and are left out.
    """
    import pydicom
    from pydicom.config import disable_value_validation
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    with quiet_pydicom(), disable_value_validation():  # what a scanner wrote against the rules stays as it is
        dataset = Dataset()  # a new one is not bound to the encoding of the source
        dataset.update(pydicom.dcmread(header.path, force=True, stop_before_pixels=True))
        lost = _strip(dataset)
        source_type = [str(value) for value in as_list(dataset.get("ImageType"))]
        dataset.ImageType = ["DERIVED", "SECONDARY", *(source_type[2:] or ["OTHER"])]
        dataset.SOPInstanceUID = generate_uid(prefix=None)
        for keyword, value in common.items():
            setattr(dataset, keyword, value)
        comment = str(dataset.get("ImageComments", "") or "")
        dataset.ImageComments = f"{NOT_CLINICAL}; {comment}" if comment and not secret else NOT_CLINICAL

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
        earlier = [] if secret else dataset.get("ContributingEquipmentSequence") or []
        dataset.ContributingEquipmentSequence = [*earlier, tool]

        steps = (image.T.astype(np.float64) - float(common["RescaleIntercept"])) / float(common["RescaleSlope"])
        dataset.PixelData = np.clip(np.rint(steps), 0, 65535).astype("<u2").tobytes()
        dataset["PixelData"].VR = "OW"
        if secret:
            dataset = without_identity(dataset, secret)
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
        except malformed():
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
