"""ISMRMRD files: the readouts of a Cartesian 2-D scan, sorted into k-space.

The format is a list of readouts, each with a header that says where in k-space and in the patient it belongs (Inati et
al., Magn Reson Med 77:411, 2017). Everything but one Cartesian stack of slices is refused in words.
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from fsmnet.data.formats.raw import KSpace
from fsmnet.errors import UserError, first_line
from fsmnet.physics.lines import check_reach, check_whole

logger = logging.getLogger(__name__)

SINGLE = ("repetition", "contrast", "phase", "set", "kspace_encode_step_2")  # counters that must not vary
NO_IMAGING = (
    "NOISE_MEASUREMENT",
    "NAVIGATION_DATA",
    "PHASECORR_DATA",
    "HPFEEDBACK_DATA",
    "DUMMYSCAN_DATA",
    "RTFEEDBACK_DATA",
    "SURFACECOILCORRECTIONSCAN_DATA",
)
POSITION_TOLERANCE_MM = 0.05

Complex = npt.NDArray[np.complex64]


def is_ismrmrd(path: Path) -> bool:
    """Whether an HDF5 file holds ISMRMRD scans and not fastMRI's k-space."""
    try:
        with h5py.File(path, "r") as file:
            return not isinstance(file.get("kspace"), h5py.Dataset) and bool(_groups(file))
    except (OSError, RuntimeError, ValueError):
        return False


def _groups(file: h5py.File) -> list[str]:
    return [name for name, item in file.items() if isinstance(item, h5py.Group) and {"xml", "data"} <= set(item)]


def read_ismrmrd(path: Path) -> KSpace:
    """Read a Cartesian 2-D scan of one or several slices and coils.

    Lines are placed by ``kspace_encode_step_1`` and the header's encoding limits, so that the limits' ``center`` lies
    in the middle. Averages are averaged. Where the field of view of the reconstruction is smaller than the encoded one,
    the readout is cut to it (oversampling), the phase-encode axis is kept whole and the size says how far to crop.
    Slices are sorted by their position.

    The affine follows from position and directions of the readouts (LPS, turned to RAS): the position is the pixel
    ``(H' // 2, W' // 2)``, rows go along ``read_dir``, columns along ``phase_dir``.

    Raises:
        UserError: the package ``ismrmrd`` is missing, a damaged file, or a scan of another kind.
    """
    try:
        import ismrmrd
    except ImportError:
        raise UserError(
            f"{path}: reading ISMRMRD files needs the package ismrmrd; run pip install 'fsmnet[raw]'"
        ) from None
    try:
        with h5py.File(path, "r") as file:  # the package's own reader wants to write, and takes readouts one by one
            group = _only_group(file, path)
            header = ismrmrd.xsd.CreateFromDocument(group["xml"][0])
            readouts = [_readout(ismrmrd, entry) for entry in group["data"][:]]
    except UserError:
        raise
    except Exception as error:  # h5py's, NumPy's and the XML parser's errors for a damaged file are of many kinds
        raise UserError(f"{path}: damaged or not an ISMRMRD file ({first_line(error)}); copy it again") from None
    encoding = _encoding(header, path)
    skipped = [getattr(ismrmrd, f"ACQ_IS_{name}") for name in NO_IMAGING]
    readouts = [one for one in readouts if not any(one.is_flag_set(flag) for flag in skipped)]
    if any(one.is_flag_set(ismrmrd.ACQ_IS_REVERSE) for one in readouts):
        raise UserError(f"{path}: has readouts in reverse (EPI); only scans with all in one direction are read")
    calibration = ismrmrd.ACQ_IS_PARALLEL_CALIBRATION
    imaging = [one for one in readouts if not one.is_flag_set(calibration)]
    _check(readouts, path)
    slices = _slices(readouts)
    data, count = _sorted(imaging, slices, encoding, path)
    extra, extra_count = _sorted([one for one in readouts if one.is_flag_set(calibration)], slices, encoding, path)
    data = np.where(
        (count == 0)[:, None, None], extra, data
    )  # a centre measured for calibration only is still measured
    count = np.where(count == 0, extra_count, count)
    check_whole(np.asarray((count > 0).any(axis=0)), path, "lines")
    cut, size = _sizes(encoding, data.shape[-2:])
    if cut < data.shape[-2]:
        data = _cut_readout(data, cut)
    return KSpace(data, path, size, affine=_affine(readouts, slices, encoding, size), knows_axis=True)


def _only_group(file: h5py.File, path: Path) -> h5py.Group:
    groups = _groups(file)
    if len(groups) > 1:
        raise UserError(f"{path}: holds {len(groups)} ISMRMRD scans, {', '.join(groups)}; save the one wanted alone")
    return file[groups[0]]


def _readout(ismrmrd: Any, entry: Any) -> Any:
    """A readout of the package's type, its samples complex64 ``(C, samples)``."""
    one = ismrmrd.Acquisition(entry["head"])
    one.data[:] = entry["data"].view(np.complex64).reshape(one.data.shape)
    return one


def _encoding(header: Any, path: Path) -> Any:
    """The one encoding of the header, Cartesian and 2-D."""
    if len(header.encoding) != 1:
        raise UserError(f"{path}: has {len(header.encoding)} encodings; only files with one scan are read")
    encoding = header.encoding[0]
    if encoding.trajectory.value != "cartesian":
        raise UserError(f"{path}: the trajectory is {encoding.trajectory.value}; only Cartesian k-space is read")
    depth = encoding.encodedSpace.matrixSize.z
    if depth > 1:
        raise UserError(f"{path}: a 3-D scan ({depth} partitions); only stacks of 2-D slices are read")
    limits = encoding.encodingLimits.kspace_encoding_step_1
    if limits is not None:
        check_reach(limits.center - limits.minimum, limits.maximum - limits.center, path)
    return encoding


def _check(readouts: list[Any], path: Path) -> None:
    """One image per slice, and readouts that belong together."""
    if not readouts:
        raise UserError(f"{path}: holds no readout of an image; noise measurements and the like are left out")
    for name in SINGLE:
        values = {getattr(one.idx, name) for one in readouts}
        if len(values) > 1:
            words = name.replace("kspace_encode_step_2", "partition")
            raise UserError(f"{path}: has {len(values)} {words}s; save the one wanted in a file of its own")
    shapes = Counter(one.data.shape for one in readouts)
    if len(shapes) > 1:
        shown = ", ".join(f"{number} of {coils} x {samples}" for (coils, samples), number in shapes.items())
        raise UserError(f"{path}: readouts differ in coils x samples ({shown}); only scans with equal ones are read")
    samples = readouts[0].number_of_samples
    # Readouts that state no centre have it in the middle.
    centres = {one.center_sample for one in readouts} - {0} or {samples // 2}
    if len(centres) > 1 or abs(min(centres) - samples // 2) > max(2, samples // 20):
        raise UserError(
            f"{path}: partial Fourier in the readout (asymmetric echo): its centre is sample "
            f"{', '.join(map(str, sorted(centres)))} of {samples}; only symmetric echoes are read"
        )


def _slices(readouts: list[Any]) -> dict[int, Any]:
    """The first readout of each slice, sorted by position along the normal, then by number."""
    first: dict[int, Any] = {}
    for one in readouts:
        first.setdefault(one.idx.slice, one)

    def depth(number: int) -> tuple[float, int]:
        along = np.dot(np.array(first[number].position), np.array(first[number].slice_dir))
        return round(float(along), 3), number

    return {number: first[number] for number in sorted(first, key=depth)}


def _sorted(
    readouts: list[Any], slices: dict[int, Any], encoding: Any, path: Path
) -> tuple[Complex, npt.NDArray[np.int_]]:
    """k-space ``(S, C, H, W)`` of the encoded matrix, zero where nothing was read, and readouts per line ``(S, W)``."""
    coils, samples = next(iter(slices.values())).data.shape
    rows, columns = encoding.encodedSpace.matrixSize.x, encoding.encodedSpace.matrixSize.y
    if samples > rows:
        raise UserError(f"{path}: readouts have {samples} samples, the encoded matrix {rows}; the header is wrong")
    limits = encoding.encodingLimits.kspace_encoding_step_1
    centre = columns // 2 if limits is None else limits.center
    data = np.zeros((len(slices), coils, rows, columns), dtype=np.complex64)
    count = np.zeros((len(slices), columns), dtype=np.int_)
    order = {number: place for place, number in enumerate(slices)}
    seen = set()
    for one in readouts:
        step = one.idx.kspace_encode_step_1
        column = step - centre + columns // 2
        if not 0 <= column < columns:
            raise UserError(
                f"{path}: line {step} lies outside the encoded matrix of {columns} lines; the header is wrong"
            )
        if (again := (one.idx.slice, step, one.idx.average)) in seen:
            raise UserError(f"{path}: line {step} of slice {one.idx.slice} occurs twice; save one scan in one file")
        seen.add(again)
        top = rows // 2 - (one.center_sample or samples // 2)
        if top < 0 or top + samples > rows:
            raise UserError(f"{path}: readouts about sample {one.center_sample} do not fit {rows} rows")
        place = order[one.idx.slice]
        data[place, :, top : top + samples, column] += one.data
        count[place, column] += 1
    data /= np.maximum(count, 1).astype(np.float32)[:, None, None]
    return data, count


def _sizes(encoding: Any, matrix: tuple[int, ...]) -> tuple[int, tuple[int, int]]:
    """Rows that the readout is cut to, and rows and columns of the image: the field of view of the reconstruction.

    Pixels keep their encoded size; an interpolation to finer ones, which some headers ask for, is left out.
    """
    sides = []
    for axis, have in zip("xy", matrix, strict=True):
        encoded = getattr(encoding.encodedSpace.fieldOfView_mm, axis)
        wanted = getattr(encoding.reconSpace.fieldOfView_mm, axis)
        sides.append(min(have, max(1, round(have * wanted / encoded))) if encoded > 0 and wanted > 0 else have)
    return sides[0], (sides[0], sides[1])


def _cut_readout(data: Complex, rows: int) -> Complex:
    """The centre of the field of view along the readout, as k-space of fewer rows; one slice at a time."""
    begin = data.shape[-2] // 2 - rows // 2
    done = np.empty((*data.shape[:-2], rows, data.shape[-1]), dtype=np.complex64)
    for one, out in zip(data, done, strict=True):
        image = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(one, axes=-2), axis=-2, norm="ortho"), axes=-2)
        kept = np.fft.ifftshift(image[:, begin : begin + rows], axes=-2)
        out[:] = np.fft.fftshift(np.fft.fft(kept, axis=-2, norm="ortho"), axes=-2)
    done[:, :, :, ~data.any(axis=(0, 1, 2))] = 0
    return done


def _affine(
    readouts: list[Any], slices: dict[int, Any], encoding: Any, size: tuple[int, int]
) -> npt.NDArray[np.float64] | None:
    """Where the image lies in the patient (RAS+); None if the file does not say or the slices are no even stack."""
    first, *_ = heads = list(slices.values())
    directions = np.array([first.read_dir, first.phase_dir, first.slice_dir], dtype=np.float64)
    if not np.allclose(directions @ directions.T, np.eye(3), atol=1e-3):
        return None
    space = encoding.encodedSpace
    pixel = [getattr(space.fieldOfView_mm, axis) / getattr(space.matrixSize, axis) for axis in "xy"]
    positions = np.array([one.position for one in heads], dtype=np.float64)
    step = directions[2] * encoding.reconSpace.fieldOfView_mm.z
    if len(heads) > 1:
        step = (positions[-1] - positions[0]) / (len(heads) - 1)
        even = positions[0] + np.arange(len(heads))[:, None] * step
        same = all(np.allclose([one.read_dir, one.phase_dir, one.slice_dir], directions, atol=1e-3) for one in heads)
        if not same or np.abs(even - positions).max() > POSITION_TOLERANCE_MM or not step.any():
            logger.warning("the slices are no even stack by their positions, so their place in space is not used")
            return None
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = directions[0] * pixel[0], directions[1] * pixel[1], step
    affine[:3, 3] = positions[0] - affine[:3, 0] * (size[0] // 2) - affine[:3, 1] * (size[1] // 2)
    if not (min(pixel) > 0 and abs(np.linalg.det(affine[:3, :3])) > 1e-9):
        return None
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
