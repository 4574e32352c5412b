"""Write the tables of README.md from results.json and training.json, between the lines that mark them.

python benchmarks/unrolled/tables.py
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
Row = dict[str, Any]
SEEDS = 3  # of the network as it is, the first rows of the ablation


def markdown(head: Iterable[str], body: Iterable[Iterable[object]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *([str(cell) for cell in row] for row in body)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def rows_of(results: Row, part: str) -> list[Row]:
    return [row for run in results[part] for row in run["rows"]]


def psnr(results: Row, kind: str) -> str:
    """PSNR and SSIM by acceleration, ``kind`` is ``""`` or ``_head``; noise 0.5%, a mask for each slice."""
    found = [r for r in rows_of(results, "psnr") if r["noise_percent"] == 0.5 and r["masks"] == "slice"]
    tasks = dict.fromkeys((r["case"], r["target"], r["auxiliary"]) for r in found)
    accelerations = sorted({r["acceleration"] for r in found})
    body = []
    for task in tasks:
        mine = [r for r in found if (r["case"], r["target"], r["auxiliary"]) == task]
        for method in dict.fromkeys(r["method"] for r in mine):
            by = {r["acceleration"]: r for r in mine if r["method"] == method}
            cells = [
                f"{by[a]['psnr' + kind]:.2f} / {by[a]['ssim' + kind]:.3f}" if a in by else "" for a in accelerations
            ]
            body.append([f"{task[0]}, {task[1]} with {task[2]}", method.replace("_", "-"), *cells])
    return markdown(["", "", *(f"{a:g}x" for a in accelerations)], body)


def spread(results: Row) -> str:
    """Tenth to ninetieth percentile of the slices' PSNR, whole and within the head."""
    found = rows_of(results, "psnr")
    accelerations = sorted({r["acceleration"] for r in found})
    body = []
    for task in dict.fromkeys((r["case"], r["target"], r["auxiliary"]) for r in found):
        by = {r["acceleration"]: r for r in found if (r["case"], r["target"], r["auxiliary"]) == task}
        for name, key in (("whole", "psnr_slices"), ("head", "psnr_head_slices")):
            cells = ["{:.1f} to {:.1f}".format(*by[a][key]) for a in accelerations]
            body.append([f"{task[0]}, {task[1]} with {task[2]}", by[accelerations[0]]["slices"], name, *cells])
    return markdown(["", "slices", "", *(f"{a:g}x" for a in accelerations)], body)


def conditions(results: Row) -> str:
    """PSNR under more noise, and with one mask for a volume."""
    found = [r for r in rows_of(results, "psnr") if r["noise_percent"] != 0.5 or r["masks"] != "slice"]
    keys = dict.fromkeys((r["case"], r["target"], r["noise_percent"], r["masks"], r["method"]) for r in found)
    body = []
    for key in keys:
        mine = {
            r["acceleration"]: r
            for r in found
            if (r["case"], r["target"], r["noise_percent"], r["masks"], r["method"]) == key
        }
        case, target, noise, masks, method = key
        cells = [f"{mine[a]['psnr']:.2f} / {mine[a]['psnr_head']:.2f}" for a in (4, 8)]
        body.append([f"{case}, {target}", f"{noise:g}%", f"one for each {masks}", method.replace("_", "-"), *cells])
    return markdown(["", "noise", "masks", "", "4x, whole / head", "8x, whole / head"], body)


def lesions(results: Row) -> str:
    body = [
        [
            r["case"],
            f"{r['acceleration']}x",
            r["method"].replace("_", "-"),
            r["lesions_target"],
            f"{r['kept_median']:.2f} ({r['kept_tenth_percentile']:.2f})",
            f"{r['kept_ring_median']:.2f} ({r['kept_ring_tenth_percentile']:.2f})",
            r["lesions_auxiliary"],
            f"{r['false_90th_percentile']:.3f}",
            f"{r['false_ring_90th_percentile']:.3f}",
        ]
        for r in sorted(rows_of(results, "lesions"), key=lambda r: (r["case"], r["acceleration"]))
    ]
    head = [
        "",
        "",
        "",
        "lesions",
        "kept",
        "kept, against a ring",
        "lesions",
        "false, 90th percentile",
        "against a ring",
    ]
    return markdown(head, body)


