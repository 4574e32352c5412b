"""
Train a network in minutes
==========================

A small FSMNet on simulated heads, scored on one that it has not seen. Here it gets sixty steps, so that this page is
built quickly; give it five minutes, and real patients, and see how far it comes.
"""

# %%
# Four heads in BraTS's folders.

import csv
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import fsmnet
from fsmnet.data.phantom import write_subjects

folder = Path(tempfile.mkdtemp())
write_subjects(folder / "heads", range(4), slices=6)

# %%
# Training. The split is made by patient and kept in ``split.json``; one head in four validates, one is kept for
# testing. On the command line the same is
#
# .. code-block:: console
#
#    fsmnet train --config quick --data heads --minutes 5 --out runs/first

fsmnet.train(
    data=folder / "heads",
    out=folder / "run",
    model="fsmnet",
    model_options={"features": 8, "blocks": 1},
    protocol="complex",
    acceleration=4,
    validation_fraction=0.25,
    test_fraction=0.25,
    batch=2,
    learning_rate=0.002,
    iterations=60,
    log_every=5,
)

# %%
# What a run leaves, and its curve.

print(*sorted(path.name for path in (folder / "run").iterdir()), sep="\n")
with (folder / "run" / "log.csv").open() as lines:
    rows = list(csv.DictReader(lines))
steps, loss = zip(*((int(row["step"]), float(row["loss"])) for row in rows if row["loss"]), strict=True)
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.plot(steps, loss)
ax.set_xlabel("step")
ax.set_ylabel("loss")

# %%
# The score on the head that was kept for testing, beside zero-filling and POCS, which learn nothing. Sixty steps
# are not enough to beat POCS.

fsmnet.evaluate(
    models=["zero_filling", "pocs", str(folder / "run" / "best.safetensors")],
    data=folder / "heads",
    protocol="complex",
    acceleration=4,
    split=folder / "run" / "split.json",
    out=folder / "scores",
)
with (folder / "scores" / "metrics.csv").open() as lines:
    for row in csv.DictReader(lines):
        print(row["model"], row["case"], row["psnr"][:5], "dB")
