"""Training samples for a k-space network out of magnitude slices: parameters drawn in one function, used in another.

A pair of slices becomes a pair of images (:func:`augment`) by flips, transposition, shift, rotation and zoom, a curve
of intensities and a shading for each contrast; by *structures that only one contrast shows*, or both with different
contrast, so that a network learns neither to lose nor to copy them; and by an auxiliary that is missing, of another
sample, moved, blurred or noisy. :func:`measure` then simulates the scan of it: smooth phase, coils, a mask, noise. Only
grain and noise themselves are drawn where they are used, since they are as large as the images.

Images are ``(B, ...)`` with intensities from 0 to about 1, the maximum of the volume. Every function works on any
device without waiting for it. Sizes are in pixels, places are counted from the middle of the slice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.random_scans import Random, coil_maps, draw_coils, draw_masks, draw_waves, smooth

NODES = 9  # of an intensity curve, evenly spaced from 0 to 1
LESIONS = 6
CANDIDATES = 32  # places among which those inside the head are chosen
BLUR = 4  # radius of the blurring kernel


@dataclass(frozen=True)
class Parameters:
    """What is done to each of B samples; index 0 of an axis of two is the target, 1 the auxiliary.

    Attributes:
        frame: ``(B, 2, 2, 3)``; matrix and shift from places in the result to places in the slice, in pixels.
        curve: ``(B, 2, NODES)``; intensities that the evenly spaced ones become.
        shading: ``(B, 2, WAVES, 4)``; waves of the logarithm of the shading.
        place: ``(B, CANDIDATES, 2)``; where a structure may be put, as shares of height and width.
        shape: ``(B, LESIONS, 4)``; two radii, angle, width of the edge.
        contrast: ``(B, LESIONS, 2)``; what a structure adds to each contrast, 0 where it does not show.
        present: bool ``(B,)``; whether there is an auxiliary.
        wrong: bool ``(B,)``; whether it is the next sample's.
        blur: ``(B,)``; standard deviation of the auxiliary's blurring, 0 for none.
        grain: ``(B,)``; noise of the auxiliary.
        phase: ``(B, WAVES, 4)``; waves of the phase.
        noise: ``(B,)``; standard deviation of the complex noise.
        told: bool ``(B,)``; whether the network is told it.
        mask: bool ``(B, 1, W)``.
        coils: ``(B, C, 6)`` or None for one coil of sensitivity 1.
    """

    frame: Tensor
    curve: Tensor
    shading: Tensor
    place: Tensor
    shape: Tensor
    contrast: Tensor
    present: Tensor
    wrong: Tensor
    blur: Tensor
    grain: Tensor
    phase: Tensor
    noise: Tensor
    told: Tensor
    mask: Tensor
    coils: Tensor | None


@dataclass(frozen=True)
class Sample:
    """Images of one batch.

    Attributes:
        target: ``(B, h, w)``, real.
        auxiliary: ``(B, 1, h, w)``; zeros where it is missing.
        present: bool ``(B,)``.
        profiles: ``(B, LESIONS, h, w)``, 0 to 1; shapes of the structures that were put in.
        contrast: ``(B, LESIONS, 2)``; what each added to target and auxiliary at its middle.
    """

    target: Tensor
    auxiliary: Tensor
    present: Tensor
    profiles: Tensor
    contrast: Tensor


def draw(
    batch: int,
    size: tuple[int, int],
    random: Random,
    reach: tuple[float, float] = (40, 20),
    radius: tuple[float, float] = (1.0, 6.0),
    coils: int = 1,
) -> Parameters:
    """Draw the parameters of a batch.

    Args:
        batch: B.
        size: height and width of the result; the height may be a strip's.
        random: source of the parameters.
        reach: largest shift of rows and columns.
        radius: smallest and largest radius of a structure.
        coils: most coils; their number is drawn from 2 up. 1 for one coil without map.
    """
    contrast = _draw_contrast(batch, random)
    noise = random.log_uniform(batch, low=0.001, high=0.03)
    return Parameters(
        frame=_draw_frames(batch, random, reach),
        curve=torch.stack([_draw_curves(batch, random, 0.25), _draw_curves(batch, random, 0.4)], 1),
        shading=torch.stack([_draw_shading(batch, random) for _ in range(2)], 1),
        place=random.uniform(batch, CANDIDATES, 2),
        shape=_draw_shapes(batch, random, radius),
        contrast=contrast,
        present=~random.chance(batch, of=0.12),
        wrong=random.chance(batch, of=0.05),
        blur=random.chance(batch, of=0.1) * random.uniform(batch, low=0.6, high=2.0),
        grain=random.chance(batch, of=0.5) * random.uniform(batch, high=0.02),
        phase=draw_waves(batch, random) * ~random.chance(batch, 1, 1, of=0.08),  # some images are real
        noise=~random.chance(batch, of=0.1) * noise,
        told=random.chance(batch, of=0.5),
        mask=draw_masks(batch, size[1], random),
        coils=draw_coils(batch, coils, random) if coils > 1 else None,
    )


def augment(parameters: Parameters, slices: Tensor, size: tuple[int, int]) -> Sample:
    """The images of a batch.

    Args:
        parameters: from :func:`draw`.
        slices: target and auxiliary, ``(B, 2, S, S)``, float32.
        size: height and width (h, w) of the result.
    """
    rows, columns = places(size, slices.device)
    moved = torch.stack([_resample(slices[:, i], parameters.frame[:, i], rows, columns) for i in range(2)], 1)
    images = _curved(moved.clamp(0, 1), parameters.curve)
    extent = float(max(slices.shape[-2:]))
    shading = [smooth(parameters.shading[:, i], rows[None] / extent, columns[None] / extent).exp() for i in range(2)]
    images = images * torch.stack(shading, 1)
    profiles, contrast = _structures(parameters, images[:, 0], rows, columns)
    images = (images + torch.einsum("blhw,bli->bihw", profiles, contrast)).clamp_min(0)
    auxiliary = torch.where(parameters.wrong[:, None, None], images[:, 1].roll(1, 0), images[:, 1])
    auxiliary = _blurred(auxiliary, parameters.blur)
    auxiliary = (auxiliary + parameters.grain[:, None, None] * torch.randn_like(auxiliary)).abs()
    auxiliary = auxiliary * parameters.present[:, None, None]
    # What an absent or foreign auxiliary shows is not worth looking at.
    usable = (parameters.present & ~parameters.wrong)[:, None]
    contrast = torch.stack([contrast[..., 0], contrast[..., 1] * usable], -1)
    return Sample(images[:, 0], auxiliary[:, None], parameters.present, profiles, contrast)


def measure(parameters: Parameters, target: Tensor, extent: float) -> tuple[Tensor, Acquisition]:
    """The complex image with its phase, ``(B, h, w)``, and a simulated scan of it.

    Args:
        parameters: from :func:`draw`.
        target: magnitude, ``(B, h, w)``.
        extent: length in pixels in which the wave numbers of phase and coils are counted.
    """
    rows, columns = places((target.shape[-2], target.shape[-1]), target.device)
    rows, columns = rows[None] / extent, columns[None] / extent
    image = torch.polar(target, smooth(parameters.phase, rows, columns))
    maps = None if parameters.coils is None else coil_maps(parameters.coils, rows, columns)
    scan = Acquisition.simulate(image, parameters.mask, maps)
    noise = parameters.noise[:, None, None, None] * parameters.mask[:, None] * torch.randn_like(scan.lines)
    told = torch.where(parameters.told, parameters.noise, -1.0)  # below 0: unknown
    return image, replace(scan, lines=scan.lines + noise, noise=told)


def places(size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Places of rows ``(h, 1)`` and columns ``(1, w)`` from the middle, in pixels."""
    rows, columns = (torch.arange(n, device=device) - (n - 1) / 2 for n in size)
    return rows[:, None], columns[None]


