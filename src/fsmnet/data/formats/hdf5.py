"""A fastMRI HDF5 file as a whole: its reference images as a volume, its k-space; columns are phase-encoded.

The file's ISMRMRD header tells the size of a voxel, nothing tells where the patient lay: such a volume has no place in
space.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from fsmnet.data.formats.arrays import volume_of
from fsmnet.data.formats.fastmri import RECONSTRUCTIONS, read_fastmri
from fsmnet.data.formats.opened import contents, opened
from fsmnet.data.formats.raw import KSpace
from fsmnet.data.volume import Volume
from fsmnet.errors import UserError


def read_hdf5(path: Path) -> Volume:
    """Read ``reconstruction_rss`` or ``reconstruction_esc``; NaN, infinite and negative voxels become 0, counted.

    Raises:
        UserError: not HDF5, damaged, k-space without images, another layout, or nothing to reconstruct.
    """
    with opened(path) as file:
        names = set(file)
        image = next((name for name in RECONSTRUCTIONS if isinstance(file.get(name), h5py.Dataset)), None)
        array = None if image is None else contents(file[image], path)
    if array is None:
        if names & {"kspace", "dataset"}:
            what = "fastMRI k-space" if "kspace" in names else "ISMRMRD data"
            raise UserError(f"{path}: holds {what} and no image; give k-space with --kspace, and images as NIfTI")
        raise UserError(f"{path}: has no {' or '.join(RECONSTRUCTIONS)}; give a file in fastMRI's format, or NIfTI")
    volume = volume_of(array, path)
    volume.phase_encode = "columns"
    voxel = read_fastmri(path).voxel if {"kspace", "ismrmrd_header"} <= names else None
    if voxel is not None:
        volume.affine = np.diag([*voxel, 1.0])
    return volume


def read_kspace(path: Path) -> KSpace:
    """Read the dataset ``kspace``, with the mask of a test file.

    Raises:
        UserError: damaged, or of another layout.
    """
    with opened(path) as content:
        is_fastmri, names = isinstance(content.get("kspace"), h5py.Dataset), ", ".join(content) or "nothing"
    if not is_fastmri:
        raise UserError(
            f"{path}: holds {names}; k-space is fastMRI's dataset 'kspace' or an ISMRMRD group with 'xml' and 'data'"
        )
    file = read_fastmri(path)
    first, end = file.lines
    with opened(path) as content:
        array = contents(content["kspace"], path)
    data = np.ascontiguousarray(array if file.multicoil else array[:, None], dtype=np.complex64)
    mask = file.mask
    if mask is not None:  # drawn over the whole matrix, whose borders the scanner pads
        place = np.arange(file.columns)
        mask = mask & (place >= first) & (place < end)
    reach = file.columns // 2 - first, end - 1 - file.columns // 2
    return KSpace(data, path, file.image_size, mask, knows_axis=True, reach=reach)
