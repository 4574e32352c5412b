"""ISMRMRD files: the readouts of a Cartesian 2-D scan, sorted into k-space.

The format is a list of readouts, each with a header that says where in k-space and in the patient it belongs (Inati et
al., Magn Reson Med 77:411, 2017). Everything but one Cartesian stack of slices is refused in words.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from fsmnet.data.formats.apart import Readouts, joined, read_apart
from fsmnet.data.formats.opened import opened, refuse_entities
from fsmnet.data.formats.raw import KSpace
from fsmnet.data.formats.readouts import check_image, fill_in, fits_image, place, split
from fsmnet.data.volume import Samples, crop_begin
from fsmnet.errors import UserError, first_line

logger = logging.getLogger(__name__)

POSITION_TOLERANCE_MM = 0.05
MOST_LINES = 65535  # counters of lines have 16 bits
EMBEDDED = ("embedded", "")  # modes of calibration whose lines are of the image; without a mode they are taken to be


@dataclass(frozen=True)
class Encoding:
    """What the header says of the one encoding.

    Attributes:
        matrix: rows (readout) and columns (phase encoding) of the encoded k-space.
        limits: smallest, largest and central phase-encoding step, where it says.
        calibration: mode of the calibration lines; empty where it says none.
        encoded: field of view in mm along rows and columns.
        recon: field of view in mm of the image along rows, columns and slices.
    """

    matrix: tuple[int, int]
    limits: tuple[int, int, int] | None
    calibration: str
    encoded: tuple[float, float]
    recon: tuple[float, float, float]

    @property
    def centre(self) -> int:
        """The phase-encoding step in the centre of k-space."""
        return self.matrix[1] // 2 if self.limits is None else self.limits[2]


def is_ismrmrd(path: Path) -> bool:
    """Whether an HDF5 file holds ISMRMRD scans and not fastMRI's k-space."""
    try:
        with opened(path) as file:
            return not isinstance(file.get("kspace"), h5py.Dataset) and bool(_groups(file))
    except UserError:
        return False


def _groups(file: h5py.File) -> list[str]:
    return [name for name, item in file.items() if isinstance(item, h5py.Group) and {"xml", "data"} <= set(item)]


def read_ismrmrd(path: Path) -> KSpace:
    """Read a Cartesian 2-D scan of one or several slices and coils.

    Lines are placed by ``kspace_encode_step_1`` and the header's encoding limits, so that the limits' ``center`` lies
    in the middle. Averages are averaged, samples that the readout's header discards count as not measured. Where the
    field of view of the reconstruction is smaller than the encoded one, the readout is cut to it (oversampling), the
    phase-encode axis is kept whole and the size says how far to crop. Slices are sorted by their position.

    Lines for calibration alone fill the gaps of the image where they are embedded in it; those of a separate scan, as
    ``calibrationMode`` tells, serve coil maps only.

    The affine follows from position and directions of the readouts (LPS, turned to RAS): the position is the pixel
    ``(H // 2, W // 2)`` of the encoded matrix, rows go along ``read_dir``, columns along ``phase_dir``.

    Raises:
        UserError: the package ``ismrmrd`` is missing, a damaged file, or a scan of another kind.
    """
    try:
        import ismrmrd
    except ImportError:
        raise UserError(
            f"{path}: reading ISMRMRD files needs the package ismrmrd; run pip install 'fsmnet[raw]'"
        ) from None
    readouts = read_apart(path, _only_group(path))
    _check_heads(readouts.heads.dtype, ismrmrd.hdf5.acquisition_header_dtype, path)
    encoding = _encoding(ismrmrd, readouts.xml, path)
    image, calibration = split(readouts, path)
    embedded = encoding.calibration in EMBEDDED
    whole = joined(image, calibration) if embedded else image
    check_image(whole, encoding.matrix[0], path)
    slices, maps_from = _slices(whole), None
    data, count = place(image, list(slices), encoding.matrix, encoding.centre, path)
    if embedded and len(calibration):
        extra, extra_count = place(calibration, list(slices), encoding.matrix, encoding.centre, path)
        data = fill_in(data, count, extra, extra_count, bool(encoding.calibration), path)
        count = np.where(count == 0, extra_count, count)
    elif len(calibration):
        maps_from = _separate(calibration, image, list(slices), encoding, path)
    cut, size = _sizes(encoding)
    if cut < data.shape[-2]:
        data = _cut_readout(data, cut)
        maps_from = None if maps_from is None else _cut_readout(maps_from, cut)
    affine = _affine(slices, encoding, size)
    reach = (
        None
        if encoding.limits is None
        else (encoding.limits[2] - encoding.limits[0], encoding.limits[1] - encoding.limits[2])
    )
    return KSpace(data, path, size, affine=affine, knows_axis=True, calibration=maps_from, reach=reach)


