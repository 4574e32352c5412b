"""The quick network on a tree in fastMRI's format that is made from NIfTI scans: pairs, training, both ways to score.

    python benchmarks/fastmri_quick.py --data VOLUMES --work FOLDER [--minutes 6] [--test CASE ...] [--out FILE.json]

VOLUMES holds BraTS cases. Their T1 and T2 become volumes called proton density and fat-suppressed: every fourth slice
with content, 2 x 2 pixels averaged, 120 x 120 in a k-space of 240 x 152 with smooth phase and noise (the tests'
generator). The test cases go to singlecoil_val. It is a test of the way from files to figures, with real anatomy and a
simulated scanner: no figure here says anything about the knee.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from fsmnet.cli import main as fsmnet
from fsmnet.data.formats import read_volume
from fsmnet.data.pairing.names import find_pairs
from fsmnet.files import write_text
from fsmnet.transforms import center_fit

SIZES = {"rows": 240, "columns": 152, "recon": 120}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--test", nargs="+", default=["TCGA-FG-6692"])
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    work = arguments.work
    names = simulate(arguments.data, work / "tree", arguments.test)
    knee = ["--data", str(work / "tree"), "--index", str(work / "index.json")]
    run("pair", *knee, "--layout", "fastmri", "--out", str(work / "pairs.csv"))
    rows = [line.split(",") for line in (work / "pairs.csv").read_text().splitlines()]
    knee += ["--pairs", str(work / "pairs.csv"), "--protocol", "fastmri", "--threads", "1"]
    training = ["--config", "quick"]
    training += ["--minutes", str(arguments.minutes), "--validation-fraction", "0.25", "--validate-slices", "4"]
    training += ["--resume"] if (work / "run" / "resume.pt").exists() else []
    run("train", *training, *knee, "--out", str(work / "run"))
    best = str(work / "run" / "best.safetensors")
    common = ["--models", "zero_filling", best, "--split", str(work / "run" / "split.json")]
    results: dict[str, Any] = {}
    for kind in ("off", "hard"):
        out = work / f"scores_{kind}"
        run("evaluate", *common, *knee, "--data-consistency", kind, "--out", str(out))
        for row in json.loads((out / "summary.json").read_text()):
            name = "zero_filling" if row["model"] == "zero_filling" else f"quick, data consistency {kind}"
            results[name] = {
                part: figures(row if part == "volumes" else row["slices"]) for part in ("volumes", "slices")
            }
    log = (work / "run" / "log.csv").read_text().splitlines()[-1].split(",")
    document = {
        "command": f"python benchmarks/fastmri_quick.py --data VOLUMES --work FOLDER --minutes {arguments.minutes:g}",
        "cases": {"all": sorted(set(names.values())), "test": arguments.test},
        "pairs": {
            "found": len(rows),
            "right": sum(names.get(Path(row[1]).stem) == names.get(Path(row[0]).stem) for row in rows),
            "margins": [float(row[3]) if row[3] != "inf" else None for row in rows],
        },
        "training": {"steps": int(log[0]), "seconds": float(log[2])},
        "scores_4x": results,
    }
    text = json.dumps(document, indent=2) + "\n"
    print(text, end="")
    if arguments.out:
        write_text(arguments.out, text)


def simulate(data: Path, tree: Path, test: list[str]) -> dict[str, str]:
    """Write the tree; file name without suffix -> case."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from fastmri_tree import write_volume

    names = {}
    for number, pair in enumerate(find_pairs(data, "t2", "t1")):
        folder = tree / ("singlecoil_val" if pair.case in test else "singlecoil_train")
        volumes = [torch.from_numpy(read_volume(path).data) for path in (pair.auxiliary, pair.target)]
        keep = (volumes[1] > 0).float().mean((-2, -1)) >= 0.1
        for k, (volume, acquisition) in enumerate(zip(volumes, ("CORPD_FBK", "CORPDFS_FBK"), strict=True)):
            seed = 2 * number + k
            path = folder / f"file{1_000_000 + 7919 * (seed + 1) % 99_991:07d}.h5"
            if not path.exists():
                images = torch.nn.functional.avg_pool2d(center_fit(volume[keep][::4], 240, 240), 2).numpy()
                write_volume(path, images, acquisition=acquisition, seed=seed, noise=0.01, **SIZES)
            names[path.stem] = pair.case
    return names


def run(*arguments: str) -> None:
    if code := fsmnet(arguments):
        sys.exit(code)


def figures(row: dict[str, Any]) -> dict[str, float]:
    return {key: round(row[key], 4) for key in ("n", "psnr_mean", "psnr_std", "ssim_mean", "ssim_std", "nmse_mean")}


if __name__ == "__main__":
    main()
