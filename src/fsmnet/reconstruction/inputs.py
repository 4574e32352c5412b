"""What a reconstruction needs before the network: options that make sense, and both scans on one grid.

Nothing here imports PyTorch but for k-space, so that files can be read while it is imported.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from fsmnet.data.formats import format_of, is_ours, kspace_format, read_kspace, volume_stem
from fsmnet.data.formats.raw import KSpace
from fsmnet.data.grid import grid_difference, log_repairs, on_one_grid, resample_to
from fsmnet.data.quadrants import require_in_place
from fsmnet.data.register import register_rigid, similarity_in_place
from fsmnet.data.same import require_two
from fsmnet.data.scan import Scan, check_output, read_scan, warn_if_strange
from fsmnet.data.volume import Array, Volume, crop_begin, turn
from fsmnet.errors import UserError, warn_of_each
from fsmnet.files import parse_json, require_writable
from fsmnet.inference.alone import only_one
from fsmnet.inference.options import check_batch
from fsmnet.options import portable
from fsmnet.reconstruction.exam_table import TABLE
from fsmnet.reconstruction.facts import PairFacts, facts_of
from fsmnet.reconstruction.options import ReconstructConfig

logger = logging.getLogger(__name__)

AUTO = Path("auto")  # of --mask
# Images of what may be believed that may stand beside a result: the word that their names end with, what they hold.
MAPS = {
    "error": "expected error",
    "influence": "influence of the auxiliary",
    "loss": "loss of small structure",
}


@dataclass(frozen=True)
class Inputs:
    """What :func:`compute` needs of the files.

    Attributes:
        config: the options.
        target: the scan to reconstruct.
        auxiliary: the other contrast, on the target's grid; None without one.
        kspace: what was measured of the target; None if it is an image.
        registration: how the auxiliary was moved, and how much it tells about the target.
        similarity: works out the latter where it is not known yet; else None.
        facts: what is known of both scans, for the comparison with what the network was made for.
        sources: what the record says of the files.
        seconds: time that reading took.
    """

    config: ReconstructConfig
    target: Scan
    auxiliary: Volume | None
    kspace: KSpace | None
    registration: dict[str, Any]
    similarity: Callable[[], float | None] | None
    facts: PairFacts
    sources: list[dict[str, Any]]
    seconds: float


def read_inputs(config: ReconstructConfig) -> Inputs:
    """First stage: both scans on one grid."""
    started = time.perf_counter()
    target_file, auxiliary_file = input_files(config)
    if auxiliary_file is None:
        target, kspace = _alone(config, target_file)
        log_repairs(target.volume)
        facts, sources = facts_of(config, target, None, None), [_source(target, config)]
        seconds = time.perf_counter() - started
        return Inputs(config, target, None, kspace, {"Kind": "none; no auxiliary"}, None, facts, sources, seconds)
    # A DICOM auxiliary says itself how it was phase-encoded, which may well be the other way; a file's axes are taken
    # for those of the target.
    told = None if auxiliary_file.is_dir() or config.kspace is None else config.phase_encode
    with ThreadPoolExecutor(1) as beside:  # one file is decompressed while the other is
        reading = beside.submit(read_scan, auxiliary_file, config.auxiliary_series, told, follow=True)
        if target_file.is_dir() or auxiliary_file.is_dir():
            wait([reading])  # pydicom is kept quiet by settings that all threads share
        if config.kspace is None:
            target, kspace = read_scan(target_file, config.target_series, config.phase_encode), None
            scan = reading.result()
            if target.turned and scan.series is None:
                scan = Scan(turn(scan.volume), None, True, scan.volume.header)
            warn_if_strange(target, scan, registered=config.register != "none")
        else:
            kspace = read_kspace(config.kspace, config.phase_encode == "rows")
            target, scan = place(kspace, reading.result(), config.phase_encode == "rows")
    require_two(target.volume, scan.volume)
    auxiliary, registration, similarity = _auxiliary(config, target.volume, scan.volume)
    lying = auxiliary
    if config.register != "none":  # by which it may have been moved to where the target should not be
        with suppress(UserError):  # no overlap
            lying = resample_to(scan.volume, target.volume)
    require_in_place(target.volume, lying, kspace is not None, target.turned)
    facts = facts_of(config, target, scan, auxiliary)
    sources = [_source(target, config), _source(scan, config)]
    seconds = time.perf_counter() - started
    return Inputs(config, target, auxiliary, kspace, registration, similarity, facts, sources, seconds)


def _alone(config: ReconstructConfig, file: Path) -> tuple[Scan, KSpace | None]:
    """The target without an auxiliary; a k-space that knows no place has none."""
    if config.kspace is None:
        return read_scan(file, config.target_series, config.phase_encode), None
    turned = config.phase_encode == "rows"
    kspace = read_kspace(file, turned)
    if kspace.affine is not None:
        return Scan(Volume(magnitude(kspace), kspace.affine, kspace.source)), kspace
    return Scan(Volume(magnitude(kspace), np.eye(4), kspace.source, placed=False), None, turned), kspace


def magnitude(kspace: KSpace) -> Array:
    """Root sum of squares of what the coils measured, ``(S, H, W)``, the reconstructed part of the field of view."""
    import torch

    from fsmnet.physics.coils import root_sum_of_squares
    from fsmnet.physics.fourier import ifft2c

    rows, columns = window(kspace)
    return np.stack([root_sum_of_squares(ifft2c(torch.from_numpy(one)))[rows, columns].numpy() for one in kspace.data])


def place(kspace: KSpace, auxiliary: Scan, turned: bool) -> tuple[Scan, Scan]:
    """The scan that a k-space makes, and the auxiliary with its axes as the k-space has them.

    The image is the root sum of squares of what was measured; the result takes its place in space. That is the file's
    own, or, where the file knows none and the sizes agree, the auxiliary's.

    Args:
        kspace: as read, phase-encode axis last.
        auxiliary: as read.
        turned: whether rows and columns of the k-space were changed over on reading.

    Raises:
        UserError: coils that were read as slices, as the auxiliary shows.
    """
    helper = auxiliary.volume
    if kspace.affine is None:  # no geometry but the order of the axes
        if auxiliary.turned:
            helper = replace(turn(helper), header=auxiliary.header)
        header = helper.header
        if turned:
            helper = turn(helper)
        auxiliary = replace(auxiliary, volume=helper, turned=turned, header=header if turned else None)
    slices = len(kspace.data)
    if kspace.coils == 1 and slices > 1 and len(helper.data) != slices and not kspace.knows_axis:
        raise UserError(
            f"{kspace.source}: three axes are read as {slices} slices, but {helper.name} has {len(helper.data)}; if "
            "they are coils, save the array with four axes (slices, coils, rows, columns)"
        )
    image = magnitude(kspace)
    if kspace.affine is not None:
        return Scan(Volume(image, kspace.affine, kspace.source)), auxiliary
    if image.shape != helper.data.shape:
        return Scan(Volume(image, np.eye(4), kspace.source, placed=False)), auxiliary
    if helper.placed:
        warn_of_each(logger, "%s: has no place in space; taken to lie on the grid of %s", kspace.source, helper.name)
    volume = Volume(image, helper.affine, kspace.source, header=helper.header, placed=helper.placed)
    return Scan(volume, None, turned, auxiliary.header), auxiliary


def window(kspace: KSpace) -> tuple[slice, slice]:
    """Rows and columns of the matrix that make the reconstructed image: its middle, as fastMRI crops."""
    begins = [crop_begin(whole, part) for whole, part in zip(kspace.data.shape[-2:], kspace.size, strict=True)]
    rows, columns = (slice(begin, begin + part) for begin, part in zip(begins, kspace.size, strict=True))
    return rows, columns


def mask_path(out: Path) -> Path:
    """Where the mask of a result is written."""
    return out.with_name(f"{volume_stem(out)}_mask.npz")


def picture_path(out: Path) -> Path:
    """Where the picture of a result is written."""
    return out.with_name(f"{volume_stem(out)}_picture.png")


def sidecar_path(out: Path) -> Path:
    """Where the record of a result is written."""
    return out.with_name(f"{volume_stem(out)}.json")


def beside(out: Path, name: str) -> Path:
    """Where another image of a result is written: beside it, in the same form."""
    stem = volume_stem(out)
    return out.with_name(f"{stem}_{name}{out.name[len(stem) :]}")


def complex_path(out: Path) -> Path:
    """Where the complex image of a result is written."""
    return beside(out, "complex")


def written_paths(config: ReconstructConfig) -> list[Path]:
    """Everything that a reconstruction writes, or removes since it was another's."""
    out = config.out
    paths = [out, mask_path(out), sidecar_path(out), picture_path(out), *(beside(out, name) for name in MAPS)]
    return paths if config.kspace is None else [*paths, complex_path(out)]


