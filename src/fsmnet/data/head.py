"""Where the head is: most of an image is air, whose scores say nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

SHARE = 0.1  # of the brightness below which a voxel is air
RULE = (
    "voxels above a tenth of the 99th percentile of the reference's voxels above zero; the largest connected part, "
    "with holes of each slice filled"
)


def head_mask(reference: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """The head (or knee) in a reference ``(S, H, W)``, bool of the same shape, by :data:`RULE`; all if there is none.

    Noise of the air stays below the bound; what is dark within the head, such as fluid in FLAIR, is a hole.
    """
    from scipy import ndimage

    bright = reference > 0
    if not bright.any():
        return np.ones(reference.shape, dtype=bool)
    above = reference > SHARE * float(np.percentile(reference[bright], 99))
    labels, count = ndimage.label(above)
    if count > 1:
        above = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    return np.stack([ndimage.binary_fill_holes(one) for one in above])
