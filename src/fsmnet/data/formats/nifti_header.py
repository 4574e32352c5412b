"""What a NIfTI file says besides its voxels: where they lie, which axis was phase-encoded, how much there should be."""

from __future__ import annotations

import gzip
import logging
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fsmnet.data.formats.content import is_gzip
from fsmnet.data.formats.magnitude import kind_by_words
from fsmnet.data.volume import affine_fault
from fsmnet.errors import UserError, warn_of_each
from fsmnet.files import parse_json

logger = logging.getLogger(__name__)

MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units: metres, millimetres, micrometres
PLAUSIBLE = (0.01, 100.0)  # mm, edges of a voxel that a scanner of people may have
AXES = ("rows", "columns", "slices")  # of the file's axes i, j, k, in this order
DENSEST = 1100  # times that gzip's method makes data smaller, at most
UNLIKELY = 100  # times that it makes measured data smaller: noise does not go down like that
LARGE = 2 << 30  # bytes of voxels from which that is asked
MANY = 100_000  # lines that no scan has


def place(image: Any, name: object) -> tuple[npt.NDArray[np.float64], bool, Any]:
    """Affine in mm, whether it places the volume in the patient, and the header in mm.

    Without a code for qform or sform a header tells the size of the voxels only, and nibabel makes up the rest.

    Args:
        image: of nibabel.
        name: of the file, for messages.

    Raises:
        UserError: an affine that is none, or voxels without volume.
    """
    header = image.header.copy()
    codes = int(header["sform_code"]), int(header["qform_code"])
    affine = np.asarray(image.affine, dtype=np.float64)
    if fault := affine_fault(affine):
        other = codes[0] > 0 and codes[1] > 0 and not affine_fault(header.get_qform())
        remedy = "its qform is right: set sform_code to 0 to use it" if other else "convert the scan again"
        what = "sform" if codes[0] > 0 else "qform" if codes[1] > 0 else "list of voxel sizes"
        raise UserError(f"{name}: the affine of its {what} {fault}; {remedy}")
    factor = MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)
    if factor != 1:
        header["pixdim"][1:4] *= factor
        for letter in "xyz":
            header[f"srow_{letter}"] *= factor
            header[f"qoffset_{letter}"] *= factor
        header["xyzt_units"] = (int(header["xyzt_units"]) & ~7) | 2
        affine = np.diag([factor, factor, factor, 1.0]) @ affine
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    if not (PLAUSIBLE[0] <= edges.min() and edges.max() <= PLAUSIBLE[1]):
        size = " x ".join(f"{edge:g}" for edge in edges)
        warn_of_each(logger, "%s: its header gives voxels of %s mm; are its units (xyzt_units) right?", name, size)
    return affine, any(code > 0 for code in codes), header


def require_magnitude(path: Path, name: object) -> None:
    """Refuse what the sidecar's ``ImageType`` or BIDS's entity ``part`` calls a phase, real or imaginary image.

    Raises:
        UserError: with what says it.
    """
    stored = _sidecar(path).get("ImageType")
    words = [str(word) for word in stored[2:]] if isinstance(stored, list) else []
    part = re.search(r"_part-([a-z]+)(?=[_.])", path.name)
    said = {f"its sidecar's ImageType is {words}": words, "its name has a part": [part[1]] if part else []}
    for what, words in said.items():
        if kind := kind_by_words(words):
            raise UserError(f"{name}: {what}: {kind}, no magnitude; give the magnitude image")


def acquired_lines(path: Path) -> int | None:
    """Phase-encode lines acquired over the field of view, as dcm2niix copies them to the sidecar; None if not said."""
    said = _sidecar(path)
    lines = said.get("AcquisitionMatrixPE") or said.get("PhaseEncodingSteps")
    share = said.get("PercentPhaseFOV")
    if not isinstance(lines, int | float) or not 0 < lines < MANY:
        return None
    return round(lines * 100 / share) if isinstance(share, int | float) and 1 < share < 100 else round(lines)


