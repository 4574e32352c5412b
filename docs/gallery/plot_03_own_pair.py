"""
Reconstruct a pair of your own from Python
==========================================

Two files, one call. Here the two files are a simulated head; put the names of your own in their place. The target is
fully sampled, so the program under-samples it itself and can say what was lost.
"""

# %%
# Two NIfTI files of one head.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib

import fsmnet
from fsmnet.data.phantom import write_subjects

folder = Path(tempfile.mkdtemp())
[head] = write_subjects(folder, [3], slices=8)
t2, t1 = head / "phantom-0003_t2.nii.gz", head / "phantom-0003_t1.nii.gz"

# %%
# The call. ``acceleration=4`` leaves out three lines of four, and the shipped network brings them back with the help
# of T1.

result = fsmnet.reconstruct(t2, t1, folder / "T2_again.nii.gz", acceleration=4)

# %%
# The result lies in the target's place: same shape, same affine.

reference, again = nib.load(t2), nib.load(folder / "T2_again.nii.gz")
print(again.shape, (again.affine == reference.affine).all())

# %%
# Beside it lies a record with what is needed to repeat it, and what the program thinks of its own work. ``HoldOut``
# is a check without a reference: some measured lines were kept back, and ``Explained`` is the share of their energy
# that the network foresaw.

print(sorted(path.name for path in folder.iterdir()))
for method, scores in result.sidecar["Metrics"].items():
    print(f"{method:12s} {scores['psnr']:.2f} dB, SSIM {scores['ssim']:.3f}")
print("explained:", {name: round(share, 2) for name, share in result.sidecar["Check"]["HoldOut"]["Explained"].items()})

# %%
# And this is how it looks.

figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
images = [reference.get_fdata()[:, :, 4], again.get_fdata()[:, :, 4]]
images.append(images[1] - images[0])
for ax, shown, title in zip(axes, images, ["reference", "reconstructed, 4x", "difference, tenfold"], strict=True):
    top = images[0].max() / (10 if "difference" in title else 1)
    ax.imshow(
        shown.T[::-1],
        cmap="RdBu" if "difference" in title else "gray",
        vmax=top,
        vmin=-top if "difference" in title else 0,
    )
    ax.set_title(title)
    ax.axis("off")
