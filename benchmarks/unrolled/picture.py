"""Draw quality against work: PSNR of T2 with T1 of TCGA-FG-6692 against processor seconds of a slice.

python benchmarks/unrolled/picture.py
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

HERE = Path(__file__).parent


def main() -> None:
    mpl.use("agg")
    rows = [row for run in json.loads((HERE / "equal.json").read_text())["psnr"] for row in run["rows"]]
    rows = [row for row in rows if (row["case"], row["target"]) == ("TCGA-FG-6692", "t2")]
    accelerations = (4, 8)
    figure, axes = plt.subplots(1, len(accelerations), figsize=(5 * len(accelerations), 4), layout="constrained")
    for axis, acceleration in zip(axes, accelerations, strict=True):
        shown = (row for row in rows if row["acceleration"] == acceleration)
        for row, colour in zip(shown, mpl.color_sequences["tab20"], strict=False):
            alike = row["method"].startswith("equal: ")
            name = row["method"].removeprefix("equal: ").replace("_", "-")
            axis.scatter(
                max(row["processor_seconds"], 1e-3),
                row["psnr"],
                color=colour,
                marker="o" if alike else "s",
                label=name + (", trained alike" if alike else ""),
            )
        axis.set(xscale="log", xlabel="processor seconds of a slice, one thread", ylabel="PSNR, dB")
        axis.set_title(f"{acceleration:g}x")
    axes[0].legend(fontsize=7)
    figure.savefig(HERE / "equal.png", dpi=110)


if __name__ == "__main__":
    main()