def robustness(results: Row, case: str) -> str:
    """A patient's last run: PSNR, distance to none, what lines kept back confirm, and the distance after the trial."""
    runs = [[r for r in run["rows"] if r["case"] == case] for run in results["robustness"]]
    found = next(rows for rows in reversed(runs) if rows)
    alone = {r["acceleration"]: r["psnr"] for r in found if r["auxiliary"] == "left out"}
    names = dict.fromkeys(r["auxiliary"] for r in found)
    body = []
    for name in names:
        by = {r["acceleration"]: r for r in found if r["auxiliary"] == name}
        cells = []
        for a in (4, 8):
            gain = by[a]["psnr"] - alone[a]
            used = by[a].get("used", True)
            confirmed = f"{by[a]['confirmed']:.2f}" if "confirmed" in by[a] else ""
            cells += [f"{by[a]['psnr']:.2f} ({gain:+.2f})", confirmed, f"{gain:+.2f}" if used else "0, left out"]
        body.append([name, *cells])
    head = [f"{a}x{what}" for a in (4, 8) for what in ("", ", confirmed", ", after the trial")]
    return markdown(["auxiliary", *head], body)


def guarded(rows: list[Row]) -> str:
    """Of each auxiliary, over the slices tried: gain in true error, and what lines kept back confirm."""
    conditions = dict.fromkeys((r["case"], r["target"], r["auxiliary"], r["noise_percent"]) for r in rows)
    body = []
    for condition in conditions:
        mine = [r for r in rows if (r["case"], r["target"], r["auxiliary"], r["noise_percent"]) == condition]
        accelerations = sorted({r["acceleration"] for r in mine})
        for name in dict.fromkeys(r["auxiliary_is"] for r in mine):
            if name == "none":
                continue
            cells = {a: gain_and_confirmed([r for r in mine if r["acceleration"] == a], name) for a in accelerations}
            case, target, auxiliary, level = condition
            what = f"{case}, {target} with {auxiliary}, noise {level:g}%"
            body.append([what, name, *(cells.get(a, "") for a in (2, 4, 8))])
    return markdown(["", "auxiliary", "2x", "4x", "8x"], body)


def gain_and_confirmed(rows: list[Row], name: str) -> str:
    def total(which: str, key: str) -> float:
        values = [r[key] for r in rows if r["auxiliary_is"] == which]
        return sum(sum(v) if isinstance(v, list) else v for v in values)

    gain = 10 * math.log10(total("none", "error") / total(name, "error"))
    change = total(name, "change")
    confirmed = (total("none", "kept_back") - total(name, "kept_back") + change) / (2 * change)
    return f"{gain:+.2f} dB, {confirmed:.2f}"


def noise(results: Row) -> str:
    """The last run of each patient: PSNR whole / head under noise."""
    last = {
        (r["case"], r["noise_percent"], r["acceleration"], r["method"]): f"{r['psnr']:.2f} / {r['psnr_head']:.2f}"
        for r in rows_of(results, "noise")
    }
    methods = list(dict.fromkeys(key[3] for key in last))
    body = [
        [case, f"{level:g}%", f"{a}x", *(last[case, level, a, name] for name in methods)]
        for case, level, a in dict.fromkeys(key[:3] for key in last)
    ]
    return markdown(["", "noise", "", *(name.replace("_", "-") for name in methods)], body)


