"""Checking that a series is one regular stack of magnitude slices."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np

from fsmnet.data.formats.dicom.geometry import ORIENTATION_TOLERANCE, POSITION_TOLERANCE_MM, angle, depth, known, normal
from fsmnet.data.formats.dicom.headers import GEOMETRY, REPEATS, Header, Vector, parse_header, read_elements
from fsmnet.data.formats.dicom.packages import require
from fsmnet.data.formats.dicom.series import Series, plural
from fsmnet.data.formats.dicom.stored import check_amount, check_bits, not_magnitude
from fsmnet.errors import UserError

_SLICE_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.128": "PET",
    "1.2.840.10008.5.1.4.1.1.7": "secondary capture",
}


def checked(series: Series) -> list[Header]:
    """Headers of a series in the order of its files, once they make one regular stack.

    Raises:
        UserError: what is wrong, with numbers.
    """
    require("pydicom")
    headers = []
    for path in series.files:
        if not path.is_file():
            raise UserError(f"{path}: no such file, though it was there when the series was listed")
        header = None if (dataset := read_elements(path)) is None else parse_header(dataset, path)
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


def _check_kind(headers: list[Header], where: str) -> None:
    """One patient, study and size; grey values, one frame per file."""
    from pydicom.uid import UID

    if cut := [h for h in headers if h.rows < 1 or h.columns < 1]:
        raise UserError(
            f"{where}: {cut[0].path.name} is an image without Rows or Columns, cut short or damaged; copy it again"
        )
    for header in headers:
        check_amount(header)
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


def _check_geometry(headers: list[Header], where: str) -> None:
    """Every image says where it lies, and all lie the same way."""
    for header in headers:
        place = (header.position, header.orientation, header.spacing)
        if missing := [name for name, value in zip(GEOMETRY, place, strict=True) if value is None]:
            raise UserError(
                f"{where}: {header.path.name} has no usable {' and '.join(missing)}, so its place in space is unknown; "
                "export the original series again"
            )
        row, column = np.split(known(header.orientation), 2)
        lengths = [float(np.linalg.norm(vector)) for vector in (row, column)]
        product = float(row @ column)
        if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(product)) > ORIENTATION_TOLERANCE:
            raise UserError(
                f"{where}: {header.path.name}: ImageOrientationPatient has lengths {lengths[0]:.4f} and "
                f"{lengths[1]:.4f} and scalar product {product:.4f} instead of 1, 1 and 0; "
                "export the original series again"
            )
        if float(known(header.spacing).min()) <= 0:
            raise UserError(f"{where}: {header.path.name}: PixelSpacing {_mm(header.spacing)}; it must be above 0")
    spacings = Counter(_mm(h.spacing) for h in headers)
    if len(spacings) > 1:
        raise UserError(f"{where}: mixes pixel spacings of {_counts(spacings)}; keep those of one")
    groups: list[Header] = []
    angles: Counter[str] = Counter()
    for header in headers:
        near = next((g for g in groups if angle(g, header) <= ORIENTATION_TOLERANCE), None)
        if near is None:
            groups.append(header)
        angles[f"orientation {groups.index(near or header) + 1}"] += 1
    if len(groups) > 1:
        widest = max(angle(groups[0], g) for g in groups)
        raise UserError(
            f"{where}: mixes {len(groups)} orientations up to {np.degrees(widest):.1f} degrees apart "
            f"({_counts(angles)}); it is a localizer or a reformatted series: choose another, or keep one orientation"
        )


def _check_repeats(headers: list[Header], where: str) -> None:
    """One image per position."""
    uids = Counter(h.sop_uid for h in headers)
    if twice := [h.path.name for h in headers if uids[h.sop_uid] > 1]:
        raise UserError(f"{where}: the same image is there more than once ({', '.join(twice[:4])}); keep one copy")
    stacks: list[list[Header]] = []
    for header in headers:  # in order of position
        gap = np.inf if not stacks else abs(depth(header, stacks[-1][0]))
        if gap > POSITION_TOLERANCE_MM:
            stacks.append([header])
        else:
            stacks[-1].append(header)
    repeated = [stack for stack in stacks if len(stack) > 1]
    if not repeated:
        return
    count = f"{len(headers)} files at {len(stacks)} positions"
    for keyword, what in REPEATS.items():
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


def _check_magnitude(headers: list[Header], where: str) -> None:
    """Values are magnitudes, as far as headers tell, in bits that make sense."""
    for header in headers:
        kind, said = not_magnitude(header)
        if kind:
            article = "an" if kind == "imaginary" else "a"
            raise UserError(
                f"{where}: {header.path.name} has {said}, {article} {kind} image; give the magnitude series"
            )
        check_bits(header, where)


def _check_spacing(headers: list[Header], where: str) -> None:
    """Slices at equal steps along their normal."""
    if len(headers) < 2:
        return
    steps = np.array([depth(b, a) for a, b in pairwise(headers)])
    usual = float(np.median(steps))
    gaps = [k for k, step in enumerate(steps) if step > 1.5 * usual]
    if gaps:
        missing = sum(max(1, round(float(steps[k]) / usual) - 1) for k in gaps)
        shown = ", ".join(
            f"{steps[k]:.3f} mm between {headers[k].path.name} and {headers[k + 1].path.name}" for k in gaps[:4]
        )
        raise UserError(
            f"{where}: about {plural(missing, 'slice')} missing: the usual step is {usual:.3f} mm, but it is {shown}"
            f"{' and more' if len(gaps) > 4 else ''}; export the whole series again"
        )
    start, end = known(headers[0].position), known(headers[-1].position)
    n = len(headers) - 1
    line = [start + (end - start) * k / n for k in range(n + 1)]
    off = [float(np.linalg.norm(known(h.position) - p)) for h, p in zip(headers, line, strict=True)]
    if max(off) > POSITION_TOLERANCE_MM:
        worst = int(np.argmax(off))
        raise UserError(
            f"{where}: slices are not at equal steps: {steps.min():.3f} to {steps.max():.3f} mm, "
            f"{headers[worst].path.name} is {off[worst]:.3f} mm out of place; resample it to equal steps first"
        )
    shear = float(np.linalg.norm(end - start - depth(headers[-1], headers[0]) * normal(headers[0])))
    if shear > 2 * POSITION_TOLERANCE_MM:
        raise UserError(
            f"{where}: slices are shifted sideways by {shear / n:.3f} mm from one to the next, {shear:.3f} mm in all; "
            "resample it to a straight one first"
        )


def _mm(vector: Vector | None) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in known(vector)) + ")"


def _counts(counter: Counter[str]) -> str:
    shown = ", ".join(f"{what} ({plural(n, 'file')})" for what, n in counter.most_common(5))
    return f"{shown}, ..." if len(counter) > 5 else shown


def _natural(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return np.inf, text
