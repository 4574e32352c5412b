"""How wrong is the image, voxel by voxel? Estimators of ``||x'| - |x||`` that need no reference.

What can be computed without learning:

- :func:`residual`, what the reconstruction changed: ``||x'| - |A^H y||``;
- :func:`edges`, nearness to an edge of the image: most that is missing of k-space belongs to edges;
- :func:`spread`, the standard deviation over images of the same scan: from fewer lines, or mirrored.

:class:`ErrorNetwork` is a small network fitted to the errors of a frozen one ("Learning to predict error for MRI
reconstruction", Hu et al., MICCAI 2021). It belongs to the weights it was fitted to, and lies in their checkpoint. With
e the error, it says m, the e that minimises the mean of ``log m + e / m``: the expected error.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsmnet.models.unrolled import contrast_scale

DILATIONS = (1, 2, 4)
PART = 0.05  # of the image's brightness: the unit of the network's output
EDGE = 3.0  # pixels over which an edge is near


class ErrorNetwork(nn.Module):
    """Expected error of an image from what is at hand once it is made.

    Works on pixels rearranged by 2 x 2, at half the resolution; brightness does not matter, size neither.

    Args:
        inputs: number of images that it looks at, :func:`looked_at`.
        width: channels.
    """

    def __init__(self, inputs: int = 4, width: int = 24) -> None:
        super().__init__()
        self.inputs, self.width = inputs, width
        self.first = nn.Conv2d(4 * inputs + 1, width, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(width, width, 3, padding=d, dilation=d) for d in DILATIONS)
        self.last = nn.Conv2d(width, 4, 3, padding=1)

    def forward(self, images: Tensor, share: Tensor) -> Tensor:
        """Images ``(B, inputs, H, W)`` and the share of measured lines ``(B,)`` to errors ``(B, H, W)``, unit PART."""
        height, width = images.shape[-2:]
        x = F.pixel_unshuffle(F.pad(images, (0, width % 2, 0, height % 2)), 2)
        known = -share.clamp_min(1e-3).log2()[:, None, None, None].expand(-1, 1, *x.shape[-2:])
        x = F.leaky_relu(self.first(torch.cat([x, known], 1)), 0.1)
        for block in self.blocks:
            x = x + F.leaky_relu(block(x), 0.1)
        return F.softplus(F.pixel_shuffle(self.last(x), 2)[:, 0, :height, :width])


def looked_at(image: Tensor, zero_filled: Tensor, auxiliary: Tensor, *more: Tensor) -> tuple[Tensor, Tensor]:
    """What :class:`ErrorNetwork` gets of slices, and the unit of its output.

    Args:
        image: reconstructed magnitudes, ``(B, H, W)``.
        zero_filled: magnitudes, likewise.
        auxiliary: likewise; zeros where there is none.
        more: further images in the unit of ``image``, such as the auxiliary's influence.

    Returns:
        ``(B, inputs, H, W)``, and ``(B, 1, 1)`` in the unit of ``image``.
    """
    scale = contrast_scale(zero_filled)
    images = [image, zero_filled, *more]
    shown = torch.stack([*(one / scale for one in images), auxiliary / contrast_scale(auxiliary)], 1)
    return shown, PART * scale


def residual(image: Tensor, zero_filled: Tensor) -> Tensor:
    """What the reconstruction changed, ``(..., H, W)``."""
    return (image - zero_filled).abs()


def edges(image: Tensor) -> Tensor:
    """Nearness to an edge, ``(..., H, W)``: 1 on it, ``1 / e`` at :data:`EDGE` pixels.

    An edge is where the gradient is above the 90th percentile of those within the object.
    """
    from scipy import ndimage

    found = []
    for one in image.reshape(-1, *image.shape[-2:]).numpy():
        steepness = ndimage.gaussian_gradient_magnitude(one, 1.0)
        inside = one > 0.1 * np.percentile(one, 99)
        edge = steepness > np.percentile(steepness[inside], 90) if inside.any() else np.zeros(one.shape, dtype=bool)
        found.append(np.exp(-ndimage.distance_transform_edt(~edge) / EDGE))
    return torch.from_numpy(np.stack(found)).float().reshape(image.shape)


def spread(image: Tensor, others: Tensor) -> Tensor:
    """Root mean square distance of other images ``(n, ..., H, W)`` of the same scan from this one."""
    return (others - image).square().mean(0).sqrt()