def equal_training(equal: Row) -> str:
    """Scores in validation of each network after each budget."""
    body = []
    for run in equal["training"]:
        for name, r in run["networks"].items():
            seen = ""
            if "psnr_4x_strips" in r:
                strips = r["psnr_4x_strips"] + r["psnr_8x_strips"] > r["psnr_4x"] + r["psnr_8x"]
                seen = "strips" if strips else "whole slices"
            scores = [
                f"{r[f'psnr_{a}x{kind}']:.2f}" if f"psnr_{a}x{kind}" in r else ""
                for kind in ("", "_strips")
                for a in (4, 8)
            ]
            spent = f"{r['processor_seconds']:,.0f}" if "processor_seconds" in r else run["spent"]
            body.append([spent, name, f"{r['parameters']:,}", f"{r['steps']:,}", *scores, seen])
    head = ["s", "", "parameters", "steps", "4x", "8x", "4x in strips", "8x in strips", "better tested on"]
    return markdown(head, body)


def gpu_speed(report: Row) -> str:
    """Milliseconds a slice on a GPU, by network and way."""
    rows = report["rows"]
    ways = list(dict.fromkeys(r["way"] for r in rows))
    by = {(r["network"], r["way"]): r["milliseconds_a_slice"] for r in rows if "error" not in r}
    body = [
        [name.replace("_", "-"), *(f"{by[name, way]:.2f}" if (name, way) in by else "" for way in ways)]
        for name in dict.fromkeys(r["network"] for r in rows)
    ]
    return markdown(["", *ways], body)


def equal_margin(equal: Row) -> str:
    """How far the unrolled network is above the best image network of the same budget, whole image / head.

    First with the measured lines put back into the image network's result, then with both weighed, at last with the
    unrolled network's result weighed, too.
    """
    found = [r for r in rows_of(equal, "psnr") if r["method"].startswith("equal: ")]
    accelerations = sorted({r["acceleration"] for r in found})
    tasks = dict.fromkeys((r["case"], r["target"], r["auxiliary"]) for r in found)
    body = []
    budgets = dict.fromkeys(r["method"].split(", ")[1] for r in found)
    kinds = {
        "": ("", "consistency"),
        ", image network weighed": ("", "weighed"),
        ", both weighed": (", then weighed", "weighed"),
    }
    for (kind, (own, after)), spent in ((kind, spent) for kind in kinds.items() for spent in budgets):
        mine = [r for r in found if r["method"].split(", ")[1] == spent]
        needed = {f"equal: unrolled, {spent}{own}", f"equal: mdunet, {spent}, then {after}"}
        if not needed <= {r["method"] for r in mine}:
            continue
        for task in tasks:
            cells = []
            for a in accelerations:
                at = [r for r in mine if r["acceleration"] == a and (r["case"], r["target"], r["auxiliary"]) == task]
                ours = next(r for r in at if r["method"] == f"equal: unrolled, {spent}{own}")
                images = [r for r in at if r["method"].endswith(after) and "unrolled" not in r["method"]]
                best = max(images, key=lambda r: r["psnr"])
                gains = [ours[k] - max(r[k] for r in images) for k in ("psnr", "psnr_head")]
                name = best["method"].removeprefix("equal: ").split(",")[0].replace("_", "-")
                cells.append(f"{gains[0]:+.2f} / {gains[1]:+.2f} ({name})")
            body.append([f"{spent}{kind}", f"{task[0]}, {task[1]} with {task[2]}", *cells])
    return markdown(["", "", *(f"{a:g}x" for a in accelerations)], body)


def longest(row: Row) -> bool:
    """Whether a method is no network of ``equal.py``, or one of a GPU: other budgets are in equal.json alone."""
    return "GPU" in row["method"] or not row["method"].startswith("equal: ")


def equal_scores(equal: Row) -> str:
    """PSNR whole / head of every task."""
    found = list(filter(longest, rows_of(equal, "psnr")))
    tasks = dict.fromkeys((r["case"], r["target"], r["auxiliary"]) for r in found)
    body = []
    for method in dict.fromkeys(r["method"] for r in found):
        for a in sorted({r["acceleration"] for r in found}):
            by = {
                (r["case"], r["target"], r["auxiliary"]): f"{r['psnr']:.2f} / {r['psnr_head']:.2f}"
                for r in found
                if (r["method"], r["acceleration"]) == (method, a)
            }
            body.append([method.replace("_", "-"), f"{a:g}x", *(by.get(task, "") for task in tasks)])
    return markdown(["", "", *(f"{case}, {t} with {o}" for case, t, o in tasks)], body)


