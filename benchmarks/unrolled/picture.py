"""Draw ``equal.png``, quality against processor seconds of a slice, and ``curves.png``, quality over acceleration.

python benchmarks/unrolled/picture.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from tables import longest

HERE = Path(__file__).parent
Row = dict[str, Any]


def task_of(row: Row) -> tuple[str, str, str]:
    return row["case"], row["target"], row["auxiliary"]


def looks(rows: list[Row]) -> dict[str, dict[str, Any]]:
    """Of each method colour, mark and label; a colour is one network, an open mark one whose result is weighed."""
    found: dict[str, dict[str, Any]] = {}
    colours: dict[str, Any] = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        alike, weighed = method.startswith("equal: "), method.endswith("weighed")
        name = method.removeprefix("equal: ").split(", ")[0] if alike else f"{method} alone"
        colour = colours.setdefault(name, mpl.color_sequences["tab10"][len(colours) % 10])
        label = method.removeprefix("equal: ").replace("_", "-").replace("consistency", "lines put back")
        found[method] = {
            "color": colour, "marker": "D" if weighed else "o", "markerfacecolor": "none" if weighed else colour,
            "label": "unrolled, as shipped" if method == "unrolled" else label,
        }  # fmt: skip
    return found


def against_seconds(rows: list[Row], look: dict[str, dict[str, Any]]) -> None:
    """PSNR of T2 with T1 of TCGA-FG-6692 against processor seconds of a slice."""
    accelerations = (4, 8)
    figure, axes = plt.subplots(1, len(accelerations), figsize=(5 * len(accelerations), 5.5), layout="constrained")
    for axis, acceleration in zip(axes, accelerations, strict=True):
        for row in rows:
            if task_of(row) == ("TCGA-FG-6692", "t2", "t1") and row["acceleration"] == acceleration:
                axis.plot(max(row["processor_seconds"], 1e-3), row["psnr"], linestyle="", **look[row["method"]])
        axis.set(xscale="log", xlabel="processor seconds of a slice, one thread", ylabel="PSNR, dB")
        axis.set_title(f"{acceleration:g}x")
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=7, ncols=3, loc="outside lower center")
    figure.savefig(HERE / "equal.png", dpi=110)


def over_acceleration(rows: list[Row], look: dict[str, dict[str, Any]]) -> None:
    """PSNR in the head of every task over the acceleration."""
    tasks = list(dict.fromkeys(map(task_of, rows)))
    figure, axes = plt.subplots(1, len(tasks), figsize=(3.2 * len(tasks), 5), sharey=True, layout="constrained")
    for axis, task in zip(axes, tasks, strict=True):
        for method, style in look.items():
            mine = [r for r in rows if (task_of(r), r["method"]) == (task, method)]
            points = sorted((r["acceleration"], r["psnr_head"]) for r in mine)
            axis.plot(*zip(*points, strict=True), **style, linewidth=1, markersize=4)
        case, target, auxiliary = task
        axis.set(title=f"{case}, {target} with {auxiliary}", xlabel="acceleration", xticks=[2, 4, 6, 8, 12])
        axis.title.set_fontsize(9)
    axes[0].set_ylabel("PSNR in the head, dB")
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=7, ncols=4, loc="outside lower center")
    figure.savefig(HERE / "curves.png", dpi=110)


def main() -> None:
    mpl.use("agg")
    rows = [r for run in json.loads((HERE / "equal.json").read_text())["psnr"] for r in run["rows"] if longest(r)]
    look = looks(rows)
    against_seconds(rows, look)
    over_acceleration(rows, look)


if __name__ == "__main__":
    main()
