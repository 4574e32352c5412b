"""Where voxels lie: whether two volumes share a grid, and one brought onto the other's."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from fsmnet.data.volume import Volume
from fsmnet.errors import UserError, warn_of_each

logger = logging.getLogger(__name__)

AFFINE_TOLERANCE_MM = 1e-3


def on_one_grid(target: Volume, auxiliary: Volume, resample: bool) -> Volume:
    """The auxiliary on the target's grid; what either had to be repaired of is logged.

    Raises:
        UserError: different grids without ``resample``.
    """
    log_repairs(target, auxiliary)
    difference = grid_difference(target, auxiliary)
    if not difference:
        if auxiliary.placed != target.placed:
            lost, known = sorted((auxiliary, target), key=lambda volume: volume.placed)
            warn_of_each(logger, "%s: has no place in space; taken to lie on the grid of %s", lost.name, known.name)
        elif not target.placed and target.header is not None:
            warn_of_each(
                logger, "%s and %s: have no place in space; taken to lie on one grid", target.name, auxiliary.name
            )
        return auxiliary
    if not resample:
        remedy = "pass --resample to bring the auxiliary onto the target's grid"
        raise UserError(f"{difference}; {remedy if target.placed and auxiliary.placed else 'give them on one grid'}")
    moved = resample_to(auxiliary, target)
    logger.info("%s: resampled onto the grid of %s", auxiliary.name, target.name)
    return moved


def log_repairs(*volumes: Volume) -> None:
    """Say what the volumes had to be repaired of on reading, and what is doubtful about them; the same but once.

    A few negative voxels, as interpolation makes them in all files of a folder, are told of the first file alone.
    """
    for volume in volumes:
        for words in filter(None, (volume.repairs(), *volume.doubts)):
            if words in _TOLD:
                continue
            _TOLD.append(words)
            if volume.n_nan or words in volume.doubts:
                logger.warning(words)
            elif NEGATIVE not in _TOLD:
                _TOLD.append(NEGATIVE)
                logger.info("%s (%s)", words, NEGATIVE)  # no warning: more than a few are refused on reading
            else:
                logger.debug(words)


NEGATIVE = "interpolation makes a few; of further files -v tells"
_TOLD: list[str] = []  # of this program: a demonstration reads its scans twice


def grid_difference(a: Volume, b: Volume) -> str:
    """How two grids differ, in words with numbers; empty if they are the same.

    Where one has no place in space, only the sizes can be compared.
    """
    if a.shape != b.shape:
        return f"{a.name} is {_size(a)}, {b.name} is {_size(b)}"
    if not (a.placed and b.placed):
        return ""
    corners = np.array([[i, j, k, 1] for i in (0, a.shape[0]) for j in (0, a.shape[1]) for k in (0, a.shape[2])]).T
    apart = np.linalg.norm(((a.affine - b.affine) @ corners)[:3], axis=0).max()
    if not apart <= AFFINE_TOLERANCE_MM:  # so that no number at all is no agreement
        return f"{a.name} and {b.name} have the same size but lie up to {apart:.3g} mm apart"
    return ""


def resample_to(volume: Volume, reference: Volume) -> Volume:
    """A volume on another one's grid by linear interpolation; 0 outside its own field of view.

    Raises:
        UserError: one has no place in space, or the two fields of view do not overlap.
    """
    import nibabel as nib
    from nibabel.processing import resample_from_to

    require_place(volume, reference)
    image = nib.Nifti1Image(np.moveaxis(volume.data, 0, 2), volume.affine)
    moved = resample_from_to(image, (reference.shape, reference.affine), order=1, cval=0.0)
    data = np.ascontiguousarray(np.moveaxis(moved.get_fdata(dtype=np.float32), 2, 0))
    if data.max() <= 0:
        raise UserError(f"{volume.name} and {reference.name} do not overlap in space; are they of one exam?")
    return replace(volume, data=data, affine=reference.affine, header=reference.header)


def require_place(*volumes: Volume) -> None:
    """Refuse volumes of which nobody knows where they lie.

    Raises:
        UserError: one has no place in space.
    """
    for volume in volumes:
        if not volume.placed:
            raise UserError(
                f"{volume.name}: has no place in space, so nothing can be moved onto it, nor it onto anything; "
                "give a file that tells it: DICOM, NIfTI with an sform or qform, or .npz with an entry affine"
            )


def _size(volume: Volume) -> str:
    return " x ".join(map(str, volume.shape))