def brats(report: Row) -> str:
    """The paper's protocol, lines that the symmetry of a real image tells left out, and counted as measured."""
    found = report["rows"]
    body = []
    for method in dict.fromkeys(r["method"] for r in found):
        by = {(r["acceleration"], r["symmetry"]): r for r in found if r["method"] == method}
        cells = [f"{by[a, used]['psnr']:.2f} / {by[a, used]['ssim']:.3f}" for a in (4, 8) for used in (False, True)]
        body.append([method.replace("_", "-"), *cells])
    lines = {(r["acceleration"], r["symmetry"]): r["lines"] for r in found}
    head = [
        f"{a}x, {'symmetry used' if u else 'left alone'}: {lines[a, u]:.0%} of the lines"
        for a in (4, 8)
        for u in (False, True)
    ]
    return markdown(["", *head], body)


def ablation(report: Row) -> str:
    """Scores of each variant on the validation patient, and their distance to the mean of the first three.

    These differ in the seed alone; bold is what is farther from their mean than they are from each other in any column
    of its kind, since three that fall together in one column do so by luck.
    """
    scores = {f"psnr_{a}x{kind}": f"{a}x{name}" for kind, name in (("", ""), ("_blank", " alone")) for a in (4, 8)}
    scores |= {f"{kind}_{a}x": f"{kind} {a}x" for kind in ("kept", "false") for a in (4, 8)}
    seeds = report["rows"][:SEEDS]
    mean = {k: sum(r[k] for r in seeds) / SEEDS for k in scores}
    spread = {k: max(r[k] for r in seeds) - min(r[k] for r in seeds) for k in scores}
    widest = {k: max(value for other, value in spread.items() if other[:4] == k[:4]) for k in scores}
    body = []
    for r in report["rows"]:
        told = {k: f"{r[k]:.2f}" + (f" ({r[k] - mean[k]:+.2f})" if "psnr" in k else "") for k in scores}
        cells = [f"**{cell}**" if abs(r[k] - mean[k]) > widest[k] else cell for k, cell in told.items()]
        body.append([r["variant"], f"{r['parameters']:,}", f"{r['steps']:,}", *cells])
    body.insert(SEEDS, ["largest less smallest of these", "", "", *(f"{spread[k]:.2f}" for k in scores)])
    return markdown(["", "parameters", "steps", *scores.values()], body)


def coils(results: Row) -> str:
    """The last run of each patient and noise: PSNR of 8 coils, or of one."""
    last = {}
    for run in results["coils"]:
        for r in run["rows"]:
            last[r["case"], r.get("noise_percent", 0.5), r["acceleration"], r["method"]] = r
    kept = {key: r for key, r in last.items() if "processor_seconds" in r}
    columns = list(dict.fromkeys(key[:3] for key in kept))
    body = []
    for method in dict.fromkeys(key[3] for key in kept):
        found = [kept.get((*column, method)) for column in columns]
        body.append([method.replace("_", "-"), *("" if r is None else f"{r['psnr']:.2f}" for r in found)])
    return markdown(["", *(f"{case}, {noise:g}%, {a:g}x" for case, noise, a in columns)], body)


def image_table(rows: list[Row]) -> str:
    """PSNR whole / head of every network for images, a column for each acceleration."""
    accelerations = sorted({row["acceleration"] for row in rows})
    body = []
    for scan, protocol, network in dict.fromkeys((r["scan"], r["protocol"], r["network"]) for r in rows):
        mine = [r for r in rows if (r["scan"], r["protocol"], r["network"]) == (scan, protocol, network)]
        by = {r["acceleration"]: r for r in mine}
        cells = [f"{by[a]['psnr']:.1f} / {by[a]['head_psnr']:.1f}" if a in by else "" for a in accelerations]
        body.append([scan.replace(":", " "), protocol, network.replace("_", "-"), *cells])
    return markdown(["scan", "protocol", "", *(f"{a:g}x" for a in accelerations)], body)