def _check_heads(found: np.dtype[Any], known: np.dtype[Any], path: Path) -> None:
    """Refuse headers of readouts that lack a field, at the top or in one of its parts."""
    for name in known.names or ():
        if name not in (found.names or ()):
            raise UserError(f"{path}: damaged or not an ISMRMRD file (its readouts have no {name}); copy it again")
        if known[name].names:
            _check_heads(found[name], known[name], path)


def _only_group(path: Path) -> str:
    with opened(path) as file:
        groups = _groups(file)
    if len(groups) > 1:
        raise UserError(f"{path}: holds {len(groups)} ISMRMRD scans, {', '.join(groups)}; save the one wanted alone")
    return groups[0]


def _encoding(ismrmrd: Any, xml: bytes, path: Path) -> Encoding:
    """The one encoding of the header, Cartesian and 2-D."""
    refuse_entities(xml, path)
    try:
        header = ismrmrd.xsd.CreateFromDocument(xml)
        if len(header.encoding) != 1:
            raise UserError(f"{path}: has {len(header.encoding)} encodings; only files with one scan are read")
        encoding = header.encoding[0]
        trajectory, depth = encoding.trajectory.value, encoding.encodedSpace.matrixSize.z
        if trajectory != "cartesian":
            raise UserError(f"{path}: the trajectory is {trajectory}; only Cartesian k-space is read")
        if depth > 1:
            raise UserError(f"{path}: a 3-D scan ({depth} partitions); only stacks of 2-D slices are read")
        steps, parallel = encoding.encodingLimits.kspace_encoding_step_1, encoding.parallelImaging
        mode = None if parallel is None else parallel.calibrationMode
        encoded, recon = encoding.encodedSpace.fieldOfView_mm, encoding.reconSpace.fieldOfView_mm
        found = Encoding(
            matrix=(int(encoding.encodedSpace.matrixSize.x), int(encoding.encodedSpace.matrixSize.y)),
            limits=None if steps is None else (int(steps.minimum), int(steps.maximum), int(steps.center)),
            calibration="" if mode is None else str(mode.value),
            encoded=(float(encoded.x), float(encoded.y)),
            recon=(float(recon.x), float(recon.y), float(recon.z)),
        )
    except UserError:
        raise
    except Exception as error:  # the XML parser's errors, and elements that are missing, are of many kinds
        raise UserError(f"{path}: damaged or not an ISMRMRD file ({first_line(error)}); copy it again") from None
    if not all(1 <= side <= MOST_LINES for side in found.matrix):
        raise UserError(f"{path}: its header gives an encoded matrix of {found.matrix}; correct it")
    if found.limits is not None:
        first, last, centre = found.limits
        if not 0 <= first <= centre <= last <= MOST_LINES:
            raise UserError(f"{path}: its encoding limits are {first} to {last} with centre {centre}; correct them")
    return found