def check(config: ReconstructConfig) -> None:
    """Everything that can be refused before reading."""
    if config.processes != 1 or config.cluster is not None:
        raise UserError("--processes and --cluster share a list; give --pairs, or leave them out")
    target, auxiliary = input_files(config)
    if config.kspace is not None:  # before the result's name, which goes by it
        kspace_format(config.kspace)
    check_output(config.out, target)
    form = format_of(config.out)
    if config.complex and form is not None and not form.complex_values:
        raise UserError(f"{config.out}: a submission holds magnitudes; leave --complex out, or end the name in .nii.gz")
    written = written_paths(config)
    for name in MAPS:
        check_output(beside(config.out, name), target)
    # Another result's mask may be given, and is written as it was.
    given = [(file, path) for file in (target, auxiliary, config.maps) for path in written]
    for file, path in (*given, (config.mask, config.out)):
        if file is not None and file.exists() and path.exists() and file.samefile(path):
            raise UserError(f"{path}: is one of the inputs; choose another --out")
    _keep_others(config, (target, auxiliary))
    for path in written:
        if path.exists() and not path.is_dir() and not config.overwrite:
            raise UserError(f"{path}: exists already; pass --overwrite to replace it, or choose another --out")
    require_writable(config.out.parent, config.out)
    check_options(config)
    if auxiliary is not None and target.is_file() and auxiliary.is_file() and target.samefile(auxiliary):
        raise UserError(f"{target}: is both target and auxiliary; give two contrasts of one exam")


