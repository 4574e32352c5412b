"""
A zero-filled brain, and where its aliasing goes
================================================

Every missing line takes something out of the image, and what is taken out has a shape: the *point spread function*,
the image of a single bright point. Lines are left out along one axis only, so a point is smeared along that axis and
never along the other.
"""

# %%
# The point spread function of two masks.

import matplotlib.pyplot as plt
import numpy as np

import fsmnet
from fsmnet.data.phantom import make_subject

point = np.zeros((64, 240), np.float32)
point[32, 120] = 1
figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained", sharey=True)
for ax, kind in zip(axes, ["equispaced", "random"], strict=True):
    mask = fsmnet.make_mask(kind, columns=240, acceleration=4, seed=1)
    spread = fsmnet.zero_fill(fsmnet.undersample(point, mask))
    ax.plot(np.asarray(spread)[32])
    ax.set_title(f"a point under {kind} sampling")
    ax.set_xlabel("column")

# %%
# The difference between the true image and the zero-filled one is that smear, summed over all points of the head.
# Rows without tissue stay clean: each row is a problem of its own, which is why a network can be trained on strips
# of rows.

image = make_subject(0, slices=1).contrasts["t2"][:, :, 0].T[::-1].copy()
mask = fsmnet.make_mask("random", columns=240, acceleration=4, seed=1)
zero_filled = np.asarray(fsmnet.zero_fill(fsmnet.undersample(image, mask)))

figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
for ax, (title, shown, style) in zip(
    axes,
    [
        ("reference", image, {"cmap": "gray", "vmax": image.max()}),
        ("zero-filled, 4x", zero_filled, {"cmap": "gray", "vmax": image.max()}),
        ("difference", zero_filled - image, {"cmap": "RdBu", "vmin": -0.2, "vmax": 0.2}),
    ],
    strict=True,
):
    ax.imshow(shown, **style)
    ax.set_title(title)
    ax.axis("off")

outside = ~(image > 0).any(axis=1)
print(f"largest value in rows without tissue: {zero_filled[outside].max():.1e}")