def stability(results: Row) -> str:
    """The largest over the slices of each patient."""
    found = results["stability"][-1]["rows"]
    body = []
    for case, change, a in dict.fromkeys((r["case"], r["change"], r["acceleration"]) for r in found):
        mine = [r for r in found if (r["case"], r["change"], r["acceleration"]) == (case, change, a)]
        most = max((r["psnr"] for r in mine), key=abs)
        body.append([case, change, f"{a}x", len(mine), f"{max(r['largest'] for r in mine):.1e}", f"{most:+.4f}"])
    return markdown(["", "", "", "slices", "largest change (maximum 1)", "PSNR, dB"], body)


def speed(results: Row) -> str:
    run = results["speed"][-1]
    times = ("least", "median", "processor")
    body = [[r["threads"], r["precision"], *(f"{r[time]:.3f}" for time in times)] for r in run["rows"]]
    head = ["threads", "", "least", "median", "processor's time, least"]
    return f"{run['machine']}, PyTorch {run['torch']}\n\n" + markdown(head, body)


def training(report: Row) -> str:
    body = []
    for name, one in report.items():
        for r in one["rows"]:
            shown = (
                "psnr_4x",
                "psnr_8x",
                "psnr_4x_blank",
                "psnr_8x_blank",
                "kept_4x",
                "kept_8x",
                "false_4x",
                "false_8x",
            )
            cells = [f"{r[k]:.2f}" if k in r else "" for k in shown]
            body.append([name, f"{r['seconds']:.0f}", f"{r['steps']:,}", *cells])
    head = ["", "s", "steps", "4x", "8x", "4x alone", "8x alone", "kept 4x", "kept 8x", "false 4x", "false 8x"]
    return markdown(head, body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readme", type=Path, default=HERE / "README.md")
    args = parser.parse_args()
    results = json.loads((HERE / "results.json").read_text())
    report = json.loads((HERE / "training.json").read_text())
    equal = json.loads((HERE / "equal.json").read_text())
    guard = json.loads((HERE / "guard.json").read_text())
    images = json.loads((HERE / "image.json").read_text())
    tables = {
        "guard": guarded(guard[-1]["rows"]),
        "equal_training": equal_training(equal),
        "gpu_speed": gpu_speed(json.loads((HERE / "gpu_speed.json").read_text())),
        "equal_margin": equal_margin(equal),
        "equal_scores": equal_scores(equal),
        "equal_lesions": lesions({"lesions": [{"rows": list(filter(longest, rows_of(equal, "lesions")))}]}),
        "brats": brats(json.loads((HERE / "hermitian.json").read_text())),
        "ablation": ablation(json.loads((HERE / "ablation.json").read_text())),
        "noise": noise(results),
        "training": training(report),
        "psnr": psnr(results, ""),
        "psnr_head": psnr(results, "_head"),
        "spread": spread(json.loads((HERE / "spread.json").read_text())),
        "conditions": conditions(results),
        "lesions": lesions(results),
        "robustness": robustness(results, "TCGA-FG-6692"),
        "robustness_omsl": robustness(results, "OMSL-04-s1"),
        "coils": coils(results),
        "image_dev": image_table(images[0]["rows"]),
        "image_test": image_table(images[1]["rows"]),
        "stability": stability(results),
        "speed": speed(results),
    }
    text = args.readme.read_text()
    for name, table in tables.items():
        marks = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        pattern = re.escape(marks[0]) + ".*?" + re.escape(marks[1].lstrip())
        text = re.sub(pattern, lambda _, t=table, m=marks: m[0] + t + m[1], text, flags=re.S)
    args.readme.write_text(text)


if __name__ == "__main__":
    main()