@contextmanager
def alone_at(config: ReconstructConfig) -> Iterator[None]:
    """Hold the place of one result while it is made: no other process makes it, nor a list in its folder.

    Raises:
        UserError: another does, or whatever :func:`check` refuses.
    """
    check(config)
    names = [path.name for path in written_paths(config)]
    with only_one(config.out.absolute().parent, names, config.out.name, beside=(TABLE,)):
        check(config)  # again: another may have made it meanwhile
        yield


def _keep_others(config: ReconstructConfig, inputs: tuple[Path | None, ...]) -> None:
    """Refuse to replace a JSON file that is an input's own, or anything but a record of ours, whatever is asked for."""
    place = sidecar_path(config.out)
    if not os.path.lexists(place):
        return
    for file in inputs:
        if (
            file is not None
            and file.is_file()
            and (own := sidecar_path(file)).exists()
            and place.exists()
            and own.samefile(place)
        ):
            raise UserError(f"{place}: belongs to {file}, an input; choose another --out")
    if read_record(place) is None and not is_ours(config.out):  # a damaged record beside an image of ours
        raise UserError(f"{place}: exists already and is no record of this program; choose another --out")


def read_record(path: Path) -> dict[str, Any] | None:
    """The record in a JSON file; None if there is none, or the file is no record of ours."""
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    kinds = {"Sources": list, "Model": dict, "Options": dict, "Mask": dict | NoneType}
    ours = isinstance(record, dict) and all(n in record and isinstance(record[n], kind) for n, kind in kinds.items())
    return record if ours else None


def input_files(config: ReconstructConfig) -> tuple[Path, Path | None]:
    """The target's image or k-space, and the auxiliary if there is one.

    Raises:
        UserError: there is no target, or there are two; no auxiliary, but options that move one.
    """
    if config.target is not None and config.kspace is not None:
        raise UserError("give --target, an image, or --kspace, not both")
    target = config.target or config.kspace
    if target is None:
        raise UserError("TARGET (or --kspace) is missing; name the scan to reconstruct")
    moved = config.resample or config.register != "none" or config.auxiliary_series is not None
    if config.auxiliary is None and (moved or config.target_is == "zero-filled"):
        raise UserError("--auxiliary is missing; give the fully sampled contrast of the same exam")
    return target, config.auxiliary


