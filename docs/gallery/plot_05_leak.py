"""
Why the BraTS protocol flatters
===============================

BraTS has magnitude images, not k-space. Under-sampling such an image simulates a scanner that does not exist: k-space
of a real image is *Hermitian*, each line is the mirror of another one, and half of what was "left out" is known after
all.
"""

# %%
# Keep the right half of k-space and throw the left half away. Of a magnitude image nothing is lost: the mirror gives
# it back. Of an image with a phase, as scanners measure it, the mirror gives nonsense.

import matplotlib.pyplot as plt
import torch

import fsmnet
from fsmnet.data.phantom import make_subject
from fsmnet.physics.fourier import fft1c, ifft1c
from fsmnet.physics.simulate import smooth_phase

head = make_subject(0, slices=1)
magnitude, auxiliary = (torch.from_numpy(head.contrasts[name][:, :, 0].T[::-1].copy()) for name in ("t2", "t1"))
measured = torch.polar(magnitude, smooth_phase(240, 240, 1.0, torch.Generator().manual_seed(1)))

half = torch.arange(240) >= 120  # the centre is column 120; column c mirrors column 240 - c


def mirrored(image: torch.Tensor) -> torch.Tensor:
    """The image from the right half of its k-space, the left half taken from the mirror."""
    lines = fft1c(image + 0j)
    mirror = lines.conj().flip(-1).roll(1, -1)
    return ifft1c(torch.where(half, lines, mirror)).abs()


figure, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
for ax, image, title in zip(axes, [magnitude, measured], ["without a phase", "with a phase"], strict=True):
    shown = mirrored(image)
    ax.imshow(shown, cmap="gray", vmax=float(magnitude.max()))
    error = float((shown - magnitude).norm() / magnitude.norm())
    ax.set_title(f"half of k-space, {title}: error {100 * error:.1f}%")
    ax.axis("off")

# %%
# So a method without any learning, which knows only that the image is real, not negative, and zero outside the head
# (*POCS*), gains several decibels on magnitudes and much less on complex images. A table on magnitudes compares with
# zero-filling and leaves that out.

mask = torch.from_numpy(fsmnet.make_mask("random", columns=240, acceleration=4, seed=1).columns)
pocs = fsmnet.create_model("pocs")
for title, image in (("magnitude", magnitude), ("complex", measured)):
    acquisition = fsmnet.Acquisition.simulate(image[None], mask)
    zero_filled = acquisition.zero_filled.abs()
    projected = pocs(acquisition, auxiliary[None, None]).image[:, 0].abs()
    scores = [fsmnet.psnr(magnitude[None].numpy(), found.numpy()) for found in (zero_filled, projected)]
    print(f"{title:10s} zero-filled {scores[0]:.2f} dB, POCS {scores[1]:.2f} dB, gain {scores[1] - scores[0]:.2f} dB")

# %%
# ``fsmnet evaluate --protocol complex`` gives each case a phase and noise of its own, and is the default; ``brats``
# is there to compare with the paper. :doc:`/protocols` has the figures on patients.
