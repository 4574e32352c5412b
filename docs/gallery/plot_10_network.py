"""
The paper's network, stage by stage
===================================

FSMNet has four streams: target and auxiliary, each spatial and in frequency. Here a small one is walked through with
the shipped weights of 16 features, and its feature maps are looked at.
"""

# %%
# The order of things. *CMS-fusion* joins the contrasts within a branch (Eq. 3-4 of the paper), *FS-fusion* joins the
# branches (Eq. 5).
#
# .. code-block:: text
#
#    target  ──┬─ spatial   ─ Down ─ residual blocks ─┬ CMS-fusion ┬ FS-fusion ─ ... x 4 ─ Up x 3 ─ image
#              └─ frequency ─ Down ─ FFT block ───────┼─ CMS-fusion ┘
#    auxiliary ┬─ spatial   ─ Down ─ residual blocks ─┘            │
#              └─ frequency ─ Down ─ FFT block ────────────────────┘

import matplotlib.pyplot as plt
import torch

import fsmnet
from fsmnet.checkpoint import shipped_checkpoint
from fsmnet.data.phantom import make_subject
from fsmnet.models.fsmnet import EncoderStage

model = fsmnet.load_model(shipped_checkpoint("shipped-image")).eval()
head = make_subject(0, slices=1)
images = {name: head.contrasts[name][:, :, 0].T[::-1].copy() for name in ("t2", "t1")}
mask = fsmnet.make_mask("random", columns=240, acceleration=4, seed=1)
zero_filled = torch.as_tensor(fsmnet.zero_fill(fsmnet.undersample(images["t2"], mask)))
target, auxiliary = ((x - x.mean()) / x.std() for x in (zero_filled, torch.from_numpy(images["t1"])))

# %%
# Hooks keep what each encoder stage passes on: the spatial and the frequency stream of the target, fused.

kept: list[tuple[torch.Tensor, torch.Tensor]] = []
for stage in model.modules():
    if isinstance(stage, EncoderStage):
        stage.register_forward_hook(lambda _, __, passed: kept.append(passed[0]))
with torch.inference_mode():
    output = model(target[None, None], auxiliary[None, None])

figure, axes = plt.subplots(2, 4, figsize=(10, 5.2), layout="constrained")
for column, (spatial, frequency) in enumerate(kept):
    for ax, features, branch in zip(axes[:, column], (spatial, frequency), ("spatial", "frequency"), strict=True):
        ax.imshow(features[0].abs().mean(0), cmap="magma")
        ax.set_title(f"stage {column + 1}, {branch}\n{tuple(features.shape[1:])}", fontsize=9)
        ax.axis("off")

# %%
# Both branches see edges; the frequency branch is the only one in which every pixel depends on every other after one
# block. Change one pixel of the target and see how far the change reaches in the first stage: the spatial branch
# changes in a neighbourhood, the other everywhere.

changed = target.clone()
changed[120, 120] += 5
stage = next(m for m in model.modules() if isinstance(m, EncoderStage))
with torch.inference_mode():
    branches = []
    for x in (target, changed):
        features = [head_(x[None, None]) for head_ in model.heads[:2]]
        branches.append(stage.target(stage.down[0](features[0]), stage.down[1](features[1])))
for name, before, after in zip(("spatial", "frequency"), *branches, strict=True):
    reach = (before - after).abs().amax(dim=(0, 1)) > 1e-7
    print(f"{name:10s} {100 * float(reach.float().mean()):.1f}% of the positions change")

# %%
# The image that comes out.

figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
for ax, shown, title in zip(
    axes, [target, auxiliary, output.image[0, 0]], ["zero-filled T2", "T1", "FSMNet"], strict=True
):
    ax.imshow(shown, cmap="gray", vmin=float(target.min()), vmax=float(target.max()))
    ax.set_title(title)
    ax.axis("off")