def _separate(
    calibration: Readouts, image: Readouts, slices: list[int], encoding: Encoding, path: Path
) -> Samples | None:
    """k-space of a separate reference scan for coil maps; None where it does not cover the image's slices."""
    fitting = fits_image(calibration, image)
    covered = set(fitting.heads["idx"]["slice"].tolist()) == set(slices)
    words = "they serve coil maps only" if covered else "they do not fit the image's readouts and are left out"
    logger.info("%s: %d lines of a separate calibration scan; %s", path, len(calibration), words)
    return place(fitting, slices, encoding.matrix, encoding.centre, path)[0] if covered else None


def _slices(readouts: Readouts) -> dict[int, Any]:
    """The header of the first readout of each slice, sorted by position along the normal, then by number."""
    first: dict[int, Any] = {}
    for head in readouts.heads:
        first.setdefault(int(head["idx"]["slice"]), head)

    def depth(number: int) -> tuple[float, int]:
        along = float(np.dot(np.array(first[number]["position"]), np.array(first[number]["slice_dir"])))
        return round(along, 3) if math.isfinite(along) else 0.0, number

    return {number: first[number] for number in sorted(first, key=depth)}


def _sizes(encoding: Encoding) -> tuple[int, tuple[int, int]]:
    """Rows that the readout is cut to, and rows and columns of the image: the field of view of the reconstruction.

    Pixels keep their encoded size; an interpolation to finer ones, which some headers ask for, is left out.
    """
    sides = []
    for have, encoded, wanted in zip(encoding.matrix, encoding.encoded, encoding.recon, strict=False):
        known = encoded > 0 and wanted > 0 and math.isfinite(have * wanted / encoded)
        sides.append(min(have, max(1, round(have * wanted / encoded))) if known else have)
    return sides[0], (sides[0], sides[1])


def _cut_readout(data: Samples, rows: int) -> Samples:
    """The centre of the field of view along the readout, as k-space of fewer rows; one slice at a time."""
    begin = crop_begin(data.shape[-2], rows)
    done = np.empty((*data.shape[:-2], rows, data.shape[-1]), dtype=np.complex64)
    for one, out in zip(data, done, strict=True):
        image = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(one, axes=-2), axis=-2, norm="ortho"), axes=-2)
        kept = np.fft.ifftshift(image[:, begin : begin + rows], axes=-2)
        out[:] = np.fft.fftshift(np.fft.fft(kept, axis=-2, norm="ortho"), axes=-2)
    done[:, :, :, ~data.any(axis=(0, 1, 2))] = 0
    return done


def _affine(slices: dict[int, Any], encoding: Encoding, size: tuple[int, int]) -> npt.NDArray[np.float64] | None:
    """Where the image lies in the patient (RAS+); None if the file does not say or the slices are no even stack."""
    heads = list(slices.values())
    turns = [np.array([one["read_dir"], one["phase_dir"], one["slice_dir"]], dtype=np.float64) for one in heads]
    directions = turns[0]
    if not np.allclose(directions @ directions.T, np.eye(3), atol=1e-3):
        return None
    pixel = [mm / n for mm, n in zip(encoding.encoded, encoding.matrix, strict=True)]
    positions = np.array([one["position"] for one in heads], dtype=np.float64)
    step = directions[2] * encoding.recon[2]
    if len(heads) > 1:
        step = (positions[-1] - positions[0]) / (len(heads) - 1)
        even = positions[0] + np.arange(len(heads))[:, None] * step
        same = all(np.allclose(one, directions, atol=1e-3) for one in turns)
        if not same or not np.abs(even - positions).max() <= POSITION_TOLERANCE_MM or not step.any():
            logger.warning("the slices are no even stack by their positions, so their place in space is not used")
            return None
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = directions[0] * pixel[0], directions[1] * pixel[1], step
    middle = [whole // 2 - crop_begin(whole, part) for whole, part in zip(encoding.matrix, size, strict=True)]
    affine[:3, 3] = positions[0] - affine[:3, 0] * middle[0] - affine[:3, 1] * middle[1]
    if not (np.isfinite(affine).all() and min(pixel) > 0 and abs(np.linalg.det(affine[:3, :3])) > 1e-9):
        return None
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