def ellipses(centre: Tensor, shape: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Soft ellipses, 1 inside and 0 outside, ``(..., h, w)``.

    Args:
        centre: row and column from the middle, ``(..., 2)``.
        shape: two radii, angle, width of the edge (of a logistic curve), ``(..., 4)``.
        rows: as :func:`places` gives them.
        columns: likewise.
    """
    y, x = rows - centre[..., 0, None, None], columns - centre[..., 1, None, None]
    first, second, angle, edge = (shape[..., i, None, None] for i in range(4))
    u, v = (y * angle.cos() + x * angle.sin()) / first, (x * angle.cos() - y * angle.sin()) / second
    return ((1 - (u * u + v * v + 1e-6).sqrt()) * (first * second).sqrt() / edge).sigmoid()


def _draw_frames(batch: int, random: Random, reach: tuple[float, float]) -> Tensor:
    """Flips and transposition, of a third also rotation and zoom; the auxiliary of a fifth lies a little elsewhere."""
    some = random.chance(batch, of=0.35)
    angle = torch.where(some, random.normal(batch) * math.radians(6), 0.0)
    zoom = torch.where(some, random.log_uniform(batch, low=0.8, high=1.2), 1.0)
    signs = 1 - 2 * random.chance(batch, 2, of=0.5).float()
    turned = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).view(-1, 2, 2) / zoom[:, None, None]
    matrix = turned * signs[:, None]
    matrix = torch.where(random.chance(batch, of=0.35)[:, None, None], matrix.flip(-2), matrix)
    shift = torch.stack([random.uniform(batch, low=-most, high=most).round() for most in reach], -1)
    target = torch.cat([matrix, (matrix @ shift[..., None])], -1)
    apart = random.chance(batch, of=0.2)
    angle = torch.where(apart, random.uniform(batch, low=-1) * math.radians(4), 0.0)
    moved = torch.where(apart[:, None], random.uniform(batch, 2, low=-4, high=4), 0.0)
    small = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).view(-1, 2, 2)
    auxiliary = torch.cat([matrix @ small, (matrix @ (shift + moved)[..., None])], -1)
    return torch.stack([target, auxiliary], 1)


def _draw_curves(batch: int, random: Random, free: float) -> Tensor:
    """Powers between 0.7 and 1.4; of a share of the samples any rising curve, or any curve at all; 0 stays 0."""
    node = torch.linspace(0, 1, NODES, device=random.device)[None]
    power = node ** random.log_uniform(batch, 1, low=0.7, high=1.4)
    steps = random.uniform(batch, NODES - 1, low=0.1)
    rising = F.pad(steps.cumsum(-1), (1, 0))
    any_curve = F.pad(random.uniform(batch, NODES - 1, low=0.05), (1, 0))
    other = torch.where(random.chance(batch, 1, of=0.6), rising, any_curve)
    other = other / other.amax(-1, keepdim=True)
    return torch.where(random.chance(batch, 1, of=free), other, power)


def _draw_shading(batch: int, random: Random) -> Tensor:
    waves = draw_waves(batch, random, cycles=0.4, amplitude=0.08)
    return waves * random.chance(batch, 1, 1, of=0.3)


def _draw_contrast(batch: int, random: Random) -> Tensor:
    """Bright or dark; in the target alone (40%), the auxiliary alone (40%) or both; 65% of the samples have some."""
    size = random.log_uniform(batch, LESIONS, 2, low=0.06, high=0.6)
    signed = size * (1 - 2 * random.chance(batch, LESIONS, 2, of=0.35).float())
    kind = random.uniform(batch, LESIONS)
    shown = torch.stack([(kind < 0.4) | (kind > 0.8), kind > 0.4], -1)
    number = (random.uniform(batch, 1) * (LESIONS + 1)).floor()
    used = (torch.arange(LESIONS, device=random.device)[None] < number) & random.chance(batch, 1, of=0.75)
    return signed * shown * used[..., None]


def _draw_shapes(batch: int, random: Random, radius: tuple[float, float]) -> Tensor:
    size = random.log_uniform(batch, LESIONS, 1, low=radius[0], high=radius[1])
    longer = random.log_uniform(batch, LESIONS, 1, low=0.7, high=1.4)
    angle = random.uniform(batch, LESIONS, 1, high=math.pi)
    edge = random.uniform(batch, LESIONS, 1, low=0.15, high=0.8)
    return torch.cat([size * longer, size / longer, angle, edge], -1)


def _resample(slices: Tensor, frame: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Cubic interpolation, exact where pixels fall on pixels; ``(B, S, S)`` to ``(B, h, w)``."""
    half = slices.shape[-1] / 2  # grid_sample counts from -1 to 1 between the outer edges of the pixels
    m = frame[..., None, None] / half
    y = m[:, 0, 0] * rows + m[:, 0, 1] * columns + m[:, 0, 2]
    x = m[:, 1, 0] * rows + m[:, 1, 1] * columns + m[:, 1, 2]
    grid = torch.stack([x, y], -1)
    return F.grid_sample(slices[:, None], grid, mode="bicubic", padding_mode="zeros", align_corners=False)[:, 0]


def _curved(images: Tensor, curves: Tensor) -> Tensor:
    """Piecewise linear curves ``(B, 2, NODES)`` applied to ``(B, 2, h, w)`` in [0, 1]."""
    place = images.flatten(2) * (NODES - 1)
    index = place.detach().floor().clamp(0, NODES - 2)
    low, high = (curves.gather(2, index.long() + i) for i in range(2))
    return (low + (place - index) * (high - low)).view(images.shape)


def _structures(parameters: Parameters, target: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Profiles ``(B, LESIONS, h, w)`` inside the head, and their contrasts; a dark one takes no more than there is."""
    height, width = target.shape[-2:]
    row = (parameters.place[..., 0] * height).long().clamp(0, height - 1)
    column = (parameters.place[..., 1] * width).long().clamp(0, width - 1)
    value = target.flatten(1).gather(1, row * width + column)
    order = (value > 0.12).float().topk(LESIONS, dim=1).indices
    row, column, value = (t.gather(1, order) for t in (row, column, value))
    centre = torch.stack([row - (height - 1) / 2, column - (width - 1) / 2], -1)
    inside = (value > 0.12)[..., None]
    contrast = torch.maximum(parameters.contrast, -0.9 * value[..., None]) * inside
    return ellipses(centre, parameters.shape, rows, columns), contrast


def _blurred(images: Tensor, deviation: Tensor) -> Tensor:
    """Each of ``(B, h, w)`` convolved with its own Gaussian, which is 1 at a single pixel for a deviation of 0."""
    batch = len(images)
    offset = torch.arange(-BLUR, BLUR + 1, device=images.device)
    kernel = (-(offset**2) / (2 * deviation[:, None].clamp_min(0.1) ** 2)).exp()
    kernel = kernel / kernel.sum(-1, keepdim=True)
    once = F.conv2d(images[None], kernel[:, None, None], padding=(0, BLUR), groups=batch)
    return F.conv2d(once, kernel[:, None, :, None], padding=(BLUR, 0), groups=batch)[0]
