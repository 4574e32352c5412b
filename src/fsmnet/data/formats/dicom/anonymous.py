"""A derived image without identity: what is kept is listed, all else goes.

Kept are place, size, pixels and how the scan was made. Everything that could name a person, a place, a device or a day
is not: names, numbers, dates, free texts, private elements. UIDs are new ones, the same for the same within a series.
"""

from __future__ import annotations

import hashlib
from typing import Any

METHOD = "fsmnet: pixels, place and acquisition kept, all else removed"

KEPT = (
    *("SOPClassUID", "Modality", "ImageType", "SeriesDescription", "ContentQualification", "ImageComments"),
    *("ScanningSequence", "SequenceVariant", "MRAcquisitionType", "AngioFlag", "SliceThickness"),
    *("RepetitionTime", "EchoTime", "InversionTime", "NumberOfAverages", "ImagingFrequency"),
    *("EchoNumbers", "MagneticFieldStrength", "SpacingBetweenSlices", "NumberOfPhaseEncodingSteps", "EchoTrainLength"),
    *("PercentSampling", "PercentPhaseFieldOfView", "PixelBandwidth", "AcquisitionMatrix", "FlipAngle"),
    *("InPlanePhaseEncodingDirection", "VariableFlipAngleFlag", "PatientPosition"),
    *("SeriesNumber", "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "SliceLocation"),
    *("SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "PixelSpacing", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation", "WindowCenter", "WindowWidth", "RescaleIntercept"),
    *("RescaleSlope", "RescaleType", "VOILUTFunction", "DerivationDescription", "PixelData"),
    "ContributingEquipmentSequence",
)
# Codes that DICOM names for these; a text in their place goes.
CODES = {
    "ScanningSequence": ("SE", "IR", "GR", "EP", "RM"),
    "SequenceVariant": ("SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP", "NONE"),
    "MRAcquisitionType": ("2D", "3D"),
    "AngioFlag": ("Y", "N"),
    "VariableFlipAngleFlag": ("Y", "N"),
    "InPlanePhaseEncodingDirection": ("ROW", "COL"),
    "PatientPosition": ("HFP", "HFS", "HFDR", "HFDL", "FFDR", "FFDL", "FFP", "FFS"),
    "Modality": ("MR",),
    "ImageType": ("DERIVED", "SECONDARY", "OTHER", "M", "NORM", "SE", "M_SE", "DIS2D"),
}
# Elements that a standard MR image must have, though they may be empty.
EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber"),
    *("ReferringPhysicianName", "StudyID", "Manufacturer", "PositionReferenceIndicator"),
)
UIDS = ("SOPInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "SeriesInstanceUID")


def without_identity(dataset: Any, secret: str) -> Any:
    """A new data set with the elements of :data:`KEPT`.

    Args:
        dataset: of a derived image whose texts (description, comments) are ours already.
        secret: the same for all images of one series, and thrown away: nobody can find the old UIDs from the new.
    """
    from pydicom.dataset import Dataset
    from pydicom.uid import UID

    new = Dataset()
    for keyword in KEPT:
        if keyword in dataset:
            new[keyword] = dataset[keyword]
    for keyword, codes in CODES.items():
        if keyword in new:
            value = new[keyword].value
            values = [value] if isinstance(value, str) else list(value or ())
            setattr(new, keyword, [one for one in values if one in codes])
    for keyword in EMPTY:
        setattr(new, keyword, "")
    for keyword in UIDS:
        if old := str(dataset.get(keyword, "") or ""):
            number = int.from_bytes(hashlib.sha256(f"{secret} {old}".encode()).digest()[:16], "big")
            setattr(new, keyword, UID(f"2.25.{number}"))
    new.PatientIdentityRemoved = "YES"
    new.DeidentificationMethod = METHOD
    return new
