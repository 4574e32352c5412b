"""Made-up scans of what no network of heads was made for, to see whether it is noticed.

:data:`SET_BY` helped to choose how scans are compared; :data:`ASKED` are drawn by other rules and other seeds, and
were looked at once, for the figures. Each is a pair of contrasts of a few slices: parts of a body with greys of their
own in each contrast, a texture that both share, noise; a photograph and its negative.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from fsmnet.protocols.cases import Slices

SIDE = 256
PHOTOGRAPHS = ("camera", "coins", "astronaut", "chelsea", "brick", "moon")  # of scikit-image
OTHERS = ("coffee", "cell")
Mask = Any  # bool (H, W)


def ellipse(y: Any, x: Any, place: tuple[float, float], radii: tuple[float, float], turn: float = 0.0) -> Mask:
    """Of coordinates from -1 to 1."""
    down, right = y - place[0], x - place[1]
    along, across = down * np.cos(turn) + right * np.sin(turn), right * np.cos(turn) - down * np.sin(turn)
    return (along / radii[0]) ** 2 + (across / radii[1]) ** 2 < 1


def _joint(bone: Mask) -> Mask:
    return ndimage.binary_dilation(bone, iterations=5) & ~bone


def axial_knee(y: Any, x: Any, t: float, tilt: float) -> tuple[Mask, list[Mask]]:
    leg, inner = ellipse(y, x, (0, 0), (0.78, 0.8)), ellipse(y, x, (0, 0), (0.66, 0.68))
    bone = ellipse(y, x, (-0.1, 0.3), (0.3, 0.26), 0.3) | ellipse(y, x, (-0.1, -0.3), (0.3, 0.26), -0.3)
    bone |= ellipse(y, x, (-0.5, 0.05 * t), (0.1, 0.24))
    return leg, [_joint(bone), bone, leg & ~inner, ellipse(y, x, (0.35, 0.02), (0.06, 0.06))]


def coronal_knee(y: Any, x: Any, t: float, tilt: float) -> tuple[Mask, list[Mask]]:
    leg, inner = (np.abs(x) < width + 0.04 * y + 0.03 * t for width in (0.66, 0.58))
    femur = ellipse(y, x, (-0.6, 0), (0.5, 0.5)) | ((np.abs(x) < 0.25) & (y < -0.3))
    tibia = ellipse(y, x, (0.55, 0), (0.45, 0.48)) | ((np.abs(x) < 0.25) & (y > 0.5))
    bone = femur | tibia | ellipse(y, x, (0.75, 0.5), (0.3, 0.1))
    between = _joint(bone) & (np.abs(y) < 0.3)
    return leg, [between, bone, leg & ~inner, ellipse(y, x, (0, 0.05), (0.1, 0.05))]


def sagittal_knee(y: Any, x: Any, t: float, tilt: float) -> tuple[Mask, list[Mask]]:
    leg, inner = (np.abs(x - tilt * y) < width + 0.05 * t for width in (0.6, 0.5))
    femur = ellipse(y, x, (-0.55, -0.1), (0.5, 0.3), 0.2) | ((np.abs(x + 0.1) < 0.16) & (y < -0.4))
    tibia = ellipse(y, x, (0.6, -0.05), (0.5, 0.33)) | ((np.abs(x + 0.05) < 0.18) & (y > 0.4))
    bone = femur | tibia | ellipse(y, x, (-0.2, 0.42), (0.22, 0.09))
    between = _joint(bone) & (np.abs(y) < 0.4)
    return leg, [between, bone, leg & ~inner, ellipse(y, x, (0.1, -0.4), (0.3, 0.05))]


def abdomen(y: Any, x: Any, t: float, tilt: float) -> tuple[Mask, list[Mask]]:
    body, inner = ellipse(y, x, (0, 0), (0.62, 0.88)), ellipse(y, x, (0, 0), (0.5, 0.76))
    organs = ellipse(y, x, (-0.1, -0.35), (0.3, 0.36), 0.4) | ellipse(y, x, (0.02, 0.52), (0.22, 0.14))
    kidneys = ellipse(y, x, (0.2, -0.35), (0.14, 0.09)) | ellipse(y, x, (0.2, 0.35), (0.14, 0.09))
    return body, [kidneys, ellipse(y, x, (0.3, 0), (0.13, 0.14)), body & ~inner, organs]


def spine(y: Any, x: Any, t: float, tilt: float) -> tuple[Mask, list[Mask]]:
    body, cord = np.abs(x) < 0.75, np.abs(x - 0.32 - 0.15 * np.sin(2 * y))
    bones = np.any(
        [ellipse(y, x, (k, 0.15 * np.sin(2 * k)), (0.12, 0.18)) for k in np.arange(-0.9, 1, 0.3).tolist()], axis=0
    )
    return body, [(cord < 0.1) & ~(cord < 0.05), bones, body & (x > 0.55), cord < 0.05]


def bottles(y: Any, x: Any, t: float, tilt: float) -> tuple[Mask, list[Mask]]:
    tubes = [ellipse(y, x, (down, right), (0.26, 0.26)) for down in (-0.45, 0.45) for right in (-0.5, 0.2)]
    return np.any([*tubes, ellipse(y, x, (0, 0.62), (0.3, 0.16))], axis=0), tubes


def thigh(y: Any, x: Any, t: float, tilt: float) -> tuple[Mask, list[Mask]]:
    leg, inner = ellipse(y, x, (0, 0), (0.7, 0.74)), ellipse(y, x, (0.02, 0), (0.58, 0.6), tilt)
    bone, marrow = ellipse(y, x, (-0.08, 0.1), (0.17, 0.17)), ellipse(y, x, (-0.08, 0.1), (0.1, 0.1))
    groups = np.sin(5 * np.arctan2(y + 0.08, x - 0.1) + 2 * t) > 0.97
    return leg, [marrow, bone, leg & ~inner, groups & inner]


def hand(y: Any, x: Any, t: float, tilt: float) -> tuple[Mask, list[Mask]]:
    fingers = [ellipse(y, x, (-0.35, -0.48 + 0.3 * k), (0.55, 0.13), 0.1 * (1.5 - k)) for k in range(4)]
    bones = [ellipse(y, x, (-0.35, -0.48 + 0.3 * k), (0.45, 0.06), 0.1 * (1.5 - k)) for k in range(4)]
    palm = ellipse(y, x, (0.4, 0), (0.5, 0.55)) | ellipse(y, x, (0.2, 0.62), (0.35, 0.12), -0.5)
    wrist = [ellipse(y, x, (0.6 + 0.1 * tilt, -0.2 + 0.2 * k), (0.09, 0.09)) for k in range(3)]
    body = np.any([*fingers, palm], axis=0)
    skin = body & ~ndimage.binary_erosion(body, iterations=4)
    return body, [skin, np.any([*bones, *wrist], axis=0), ellipse(y, x, (0.3, 0), (0.2, 0.3)), body & (y > 0.8)]


def breasts(y: Any, x: Any, t: float, tilt: float) -> tuple[Mask, list[Mask]]:
    wall = (y > 0.35) & (np.abs(x) < 0.95)
    sides = [ellipse(y, x, (0.3, s * 0.48), (0.9, 0.4)) & (y < 0.36) for s in (-1, 1)]
    glands = [ellipse(y, x, (0.0, s * 0.46), (0.35, 0.2 + 0.05 * t), s * tilt) for s in (-1, 1)]
    body = wall | sides[0] | sides[1]
    heart = ellipse(y, x, (0.7, 0.15), (0.22, 0.3))
    return body, [glands[0] | glands[1], heart, wall & (y < 0.45), wall & (np.abs(x) > 0.6)]


SET_BY = {one.__name__: one for one in (axial_knee, coronal_knee, sagittal_knee, abdomen, spine, bottles)}
ASKED = {one.__name__: one for one in (thigh, hand, breasts, axial_knee, sagittal_knee)}


def to_set_by() -> Iterator[tuple[str, Slices]]:
    """Name and slices of the strangers that bounds were chosen with."""
    for number, kind in enumerate(SET_BY):
        for seed in range(3):
            yield f"{kind} {seed}", made_up(kind, seed + 100 * number)
    for name in PHOTOGRAPHS:
        yield name, photograph(name)


def to_ask() -> Iterator[tuple[str, Slices]]:
    """Those that were kept back."""
    for number, kind in enumerate(ASKED):
        for seed in range(2):
            yield f"{kind} {7000 + seed}", made_up(kind, 7000 + seed + 100 * number)
    for name in OTHERS:
        yield name, photograph(name)


def made_up(kind: str, seed: int, count: int = 3) -> Slices:
    """Slices of one body; its greys, proportions and texture are drawn by the seed."""
    rng = np.random.default_rng(seed)
    sides = rng.uniform(0.85, 1.1, 2)
    y, x = (one * side for one, side in zip(np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j], sides, strict=True))
    greys, grain, amount, tilt = rng.uniform(0.1, 1, (2, 5)), *rng.uniform([0.8, 0.04, -0.2], [2, 0.15, 0.2])
    stacks: tuple[list[Any], list[Any]] = ([], [])
    for number in range(count):
        body, parts = (SET_BY | ASKED)[kind](y, x, (number - 1) / count, tilt)
        texture = ndimage.gaussian_filter(rng.standard_normal(y.shape), grain)
        shade = 1 + amount * texture / texture.std()
        for images, grey in zip(stacks, greys, strict=True):
            image = np.select([*(part & body for part in parts), body], grey.tolist(), 0.0)
            image = ndimage.gaussian_filter(image, 0.7) * shade * body
            images.append(np.abs(image + 0.01 * rng.standard_normal(image.shape)))
    return _slices(*(np.stack(images) for images in stacks))


def photograph(name: str) -> Slices:
    """A photograph, turned for each slice, and its negative."""
    from skimage import color, data, transform

    image = getattr(data, name)()
    image = color.rgb2gray(image) if image.ndim == 3 else image / 255
    side = min(image.shape)
    image = transform.resize(image[:side, :side], (SIDE, SIDE), anti_aliasing=True)
    turned = np.stack([np.rot90(image, quarter) for quarter in range(3)])
    return _slices(turned, (1 - turned / turned.max()) ** 1.5)


def _slices(*stacks: Any) -> Slices:
    first, second = (torch.from_numpy(np.ascontiguousarray(one, dtype=np.float32)) for one in stacks)
    return Slices(first / first.max(), second / second.max(), list(range(len(first))))
