"""How wrong is the image, voxel by voxel? Estimators of ``||x'| - |x||`` that need no reference.

What can be computed without learning:

- :func:`residual`, what the reconstruction changed: ``||x'| - |A^H y||``;
- :func:`edges`, nearness to an edge of the image: most that is missing of k-space belongs to edges;
- :func:`spread`, the standard deviation over images of the same scan: from fewer lines, or mirrored.

:class:`ErrorNetwork` is a small network fitted to the errors of a frozen one ("Learning to predict error for MRI
reconstruction", Hu et al., MICCAI 2021). It belongs to the weights it was fitted to, and lies in their checkpoint. With
e the error and e_0 its root mean square in a slice, it says the m that minimises the mean of

    log m + e / m + ((e - m) / e_0)^2.

Both parts are least where m is the expected error; the first keeps m above 0, the second makes large errors count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsmnet.checkpoint import Header, header_of
from fsmnet.errors import UserError, first_line
from fsmnet.inference.slices import progress_bar
from fsmnet.models.unrolled import contrast_scale
from fsmnet.physics.holdout import Columns, without
from fsmnet.reconstruction.again import Again
from fsmnet.trust.between import between

DILATIONS = (1, 2, 4)
PART = 0.05  # of the image's brightness: the unit of the network's output, and of what it sees of changes
EDGE = 3.0  # pixels over which an edge is near
SMOOTH = 1.0  # pixels, of a Gaussian over squared changes


class ErrorNetwork(nn.Module):
    """Expected error of an image from what is at hand once it is made.

    Works on pixels rearranged by 2 x 2, at half the resolution; brightness does not matter, size neither.

    Args:
        inputs: number of images that it looks at, :func:`looked_at`.
        width: channels.
    """

    def __init__(self, inputs: int = 5, width: int = 24) -> None:
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
        more: further images in the unit of ``image``: the auxiliary's influence and the spread, :func:`smoothed`.

    Returns:
        ``(B, inputs, H, W)``, and ``(B, 1, 1)`` in the unit of ``image``.
    """
    scale = contrast_scale(zero_filled)
    unit = PART * scale
    changes = [one / unit for one in more]
    shown = torch.stack([image / scale, zero_filled / scale, *changes, auxiliary / contrast_scale(auxiliary)], 1)
    return shown, unit


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
        edge = np.zeros(one.shape, dtype=bool)
        if inside.any():
            edge = steepness >= max(float(np.percentile(steepness[inside], 90)), 1e-12)
        found.append(np.exp(-ndimage.distance_transform_edt(~edge) / EDGE))
    return torch.from_numpy(np.stack(found)).float().reshape(image.shape)


def spread(image: Tensor, others: Tensor) -> Tensor:
    """Root mean square distance of other images ``(n, ..., H, W)`` of the same scan from this one."""
    return (others - image).square().mean(0).sqrt()


def smoothed(change: Tensor, sigma: float = SMOOTH) -> Tensor:
    """Root of the mean square around each pixel, ``(..., H, W)``: the size of an error, not its sign and place."""
    from scipy import ndimage

    squares = change.double().square().numpy()
    around = (0,) * (change.dim() - 2) + (sigma, sigma)
    return torch.from_numpy(ndimage.gaussian_filter(squares, around)).clamp_min(0).sqrt().float()


def spread_over_folds(
    again: Again, sets: Sequence[Columns], slices: Sequence[int], made: Mapping[int, Sequence[Tensor]] | None = None
) -> Tensor:
    """:func:`spread` of a reconstruction over those from the lines that folds leave, ``(m, H, W)``; a pass for each.

    Args:
        again: with its result and an acquisition.
        sets: the lines that each fold keeps back, of :func:`fsmnet.physics.holdout.folds`.
        slices: which ``m``.
        made: slice -> its images ``(1, H, W)`` from the lines that each fold leaves, where they are there already.
    """
    result, place = again.result, again.measured.place[1]
    assert result is not None
    found = []
    for position in progress_bar(range(len(slices)), "from fewer lines", "slice"):
        number = slices[position]
        images = (made or {}).get(number)
        if images is None:
            acquisition = again.lines(number)
            images = [again.image(number, without(acquisition, columns)) for columns in sets]
        others = [image[0].abs()[..., place] for image in images]
        found.append(spread(result[number], torch.stack(others)))
    return torch.stack(found)


@dataclass(frozen=True)
class Expected:
    """The error that is expected of a reconstruction.

    Attributes:
        values: of ``||x'| - |x||``, ``(n, H, W)`` in the unit of the images.
        estimator: how it was found.
    """

    values: Tensor
    estimator: str


LEARNED, BY_SPREAD = "error network", "spread over folds, scaled by the hold-out check"


def expected_error(
    again: Again, change: Tensor | None, apart: Tensor, slices: Sequence[int], missing: float
) -> Expected | None:
    """The error to expect of a reconstruction: by the network that belongs to its weights, else by the spread alone.

    Args:
        again: with its result and an acquisition.
        change: what a blank auxiliary changes, ``(m, H, W)``; None without an auxiliary.
        apart: :func:`spread` over the folds of the hold-out check, ``(m, H, W)``.
        slices: which ``m`` of all slices these are of.
        missing: energy of a slice's error by the hold-out check; NaN if there is none.

    Returns:
        None where neither can tell.
    """
    header = Header({}) if again.model is None else header_of(again.model)
    count = len(again.measured.zero_filled)
    near = between(smoothed(apart), slices, count)
    if header.error_network:
        around = None if change is None else between(smoothed(change), slices, count)
        return Expected(_learned(again, around, near, error_network(header.error_network)), LEARNED)
    energy = near.double().square().sum()
    if not (math.isfinite(missing) and energy > 0):
        return None
    assert again.measured.acquisition is not None
    # Only what lies along the image's phase shows in the magnitude: half, unless there is no phase.
    shown = missing * (1.0 if again.measured.acquisition(0).real else 0.5) * len(near)
    return Expected(near * (shown / energy).sqrt().float(), BY_SPREAD)


def error_network(weights: Mapping[str, Tensor]) -> ErrorNetwork:
    """The network of a checkpoint's tensors.

    Raises:
        UserError: they are those of another network.
    """
    try:
        width, channels = weights["first.weight"].shape[:2]
        network = ErrorNetwork((channels - 1) // 4, width)
        network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    except (KeyError, RuntimeError, ValueError) as error:
        raise UserError(f"the checkpoint's error network is damaged ({first_line(error)}); fit it again") from None
    return network.eval()


def _learned(again: Again, change: Tensor | None, near: Tensor, network: ErrorNetwork) -> Tensor:
    """By the error network, a slice at a time; ``change`` and ``near``, the spread, are smoothed."""
    result, measured = again.result, again.measured
    assert result is not None
    assert measured.mask is not None
    share = torch.tensor([measured.mask.columns.mean()], dtype=torch.float32)
    found = []
    for number, image in enumerate(result):
        blank = torch.zeros_like(image)
        auxiliary = blank if again.auxiliary is None else again.auxiliary[number][..., measured.place[1]]
        zero_filled = measured.zero_filled[number].abs()
        influence = blank if change is None else change[number]
        shown = [one[None] for one in (image, zero_filled, auxiliary, influence, near[number])]
        images, unit = looked_at(*shown)
        with torch.inference_mode():
            found.append((network(images, share) * unit)[0])
    return torch.stack(found)
