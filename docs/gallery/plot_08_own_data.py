"""
A data set of your own
======================

Folders in BraTS's naming are found as they are. Others are named by a pattern, or by a table that ``fsmnet pair``
writes. All three end in the same slices.
"""

# %%
# Scans of three people in a layout of one's own.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
from torch.utils.data import DataLoader

import fsmnet
from fsmnet.data.phantom import write_subjects

folder = Path(tempfile.mkdtemp())
for number, subject in enumerate(write_subjects(folder / "made", range(3), slices=4)):
    place = folder / "study" / f"sub-{number:02d}"
    place.mkdir(parents=True)
    for contrast, name in (("t1", "T1w"), ("t2", "T2w")):
        (subject / f"{subject.name}_{contrast}.nii.gz").rename(place / f"sub-{number:02d}_{name}.nii.gz")

# %%
# A pattern with ``{case}`` in it says where each contrast lies.

pairs = fsmnet.find_pairs(folder / "study", "{case}/{case}_T2w.nii.gz", "{case}/{case}_T1w.nii.gz")
for pair in pairs:
    print(pair.case)

# %%
# A training loop of your own needs an ordinary ``DataLoader``. Masks, phase and noise follow from a seed, so a
# shuffled order gives the same samples.

slices = fsmnet.training_slices(
    folder / "study", target="{case}/{case}_T2w.nii.gz", auxiliary="{case}/{case}_T1w.nii.gz", acceleration=4
)
zero_filled, auxiliary, target = next(iter(DataLoader(slices, batch_size=4)))
print(len(slices), "slices;", tuple(zero_filled.shape), float(zero_filled.mean()), float(zero_filled.std()))

figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
for ax, shown, title in zip(
    axes, [zero_filled, auxiliary, target], ["zero-filled target", "auxiliary", "target"], strict=True
):
    ax.imshow(shown[1, 0].T.flip(0), cmap="gray")  # the file's first index goes to the right
    ax.set_title(title)
    ax.axis("off")
