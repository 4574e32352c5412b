"""Identifiers planted in every field of every format, and a search for them in everything that was written."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np

SECRET = "Mustermann19"
BIRTHDAY = "19700319"
PERSON = f"<subjectInformation><patientName>{SECRET}</patientName><patientID>{SECRET}</patientID></subjectInformation>"
SIDECAR = ("PatientName", "PatientID", "InstitutionName", "StationName", "ProtocolName")
ATTRIBUTES = ("patient_id", "institution", "operator")
NUMBERS = {"glmax", "glmin", "extents", "session_error", "slice_duration", "toffset", "intent_p1", "intent_p2"}
# What decides how a DICOM file is read.
MEANINGFUL = {
    "SpecificCharacterSet",
    "InPlanePhaseEncodingDirection",
    "PhotometricInterpretation",
    "RescaleType",
    "ComplexImageComponent",
}
TEXTS = {"PN", "LO", "SH", "ST", "LT", "UT", "UC", "CS"}
GROUPS = (0x0008, 0x0010, 0x0018, 0x0020, 0x0028, 0x0032, 0x0040)


def plant_nifti(path: Path, voxels: np.ndarray, kind: type = nib.Nifti1Image) -> int:
    """A file with an identifier in every field that can hold text, numbers where it cannot, and extensions.

    Beside it a sidecar as BIDS has it, with the same. Returns how many fields.
    """
    image, fields = kind(voxels.astype(np.int16), np.diag([1.0, 1.0, 3.0, 1.0])), 1
    header = image.header
    for name, (dtype, _) in header.template_dtype.fields.items():
        if dtype.kind == "S" and name != "magic":
            header[name] = SECRET[: dtype.itemsize].encode()
            fields += 1
        elif name in NUMBERS:
            header[name] = 19700
            fields += 1
    header["intent_code"] = 1001
    for code in (0, 2, 4, 6):  # ignored, DICOM, AFNI, comment
        content = f"(0010,0010) {SECRET}".encode()
        header.extensions.append(nib.nifti1.Nifti1Extension(code if code != 2 else 6, content))
        fields += 1
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    said = dict.fromkeys(SIDECAR, SECRET)
    sidecar = path.with_name(path.name.split(".")[0] + ".json")
    sidecar.write_text(json.dumps(said | {"SeriesDescription": f"{sidecar.stem[-2:]} {SECRET}", "Times": [SECRET]}))
    assert SECRET.encode() in contents(path)
    return fields + len(said) + 2


def plant_dicom(dataset: Any, described: bool = True) -> int:
    """An identifier in every text, a birthday in every date, of the elements that a scan may carry.

    ``described`` plants in the series' description too, which a record keeps. Returns how many elements.
    """
    from pydicom.datadict import DicomDictionary, keyword_for_tag

    fields = 0
    for tag, (kind, *_rest) in DicomDictionary.items():
        keyword = keyword_for_tag(tag)
        if tag >> 16 not in GROUPS or not keyword or keyword in dataset:
            continue
        if kind in TEXTS and keyword not in MEANINGFUL:
            setattr(dataset, keyword, SECRET.upper() if kind == "CS" else SECRET)
        elif kind == "DA":
            setattr(dataset, keyword, BIRTHDAY)
        else:
            continue
        fields += 1
    if described:
        dataset.SeriesDescription = f"{SECRET} {dataset.SeriesDescription}"
    dataset.PatientID = dataset.PatientName = SECRET
    dataset.private_block(0x0009, SECRET, create=True).add_new(1, "LO", SECRET)
    return fields + 4


def plant_hdf5(path: Path, group: str = "/", header: str = "ismrmrd_header") -> int:
    """Identifiers in the XML header of a k-space file, in attributes, and in a data set that nobody asks for."""
    with h5py.File(path, "a") as opened:
        xml = opened[header][()]
        text = (xml if isinstance(xml, bytes) else xml[0]).decode()
        begin = text.index(">", text.index("<ismrmrdHeader")) + 1
        text = text[:begin] + PERSON + text[begin:]
        kind = opened[header].dtype
        del opened[header]
        opened.create_dataset(header, data=[text] if group != "/" else text, dtype=kind)
        for key in ATTRIBUTES:
            opened.attrs[key] = opened[group].attrs[key] = f"{SECRET} {path.stem}"  # patients differ
        opened["notes"] = SECRET
    assert SECRET.encode() in path.read_bytes()
    return 3 + len(ATTRIBUTES) * (1 if group == "/" else 2)


def plant_arrays(path: Path, **arrays: np.ndarray) -> int:
    """A ``.npz`` with an identifier in an entry, in an entry's name, and behind the archive."""
    np.savez(path, **arrays, **{"description": np.array(SECRET), SECRET: np.array(SECRET)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = SECRET.encode()
    return 4


def contents(path: Path) -> bytes:
    """Everything in a file, unpacked: archives, gzip, and what a page carries in base64."""
    return unpacked(path.read_bytes())


def unpacked(data: bytes) -> bytes:
    """Bytes with all that is packed in them."""
    if data.startswith(b"\x1f\x8b"):
        return gzip.decompress(data)
    if data.startswith(b"PK\3\4"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.comment + b"".join(name.encode() + archive.read(name) for name in archive.namelist())
    if data.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        return data + b"".join(map(unpacked, _base64(data)))
    return data


def _base64(data: bytes) -> Iterator[bytes]:
    for found in re.findall(rb"[A-Za-z0-9+/]{64,}={0,2}", data):
        yield base64.b64decode(found + b"=" * (-len(found) % 4))


def found(folder: Path, *texts: str) -> list[tuple[str, str]]:
    """Which files hold which of these texts, in their names too."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    hits = []
    for path in files:
        data = contents(path)
        named = path.relative_to(folder).as_posix().encode()
        hits += [(path.name, t) for t in texts if t.encode() in data + named or t.encode("utf-16-le") in data]
    return hits
