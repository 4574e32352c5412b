"""The numbers that an image stores: which bits are the pixel, what is padding, and how many lines were acquired."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fsmnet.data.formats.dicom.headers import Header, is_whole, pixel_bytes
from fsmnet.data.formats.magnitude import kind_by_words
from fsmnet.data.stored import Stored
from fsmnet.data.volume import Array
from fsmnet.errors import UserError
from fsmnet.files import check_claim

_GE_KINDS = {1: "phase", 2: "real", 3: "imaginary"}


def not_magnitude(header: Header) -> tuple[str, str]:
    """What an image is instead of a magnitude, and the element that says so; empty texts where none does."""
    image_type = header.repeats["ImageType"]
    if kind := kind_by_words([*image_type.split("\\")[2:], header.component]):
        component = f", ComplexImageComponent {header.component}" if header.component else ""
        return kind, f"ImageType {image_type}{component}"
    if header.ge_kind in _GE_KINDS:
        return _GE_KINDS[header.ge_kind], f"GE's RawDataType (0043,102F) {header.ge_kind}"
    return "", ""


def check_bits(header: Header, where: str) -> None:
    """Refuse a description of the pixel's bits that is none.

    Raises:
        UserError: more bits stored than allocated, or bits outside the word.
    """
    if not 0 < header.bits_stored <= header.high_bit + 1 <= header.bits_allocated:
        raise UserError(
            f"{where}: {header.path.name} has BitsAllocated {header.bits_allocated}, BitsStored {header.bits_stored} "
            f"and HighBit {header.high_bit}, which describe no pixel; export the original series again"
        )


def check_amount(header: Header) -> None:
    """Refuse more pixels, and longer elements, than a file can hold, before memory is taken for them.

    Raises:
        UserError: so many are not in it.
    """
    from pydicom.uid import UID

    syntax = UID(header.syntax or "1.2.840.10008.1.2")
    packed = syntax.is_private or not syntax.is_transfer_syntax or syntax.is_compressed
    claimed, stored = header.rows * header.columns * (header.bits_allocated // 8), header.path.stat().st_size
    if (claimed > stored and not packed) or not is_whole(header.path):
        raise UserError(f"{header.path}: its pixels are cut short or damaged; copy the file again")
    check_claim(header.path, f"an image of {header.rows} x {header.columns}", claimed, stored)


def shifted(headers: Sequence[Header]) -> bool:
    """Whether pixels lie elsewhere than in the lowest bits, where the decoder looks for them."""
    return any(header.high_bit != header.bits_stored - 1 for header in headers)


def unpacked(headers: Sequence[Header]) -> Array:
    """Pixels ``(S, Rows, Columns)`` float32 by BitsStored, HighBit and PixelRepresentation, with slope and intercept.

    Raises:
        UserError: compressed pixels, or fewer than there should be.
    """
    from pydicom.uid import UID

    planes = []
    for header in headers:
        syntax = UID(header.syntax or "1.2.840.10008.1.2")
        if syntax.is_private or syntax.is_compressed or header.bits_allocated not in (8, 16, 32):
            raise UserError(
                f"{header.path}: HighBit is {header.high_bit} with BitsStored {header.bits_stored}, in packed pixels; "
                "decompress the series with gdcmconv --raw first"
            )
        kind = np.dtype(f"{'<' if syntax.is_little_endian else '>'}u{header.bits_allocated // 8}")
        count, stored = header.rows * header.columns, pixel_bytes(header.path)
        if len(stored) < count * kind.itemsize:
            raise UserError(f"{header.path}: its pixels are cut short or damaged; copy the file again")
        pixels = np.frombuffer(stored, kind, count).astype(np.int64) >> (header.high_bit + 1 - header.bits_stored)
        pixels &= (1 << header.bits_stored) - 1
        if header.signed:
            sign = 1 << (header.bits_stored - 1)
            pixels = (pixels ^ sign) - sign
        planes.append(pixels.reshape(header.rows, header.columns) * header.slope + header.intercept)
    return np.stack(planes).astype(np.float32)


def voxels_of(headers: Sequence[Header]) -> Stored:
    """How a result as NIfTI holds whole numbers as the series does; floats where slices have slopes of their own."""
    if len({(header.slope, header.intercept) for header in headers}) > 1:
        return Stored()
    bits = max(header.bits_stored + (not header.signed) for header in headers)  # and one for the sign
    kind = "int16" if bits <= 16 else "uint16" if bits == 17 and not headers[0].signed else "int32"
    return Stored(kind, headers[0].slope, headers[0].intercept)


def clear_padding(array: Array, headers: Sequence[Header], where: str) -> tuple[Array, str]:
    """Voxels of PixelPaddingValue, or between it and PixelPaddingRangeLimit, set to 0; and words on them.

    Args:
        array: ``(S, Rows, Columns)``, slope and intercept applied.
        headers: of the slices.
        where: for messages.

    Raises:
        UserError: nothing but padding.
    """
    padding = np.zeros(array.shape, dtype=bool)
    for plane, image, header in zip(padding, array, headers, strict=True):
        if header.padding:
            ends = sorted(_stored(value, header) * header.slope + header.intercept for value in header.padding)
            half = abs(header.slope) / 2
            plane[:] = (image > ends[0] - half) & (image < ends[-1] + half)
    count = int(np.count_nonzero(padding & (array != 0)))
    if not count:
        return array, ""
    said = "..".join(f"{value:g}" for value in next(header.padding for header in headers if header.padding))
    if padding.all():
        raise UserError(f"{where}: its PixelPaddingValue ({said}) is that of every voxel; correct the header")
    return np.where(padding, np.float32(0), array), f"{count} voxels of padding (PixelPaddingValue {said}) set to 0"


def acquired_lines(header: Header) -> int | None:
    """Phase-encode lines acquired over the image's field of view, as the header says; None if it does not.

    AcquisitionMatrix holds frequency rows, frequency columns, phase rows, phase columns; the two that are not used are
    0. Where only a part of the field of view was phase-encoded, the rest of the image holds no finer detail.
    """
    matrix = header.acquisition_matrix
    if not header.phase_encoding and not any(matrix[2:3]):
        return None  # of which axis is not known
    lines = max(matrix[2:], default=0) or header.phase_steps or 0
    share = header.phase_share if header.phase_share and 1 < header.phase_share < 100 else 100.0
    return round(lines * 100 / share) if lines > 0 else None


def _stored(value: float, header: Header) -> float:
    """A padding value as the pixels count: headers mix up signed and unsigned ones."""
    whole = 1 << header.bits_allocated
    if header.signed and value >= whole // 2:
        return value - whole
    return value + whole if not header.signed and value < 0 else value
