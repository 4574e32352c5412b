"""
Reading the checks and the maps
===============================

A reconstruction is a guess wherever nothing was measured. Three things say how good it is without a fully sampled
reference.
"""

# %%
# A head, 8x accelerated, that the shipped network has not seen. The calls are those of :doc:`plot_03_own_pair`.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np

import fsmnet
from fsmnet.data.phantom import write_subjects

folder = Path(tempfile.mkdtemp())
[head] = write_subjects(folder, [5], slices=6)
t2, t1 = head / "phantom-0005_t2.nii.gz", head / "phantom-0005_t1.nii.gz"
result = fsmnet.reconstruct(t2, t1, folder / "again.nii.gz", acceleration=8)
record = result.sidecar["Check"]

# %%
# **The hold-out check.** Some measured lines were kept back; a method that knows the anatomy foresees them. 1 is all
# of their energy, 0 nothing. By band: the lowest frequencies hold the contrast, the highest edges.

for method, share in record["HoldOut"]["Explained"].items():
    bands = record["HoldOut"]["ExplainedByBand"][method]
    print(f"{method:14s} {share:5.2f}   by band:", *("  -  " if band is None else f"{band:5.2f}" for band in bands))

# %%
# **What the auxiliary did.** How much the image changes when T1 is blank, or moved by two pixels. Much means that
# the image leans on T1: look twice at what only T1 shows.

print(record["Auxiliary"])

# %%
# **The maps** lie beside the result, in its grid and intensities. The influence map shows where a blank T1 would
# have changed the image, the map of loss how much contrast a small lesion that T1 does not show would lose there. Here
# the truth is known, so the error can stand beside them. The error map of the shipped network is a bound, which most
# errors stay far below. All maps have one scale: white is a fifth of the brightest T2.

names = {path.name for path in folder.glob("again_*.nii.gz")}
print(sorted(names))
reference, again = (nib.load(path).get_fdata()[:, :, 3].T[::-1] for path in (t2, folder / "again.nii.gz"))
shown = {"reconstruction, 8x": again, "true error": np.abs(again - reference)}
titles = {"error": "expected error (a bound)", "influence": "influence of T1", "loss": "loss of small structure"}
maps = {name: nib.load(folder / f"again_{name}.nii.gz").get_fdata() for name in titles}
shown |= {titles[name]: one[:, :, 3].T[::-1] for name, one in maps.items()}
figure, axes = plt.subplots(1, len(shown), figsize=(3.2 * len(shown), 3.6), layout="constrained")
for ax, (title, image) in zip(axes, shown.items(), strict=True):
    ax.imshow(
        np.abs(image),
        cmap="gray" if "reconstruction" in title else "magma",
        vmax=reference.max() / (1 if "reconstruction" in title else 5),
    )
    ax.set_title(title)
    ax.axis("off")

# %%
# :doc:`/trust` says how these figures relate to the true error, and where they mislead.
