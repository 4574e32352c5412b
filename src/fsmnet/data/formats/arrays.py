"""NumPy files as volumes: ``.npy`` holds the slices, ``.npz`` the slices and, if wished, their place in space.

The array is ``(S, H, W)``: slice, row, column, the last axis phase-encoded. An ``.npz`` file names it ``image``, or
holds nothing else. Its entry ``affine``, ``(4, 4)``, takes indices (i, j, k) of row, column and slice to millimetres
(RAS+), as nibabel gives it for a NIfTI file whose array was turned by ``numpy.moveaxis(array, 2, 0)``. Without one, the
volume has no place in space: voxels of 1 mm at the origin.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fsmnet.data.values import magnitudes
from fsmnet.data.volume import Array, Samples, Volume, affine_fault
from fsmnet.errors import UserError
from fsmnet.files import NumpyFile, atomic_path, open_numpy

IMAGE, AFFINE, DESCRIPTION = "image", "affine", "description"


def read_array(path: Path) -> Volume:
    """Read ``.npy`` or ``.npz``; NaN, infinite and negative voxels become 0 and are counted.

    Raises:
        UserError: not such a file, damaged, pickled objects, complex values, another shape, an affine that is none, or
            nothing to reconstruct.
    """
    file = open_numpy(path)
    return volume_of(file.read(_image(file)), path, file.read(AFFINE) if AFFINE in file.names else None)


def volume_of(array: Any, path: Path, affine: Any = None) -> Volume:
    """A volume of an array ``(S, H, W)`` as a file holds it; its place is known if ``affine`` is given.

    Raises:
        UserError: see :func:`read_array`.
    """
    if array.dtype.kind == "c":
        raise UserError(
            f"{path}: holds {array.dtype} values; give a magnitude image, or k-space with --kspace instead of --target"
        )
    if array.dtype.kind not in "iuf":
        raise UserError(f"{path}: holds {array.dtype} values; give a real magnitude image")
    if array.ndim != 3 or min(array.shape) < 1:
        raise UserError(f"{path}: has {array.ndim} axes {array.shape}; give one volume (slices, rows, columns)")
    if affine is not None and (fault := affine_fault(affine)):
        raise UserError(f"{path}: its affine {fault}; correct it, or leave it out")
    values = magnitudes(np.ascontiguousarray(array), path)
    place = np.eye(4) if affine is None else np.asarray(affine, dtype=np.float64)
    return Volume(
        values.data, place, path, values.n_nan, values.n_negative, placed=affine is not None, doubts=values.doubts
    )


def write_array(data: Array | Samples, like: Volume, path: Path, description: str = "") -> None:
    """Write ``(S, H, W)`` as float32 or complex64 ``.npy``, or ``.npz`` with the affine if there is one, in one step.

    Args:
        data: the slices, of the size of ``like``; real or complex.
        like: the volume whose place in space the result takes.
        path: ``.npy``, which holds nothing but numbers, or ``.npz``.
        description: stored in ``.npz``.
    """
    image = np.ascontiguousarray(data, dtype=np.complex64 if np.iscomplexobj(data) else np.float32)
    with atomic_path(path) as temporary:
        if path.suffix == ".npy":
            np.save(temporary, image, allow_pickle=False)
        else:
            entries: dict[str, Any] = {IMAGE: image, DESCRIPTION: np.array(description)}
            if like.placed:
                entries[AFFINE] = like.affine
            np.savez(temporary, **entries)


def _image(file: NumpyFile) -> str:
    """The name of the entry that is the image."""
    names = [name for name in file.names if name not in (AFFINE, DESCRIPTION)]
    if IMAGE in names:
        return IMAGE
    if len(names) != 1:
        raise UserError(f"{file.path}: holds {', '.join(file.names) or 'no array'}; name the image {IMAGE!r}")
    return names[0]