def phase_encode(image: Any, path: Path) -> str:
    """The phase-encode axis by ``dim_info`` or by a BIDS sidecar: ``rows``, ``columns``, or empty if neither says it.

    Warns where they contradict each other, and of lines or slices along an axis where none are looked for here.
    """
    _, phase, across = image.header.get_dim_info()
    told, sidecar = "" if phase is None else AXES[phase], _by_sidecar(path)
    if told and sidecar and told != sidecar:
        warn_of_each(
            logger,
            "%s: its header says that %s were phase-encoded, its .json %s; the header is taken",
            path,
            told,
            sidecar,
        )
    if across is not None and AXES[across] != "slices":
        warn_of_each(
            logger,
            "%s: its header says that slices lie along axis %d, not along the third; reorder the axes",
            path,
            across + 1,
        )
    told = told or sidecar
    if told == "slices":
        warn_of_each(
            logger, "%s: its header says that the third axis was phase-encoded; lines are left out along another", path
        )
    return told if told in ("rows", "columns") else ""


def _sidecar(path: Path) -> dict[str, Any]:
    """The file ``.json`` of the same name, as BIDS and dcm2niix put it beside a scan; empty if there is none."""
    sidecar = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    try:
        said = parse_json(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _by_sidecar(path: Path) -> str:
    """What the sidecar says: BIDS's axis, or dcm2niix's copy of DICOM's direction."""
    said = _sidecar(path)
    for key in ("PhaseEncodingDirection", "PhaseEncodingAxis"):
        axis = str(said.get(key, ""))[:1]
        if axis in ("i", "j", "k"):
            return AXES["ijk".index(axis)]
    # A DICOM row runs along the first axis of a file that dcm2niix wrote.
    return {"ROW": "rows", "COL": "columns"}.get(str(said.get("InPlanePhaseEncodingDirectionDICOM")), "")


def check_size(image: Any, name: object, whole: bool = True) -> None:
    """Refuse a header that claims more voxels than the file holds, before memory is taken for them.

    Args:
        image: of nibabel; its voxels are not read.
        name: of the file, for messages.
        whole: read a compressed file to its end, where the check sum is: nibabel stops before it, and would hand back
            damaged voxels. False only asks whether so many can be in it.

    Raises:
        UserError: too few bytes, or many more than the header says.
        OSError, EOFError, zlib.error: a compressed file that is damaged.
    """
    file, proxy = Path(image.file_map["image"].filename), image.dataobj
    voxels = math.prod(proxy.shape) * proxy.dtype.itemsize
    claimed, size = proxy.offset + voxels, file.stat().st_size
    held = size
    if is_gzip(file):
        if voxels > LARGE and voxels > UNLIKELY * size:
            raise UserError(
                f"{name}: claims {_amount(voxels)} of voxels in a file of {_amount(size)}; no scan is like that"
            )
        held = min(claimed, DENSEST * size)
        held = _unpacked(file, 2 * claimed + (64 << 20)) if whole and held == claimed else held
    elif file.suffix not in (".nii", ".img", ".gz"):
        return
    shape = " x ".join(map(str, proxy.shape))
    if held < claimed:
        raise UserError(
            f"{name}: cut short or damaged: its header claims {shape} voxels of {proxy.dtype} ({_amount(claimed)}), "
            f"the file holds {_amount(held)} at most; copy it again"
        )
    if held > 2 * claimed + (64 << 20):
        raise UserError(f"{name}: holds far more than the {shape} voxels that its header tells; convert the scan again")


def _unpacked(file: Path, most: int) -> int:
    """Bytes in a compressed file; just above ``most`` where there are more."""
    count = 0
    with gzip.open(file) as stream:
        while count <= most and (part := stream.read(1 << 20)):
            count += len(part)
    return count


def _amount(count: int) -> str:
    for factor, unit in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB")):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count} bytes"
