"""
Data consistency and coils
==========================

What was measured is known. A network's image that contradicts it is wrong there, and can be made to agree: *data
consistency*. With several coils the same lines are measured several times, each time weighted by another sensitivity,
and that alone tells missing lines.
"""

# %%
# One coil: :class:`fsmnet.Acquisition` holds the measured lines. A blurred image stands for a network's; after
# consistency the measured lines are exactly right, and the image is nearer to the truth.

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.ndimage import gaussian_filter

import fsmnet
from fsmnet.data.phantom import make_subject
from fsmnet.physics.simulate import coil_profiles, smooth_phase

magnitude = torch.from_numpy(make_subject(0, slices=1).contrasts["t2"][:, :, 0].T[::-1].copy())
image = torch.polar(magnitude, smooth_phase(240, 240, 1.0, torch.Generator().manual_seed(1)))
mask = torch.from_numpy(fsmnet.make_mask("random", columns=240, acceleration=4, seed=1).columns)
measured = fsmnet.Acquisition.simulate(image, mask)

guess = torch.complex(*(torch.from_numpy(gaussian_filter(part.numpy(), 0.8)) for part in (image.real, image.imag)))
better = measured.consistent(guess)


def decibels(found: torch.Tensor) -> float:
    """PSNR of a magnitude."""
    return float(fsmnet.psnr(magnitude.numpy()[None], found.abs().numpy()[None]))


for name, found in (("zero-filled", measured.zero_filled), ("guess", guess), ("consistent", better)):
    print(f"{name:12s} {decibels(found):.2f} dB, of the measurement is left {float(measured.residual(found)):.1e}")

# %%
# Eight coils around the head, each sees best what is near.

maps = coil_profiles(8, 240, 240)
coils = maps * image
figure, axes = plt.subplots(2, 4, figsize=(9, 4.8), layout="constrained")
for number, ax in enumerate(axes.flat):
    ax.imshow(coils[number].abs(), cmap="gray", vmax=float(magnitude.max()) / 2)
    ax.set_title(f"coil {number + 1}", fontsize=9)
    ax.axis("off")

# %%
# SENSE solves for the one image that explains all coils' lines, by conjugate gradients; no network is involved. A
# little noise shows its price.

generator = torch.Generator().manual_seed(2)
measured = fsmnet.Acquisition.simulate(image, mask, maps, noise=0.005, generator=generator)
sense = measured.sense()
print(f"zero-filled {decibels(measured.zero_filled):.2f} dB, SENSE {decibels(sense):.2f} dB")

figure, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
for ax, shown, title in zip(axes, [measured.zero_filled, sense], ["eight coils, zero-filled", "SENSE"], strict=True):
    ax.imshow(np.abs(shown), cmap="gray", vmax=float(magnitude.max()))
    ax.set_title(title)
    ax.axis("off")
