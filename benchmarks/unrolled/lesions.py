"""What only one contrast shows: inserted lesions, and the share of their contrast in a reconstruction.

The same slice is reconstructed with and without the lesions, from the same lines with the same noise. Around every
lesion the difference of the two results is compared with the difference of the two references:

    kept  = <x' - x, t' - t> / <t' - t, t' - t>     lesion in the target only (1 is right, 0 is lost)
    false = <x' - x, l> / <l, l>                    lesion l in the auxiliary only (0 is right), as a share of its size
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fsmnet.data.augment import ellipses, places

SIZE = 0.3  # of the maximum
RADII = (2.0, 5.0)


def place(image: Tensor, number: int, seed: int, maximum: float, radii: tuple[float, float] = RADII) -> Tensor:
    """Signed lesions inside the head of a slice, apart from one another; ``(n, H, W)`` with n <= number.

    Args:
        image: ``(H, W)``, the contrast they are put into.
        number: how many are tried.
        seed: of places, shapes and signs.
        maximum: of the volume; a lesion changes it by ``SIZE`` times this.
        radii: in pixels.
    """
    rng = np.random.default_rng(seed)
    head = image > 0.1 * maximum
    inside = torch.nn.functional.avg_pool2d(head.float()[None], 9, 1, 4)[0] > 0.8
    free = inside & head
    rows, columns = places((image.shape[-2], image.shape[-1]), image.device)
    found = []
    for _ in range(number):
        spots = free.nonzero()
        if not len(spots):
            break
        row, column = spots[int(rng.integers(len(spots)))].tolist()
        a, b = rng.uniform(*radii), rng.uniform(*radii)
        shape = torch.tensor([a, b, rng.uniform(0, np.pi), 0.5], device=image.device)
        centre = torch.stack([rows[row, 0], columns[0, column]])
        value = float(image[row, column]) / maximum
        dark = value > SIZE and (rng.random() < 0.5 or value > 1 - SIZE)
        found.append((-1 if dark else 1) * SIZE * maximum * ellipses(centre, shape, rows, columns))
        free = free & ((rows - rows[row]).abs().expand_as(free) + (columns - columns[:, column]).abs() > 4 * radii[1])
    return torch.stack(found) if found else image.new_zeros(0, *image.shape)


def shares(difference: Tensor, lesions: Tensor, true: Tensor | None = None) -> Tensor:
    """Of each lesion ``(n, H, W)`` the share found in the difference of two results, ``(H, W)``.

    Args:
        difference: of the results' magnitudes.
        lesions: from :func:`place`.
        true: difference of the references (an image does not get darker than 0); the sum of the lesions by default.
    """
    near = lesions.abs() > 0.02 * lesions.abs().amax((-2, -1), keepdim=True)
    expected = (lesions if true is None else true[None]) * near
    return (difference[None] * expected).sum((-2, -1)) / expected.square().sum((-2, -1)).clamp_min(1e-12)