def check_options(config: ReconstructConfig) -> None:
    """Options that no scan could be reconstructed with."""
    check_batch(config.batch)
    if config.acceleration is not None and not config.acceleration > 1:
        raise UserError(f"acceleration must be more than 1, not {config.acceleration:g}")
    if isinstance(config.check, int) and not 1 <= config.check <= 5:
        raise UserError(f"check takes 1 to 5 folds, or off, not {config.check}")
    if (config.data_consistency == "soft") != (config.noise_weight is not None):
        raise UserError("--data-consistency soft and --noise-weight belong together; give both or neither")
    if config.noise_weight is not None and not (math.isfinite(config.noise_weight) and config.noise_weight > 0):
        raise UserError(f"noise_weight must be a finite number above 0, not {config.noise_weight:g}")
    if config.noise is not None and not (math.isfinite(config.noise) and config.noise >= 0):
        raise UserError(f"noise must be a finite number, 0 or more, not {config.noise:g}")
    if config.kspace is None:
        _check_image(config)
    elif config.pairs is not None:
        raise UserError("a list of exams names images; leave --kspace out, or --pairs")
    elif config.target_is != "full" or config.target_series is not None:
        raise UserError("--target-is and --target-series describe an image; leave them out with --kspace")
    if config.mask is not None and drawn_options(config):
        raise UserError("give a mask file or the options to draw one, not both")


def _check_image(config: ReconstructConfig) -> None:
    """Options that do not go with an image."""
    given = (("maps", config.maps is not None), ("complex", config.complex), ("noise", config.noise is not None))
    for name, there in given:
        if there:
            raise UserError(f"--{name} goes with k-space, and a magnitude image has none; give --kspace")
    if config.data_consistency == "weighed":
        raise UserError("--data-consistency weighed reckons with a scanner's noise and phase; give --kspace, or hard")
    if config.mask == AUTO:
        raise UserError("--mask auto infers the lines from k-space; give --kspace, or a mask file")
    if config.target_is == "zero-filled" and (config.mask is not None or drawn_options(config)):
        raise UserError("a zero-filled target is taken as it is; leave the mask and acceleration options out")
    if config.target_is == "zero-filled" and config.data_consistency in ("hard", "soft"):
        raise UserError(
            "a zero-filled target comes without its k-space, so no measured line can be put back; "
            "leave --data-consistency out"
        )


def drawn_options(config: ReconstructConfig) -> bool:
    """Whether an option asks for a mask to be drawn."""
    values = (config.acceleration, config.mask_kind, config.center_fraction, config.mask_seed)
    return any(value is not None for value in values)


def _auxiliary(
    config: ReconstructConfig, target: Volume, auxiliary: Volume
) -> tuple[Volume, dict[str, Any], Callable[[], float | None] | None]:
    """The auxiliary on the target's grid, how it was moved, and what works out how much it tells about the target.

    The last is None after a registration, which knows it.
    """
    if config.register == "none":
        if grid_difference(target, auxiliary) and not grid_difference(target, turn(auxiliary)):
            auxiliary = turn(auxiliary)  # the same grid, phase-encoded along the other axis
        moved = on_one_grid(target, auxiliary, config.resample)
        resampled = moved is not auxiliary
        # One of them may have no place in space; they have one grid in any case.
        similarity = partial(similarity_in_place, replace(moved, affine=target.affine), target, resampled)
        kind = "none; resampled where the headers place it" if resampled else "none; the grids agree"
        return moved, {"Kind": kind}, similarity
    registered = register_rigid(auxiliary, target)
    record = {
        "Kind": "rigid, Mattes mutual information",
        "Transform": registered.transform.tolist(),
        "RotationDegrees": registered.rotation,
        "ShiftMillimetres": registered.shift,
        "SimilarityBefore": registered.similarity_before,
        "SimilarityAfter": registered.similarity_after,
    }
    return registered.volume, record, None


def _source(scan: Scan, config: ReconstructConfig) -> dict[str, Any]:
    volume = scan.volume
    hidden = scan.series is None or config.anonymise
    return {
        "file": "" if config.anonymise else portable(volume.source),
        "series": None if hidden else str(scan.series),
        "sha256": scan.sha256(),
        "shape": list(volume.shape),
        "voxels_nan_set_to_zero": volume.n_nan,
        "voxels_negative_set_to_zero": volume.n_negative,
        "maximum": volume.maximum,
        "doubts": list(volume.doubts),
    }
