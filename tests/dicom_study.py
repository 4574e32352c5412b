"""A DICOM study for tests, written with pydicom."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom")

from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

STUDY, FRAME = uid.generate_uid(), uid.generate_uid()
TURN = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]])
TILT = np.array([[1, 0, 0], [0, np.cos(0.2), -np.sin(0.2)], [0, np.sin(0.2), np.cos(0.2)]])
OBLIQUE = TURN @ TILT  # columns: direction along a row, along a column, normal; LPS


@dataclass
class Plan:
    """What a series is to be: rows x columns, millimetres in LPS."""

    number: int = 3
    description: str = "T2 tse tra"
    shape: tuple[int, int, int] = (5, 18, 14)  # slices, rows, columns
    spacing: tuple[float, float] = (0.7, 1.1)  # between rows, between columns
    step: float = 3.3
    directions: np.ndarray = field(default_factory=lambda: OBLIQUE)
    origin: tuple[float, float, float] = (-71.25, 33.5, 12.125)
    slope: float | None = 0.25
    intercept: float = 10.0
    syntax: str = uid.ExplicitVRLittleEndian
    seed: int = 0
    series_uid: str = field(default_factory=uid.generate_uid)

    def position(self, k: float) -> np.ndarray:
        return np.array(self.origin) + self.directions[:, 2] * self.step * k

    def stored(self) -> np.ndarray:
        """``(S, Rows, Columns)`` uint16."""
        return np.random.default_rng(self.seed).integers(0, 4096, self.shape).astype(np.uint16)

    def values(self) -> np.ndarray:
        return self.stored() * (1.0 if self.slope is None else self.slope) + (
            0 if self.slope is None else self.intercept
        )


def write(folder: Path, plan: Plan, change=None, prefix="IM") -> list[Path]:
    """Write a series under shuffled names; ``change(k, dataset)`` may alter a slice or return False to omit it."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = plan.stored()
    names = np.random.default_rng(plan.seed + 1).permutation(len(stored))
    paths = []
    for k, image in enumerate(stored):
        d = Dataset()
        d.file_meta = FileMetaDataset()
        d.file_meta.TransferSyntaxUID = plan.syntax
        d.SpecificCharacterSet = "ISO_IR 100"
        d.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        d.SOPClassUID, d.SOPInstanceUID = uid.MRImageStorage, uid.generate_uid()
        d.StudyDate = d.SeriesDate = d.ContentDate = "20200102"
        d.StudyTime = d.SeriesTime = d.ContentTime = "101112"
        d.AccessionNumber = "A7"
        d.Modality, d.Manufacturer = "MR", "Nobody"
        d.StudyDescription, d.SeriesDescription = "Head", plan.description
        d.PatientName, d.PatientID, d.PatientBirthDate, d.PatientSex = "Müller^Änne", "P-17", "19700101", "F"
        d.ScanningSequence, d.SequenceVariant, d.ScanOptions, d.MRAcquisitionType = "SE", "SK", "", "2D"
        d.SliceThickness, d.EchoTime, d.RepetitionTime = 3.0, 90, 4000
        d.SpacingBetweenSlices = plan.step
        d.InPlanePhaseEncodingDirection = "COL"
        d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = STUDY, plan.series_uid, FRAME
        d.StudyID, d.SeriesNumber, d.InstanceNumber, d.AcquisitionNumber = "1", plan.number, k + 1, 1
        d.ImagePositionPatient = [f"{x:.9f}" for x in plan.position(k)]
        d.ImageOrientationPatient = [f"{x:.9f}" for x in plan.directions[:, :2].T.ravel()]
        d.PositionReferenceIndicator = ""
        d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
        d.Rows, d.Columns = image.shape
        d.PixelSpacing = list(plan.spacing)
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 12, 11, 0
        d.SmallestImagePixelValue, d.LargestImagePixelValue = int(image.min()), int(image.max())
        d.WindowCenter, d.WindowWidth, d.WindowCenterWidthExplanation = 300, 600, "soft"
        if plan.slope is not None:
            d.RescaleSlope, d.RescaleIntercept, d.RescaleType = plan.slope, plan.intercept, "US"
        d.add_new(0x00290010, "LO", "NOBODY HEADER")
        d.add_new(0x00291010, "OB", b"scale 4")
        d.add_new(0x60000010, "US", 2)
        little = plan.syntax != uid.ExplicitVRBigEndian
        d.PixelData = image.astype("<u2" if little else ">u2").tobytes()
        d["PixelData"].VR = "OW"
        if change is not None and change(k, d) is False:
            continue
        path = folder / f"{prefix}{names[k]:03d}"
        d.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths
