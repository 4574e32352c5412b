"""Readouts sorted into k-space: which are of the image, which for calibration, and where their samples belong.

What a flag means is ISMRMRD's (Inati et al., Magn Reson Med 77:411, 2017; ``ismrmrd.h``).
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fsmnet.data.formats.apart import Readouts
from fsmnet.errors import UserError, listed
from fsmnet.files import check_claim

logger = logging.getLogger(__name__)

# Bits of the flags, counted from 1.
NO_IMAGE = {
    19: "noise measurements",
    23: "navigators",
    24: "phase corrections",
    26: "feedback readouts",
    27: "dummy scans",
    28: "real-time feedback readouts",
    29: "surface-coil corrections",
    30: "phase-stabilisation references",
    31: "phase-stabilisation readouts",
}
CALIBRATION, CALIBRATION_AND_IMAGE, REVERSE, COMPRESSED = 20, 21, 22, (53, 54, 55, 56)
SINGLE = ("repetition", "contrast", "phase", "set", "kspace_encode_step_2")  # counters that must not vary
CONTRADICTION = 0.5  # of the lines measured twice: difference over energy, above which they are of two scans

Complex = npt.NDArray[np.complex64]
Counts = npt.NDArray[np.int_]


def flagged(readouts: Readouts, *bits: int) -> npt.NDArray[np.bool_]:
    """Which readouts have one of the flags, bool ``(N,)``."""
    flags = np.asarray(readouts.heads["flags"]).astype(np.uint64)
    any_of = sum(1 << (bit - 1) for bit in bits)
    return np.asarray((flags & np.uint64(any_of)) != 0)


def split(readouts: Readouts, path: Path) -> tuple[Readouts, Readouts]:
    """The readouts of the image, and those that were measured for calibration alone.

    Raises:
        UserError: nothing of an image, or readouts that would need more than sorting.
    """
    if flagged(readouts, *COMPRESSED).any():
        raise UserError(f"{path}: has compressed readouts; save the file with samples as they were measured")
    other = flagged(readouts, *NO_IMAGE)
    if other.any():
        counts = [(int(flagged(readouts, bit).sum()), words) for bit, words in NO_IMAGE.items()]
        logger.info("%s: left out: %s", path, listed([f"{count} {words}" for count, words in counts if count], 9))
    readouts = readouts.of(~other)
    calibration = flagged(readouts, CALIBRATION) & ~flagged(readouts, CALIBRATION_AND_IMAGE)
    return readouts.of(~calibration), readouts.of(calibration)


def check_image(readouts: Readouts, rows: int, path: Path) -> None:
    """One image per slice, of readouts that belong together and are whole, for a matrix of so many rows.

    Raises:
        UserError: several images, other kinds of readouts, or a side of them that was left out.
    """
    if not len(readouts):
        raise UserError(f"{path}: holds no readout of an image; noise measurements and the like are left out")
    if flagged(readouts, REVERSE).any():
        raise UserError(f"{path}: has readouts in reverse (EPI); only scans with all in one direction are read")
    for name in SINGLE:
        if (count := np.unique(readouts.heads["idx"][name]).size) > 1:
            words = name.replace("kspace_encode_step_2", "partition")
            raise UserError(f"{path}: has {count} {words}s; save the one wanted in a file of its own")
    if (spaces := np.unique(readouts.heads["encoding_space_ref"])).any():
        shown = ", ".join(map(str, spaces))
        raise UserError(f"{path}: readouts are of encoding {shown}, the header describes 0 alone; save it again")
    shapes = Counter(one.shape for one in readouts.samples)
    if len(shapes) > 1:
        shown = ", ".join(f"{number} of {coils} x {samples}" for (coils, samples), number in shapes.items())
        raise UserError(f"{path}: readouts differ in coils x samples ({shown}); only scans with equal ones are read")
    ((coils, samples),) = shapes
    if not coils or not samples:
        raise UserError(f"{path}: readouts of {coils} coils x {samples} samples hold nothing; save it again")
    centres, kept = set(), 0
    for head in readouts.heads:
        first, end = valid(head, path)
        centres.add(centre_sample(head, rows, path) - (first + end) // 2)
        kept = max(kept, end - first)
    stated = np.unique(readouts.heads["center_sample"])
    if max(map(abs, centres)) > max(2, kept // 20) or len(set(stated.tolist()) - {0}) > 1:
        raise UserError(
            f"{path}: partial Fourier in the readout (asymmetric echo): its centre is sample "
            f"{', '.join(map(str, stated))} of {samples}; only symmetric echoes are read"
        )


def valid(head: Any, path: Path) -> tuple[int, int]:
    """First sample of a readout that is to be used, and one past the last: the others are to be discarded."""
    first, end = int(head["discard_pre"]), int(head["number_of_samples"]) - int(head["discard_post"])
    if first >= end:
        raise UserError(
            f"{path}: discard_pre {first} and discard_post {int(head['discard_post'])} leave nothing of "
            f"{int(head['number_of_samples'])} samples; correct them"
        )
    return first, end


def centre_sample(head: Any, rows: int, path: Path) -> int:
    """The sample at the centre of k-space, counted with those that are discarded.

    Where the readout states none, it is the middle: of what is used, if samples before the matrix make it longer.
    """
    samples = int(head["number_of_samples"])
    first, end = valid(head, path) if samples > rows else (0, samples)
    return int(head["center_sample"]) or (first + end) // 2


def place(
    readouts: Readouts, slices: list[int], matrix: tuple[int, int], centre: int, path: Path
) -> tuple[Complex, Counts]:
    """k-space of the encoded matrix, averages averaged, zero where nothing was read or all was to be discarded.

    Args:
        readouts: of equal coils and samples.
        slices: their numbers, in the order wanted.
        matrix: rows H (readout) and columns W (phase encoding).
        centre: the phase-encoding step in the centre of k-space.
        path: the file, for messages.

    Returns:
        complex64 ``(S, C, H, W)``, and how often each point was read, ``(S, H, W)``.

    Raises:
        UserError: a line twice, or one that the matrix has no room for.
    """
    rows, columns = matrix
    if not len(readouts):
        return np.zeros((len(slices), 1, rows, columns), np.complex64), np.zeros((len(slices), rows, columns), np.int_)
    coils = readouts.samples[0].shape[0]
    size = len(slices) * coils * rows * columns * 8
    check_claim(path, f"the encoded matrix of {rows} x {columns}", size, path.stat().st_size)
    data = np.zeros((len(slices), coils, rows, columns), dtype=np.complex64)
    count = np.zeros((len(slices), rows, columns), dtype=np.int_)
    order = {number: place for place, number in enumerate(slices)}
    seen = set()
    for head, samples in zip(readouts.heads, readouts.samples, strict=True):
        number, step, average = (int(head["idx"][name]) for name in ("slice", "kspace_encode_step_1", "average"))
        column = step - centre + columns // 2
        if not 0 <= column < columns:
            raise UserError(
                f"{path}: line {step} lies outside the encoded matrix of {columns} lines; the header is wrong"
            )
        if (number, step, average) in seen:
            raise UserError(f"{path}: line {step} of slice {number} occurs twice; save one scan in one file")
        seen.add((number, step, average))
        first, end = valid(head, path)
        centre_row = centre_sample(head, rows, path)
        top = rows // 2 - centre_row
        if end - first > rows:
            raise UserError(
                f"{path}: readouts have {end - first} samples, the encoded matrix {rows}; the header is wrong"
            )
        if top + first < 0 or top + end > rows:
            raise UserError(f"{path}: readouts about sample {centre_row} do not fit {rows} rows")
        inside = slice(top + first, top + end)
        data[order[number], :, inside, column] += samples[:, first:end]
        count[order[number], inside, column] += 1
    data /= np.maximum(count, 1).astype(np.float32)[:, None]
    return data, count


def fits_image(calibration: Readouts, image: Readouts) -> Readouts:
    """Calibration readouts of the image's coils, slices and samples, each line once.

    Others, as of a coarser reference scan, cannot be laid over the image's k-space.
    """
    slices = set(image.heads["idx"]["slice"].tolist())
    shape, seen, keep = image.samples[0].shape, set(), []
    for head, samples in zip(calibration.heads, calibration.samples, strict=True):
        where = (int(head["idx"]["slice"]), int(head["idx"]["kspace_encode_step_1"]))
        keep.append(samples.shape == shape and where[0] in slices and where not in seen)
        if keep[-1]:
            seen.add(where)
    return calibration.of(np.array(keep, dtype=bool))


def fill_in(data: Complex, count: Counts, extra: Complex, extra_count: Counts, told: bool, path: Path) -> Complex:
    """k-space with embedded calibration lines where the image has none: a centre measured for calibration counts.

    Args:
        data: ``(S, C, H, W)`` of the image.
        count: ``(S, H, W)``, how often each point was read.
        extra: of the calibration, as ``data``.
        extra_count: as ``count``.
        told: whether the header says that the lines are embedded; if not, a contradiction is told.
        path: the file, for messages.
    """
    both = ((count > 0) & (extra_count > 0))[:, None]
    energy = np.sum(np.abs(data * both) ** 2)
    if not told and energy and np.sum(np.abs((extra - data) * both) ** 2) > CONTRADICTION * energy:
        logger.warning(
            "%s: lines measured for the image and for calibration contradict each other, and the header has no "
            "calibrationMode; if they are of a separate reference scan, write 'separate' into it",
            path,
        )
    return np.where((count == 0)[:, None], extra, data)
