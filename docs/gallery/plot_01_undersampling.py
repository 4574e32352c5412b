"""
Under-sampling and masks
========================

A scanner acquires an image line by line in k-space, its Fourier transform. Leaving out lines makes the scan shorter by
the same factor. Which lines are left out is the *mask*.
"""

# %%
# A head, T2-weighted, and its k-space. Almost all energy lies in the centre; the edges of the image live outside.

import matplotlib.pyplot as plt
import numpy as np
import torch

import fsmnet
from fsmnet.data.phantom import make_subject
from fsmnet.physics.fourier import fft2c

head = make_subject(0, slices=1)
image = head.contrasts["t2"][:, :, 0].T[::-1].copy()
kspace = fft2c(torch.from_numpy(image)).numpy()

figure, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
axes[0].imshow(image, cmap="gray")
axes[0].set_title("T2-weighted image")
axes[1].imshow(np.log1p(100 * np.abs(kspace)), cmap="gray")
axes[1].set_title("logarithm of its k-space")
for ax in axes:
    ax.axis("off")

# %%
# Five kinds of masks at 4x. White lines are acquired. All keep the centre, without which nothing of the contrast is
# left; they differ in what they do outside: equal distances give copies of the image at equal distances, random ones
# spread the error like noise.

kinds = ["random", "equispaced", "equispaced_fraction", "magic", "magic_fraction"]
figure, axes = plt.subplots(len(kinds), 1, figsize=(8, 3.5), layout="constrained")
for ax, kind in zip(axes, kinds, strict=True):
    mask = fsmnet.make_mask(kind, columns=240, acceleration=4, seed=1)
    ax.imshow(np.tile(mask.columns, (12, 1)), cmap="gray", aspect="auto")
    ax.set_title(f"{kind}: {int(mask.columns.sum())} of 240 lines", fontsize=9, loc="left")
    ax.axis("off")

# %%
# What each of them leaves of the image when the missing lines are simply zero (*zero-filling*).

figure, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
for ax, kind in zip(axes, ["random", "equispaced", "magic"], strict=True):
    mask = fsmnet.make_mask(kind, columns=240, acceleration=4, seed=1)
    zero_filled = fsmnet.zero_fill(fsmnet.undersample(image, mask))
    ax.imshow(zero_filled, cmap="gray", vmax=image.max())
    ax.set_title(f"{kind}: {fsmnet.psnr(image[None], zero_filled[None]):.1f} dB")
    ax.axis("off")
